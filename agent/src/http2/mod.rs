//! HTTP/2 (RFC 9113), seen from outside.

pub mod hpack;

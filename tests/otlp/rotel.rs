//! Real receivers.

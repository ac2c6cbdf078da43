//! Stage 3: chunks of many connections, each in stream order with explicit gaps.

pub mod chunk;
pub mod stream;
pub mod table;

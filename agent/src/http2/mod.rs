//! HTTP/2 (RFC 9113), seen from outside: bytes of both directions in, [`Exchange`]s out.
//!
//! The decoder never answers and cannot ask again, so it accepts what endpoints would refuse, and
//! says what it does not know instead of failing:
//! - A connection may be joined in its middle, and bytes may be missing anywhere. What could not
//!   be resolved is noted on the exchange; it is never guessed.
//! - Bodies are counted; of those that are [wanted](crate::http::body::Wanted) the first bytes are
//!   kept. All that is stored has a named limit, and passing it is
//!   counted: [`Counters`].
//! - The result does not depend on how the bytes were split or how the directions interleave,
//!   except where a stream is reset or refused, or who speaks first tells who is the client.
//!
//! [`Exchange`]: crate::http::message::Exchange

// bytes to frames
mod deframe;
mod detect;
mod frame;

// frames to fields
mod block;
pub mod hpack;

// fields to exchanges
mod codec;
mod conduct;
mod stream;
mod streams;

#[cfg(test)]
mod tests;

pub use codec::{BLOCK_MAX, BUFFERED_MAX, Connection, Counters};
pub use detect::{CHAIN_SPAN, PREFACE, Verdict, chain_to_end, looks_like_http2};
pub use streams::{LINGER_NANOS, STREAMS_MAX, STREAMS_SIZE_MAX};

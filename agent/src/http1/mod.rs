//! HTTP/1.0 and HTTP/1.1 as a bystander reads them (RFC 9112), without IO and without a clock.
//!
//! In: bytes of both directions of one connection, gaps and ends. Out: [`Exchange`]s.
//!
//! ```text
//! bytes -> scan (where is a head) -> head (what does it say) -> body (where does it end)
//!                                      \-> pair (whose response is this) -> Exchange
//! ```
//!
//! Invariants:
//! - How the bytes were cut into feeds does not show in the exchanges, timestamps excepted.
//! - Nothing is reported that was not captured: no field is guessed, and after a loss reading goes
//!   on only at a certain start: a request line with a well-known method, or a status line, then
//!   nothing but field lines, and `Host` where HTTP/1.1 demands it. (A body that quotes a whole
//!   message does look like that.)
//! - A response stands beside a request only if it answers that request: exactly where nothing of
//!   unknown extent was lost, and otherwise as long as the peers do not pipeline. On a connection
//!   that was seen to do both, pairing is given up.
//! - Trailer fields of a response stand apart from its head, as far as they fit into [`TRAILERS_MAX`].
//! - Bodies are counted; of those that are [wanted](crate::http::body::Wanted) the first bytes are
//!   kept. What is held stays below [`MAX_BUFFERED`].
//! - After an upgrade nothing is read: bytes are counted until the connection ends, and then the
//!   exchange is reported. One to HTTP/2 ends here: what follows is left to that codec.
//!
//! What recipients read differently (RFC 9112 §11.2) is an [`Anomaly`] of the exchange, and is then
//! read as follows:
//!
//! | what was sent | how it is read |
//! |---|---|
//! | `Transfer-Encoding` and `Content-Length` | the transfer coding counts (§6.3) |
//! | `Transfer-Encoding` in HTTP/1.0, or `chunked` twice | the transfer coding counts |
//! | `Transfer-Encoding: identity` alone | as if it were absent |
//! | last coding is not `chunked` | response: until close; request: unusable |
//! | `Content-Length` invalid, or values that differ | unusable |
//! | invalid chunk size, chunk longer or shorter than its size | unusable from there |
//! | bare LF, bare CR, folded field line, whitespace before a colon | leniently |
//! | a line that is no field line | without that line; unusable if it was to declare framing |
//!
//! Unusable framing ends the message as if its body were lost.
//!
//! [`Exchange`]: crate::http::message::Exchange
//! [`Anomaly`]: crate::http::anomaly::Anomaly

mod body;
mod codec;
mod counts;
mod framing;
mod half;
mod head;
mod lenience;
mod pair;
mod scan;
#[cfg(test)]
mod tests;
mod trailers;

pub use body::{MAX_CHUNK_LINE, MAX_TRAILERS};
pub use codec::{Connection, Ending, Http2Upgrade, MAX_BUFFERED};
pub use counts::Counts;
pub use half::MAX_RESYNC;
pub use head::{MAX_FIELDS, MAX_METHOD};
pub use pair::{MAX_PIPELINE, MAX_PIPELINE_BYTES};
pub use scan::MAX_HEAD;
pub use trailers::TRAILERS_MAX;

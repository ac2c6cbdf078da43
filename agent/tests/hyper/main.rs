//! The codecs against hyper: the same bytes give the same messages, for all that hyper accepts.
//!
//! In: connections made by chance, valid ones, odd ones and damaged ones. Hyper's server or client
//! (or both) has one end of a pipe in memory, a tap notes what passes, and detection and codec read
//! that. Out: what hyper's end was given and what the codec told, in one form, compared. Hyper may
//! refuse what the codec reads, since it protects somebody; the codec may refuse nothing that hyper
//! reads. Each exception is argued in `told.rs`, where the two forms are made.

// `cfg(test)` tells the lints that all of this is a test.
#[cfg(test)]
mod app;
#[cfg(test)]
mod http1_requests;
#[cfg(test)]
mod http1_responses;
#[cfg(test)]
mod http1_whole;
#[cfg(test)]
mod http2_frames;
#[cfg(test)]
mod http2_requests;
#[cfg(test)]
mod http2_responses;
#[cfg(test)]
mod http2_whole;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod tap;
#[cfg(test)]
mod told;

//! Stage 4: what protocol is this, and the exchanges that every protocol ends in.

pub mod detect;
pub mod message;
pub mod path;

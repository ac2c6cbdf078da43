//! Stage 4: what protocol is this, and the exchanges that every protocol ends in.

pub mod anomaly;
pub mod body;
pub mod detect;
pub mod length;
pub mod message;
pub mod operation;
pub mod path;
pub mod wiped;

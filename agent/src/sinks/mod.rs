//! Stage 7, events to the world.

pub mod output;

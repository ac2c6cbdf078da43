//! Who made or served the call: the process, and what it belongs to.
pub mod process;

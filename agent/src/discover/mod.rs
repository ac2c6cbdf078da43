//! Stage 1, find what to probe: libraries of the base system before anything uses them, libraries
//! that running processes have mapped, and those of new processes.
//!
//! In: process ids of new programs. Out: requests to the broker, and what became of each library.

pub mod handover;
pub mod maps;
pub mod sockets;
pub mod system;
pub mod watch;

//! The privilege boundary. The broker attaches and parses nothing; the rest of the agent parses
//! and attaches nothing. Today both run in one process and a [`protocol::Request`] crosses a
//! channel; when they become two processes the same requests cross a socket.

pub mod broker;
pub mod protocol;

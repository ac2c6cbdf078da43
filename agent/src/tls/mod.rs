//! Stage 3, wire path: ciphertext of one connection and session secrets in, plaintext out.
pub mod certificate;
pub mod handshake;
pub mod hello;
pub mod ja4;
pub mod protect;
pub mod reader;
pub mod record;
pub mod schedule;
pub mod secret;
pub mod suite;

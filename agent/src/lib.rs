//! scopewatch: audits OAuth 2.0 API access on a host from the plaintext of its TLS connections.
//!
//! In: records of the kernel half. Out: audit events. The modules stand in the order in which
//! data flows through them; `ARCHITECTURE.md` tells what crosses each arrow.

pub mod clock;

// 3 bytes to connections
pub mod flow;
// 4 connections to exchanges
pub mod http;
pub mod http2;
// 5 exchanges to observations
pub mod identity;

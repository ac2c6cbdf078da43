//! scopewatch: audits OAuth 2.0 API access on a host from the plaintext of its TLS connections.
//!
//! In: records of the kernel half. Out: audit events. The modules stand in the order in which
//! data flows through them; `ARCHITECTURE.md` tells what crosses each arrow.

// The command.
pub mod cli;
pub mod commands;
pub mod config;
pub mod failure;
pub mod pipeline;
// Words that several stages use.
pub mod clock;
mod names;
pub mod outbound;
mod paths;
pub mod text;

// 1 find what to probe
pub mod binary;
pub mod discover;
// 2 attach
pub mod bpf;
pub mod sandbox;
// 3 bytes to connections
pub mod capture;
pub mod coverage;
pub mod flow;
pub mod tls;
pub mod wire;
// 4 connections to exchanges
pub mod http;
pub mod http1;
pub mod http2;
// 5 exchanges to observations
pub mod identity;
pub mod keyring;
pub mod observation;
pub mod rules;
pub mod token;
// 6 observations to verdicts
pub mod policy;
// 7 events to the world
pub mod event;
pub mod integrity;
pub mod report;
pub mod sinks;
pub mod spool;
pub mod telemetry;

//! Damaged HTTP connections, as many as are asked for: the long form of the test `mutated`.
//!
//! In: how many, and where to begin. Out: the test's line of figures, or the seed that failed. The
//! tests' own profile is used: it checks arithmetic, which a release does not.

use std::process::ExitCode;

use anyhow::Result;

use crate::process;

/// The task: `cargo xtask mutate`.
///
/// # Errors
/// When a connection broke a promise.
pub fn run(connections: u64, seed: u64) -> Result<ExitCode> {
    let arguments = ["test", "--quiet", "--package", "scopewatch-harness", "--test", "mutated"];
    let mut command = process::command("cargo", &arguments);
    command.args(["--", "--nocapture"]);
    command.env("MUTATED_CONNECTIONS", connections.to_string());
    command.env("MUTATED_SEED", seed.to_string());
    process::run(&mut command)?;
    Ok(ExitCode::SUCCESS)
}

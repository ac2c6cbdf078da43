//! Builds the agent and runs it.
//!
//! In: the arguments of `scopewatch`. Out: its exit code.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::agent;

use crate::{process, setup};

/// Makes the machine ready, builds the agent and becomes it, so that signals reach it directly.
///
/// # Errors
/// When something is missing or the agent does not build.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    build()?;
    let error = Command::new(agent::binary()?).args(arguments).exec();
    Err(error).context("start scopewatch")
}

/// Makes the machine ready and builds the agent; what happens is told on stderr.
///
/// # Errors
/// When something is missing or the agent does not build.
pub fn build() -> Result<()> {
    ensure!(setup::ensure(setup::Teller::Stderr)?, "the machine is not ready: see MISSING above");
    process::run(&mut process::command("cargo", &["build", "--package", "scopewatch"]))
}

//! What watching costs: the same loads on the same server, with nothing, with the agent, and with
//! the least that probing calls would take.
//!
//! In: rounds and seconds. Out: a table of medians with their spread, ratios, and the agent's own
//! CPU, memory and losses. Rounds are interleaved, load by load and watcher by watcher, because a
//! machine's speed drifts; only ratios within one run mean something.

pub mod load;
mod stats;
mod watcher;

use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{agent::BINARY_VARIABLE, is_root};

use crate::{process, setup};
use load::{LOADS, Server};
use stats::Series;
use watcher::{WATCHERS, Watcher};

/// The task: `cargo xtask bench overhead`.
///
/// # Errors
/// When the machine is not ready, or a load goes wrong.
pub fn overhead(rounds: usize, seconds: u64) -> Result<ExitCode> {
    ensure!(is_root(), "the bench attaches probes to running processes: run it as root");
    if env::var_os(BINARY_VARIABLE).is_none() {
        return with_release_build();
    }
    let server = Server::start()?;
    let mut series = vec![vec![Series::default(); WATCHERS.len()]; LOADS.len()];
    for round in 1..=rounds {
        eprintln!("bench: round {round} of {rounds}");
        for (load, row) in LOADS.iter().zip(&mut series) {
            for (watcher, series) in WATCHERS.iter().zip(row) {
                let running = Watcher::start(*watcher)?;
                let done = server.run(*load, Duration::from_secs(seconds))?;
                series.push(done, running.stop()?);
            }
        }
    }
    stats::print(&series, rounds, seconds);
    Ok(ExitCode::SUCCESS)
}

/// Builds the agent as it is shipped, and starts over with it.
fn with_release_build() -> Result<ExitCode> {
    ensure!(setup::ensure(setup::Teller::Stderr)?, "the machine is not ready: see MISSING above");
    let build = ["build", "--release", "--package", "scopewatch"];
    process::run(&mut process::command("cargo", &build))?;
    let binary = process::root().join("target/release/scopewatch");
    let error = Command::new(env::current_exe().context("find this program")?)
        .args(env::args_os().skip(1))
        .env(BINARY_VARIABLE, binary)
        .exec();
    Err(error).context("start over with the release build")
}

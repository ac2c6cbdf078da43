//! Long runs of live tests: the same claims as in `cargo xtask test`, for longer.
//!
//! In: how long or how often. Out: what the test saw, and its verdict as exit code.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Subcommand;
use scopewatch_harness::is_root;

use crate::{process, setup};

/// The runs.
#[derive(Clone, Copy, Subcommand)]
pub enum Soak {
    /// Start and stop the agent under load: every exchange while it watches is told once
    Restarts {
        /// How often
        #[arg(long, default_value_t = 50)]
        count: u64,
    },
    /// New connections at the highest rate, beside other users of key derivation
    Handshakes {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Kill a writer of the spool at any moment: nothing that it acknowledged is lost
    Kills {
        /// How often
        #[arg(long, default_value_t = 300)]
        count: u64,
    },
    /// Events through sinks whose receivers come and go: each arrives everywhere, at least once
    Export {
        /// How many
        #[arg(long, default_value_t = 500_000)]
        events: u64,
    },
    /// A ring that is too small under load: losses are counted, and nothing wrong is told
    Ring {
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
}

/// The task: `cargo xtask soak`.
///
/// # Errors
/// When a claim failed, or the machine is not ready.
pub fn run(soak: Soak) -> Result<ExitCode> {
    let (test, variable, value) = match soak {
        Soak::Restarts { count } => (
            "exactly_once::an_agent_that_is_started_again_and_again_tells_everything_once",
            "SOAK_RESTARTS",
            count,
        ),
        Soak::Handshakes { seconds } => {
            ("handshakes::every_new_connection_gets_its_secret", "SOAK_SECONDS", seconds)
        }
        // These need no root.
        Soak::Kills { count } => return kills(count),
        Soak::Export { events } => return export(events),
        Soak::Ring { seconds } => (
            "small_ring::what_a_full_ring_loses_is_counted_and_what_is_told_is_true",
            "SOAK_SECONDS",
            seconds,
        ),
    };
    ensure!(is_root(), "the agent attaches probes to running processes: run it as root");
    ensure!(setup::ensure(setup::Teller::Stderr)?, "the machine is not ready: see MISSING above");
    let build = ["build", "--quiet", "--package", "scopewatch"];
    process::run(&mut process::command("cargo", &build))?;
    let arguments = ["test", "--quiet", "--package", "scopewatch-harness", "--test", "live", "--"];
    let mut command = process::command("cargo", &arguments);
    command.args(["--nocapture", "--exact"]).arg(format!("wire_path::{test}"));
    process::run(command.env(variable, value.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

fn kills(count: u64) -> Result<ExitCode> {
    let build = ["build", "--quiet", "--package", "scopewatch", "--example", "spool_writer"];
    process::run(&mut process::command("cargo", &build))?;
    let arguments = ["test", "--quiet", "--package", "scopewatch", "--test", "kills", "--"];
    let mut command = process::command("cargo", &arguments);
    process::run(command.arg("--nocapture").env("SOAK_KILLS", count.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

fn export(events: u64) -> Result<ExitCode> {
    let test = "endurance::everything_arrives_at_every_sink_whatever_receivers_do";
    let arguments = ["test", "--quiet", "--package", "scopewatch-harness", "--test", "otlp", "--"];
    let mut command = process::command("cargo", &arguments);
    command.args(["--nocapture", "--exact", test]);
    process::run(command.env("SOAK_EVENTS", events.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

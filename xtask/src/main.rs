//! What surrounds the agent: making a machine ready, checks and tests, house rules, the demo.
//!
//! In: a subcommand, run as `cargo xtask …` from anywhere in the repository. Out: readable steps on
//! stdout and an exit code. It builds with stable Rust alone and never links the agent, so that it
//! can install what building the agent takes.

#![expect(clippy::print_stdout, reason = "telling what is done is this program's job")]
#![expect(clippy::print_stderr, reason = "and so is telling what went wrong")]

mod setup;

mod test;
mod tidy;

mod bench;
mod demo;
mod fuzz;
mod mutate;
mod run;
mod soak;
mod vm;

mod process;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, tests, demo and house rules of scopewatch")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building, running and testing take; changes nothing that is there
    Setup,
    /// Fetch a release of OpenSSL for the tests; `setup` does it where one is missing
    Openssl {
        /// `1.1.1`, `3.5` or `sid`
        release: String,
    },
    /// Fetch a receiver of syslog for the tests; `setup` does it where one is missing
    Receiver {
        /// `rsyslog` or `syslog-ng`
        name: String,
    },
    /// Install packages that the tests' servers and clients are made of; `setup` does it where
    /// they are missing
    Peers {
        /// `node` or `python`
        language: String,
    },
    /// Run all checks and tests; live tests as root
    Test,
    /// Check the house rules that a text search can check
    Tidy,
    /// Show the agent on real calls to a real nginx (root)
    Demo {
        /// Print the events of the calls as JSON lines on stdout, all else on stderr
        #[arg(long)]
        json: bool,
    },
    /// Measure what watching costs, in interleaved rounds (root)
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// Boot other kernels in virtual machines and try the agent on each
    #[command(after_help = format!("Kernels: {}", vm::known()))]
    Vm {
        /// Series of kernels, such as `5.10`; all if none is named
        kernels: Vec<String>,
        #[command(flatten)]
        asked: VmAsked,
    },
    /// What the first program of such a machine does
    #[command(hide = true)]
    VmGuest {
        #[command(flatten)]
        asked: VmAsked,
    },
    /// Fuzz every reader of bytes that somebody else chose
    Fuzz {
        /// Targets, all if none is named
        targets: Vec<String>,
        /// For how long, all together; without it each target runs some thousand times
        #[arg(long)]
        minutes: Option<u64>,
        /// Write the stored inputs anew instead
        #[arg(long)]
        write_seeds: bool,
    },
    /// Hold claims of the live tests for longer (root)
    Soak {
        #[command(subcommand)]
        soak: soak::Soak,
    },
    /// Put damaged HTTP connections through detection and codecs
    Mutate {
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        connections: u64,
        /// Seed of the first one; the others follow
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Build the agent and run it with these arguments
    Run {
        /// Arguments for `scopewatch`, such as `doctor` or `run --format human`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args)]
struct VmAsked {
    /// Only ask what the verifier makes of each program, which takes seconds
    #[arg(long)]
    programs: bool,
    /// Instead of testing load a server for so many seconds, by either path, on kernels that preempt
    /// themselves
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Only live tests whose names contain this; may be repeated
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
}

impl VmAsked {
    const fn get(&self) -> vm::Asked<'_> {
        vm::Asked::new(self.programs, self.soak, self.test.as_slice())
    }
}

#[derive(Subcommand)]
enum Bench {
    /// nginx under wrk: with nothing, with the agent, on calls alone, and with bpftrace that counts
    Overhead {
        /// Rounds; the figures are their medians
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// Seconds of each load in each round
        #[arg(long, default_value_t = 2)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup => setup::run(),
        Task::Openssl { release } => setup::openssl::run(&release).map(|()| ExitCode::SUCCESS),
        Task::Receiver { name } => setup::receivers::run(&name).map(|()| ExitCode::SUCCESS),
        Task::Peers { language } => setup::peers::run(&language).map(|()| ExitCode::SUCCESS),
        Task::Test => test::run(),
        Task::Tidy => tidy::run(),
        Task::Demo { json } => demo::run(json),
        Task::Bench { bench: Bench::Overhead { rounds, seconds } } => {
            bench::overhead(rounds, seconds)
        }
        Task::Vm { kernels, asked } => vm::run(&kernels, asked.get()),
        Task::VmGuest { asked } => vm::guest(asked.get()),
        Task::Fuzz { write_seeds: true, .. } => fuzz::write_seeds(),
        Task::Fuzz { targets, minutes, .. } => {
            fuzz::run(&targets, minutes.map_or(fuzz::Effort::Smoke, fuzz::Effort::Minutes))
        }
        Task::Soak { soak } => soak::run(soak),
        Task::Mutate { connections, seed } => mutate::run(connections, seed),
        Task::Run { arguments } => run::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

/// The exit code of a task that either went well or not.
fn exit_code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

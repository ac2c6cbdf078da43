//! The agent on other kernels: each is booted in a virtual machine of its own, whose memory holds
//! all that the tests take.
//!
//! In: series of kernels, such as `5.10`. Out: what the agent can do on each, which programs its
//! verifier accepts and at what cost, and the live tests that passed. Kernels are packages of
//! Debian's releases, unpacked and never installed. The processor is emulated, so that nothing but
//! time is asked of the machine.

mod contents;
mod cpio;
mod guest;
mod kernel;
mod ktls;
mod machine;
mod report;

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};

pub use self::guest::run as guest;
use self::{
    kernel::{KERNELS, Kernel},
    machine::Machine,
};
use crate::{exit_code, process, run};

/// Time for a machine to start and run all tests; an emulated processor takes several minutes.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Programs that the task takes beside what tests take, with the package that has each.
const PROGRAMS: [(&str, &str); 2] = [("qemu-system-x86_64", "qemu-system-x86"), ("ip", "iproute2")];

/// What is asked of each machine.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'names> {
    /// What the agent can do there, and what the verifier makes of each program.
    Programs,
    /// That, and live tests: those whose names contain one of these, or a choice of all.
    Tests(&'names [String]),
    /// Seconds of load, twice, on a kernel that preempts itself.
    Soak(u64),
}

impl<'names> Asked<'names> {
    /// From the command line.
    pub const fn new(programs: bool, soak: Option<u64>, tests: &'names [String]) -> Self {
        match soak {
            Some(seconds) => Self::Soak(seconds),
            None if programs => Self::Programs,
            None => Self::Tests(tests),
        }
    }

    /// Time that a machine may take.
    const fn patience(self) -> Duration {
        match self {
            Self::Soak(seconds) => PATIENCE.saturating_add(Duration::from_secs(seconds)),
            Self::Programs | Self::Tests(_) => PATIENCE,
        }
    }
}

/// The task: `cargo xtask vm`. All kernels if none is named.
///
/// # Errors
/// When a kernel is not known, or a machine cannot be made.
pub fn run(names: &[String], asked: Asked<'_>) -> Result<ExitCode> {
    let kernels = kernel::named(names)?;
    run::build()?;
    install()?;
    let tests = contents::build_tests()?;
    let memory = contents::write(&tests, &kernels)?;
    let mut results = Vec::new();
    for kernel in kernels {
        println!("== Linux {}", kernel.series);
        let result = try_one(kernel, &memory, asked);
        let told = match &result {
            Ok(report) => report.to_string(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        println!("== Linux {}: {told}", kernel.series);
        results.push((kernel.series, told, result.is_ok_and(|report| report.is_good())));
    }
    println!();
    for (series, told, _) in &results {
        println!("Linux {series:<5}  {told}");
    }
    Ok(exit_code(results.iter().all(|(_, _, good)| *good)))
}

/// Part of `cargo xtask test`: whether the oldest kernel accepts every program. It takes seconds, but
/// qemu and the kernel: where they are not, it is left to `cargo xtask vm`.
///
/// # Errors
/// When a program is refused, or the machine cannot be made.
pub fn check_oldest() -> Result<()> {
    let [oldest, ..] = &KERNELS;
    if !oldest.is_there() || PROGRAMS.iter().any(|(program, _)| !process::installed(program)) {
        println!("left out: `cargo xtask vm {}` brings what it takes", oldest.series);
        return Ok(());
    }
    let memory = contents::write(&contents::build_tests()?, &[oldest])?;
    let report = try_one(oldest, &memory, Asked::Programs)?;
    ensure!(report.is_good(), "{report}");
    Ok(())
}

fn try_one(kernel: &Kernel, memory: &Path, asked: Asked<'_>) -> Result<report::Report> {
    let image = kernel.image()?;
    let mut machine = Machine::start(kernel.series, &image, memory, asked)?;
    machine.follow(asked.patience(), |line| println!("{line}"))
}

/// Brings what the tests do not take.
fn install() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !process::installed(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = [["install", "-y", "--no-install-recommends"].as_slice(), &missing].concat();
    ensure!(
        scopewatch_harness::is_root(),
        "run as root `apt-get update && apt-get {}`",
        command.join(" ")
    );
    let apt = |arguments: &[&str]| {
        let mut apt = process::command("apt-get", arguments);
        process::run(apt.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["--quiet=2", "update"])?;
    apt(&command)
}

/// The series that can be asked for, for the command line's help.
pub fn known() -> String {
    KERNELS.map(|kernel| kernel.series).join(", ")
}

//! The first and only program of a machine: makes a system of the bare kernel, tries the agent, and
//! turns the machine off.
//!
//! In: arguments from the kernel's command line. Out: the report, on the second serial line.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};
use scopewatch_harness::agent::{self, Agent};

use super::{Asked, contents, ktls, report};
use crate::bench::load::{LOADS, Server};

/// Where the report goes.
const REPORT: &str = "/dev/ttyS1";

/// Tells in brackets how the kernel preempts itself.
const PREEMPTION: &str = "/sys/kernel/debug/sched/preempt";

/// File systems of a running system: kind and place.
const MOUNTS: [(&str, &str); 9] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tmpfs", "/run"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("securityfs", "/sys/kernel/security"),
    ("bpf", "/sys/fs/bpf"),
];

/// Live tests that are run unless others are asked for: those whose outcome depends on the kernel,
/// few enough for an emulated processor, and none that measures time.
const TESTS: [&str; 13] = [
    "call_path::openssl_of_this_system",
    "call_path::openssl_1_1_1::reads",
    "demo_calls",
    "filter_bio",
    "lifecycle::a_connection_older",
    "lifecycle::a_second_agent",
    "lifecycle::killing_the_agent",
    "lifecycle::nothing_is_left",
    "lifecycle::processes_that_start_later",
    "sights",
    "old_and_new_connections",
    "matrix::every_suite_is_opened_with_the_openssl_of_this_system",
    "matrix::calls_tell_of_connections",
];

/// Live tests that need more than the machine has: other interfaces than loopback.
const SKIPPED: &str = "between_two_namespaces";

/// The task, run by the kernel.
///
/// # Errors
/// When it is not the first program of a machine.
pub fn run(asked: Asked<'_>) -> Result<ExitCode> {
    ensure!(std::process::id() == 1, "this is for the inside of a virtual machine");
    let outcome = make_system().and_then(|mut report| {
        match asked {
            Asked::Programs => capabilities(&mut report),
            Asked::Tests(names) => {
                capabilities(&mut report);
                live_tests(&mut report, names);
                report.step("TLS by the kernel", kernel_tls);
            }
            Asked::Soak(seconds) => report.step("soak", |report| soak(report, seconds)),
        }
        report.say(report::END)
    });
    if let Err(error) = outcome {
        println!("vm-guest: {error:#}");
    }
    reboot(RebootMode::RB_POWER_OFF).context("turn the machine off")?;
    Ok(ExitCode::SUCCESS)
}

/// Mounts what a system has, and brings the loopback interface up.
fn make_system() -> Result<Report> {
    for (kind, place) in MOUNTS {
        let none: Option<&str> = None;
        // Which of them a kernel has is for the agent to find out.
        if let Err(error) = mount(Some(kind), place, Some(kind), MsFlags::empty(), none) {
            println!("vm-guest: cannot mount {kind}: {error}");
        }
    }
    let report = OpenOptions::new().write(true).open(REPORT).context("open the report")?;
    let mut report = Report { to: report };
    report.step("system", |report| {
        let version = fs::read_to_string("/proc/version").context("ask for the version")?;
        report.say(version.trim())?;
        let status = Command::new("/usr/sbin/ip").args(["link", "set", "lo", "up"]).status();
        ensure!(status.context("start ip")?.success(), "the loopback interface stays down");
        fs::write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
            .context("name this host")?;
        Ok(())
    });
    Ok(report)
}

fn capabilities(report: &mut Report) {
    report.step("capabilities", |report| {
        report.relay(&mut agent::command(&["doctor", "--programs"])?)
    });
}

fn live_tests(report: &mut Report, names: &[String]) {
    report.step("live tests", |report| {
        let mut command = command(contents::TESTS);
        command.args(["--test-threads=1", "--color=never", "--skip", SKIPPED]);
        if names.is_empty() {
            command.args(TESTS);
        }
        report.relay(command.args(names))
    });
}

/// Kernels before Debian 12's have no module for it, and are left out.
fn kernel_tls(report: &mut Report) -> Result<()> {
    let modules = ktls::modules()?;
    if modules.is_empty() {
        return report.say("left out: this kernel has no module `tls`");
    }
    ktls::a_file_that_the_kernel_encrypts_is_told_of_completely(&modules)?;
    report.say("what the kernel encrypted was told of completely")
}

/// Loads a server with new and with kept connections at once, first with calls probed, which is
/// where programs may be preempted, then with secrets and ciphertext.
fn soak(report: &mut Report, seconds: u64) -> Result<()> {
    let mode = fs::read_to_string(PREEMPTION).context("ask how the kernel preempts itself")?;
    report.say(&format!("preemption: {}", mode.trim()))?;
    ensure!(mode.contains("(full)"), "the kernel does not preempt itself");
    let server = Server::start()?;
    let [small, _, reconnect, _] = LOADS;
    for configuration in ["capture:\n  path: call\n", ""] {
        let dir = agent::open_dir()?;
        let agent = Agent::run_configured(dir.path(), configuration)?;
        let time = Duration::from_secs(seconds);
        let (kept, new) = thread::scope(|scope| {
            let kept = scope.spawn(|| server.run(small, time));
            (kept.join(), server.run(reconnect, time))
        });
        let Ok(kept) = kept else { bail!("the load broke off") };
        let (kept, new) = (kept?, new?);
        let stopped = agent.terminate()?;
        let words = stopped.stderr.lines().next_back().unwrap_or_default().to_owned();
        ensure!(stopped.status.success(), "the agent ended with {}: {words}", stopped.status);
        report.say(&format!(
            "{}: {} requests on kept connections, {} on new ones; {words}",
            if configuration.is_empty() { "wire path" } else { "call path" },
            kept.requests,
            new.requests
        ))?;
        report::sound(&stopped.counters())?;
    }
    Ok(())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

/// The report that is being written.
struct Report {
    to: File,
}

impl Report {
    fn say(&mut self, line: &str) -> Result<()> {
        self.to.write_all(format!("{line}\n").as_bytes()).context("write the report")
    }

    /// Does a step and reports what came of it.
    fn step(&mut self, name: &str, step: impl FnOnce(&mut Self) -> Result<()>) {
        let done =
            self.say(&format!("{}{name}", report::STEP)).and_then(|()| step(self)).map_or_else(
                |error| format!("{}{}", report::BAD, format!("{error:#}").replace('\n', " | ")),
                |()| report::GOOD.to_owned(),
            );
        if let Err(error) = self.say(&done) {
            println!("vm-guest: {error:#}");
        }
    }

    /// Runs a program and reports what it says, on either of its outputs.
    fn relay(&mut self, command: &mut Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        let words = Path::new("/tmp/words");
        let errors = File::create(words).context("keep what a program says")?;
        command.stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).split(b'\n') {
                let line = line.with_context(|| format!("read from {name}"))?;
                self.say(String::from_utf8_lossy(&line).trim_end())?;
            }
        }
        let status = child.wait().with_context(|| format!("wait for {name}"))?;
        for line in fs::read_to_string(words).unwrap_or_default().lines() {
            self.say(line)?;
        }
        ensure!(status.success(), "{name} failed, {status}");
        Ok(())
    }
}

//! What watches while a load runs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::agent::Agent;
use tempfile::TempDir;

/// Where Debian keeps the library that nginx and wrk use.
const LIBSSL: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// Kinds of watchers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Nobody.
    Nothing,
    /// The agent as it is by default, events to a file.
    Agent,
    /// The agent on calls alone.
    AgentOnCalls,
    /// bpftrace on the exported `SSL_read` and `SSL_write`, entry and return, which only counts:
    /// what any tool that probes them must pay.
    Bpftrace,
}

/// The watchers of the report, in its order.
pub const WATCHERS: [Kind; 4] = [Kind::Nothing, Kind::Agent, Kind::AgentOnCalls, Kind::Bpftrace];

impl Kind {
    /// Name in the report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "(a) nothing",
            Self::Agent => "(b) agent",
            Self::AgentOnCalls => "(c) agent on calls",
            Self::Bpftrace => "(d) bpftrace counts",
        }
    }
}

/// What the agent says of itself; all zero for others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Exchanges that it saw.
    pub exchanges: u64,
    /// Records that it lost.
    pub dropped: u64,
    /// CPU that it used, in seconds.
    pub cpu: f64,
    /// Memory that it had at most, in bytes.
    pub memory: u64,
}

/// A running watcher.
pub enum Watcher {
    /// Nobody.
    Nothing,
    /// The agent, and its files.
    Agent(Box<Agent>, TempDir),
    /// bpftrace.
    Bpftrace(Child),
}

impl Watcher {
    /// Starts a watcher and waits until it watches.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a directory")?;
        match kind {
            Kind::Nothing => Ok(Self::Nothing),
            Kind::Agent => Ok(Self::Agent(Box::new(Agent::run(dir.path())?), dir)),
            Kind::AgentOnCalls => Ok(Self::Agent(Box::new(Agent::run_on_calls(dir.path())?), dir)),
            Kind::Bpftrace => bpftrace().map(Self::Bpftrace),
        }
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it does not end, or ended before.
    pub fn stop(self) -> Result<Told> {
        match self {
            Self::Nothing => Ok(Told::default()),
            Self::Agent(agent, _dir) => {
                let (cpu, memory) = usage(agent.pid())?;
                let stopped = agent.terminate()?;
                ensure!(stopped.status.success(), "the agent failed: {}", stopped.stderr);
                let counters = stopped.counters();
                let exchanges = counters.get("exchanges").copied().unwrap_or(0);
                Ok(Told { exchanges, dropped: stopped.dropped(), cpu, memory })
            }
            Self::Bpftrace(mut child) => {
                let pid = i32::try_from(child.id()).context("a process id")?;
                nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGINT,
                )
                .context("stop bpftrace")?;
                child.wait().context("wait for bpftrace")?;
                Ok(Told::default())
            }
        }
    }
}

fn bpftrace() -> Result<Child> {
    let program = format!(
        "BEGIN {{ printf(\"ready\\n\"); }} \
         uprobe:{LIBSSL}:SSL_read {{ @r = count(); }} uretprobe:{LIBSSL}:SSL_read {{ @rr = count(); }} \
         uprobe:{LIBSSL}:SSL_write {{ @w = count(); }} uretprobe:{LIBSSL}:SSL_write {{ @wr = count(); }}"
    );
    let mut child = Command::new("bpftrace")
        .args(["-e", &program])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("start bpftrace (package `bpftrace`)")?;
    let stdout = child.stdout.take().context("bpftrace has no output")?;
    let ready = BufReader::new(stdout).lines().any(|line| line.is_ok_and(|line| line == "ready"));
    ensure!(ready, "bpftrace ended before it was ready");
    Ok(child)
}

/// CPU seconds and peak memory of a process so far.
fn usage(pid: u32) -> Result<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read the agent's stat")?;
    let (_, rest) = stat.rsplit_once(") ").context("a stat without name")?;
    let ticks: u64 =
        rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    // The kernel tells user space of 100 ticks a second, whatever it uses itself.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let cpu = ticks as f64 / 100.0;
    Ok((cpu, kib * 1024))
}

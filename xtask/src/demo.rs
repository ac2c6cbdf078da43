//! The demo: an agent watches a real nginx that real clients call.
//!
//! In: root, and the programs that `cargo xtask setup` installs. Out: each call as the agent tells
//! it, or with `--json` the events of the calls and nothing else on stdout. What was started ends
//! and its files go, also after an error or Ctrl-C.

use std::{
    fs,
    path::Path,
    process::{ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{self, Agent, open_dir},
    calls::{CALLS, Made, Testbed},
    is_root,
};
use serde_json::Value;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::{exit_code, process, run};

/// `EX_NOPERM` of `sysexits.h`.
const NO_PERMISSION: u8 = 77;

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Time for the events of the last call to be written.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(15);

/// The task: `cargo xtask demo`.
///
/// # Errors
/// When something is missing, a call goes wrong or its events do not come.
pub fn run(json: bool) -> Result<ExitCode> {
    if !is_root() {
        eprintln!("xtask: the demo attaches probes to running processes: run it as root");
        return Ok(ExitCode::from(NO_PERMISSION));
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&interrupted)).context("listen for signals")?;
    }
    let shown = show_calls(json, &interrupted);
    if interrupted.load(Ordering::Relaxed) {
        eprintln!("demo: interrupted; everything that it started has ended");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(exit_code(shown?))
}

/// Runs the demo and tells whether every call was seen from both of its sides.
fn show_calls(json: bool, interrupted: &AtomicBool) -> Result<bool> {
    let go_on = || {
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    };
    run::build()?;
    go_on()?;
    let dir = open_dir()?;
    let testbed = Testbed::start()?;
    let nginx = testbed.nginx();
    eprintln!("demo: nginx serves an API on {} (pid {})", nginx.address(), nginx.worker_pid());
    go_on()?;
    let mut agent = Agent::run_configured(dir.path(), &testbed.write_policy(dir.path())?)?;
    eprintln!("demo: scopewatch is watching (pid {}), and judges by a policy", agent.pid());
    let made = testbed.make(CALLS, go_on)?;
    eprintln!("demo: {} calls made; each is seen in its client and in nginx", made.len());
    // Events that do not come are named below.
    let _late = agent.log().wait_for("the events of all calls", EVENTS_TIMEOUT, |events| {
        interrupted.load(Ordering::Relaxed) || unseen(&made, events).is_empty()
    });
    go_on()?;
    let stopped = agent.terminate()?;
    let events = of_calls(&made, &stopped.events);
    if json {
        print!("{events}");
    } else {
        show(dir.path(), &events)?;
    }
    let unseen = unseen(&made, &stopped.events);
    for side in &unseen {
        eprintln!("demo: not seen: {side}");
    }
    let words = stopped.stderr.trim();
    ensure!(stopped.status.success(), "the agent ended with {}: {words}", stopped.status);
    Ok(unseen.is_empty())
}

/// The sides of calls for which there is no event.
fn unseen(made: &[Made], events: &[Value]) -> Vec<String> {
    let mut sides = Vec::new();
    for call in made {
        for sought in call.both() {
            if !events.iter().any(|event| sought.matches(event)) {
                sides.push(format!(
                    "{} {} ({}), {} side",
                    sought.method, sought.path, call.call.name, sought.role
                ));
            }
        }
    }
    sides
}

/// The events of the calls as JSON lines, in the order of the calls: the agent sees the whole host.
/// One event may tell of both ends; what deserves attention beside the call follows it.
fn of_calls(made: &[Made], events: &[Value]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for sought in made.iter().flat_map(Made::both) {
        for event in sought.all(events) {
            let same = |other: &&Value| {
                ["/observation/conn_id", "/observation/exchange"]
                    .iter()
                    .all(|field| other.pointer(field) == event.pointer(field))
            };
            for line in events.iter().filter(same).map(Value::to_string) {
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Lets the agent show `events` in its own words.
fn show(dir: &Path, events: &str) -> Result<()> {
    let file = dir.join("calls.json");
    fs::write(&file, events).context("write the events of the calls")?;
    let arguments = ["show".as_ref(), file.as_os_str()];
    let mut show = agent::command(&arguments)?;
    process::run(show.stdin(Stdio::null())).context("show the events")
}

//! The agent comes and goes without the applications noticing, and forgets nothing on its way out.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use scopewatch_harness::{
    agent::{Agent, contains},
    calls::{CALLS, Made, Testbed, Via},
    clients::{Load, Python, wrk},
    events::{Sought, served_on},
    require_root, wait_until,
};

use crate::{EVENTS_TIMEOUT, clean, wait_for_both_sides};

/// How long its last process may take to end.
const LEFT_BEHIND_LIMIT: Duration = Duration::from_secs(10);

/// How long the agent may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn killing_the_agent_disturbs_no_request() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let load = Load::start(testbed.target(), &testbed.read_order(1)?, 4)?;
    let port = testbed.nginx().port();
    agent.log().wait_for("traffic", EVENTS_TIMEOUT, |events| served_on(events, port) > 200)?;
    agent.kill()?;
    let when_killed = testbed.nginx().served()?.len();
    thread::sleep(Duration::from_secs(1));
    let report = load.finish()?;
    assert_eq!(report.errors, Vec::<String>::new());
    let served = testbed.nginx().served()?.len();
    ensure!(served > when_killed, "no request was made after the agent's end");
    Ok(())
}

#[test]
fn stopping_is_quick_and_loses_no_finished_request() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let load = Load::start(testbed.target(), &testbed.read_order(1)?, 4)?;
    let port = testbed.nginx().port();
    agent.log().wait_for("traffic", EVENTS_TIMEOUT, |events| served_on(events, port) > 200)?;
    // Everything that nginx has logged by now was answered before the signal.
    let finished = testbed.nginx().served()?.len();
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    assert!(stopped.took <= STOP_LIMIT, "stopping took {:?}", stopped.took);
    let seen = served_on(&stopped.events, port);
    assert!(seen >= finished, "{finished} requests had ended, {seen} events were written");
    assert_eq!(load.finish()?.errors, Vec::<String>::new());
    Ok(())
}

/// How long the load of the next test goes on.
const LOAD: Duration = Duration::from_secs(5);

/// What goes on after the signal has no end, and is not waited for.
#[test]
fn an_agent_stops_while_the_load_goes_on() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    for path in ["auto", "call"] {
        let dir = tempfile::tempdir()?;
        let configuration = format!("capture:\n  path: {path}\n");
        let mut agent = Agent::run_configured(dir.path(), &configuration)?;
        let port = testbed.nginx().port();
        let request = testbed.read_order(1)?;
        thread::scope(|scope| {
            let load = scope.spawn(|| wrk(testbed.target(), &request, 8, LOAD, testbed.dir()));
            agent.log().wait_for("traffic", EVENTS_TIMEOUT, |e| served_on(e, port) > 200)?;
            let stopped = agent.terminate()?;
            clean(&stopped)?;
            ensure!(!load.is_finished(), "stopping took as long as the load: {:?}", stopped.took);
            let report = load.join().map_err(|_| anyhow!("the load panicked"))??;
            ensure!(report.socket_errors == 0 && report.failures == 0, "disturbed: {report:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_idle_agent_stops_quickly() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let stopped = Agent::run(dir.path())?.terminate()?;
    clean(&stopped)?;
    assert!(stopped.took <= STOP_LIMIT, "stopping took {:?}", stopped.took);
    Ok(())
}

#[test]
fn processes_that_start_later_are_seen() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let testbed = Testbed::start()?;
    let made = testbed.make(CALLS, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    clean(&agent.terminate()?)
}

#[test]
fn a_connection_older_than_the_agent_is_followed() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let mut python = Python::start(testbed.target())?;
    let before = python.send(&testbed.read_order(1)?)?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let after = python.send(&testbed.read_order(2)?)?;
    ensure!(before.client_port == after.client_port, "the connection was not kept");
    let sides = ["client", "server"].map(|role| Sought {
        role,
        method: "GET".to_owned(),
        path: "/api/orders/2".to_owned(),
        client_port: after.client_port,
        server_port: testbed.nginx().port(),
    });
    agent.log().wait_for("both sides of the later exchange", EVENTS_TIMEOUT, |events| {
        sides.iter().all(|side| events.iter().any(|event| side.matches(event)))
    })?;
    clean(&agent.terminate()?)
}

#[test]
fn a_second_agent_after_a_killed_one_sees_everything() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
    let [first, second] = &dirs;
    Agent::run(first.path())?.kill()?;
    let mut agent = Agent::run(second.path())?;
    let curl: Vec<_> = CALLS.iter().copied().filter(|call| call.via == Via::Curl).collect();
    let made: Vec<Made> = testbed.make(&curl, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    clean(&agent.terminate()?)
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    require_root()?;
    let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
    let [stopped, killed] = &dirs;
    clean(&Agent::run(stopped.path())?.terminate()?)?;
    Agent::run(killed.path())?.kill()?;
    // The kernel takes its time to remove probes, and a child of the agent waits for it.
    wait_until("the agent's processes to end", LEFT_BEHIND_LIMIT, || {
        let named = |dir: &tempfile::TempDir| processes_naming(dir.path());
        Ok((named(stopped)?.is_empty() && named(killed)?.is_empty()).then_some(()))
    })
}

/// Processes whose command line names `path`.
fn processes_naming(path: &Path) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that is gone by now names nothing.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if contains(&line, &path.to_string_lossy()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

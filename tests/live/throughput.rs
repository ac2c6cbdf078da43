//! At full speed nothing is lost, and what would be lost would be counted.

use std::{ffi::OsStr, fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use scopewatch_harness::{
    agent::Agent, calls::Testbed, clients::wrk, events::served_on, require_root,
};
use serde_json::Value;

use crate::clean;

/// Requests that the load goes on for.
const REQUESTS: usize = 20_000;

/// Connections that carry them.
const CONNECTIONS: usize = 8;

/// Rounds of load after which the machine is too slow to be asked more.
const ROUNDS: usize = 60;

/// Time for the agent to catch up after the last request of a round.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Room for what a round makes while a debug agent is kept from the processor: what is tested is
/// that nothing is lost, not how fast it is taken up.
const RING_BYTES: usize = 128 * 1024 * 1024;

fn agent_with_room(dir: &Path) -> Result<Agent> {
    let config = dir.join("scopewatch.yaml");
    fs::write(&config, format!("capture:\n  ring_bytes: {RING_BYTES}\n"))?;
    let (events, key) = (dir.join("events.json"), dir.join("fingerprint.key"));
    let words = ["run", "--format", "json", "--config"].map(OsStr::new);
    let paths = [config.as_os_str(), "--output".as_ref(), events.as_os_str()];
    let key = ["--fingerprint-key".as_ref(), key.as_os_str()];
    Agent::start(&[words.as_slice(), &paths, &key].concat(), dir, &events)
}

#[test]
fn twenty_thousand_requests_make_as_many_events() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = agent_with_room(dir.path())?;
    let request = testbed.read_order(1)?;
    let port = testbed.nginx().port();
    let (mut rounds, mut served) = (0, 0);
    let mut caught_up = true;
    // nginx's own log is the truth: wrk does not count what is under way when its time is over.
    // Probes are cheap enough for nginx to outrun a debug agent: rounds wait for it.
    while served < REQUESTS && caught_up {
        rounds += 1;
        ensure!(rounds <= ROUNDS, "no {REQUESTS} requests in {ROUNDS} rounds");
        let round = Duration::from_secs(1);
        let report = wrk(testbed.target(), &request, CONNECTIONS, round, testbed.dir())?;
        ensure!(report.socket_errors == 0 && report.failures == 0, "disturbed: {report:?}");
        served = testbed.nginx().served()?.len();
        // Events that never come are told by the counts below, with what the agent says it dropped.
        let all = |events: &[Value]| served_on(events, port) >= served;
        caught_up = agent.log().wait_for("an event of every request", CATCH_UP, all).is_ok();
    }
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let (seen, dropped) = (served_on(&stopped.events, port), stopped.dropped());
    assert!(stopped.stderr.contains("scopewatch: stopped;"), "{}", stopped.stderr);
    assert_eq!(dropped, 0, "served {served}, seen {seen}: {:?}", stopped.counters());
    assert_eq!(seen, served, "{:?}", stopped.counters());
    Ok(())
}

//! At full speed nothing is lost, and what would be lost would be counted.

use std::time::Duration;

use anyhow::{Result, ensure};
use scopewatch_harness::{
    agent::Agent, calls::Testbed, clients::wrk, events::served_on, require_root,
};

use crate::clean;

/// Requests that the load goes on for.
const REQUESTS: usize = 20_000;

/// Connections that carry them.
const CONNECTIONS: usize = 8;

/// Rounds of load after which the machine is too slow to be asked more.
const ROUNDS: usize = 60;

/// Time for the agent to catch up after the last request.
const CATCH_UP: Duration = Duration::from_secs(30);

#[test]
fn twenty_thousand_requests_make_as_many_events() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let request = testbed.read_order(1)?;
    let mut rounds = 0;
    // nginx's own log is the truth: wrk does not count what is under way when its time is over.
    while testbed.nginx().served()?.len() < REQUESTS {
        rounds += 1;
        ensure!(rounds <= ROUNDS, "no {REQUESTS} requests in {ROUNDS} rounds");
        let round = Duration::from_secs(1);
        let report = wrk(testbed.target(), &request, CONNECTIONS, round, testbed.dir())?;
        ensure!(report.socket_errors == 0 && report.failures == 0, "disturbed: {report:?}");
    }
    let served = testbed.nginx().served()?.len();
    let port = testbed.nginx().port();
    // Events that never come are told by the counts below, with what the agent says it dropped.
    let _late = agent.log().wait_for("an event of every request", CATCH_UP, |events| {
        served_on(events, port) >= served
    });
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let (seen, dropped) = (served_on(&stopped.events, port), stopped.dropped());
    assert!(stopped.stderr.contains("scopewatch: stopped;"), "{}", stopped.stderr);
    assert_eq!(dropped, 0, "served {served}, seen {seen}: {:?}", stopped.counters());
    assert_eq!(seen, served, "{:?}", stopped.counters());
    Ok(())
}

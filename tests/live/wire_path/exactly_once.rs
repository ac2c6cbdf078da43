//! Both paths at once, and an agent that comes and goes: every exchange is told once.

use std::{
    collections::{HashMap, HashSet},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::Testbed,
    clients::Load,
    events::text,
    openssl::{Client, How, Opening, Release},
    require_root, wait_until,
};
use serde_json::Value;

use super::lab::is_on;
use crate::{EVENTS_TIMEOUT, asked, clean};

/// How often the agent is started again, unless `SOAK_RESTARTS` says.
const STARTS: u64 = 10;

/// How long each of them watches.
const WATCH: Duration = Duration::from_millis(700);

/// nginx's clock stands still while it works: what ends or begins so close to the agent's own
/// begin or end is told by luck.
const MARGIN: f64 = 0.1;

/// Connections of the load, and how many requests each carries before another takes its place.
const CONNECTIONS: usize = 4;
const LIFETIME: usize = 40;

/// Longer than any connection of the load lives, in seconds.
const LONGEST: f64 = 5.0;

/// A run of the agent: from when until when it watched, and what it told.
struct Run {
    from: f64,
    until: f64,
    stopped: Stopped,
}

/// What the agent says when it lets go of a process.
const SAYS_ENDED: &str = "old connections have ended";

#[test]
fn old_and_new_connections_of_one_process_are_told_once() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let release = Release::named("system").context("no such release")?;
    let mut client = Client::start(release, testbed.target())?;
    for old in ["old-one", "old-two"] {
        client.open(old, Opening::default())?;
        client.exchange(old, &testbed.read_order(1)?, How::default())?;
    }
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(dir.path(), "capture:\n  rescan_seconds: 1\n")?;
    let mut made = HashMap::new();
    for round in ["first", "second", "third"] {
        for new in ["new-one", "new-two"] {
            client.open(new, Opening::default())?;
            for session in ["old-one", new, "old-two", new] {
                let path = format!("/api/{round}/{new}/{session}/{}", made.len() % 2);
                let path = path.replace("/0", "/even").replace("/1", "/odd");
                let request = request(&testbed, &path)?;
                let reply = client.exchange(session, &request, How::default())?.reply;
                *made.entry((path, reply.client_port)).or_insert(0_usize) += 1;
            }
        }
    }
    for old in ["old-one", "old-two"] {
        client.make("free", old)?;
    }
    wait_until("the end of the old connections to be noticed", EVENTS_TIMEOUT, || {
        let said = std::fs::read_to_string(dir.path().join("stderr"))?;
        Ok((said.matches(SAYS_ENDED).count() >= 2).then_some(()))
    })?;
    client.open("newest", Opening::default())?;
    let request = request(&testbed, "/api/newest")?;
    let reply = client.exchange("newest", &request, How::default())?.reply;
    *made.entry(("/api/newest".to_owned(), reply.client_port)).or_insert(0) += 1;
    let port = testbed.nginx().port();
    agent.log().wait_for("the last event", EVENTS_TIMEOUT, |events| {
        events.iter().any(|event| text(event, "/http/path") == Some("/api/newest"))
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let roles = |role: &str, event: &&Value| text(event, "/observation/role") == Some(role);
    for ((path, client_port), times) in &made {
        let of = |event: &&Value| {
            is_on(event, port)
                && text(event, "/http/path") == Some(path)
                && event.pointer("/client/port") == Some(&(*client_port).into())
        };
        let events: Vec<_> = stopped.events.iter().filter(of).collect();
        let served = events.iter().filter(|event| roles("server", event)).count();
        ensure!(served == *times, "{served} events at the server of {path}: {events:#?}");
        // The call path tells of each end by itself, the wire path of both at once.
        let asked = events.iter().filter(|event| roles("client", event)).count();
        let expected = if path.contains("/old-") { *times } else { 0 };
        ensure!(asked == expected, "{asked} events at the client of {path}: {events:#?}");
    }
    Ok(())
}

fn request(testbed: &Testbed, path: &str) -> Result<scopewatch_harness::clients::Request> {
    let request = testbed.read_order(1)?;
    Ok(scopewatch_harness::clients::Request { path: path.to_owned(), ..request })
}

#[test]
fn an_agent_that_is_started_again_and_again_tells_everything_once() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let request = testbed.read_order(1)?;
    let load = Load::start_changing(testbed.target(), &request, CONNECTIONS, LIFETIME)?;
    let mut runs = Vec::new();
    for _start in 0..asked("SOAK_RESTARTS", STARTS)? {
        let dir = tempfile::tempdir()?;
        let agent = Agent::run(dir.path())?;
        let from = now()?;
        thread::sleep(WATCH);
        let until = now()?;
        let stopped = agent.terminate()?;
        clean(&stopped)?;
        runs.push(Run { from, until, stopped });
    }
    ensure!(load.finish()?.errors.is_empty(), "the load was disturbed");
    let served = testbed.nginx().served()?;
    let (mut all, mut half) = (0_usize, 0_usize);
    for (nth, run) in runs.iter().enumerate() {
        let checked = run.check(&served, testbed.nginx().port());
        let (checked, by_client) = checked.with_context(|| format!("run {nth} of the agent"))?;
        ensure!(checked > 0, "no exchange lay within run {nth}");
        all += checked;
        half += by_client;
    }
    // On average: a machine that is busy otherwise leaves single runs little.
    ensure!(all > 50 * runs.len(), "only {all} exchanges");
    let starts = runs.len();
    println!(
        "{starts} starts, {all} exchanges within them: each told once, {half} by clients alone"
    );
    Ok(())
}

impl Run {
    /// Holds the events against nginx's log; how many exchanges lay within the run, and of how many
    /// of them only the client is known.
    fn check(&self, served: &[Value], port: u16) -> Result<(usize, usize)> {
        let mut told: HashMap<(&str, &str), usize> = HashMap::new();
        for event in self.stopped.events.iter().filter(|event| is_on(event, port)) {
            let trace = text(event, "/trace/trace_id").unwrap_or_default();
            let role = text(event, "/observation/role").unwrap_or_default();
            *told.entry((trace, role)).or_default() += 1;
        }
        let met = self.met(served);
        let (mut checked, mut half) = (0, 0);
        let (mut missing, mut doubled) = (Vec::new(), Vec::new());
        for request in served {
            let time = |name: &str| request.get(name).and_then(Value::as_f64);
            let ended = time("ended").context("no time in nginx's log")?;
            let began = ended - time("took").context("no duration in nginx's log")?;
            if began < self.from + MARGIN || ended > self.until - MARGIN {
                continue;
            }
            checked += 1;
            let trace = text(request, "/trace").and_then(|trace| trace.split('-').nth(1));
            let trace = trace.context("no trace in nginx's log")?;
            // Of a handshake that was under way, the server's secrets may have passed before the
            // agent was there: then it is the client's by which the connection is known.
            let by_client =
                met.contains(&port_of(request)) && told.contains_key(&(trace, "client"));
            match told.get(&(trace, "server")) {
                None if by_client => half += 1,
                None => missing.push(request),
                Some(1) => {}
                Some(_) => doubled.push(trace),
            }
            ensure!(told.get(&(trace, "client")).is_none_or(|&told| told == 1), "{trace} doubled");
        }
        let counters = self.stopped.counters();
        ensure!(
            missing.is_empty(),
            "{} of {checked}, watched from {} until {}: {missing:?}, {counters:?}, the agent said {}",
            missing.len(),
            self.from,
            self.until,
            self.stopped.stderr
        );
        let is_doubled = |event: &&Value| {
            text(event, "/trace/trace_id").is_some_and(|trace| doubled.contains(&trace))
        };
        let events: Vec<_> = self.stopped.events.iter().filter(is_doubled).collect();
        ensure!(events.is_empty(), "{} of {checked}: {events:#?}, {counters:?}", doubled.len());
        Ok((checked, half))
    }

    /// Ports of clients that were connected when it began, or so soon after that their handshake
    /// may have been under way.
    fn met(&self, served: &[Value]) -> HashSet<u64> {
        let mut first: HashMap<u64, f64> = HashMap::new();
        for request in served {
            let ended = request.get("ended").and_then(Value::as_f64).unwrap_or_default();
            // A port is used again when its turn comes, long after a run.
            if ended > self.from - LONGEST && ended < self.until {
                first.entry(port_of(request)).or_insert(ended);
            }
        }
        first.into_iter().filter(|(_, at)| *at < self.from + MARGIN).map(|(port, _)| port).collect()
    }
}

fn port_of(request: &Value) -> u64 {
    request.get("client_port").and_then(Value::as_u64).unwrap_or_default()
}

fn now() -> Result<f64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    Ok(since.as_secs_f64())
}

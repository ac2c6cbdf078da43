//! A ring that is too small: what is lost is counted, and what is told is true.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::{Request, wrk},
    events::{Sought, number, served_on, text},
    openssl::{Client, How, Opening, RELEASES, Release},
    require_root, wait_until,
};
use serde_json::{Value, json};

use crate::{EVENTS_TIMEOUT, clean, only};

/// The smallest ring that the configuration allows.
const CONFIGURATION: &str = "capture:\n  path: call\n  ring_bytes: 65536\n";

/// Connections that are used while records are lost, and afterwards.
const SESSIONS: [&str; 4] = ["one", "two", "three", "four"];

/// Answers by path: a response that is taken for another request's would show.
const STATUSES: [(&str, u64); 3] =
    [("/static/large.bin", 200), ("/empty", 204), ("/api/refused", 403)];

/// How long megabytes are transferred at full speed, far more than fit.
const LOAD: Duration = Duration::from_secs(1);

/// The first round of exchanges after the load.
const FIRST: &str = "first";

/// The events of the load have come when none does for so long.
const CALM: Duration = Duration::from_millis(300);

#[test]
fn what_a_full_ring_loses_is_counted_and_nothing_wrong_is_told() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let mut client = Client::start(system()?, testbed.target())?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(dir.path(), CONFIGURATION)?;
    overwhelm(&testbed, &mut client)?;
    wait_for_calm(&mut agent, testbed.nginx().port())?;
    let later = calm_exchanges(&testbed, &mut client)?;
    let made = testbed.nginx().served()?.len();
    let stopped = check_later(agent, &later)?;
    check_losses(&stopped, made, testbed.nginx().port())
}

/// Stops the agent, which must have told all of `later`. The first on each connection may lack its
/// answer: that an earlier one was lost shows only when the next one comes.
fn check_later(mut agent: Agent, later: &[Sought]) -> Result<Stopped> {
    // What does not come is named below.
    let _late = agent.log().wait_for("later events", EVENTS_TIMEOUT, |events| {
        later.iter().all(|sought| events.iter().any(|event| sought.matches(event)))
    });
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for sought in later {
        let event = only(&stopped.events, sought)?;
        check_truth(event)?;
        let told = (number(event, "/http/status"), event.pointer("/observation/complete"));
        let whole = told == (Some(200), Some(&json!(true)));
        ensure!(whole || sought.path.ends_with(FIRST), "a later exchange is not told: {event:#}");
    }
    Ok(stopped)
}

/// The socket beneath a session is told once, by a record that may find the ring full, too.
#[test]
fn an_address_that_found_no_room_is_told_later() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let mut client = Client::start(system()?, testbed.target())?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(dir.path(), CONFIGURATION)?;
    agent.signal(Signal::SIGSTOP)?;
    client.open("filling", Opening::default())?;
    let request = testbed.read_order(1)?;
    for _ in 0..200 {
        client.exchange("filling", &request, How::default())?;
    }
    for session in SESSIONS {
        client.open(session, Opening::default())?;
        client.exchange(session, &request, How::default())?;
    }
    agent.signal(Signal::SIGCONT)?;
    wait_for_calm(&mut agent, testbed.nginx().port())?;
    let later = calm_exchanges(&testbed, &mut client)?;
    let stopped = check_later(agent, &later)?;
    let counters = stopped.counters();
    ensure!(counters.get("dropped_control_records") > Some(&0), "all were told: {counters:?}");
    Ok(())
}

fn system() -> Result<&'static Release> {
    let release = RELEASES.iter().find(|release| release.suite.is_none());
    release.context("no release of this system")
}

/// Transfers more than the ring takes, while sessions begin and make exchanges of all kinds.
fn overwhelm(testbed: &Testbed, client: &mut Client) -> Result<()> {
    let requests: Result<Vec<_>> = STATUSES
        .iter()
        .map(|(path, _)| testbed.with_token(Request::new("GET", path), Bearer::Carol))
        .collect();
    let requests = requests?;
    let large = requests.first().context("no request")?;
    thread::scope(|scope| {
        let load = scope.spawn(|| wrk(testbed.target(), large, 2, LOAD, testbed.dir()));
        while !load.is_finished() {
            for session in SESSIONS {
                client.open(session, Opening::default())?;
            }
            for request in requests.iter().rev().chain(&requests) {
                for session in SESSIONS {
                    client.exchange(session, request, How::default())?;
                }
            }
        }
        let panicked = |_| anyhow!("the load panicked");
        load.join().map_err(panicked)?.map(drop)
    })
}

fn wait_for_calm(agent: &mut Agent, port: u16) -> Result<()> {
    let mut count = usize::MAX;
    wait_until("the last event of the load", EVENTS_TIMEOUT, || {
        thread::sleep(CALM);
        let before = count;
        count = served_on(agent.log().read()?, port);
        Ok((count == before).then_some(()))
    })
}

/// Exchanges on the same sessions, each with both its events.
fn calm_exchanges(testbed: &Testbed, client: &mut Client) -> Result<Vec<Sought>> {
    let mut sought = Vec::new();
    for round in [FIRST, "second", "third"] {
        for session in SESSIONS {
            let path = format!("/api/later/{session}/{round}");
            let request = testbed.with_token(Request::new("GET", &path), Bearer::Alice)?;
            let reply = client.exchange(session, &request, How::default())?.reply;
            sought.extend(["client", "server"].map(|role| Sought {
                role,
                method: "GET".to_owned(),
                path: path.clone(),
                client_port: reply.client_port,
                server_port: testbed.nginx().port(),
            }));
        }
    }
    Ok(sought)
}

/// Events are true or say what they lack, and what is missing is accounted for.
fn check_losses(stopped: &Stopped, made: usize, port: u16) -> Result<()> {
    let counters = stopped.counters();
    let counter = |name: &str| counters.get(name).copied().unwrap_or_default();
    let dropped = counter("dropped_records");
    ensure!(dropped > 0 && counter("lost_bytes") > 0, "nothing was lost: {counters:?}");
    let on_port = |event: &&Value| number(event, "/server/port") == Some(port.into());
    let events: Vec<_> = stopped.events.iter().filter(on_port).collect();
    for event in &events {
        check_truth(event)?;
    }
    // Every exchange is seen from both ends, unless a record was lost that would have begun it.
    let (seen, most) = (events.len(), made.saturating_mul(2));
    ensure!(seen <= most, "{seen} events of {made} exchanges");
    let missing = u64::try_from(most.saturating_sub(seen))?;
    ensure!(missing <= dropped, "{missing} events are missing: {counters:?}");
    // Streams show what the kernel half counted, but for what was lost before their ends.
    let (lost, gaps) = (counter("lost_bytes"), counter("gap_bytes"));
    ensure!((lost / 2..=lost).contains(&gaps), "lost {lost}, seen as gaps {gaps}");
    Ok(())
}

fn check_truth(event: &Value) -> Result<()> {
    let notes = event.pointer("/observation/notes").and_then(Value::as_array);
    let noted = |names: &[&str]| {
        notes.is_some_and(|notes| names.iter().any(|name| notes.contains(&json!(name))))
    };
    let status = number(event, "/http/status");
    let right = match text(event, "/http/path") {
        None => noted(&["request_head_lost"]),
        Some(path) => match status {
            None => noted(&["response_head_lost", "unfinished"]),
            Some(200) if path.starts_with("/api/later/") => true,
            Some(status) => STATUSES.contains(&(path, status)),
        },
    };
    ensure!(right, "this did not happen: {event:#}");
    Ok(())
}

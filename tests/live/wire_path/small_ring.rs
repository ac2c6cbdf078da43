//! A ring that is too small: what is lost is counted, what is told is true, and it passes.

use std::{thread, time::Duration};

use anyhow::{Result, anyhow, ensure};
use scopewatch_harness::{
    clients::{Request, curl, wrk},
    events::{number, text},
    require_root,
};

use super::lab::{Lab, is_on};
use crate::{asked, clean};

/// Paths of the load, and what the server says to each.
const STATUSES: [(&str, u64); 3] =
    [("/static/large.bin", 200), ("/empty", 204), ("/api/orders/calm", 200)];

/// Seconds of load, unless `SOAK_SECONDS` says.
const LOAD: u64 = 1;

#[test]
fn what_a_full_ring_loses_is_counted_and_what_is_told_is_true() -> Result<()> {
    require_root()?;
    let lab = Lab::start_configured("capture: {ring_bytes: 65536}")?;
    let load_for = Duration::from_secs(asked("SOAK_SECONDS", LOAD)?);
    let large = lab.request("/static/large.bin")?;
    thread::scope(|scope| {
        let (target, dir) = (lab.testbed.target(), lab.testbed.dir());
        let load = scope.spawn(|| wrk(target, &large, 4, load_for, dir));
        while !load.is_finished() {
            curl(target, &Request::new("GET", "/empty"))?;
        }
        load.join().map_err(|_| anyhow!("the load panicked"))?.map(drop)
    })?;
    // Whatever of the load is still in the ring.
    thread::sleep(Duration::from_millis(500));
    let calm = lab.request("/api/orders/calm")?;
    let mut ports = Vec::new();
    for _ in 0..5 {
        ports.push(curl(lab.testbed.target(), &calm)?.client_port);
    }
    thread::sleep(Duration::from_millis(500));
    let port = lab.testbed.nginx().port();
    let stopped = lab.agent.terminate()?;
    clean(&stopped)?;
    let counters = stopped.counters();
    ensure!(stopped.dropped() > 0, "nothing was lost: {counters:?}");
    let events = || stopped.events.iter().filter(|event| is_on(event, port));
    for event in events() {
        let (path, status) = (text(event, "/http/path"), number(event, "/http/status"));
        let known = STATUSES.iter().any(|&(known, right)| {
            path == Some(known) && status.is_none_or(|status| status == right)
        });
        let whole = event.pointer("/observation/complete") == Some(&true.into());
        ensure!(known || (path.is_none() && !whole), "this did not happen: {event:#}");
        ensure!(!whole || status.is_some(), "whole without an answer: {event:#}");
    }
    let told = events().count();
    println!("{load_for:?} of load on a full ring: {told} events, all true; {counters:?}");
    for client in ports {
        let of = |event: &&serde_json::Value| {
            number(event, "/client/port") == Some(client.into())
                && text(event, "/http/path") == Some("/api/orders/calm")
                && number(event, "/http/status") == Some(200)
        };
        ensure!(events().filter(of).count() == 1, "a later exchange is not told: {counters:?}");
    }
    Ok(())
}

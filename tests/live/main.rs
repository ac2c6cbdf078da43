//! The agent on live traffic: real uprobes, servers and clients. Root only; `cargo xtask test` runs
//! these one at a time, and counts them as skipped where it may not.

mod call_path;
mod canary;
mod demo_calls;
mod erasure;
mod export;
mod filter_bio;
mod lifecycle;
mod record_replay;
mod replaced;
mod rules;
mod sights;
mod throughput;
mod verdicts;
mod wire_path;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::Made,
};
use serde_json::Value;

/// Time for the events of calls that were answered to be written.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits until both sides of every call have an event.
fn wait_for_both_sides(agent: &mut Agent, made: &[Made]) -> Result<()> {
    let waited = agent.log().wait_for("both sides of every call", EVENTS_TIMEOUT, |events| {
        made.iter().flat_map(Made::both).all(|sought| events.iter().any(|e| sought.matches(e)))
    });
    let Err(error) = waited else { return Ok(()) };
    let events = agent.log().read()?;
    let missing = made.iter().flat_map(Made::both).filter(|sought| sought.all(events).is_empty());
    let missing: Vec<_> = missing
        .map(|sought| format!("{} side of {} {}", sought.role, sought.method, sought.path))
        .collect();
    bail!("{error:#}; missing: {}", missing.join(", "))
}

/// The one event of `sought`.
fn only<'event>(
    events: &'event [Value],
    sought: &scopewatch_harness::events::Sought,
) -> Result<&'event Value> {
    match sought.all(events).as_slice() {
        [event] => Ok(event),
        others => bail!("{} events instead of one for {sought:?}", others.len()),
    }
}

/// What a long run asks for by `variable`; `usual` in all others.
fn asked(variable: &str, usual: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(usual),
    }
}

/// Fails unless the agent stopped by itself, with status zero.
fn clean(stopped: &Stopped) -> Result<()> {
    if !stopped.status.success() {
        bail!("the agent ended with {}: {}", stopped.status, stopped.stderr.trim());
    }
    Ok(())
}

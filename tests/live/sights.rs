//! Kernels differ in how it can be seen which socket a thread uses: by whichever way, both ends of a
//! connection are known.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{self, Agent, open_dir},
    calls::{CALLS, Testbed},
    child, require_root,
};
use serde_json::Value;

use crate::{clean, wait_for_both_sides};

/// Rows of `scopewatch doctor`, with the ways that they tell of as `capture.sockets` names them.
const WAYS: [(&str, &str); 4] = [
    ("sockets: tracepoints", "tracepoints"),
    ("sockets: functions", "functions"),
    ("sockets: kprobes", "kprobes"),
    ("sockets: system calls", "system_calls"),
];

/// Calls on new connections and on a kept one.
const MADE: usize = 4;

/// The ways that this kernel has.
pub fn offered() -> Result<Vec<&'static str>> {
    let told = child::checked(&mut agent::command(&["doctor", "--json"])?, b"")?;
    let told: Value = serde_json::from_slice(&told).context("read the doctor's words")?;
    let rows = told.pointer("/rows").and_then(Value::as_array).context("no rows")?;
    let found = |name: &str| {
        rows.iter().any(|row| {
            row.get("name").and_then(Value::as_str) == Some(name)
                && row.get("found") == Some(&Value::Bool(true))
        })
    };
    Ok(WAYS.into_iter().filter(|(row, _)| found(row)).map(|(_, way)| way).collect())
}

#[test]
fn every_way_to_see_sockets_tells_both_ends_of_a_connection() -> Result<()> {
    require_root()?;
    let ways = offered()?;
    ensure!(!ways.is_empty(), "this kernel has no way to see sockets");
    let testbed = Testbed::start()?;
    for way in ways {
        for path in ["auto", "call"] {
            check(&testbed, way, path).with_context(|| format!("by {way}, path {path}"))?;
        }
    }
    Ok(())
}

fn check(testbed: &Testbed, way: &str, path: &str) -> Result<()> {
    let dir = open_dir()?;
    let configuration = format!("capture:\n  path: {path}\n  sockets: {way}\n");
    let mut agent = Agent::run_configured(dir.path(), &configuration)?;
    let made = testbed.make(CALLS.get(..MADE).unwrap_or_default(), || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    clean(&agent.terminate()?)
}

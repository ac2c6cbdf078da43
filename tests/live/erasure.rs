//! Somebody is forgotten while the agent runs: it names them no more, keeps naming others, and what it
//! wrote before names nobody that could be found.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, command, contains, files_below},
    calls::Testbed,
    child::checked,
    clients::curl,
    events::{is_over, text},
    require_root,
};
use serde_json::Value;

use crate::{EVENTS_TIMEOUT, clean};

/// The agent looks at its key every two seconds.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(10);

fn subject(command_name: &str, key: &Path) -> Result<String> {
    let key = key.as_os_str();
    let arguments = ["subject".as_ref(), command_name.as_ref(), "--key".as_ref(), key];
    let said = checked(&mut command(&arguments)?, b"alice\n")?;
    Ok(String::from_utf8(said)?)
}

/// Who made the call to an order, as the server's event tells it.
fn identity(agent: &mut Agent, testbed: &Testbed, number: u32) -> Result<Value> {
    let port = testbed.nginx().port();
    let told = |event: &&Value| {
        is_over(event)
            && event.pointer("/server/port").and_then(Value::as_u64) == Some(port.into())
            && text(event, "/credential/kind") == Some("access")
    };
    let before = agent.log().read()?.iter().filter(told).count();
    curl(testbed.target(), &testbed.read_order(number)?)?;
    let is_there = |events: &[Value]| events.iter().filter(told).count() > before;
    agent.log().wait_for("the event of a call", EVENTS_TIMEOUT, is_there)?;
    let event = agent.log().read()?.iter().filter(told).nth(before).cloned();
    event.as_ref().and_then(|event| event.get("identity")).cloned().context("no identity")
}

#[test]
fn who_is_forgotten_is_named_no_more_by_an_agent_that_runs() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("subject.key");
    let configuration =
        format!("privacy: {{subject: pseudonym, subject_key: {:?}}}\n", key.display().to_string());
    let mut agent = Agent::run_configured(dir.path(), &configuration)?;
    let first = identity(&mut agent, &testbed, 1)?;
    let line = subject("pseudonym", &key)?;
    let pseudonym = line.strip_suffix("\talice\n").context("a pseudonym and its name")?;
    assert_eq!(text(&first, "/subject"), Some(pseudonym));

    subject("forget", &key)?;
    let start = Instant::now();
    let mut number = 2;
    while text(&identity(&mut agent, &testbed, number)?, "/withheld") != Some("forgotten") {
        ensure!(start.elapsed() < FOLLOWS_WITHIN, "still named after {:?}", start.elapsed());
        number += 1;
    }
    let last = identity(&mut agent, &testbed, number + 1)?;
    assert_eq!((text(&last, "/subject"), text(&last, "/withheld")), (None, Some("forgotten")));
    assert_eq!(text(&last, "/client_id"), Some("shop"), "all else is told");
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    assert!(stopped.stderr.contains("pseudonyms are made by"), "{}", stopped.stderr);
    assert_eq!(subject("pseudonym", &key)?, "forgotten\talice\n");
    for (path, bytes) in files_below(dir.path())? {
        assert!(!contains(&bytes, "\"alice\""), "{}", path.display());
    }
    Ok(())
}

//! A recording gives the same events as the live run that it was made of, without any privilege.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    NOBODY,
    agent::{Agent, open_dir, output_unprivileged},
    calls::{CALLS, Testbed},
    events, require_root,
};
use serde_json::Value;

use crate::{clean, wait_for_both_sides};

/// Events in a form that compares as a set: `event.seq` counts a run, not an event.
fn without_sequence(events: Vec<Value>) -> Result<BTreeSet<String>> {
    let count = events.len();
    let mut set = BTreeSet::new();
    for mut event in events {
        let group = event.get_mut("event").and_then(Value::as_object_mut);
        group.context("an event without its event group")?.remove("seq");
        set.insert(event.to_string());
    }
    ensure!(set.len() == count, "two events are equal but for their sequence number");
    Ok(set)
}

/// Gives `path` to the unprivileged user of the replay.
fn hand_over(path: &Path) -> Result<()> {
    chown(path, Some(NOBODY), Some(NOBODY)).with_context(|| format!("give {} away", path.display()))
}

#[test]
fn a_replay_gives_the_events_of_the_live_run() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = open_dir()?;
    let recording = dir.path().join("calls.swrec");
    let live = dir.path().join("live.json");
    // Made by the live run: fingerprints differ between keys, and the runs are compared.
    let key = dir.path().join("fingerprint.key");
    let arguments = [
        "record".as_ref(),
        "-o".as_ref(),
        recording.as_os_str(),
        "--events".as_ref(),
        live.as_os_str(),
        "--fingerprint-key".as_ref(),
        key.as_os_str(),
    ];
    let mut agent = Agent::start(&arguments, dir.path(), &live)?;
    let made = testbed.make(CALLS, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let mode = fs::metadata(&recording).context("look at the recording")?.mode() & 0o7777;
    assert_eq!(mode, 0o600, "the recording is open to others: {mode:o}");
    let said = stopped.stderr.to_lowercase();
    assert!(said.contains("warning"), "no warning about the recording: {said}");

    hand_over(&recording)?;
    hand_over(&key)?;
    let arguments = [
        "replay".as_ref(),
        recording.as_os_str(),
        "--format".as_ref(),
        "json".as_ref(),
        "--fingerprint-key".as_ref(),
        key.as_os_str(),
    ];
    let replay = output_unprivileged(dir.path(), &arguments)?;
    let said = String::from_utf8_lossy(&replay.stderr);
    ensure!(replay.status.success(), "replay ended with {}: {said}", replay.status);
    let replayed = without_sequence(events::parse(&replay.stdout)?)?;
    let lived = without_sequence(stopped.events)?;
    let missing: Vec<_> = lived.difference(&replayed).collect();
    let added: Vec<_> = replayed.difference(&lived).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "only live: {missing:#?}\nonly replayed: {added:#?}"
    );
    Ok(())
}

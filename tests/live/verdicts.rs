//! What the agent says of calls beside what the APIs themselves decided: an authorization server
//! that is certified, APIs by libraries of others, and APIs that are broken on purpose.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use scopewatch_harness::{
    agent::{Agent, contains, files_below},
    events::{number, text},
    oauth::{
        Answer, Peers,
        matrix::{Call, Expected, matrix},
    },
    require_root,
};
use serde_json::{Value, json};

use crate::{EVENTS_TIMEOUT, clean};

/// The policy, but for what is known when the peers run.
const POLICY: &str = include_str!("verdicts/policy.yaml.in");

/// APIs by the library that they are made with.
const MIDDLEWARE: [&str; 2] = ["middleware", "unbound"];
const AUTHLIB: [&str; 2] = ["authlib", "authlib_unscoped"];

/// Calls that the issue asks for, at least.
const WANTED: usize = 60;

#[test]
fn verdicts_are_the_expected_ones_and_agree_with_the_apis() -> Result<()> {
    require_root()?;
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut peers = Peers::start(theirs.path())?;
    let policy = ours.path().join("policy.yaml");
    fs::write(&policy, policy_for(&peers)).context("write the policy")?;
    let configuration = format!("policy: {{file: \"{}\"}}\n", policy.display());
    let mut agent = Agent::run_configured(ours.path(), &configuration)?;
    let calls = matrix();
    let mut made = Vec::new();
    for call in &calls {
        let answer = peers.ask(&call.sent)?;
        ensure!(answer.status == call.status, "{}: {answer:?}", call.name);
        made.push((call, answer));
    }
    // What does not come is named below.
    let _late = agent.log().wait_for("all events", EVENTS_TIMEOUT, |events| {
        made.iter().all(|(_, answer)| of_type(events, answer, "access").next().is_some())
    });
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let wrong: Vec<String> = made
        .iter()
        .filter_map(|(call, answer)| {
            let checked = check(call, answer, &stopped.events);
            checked.err().map(|error| format!("{}: {error:#}", call.name))
        })
        .collect();
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), made.len(), wrong.join("\n"));
    ensure!(made.len() >= WANTED, "the matrix has only {} calls", made.len());
    secret_free(ours.path(), &peers.secrets()?)
}

/// The policy for the ports on which the APIs are.
fn policy_for(peers: &Peers) -> String {
    let ports = |wanted: &dyn Fn(&str) -> bool| {
        let ports = peers.ports().iter().filter(|(name, _)| wanted(name));
        ports.map(|(_, port)| port.to_string()).collect::<Vec<_>>().join(", ")
    };
    let is_middleware = |name: &str| MIDDLEWARE.contains(&name);
    let is_authlib = |name: &str| AUTHLIB.contains(&name);
    POLICY
        .replace("@ISSUER@", peers.issuer())
        .replace("@KEYS@", &peers.keys().display().to_string())
        .replace("@HAND_WRITTEN@", &ports(&|name| !is_middleware(name) && !is_authlib(name)))
        .replace("@MIDDLEWARE@", &ports(&is_middleware))
        .replace("@AUTHLIB@", &ports(&is_authlib))
}

/// The events of one type that tell of the call.
fn of_type<'a>(
    events: &'a [Value],
    answer: &'a Answer,
    wanted: &'a str,
) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| {
        text(event, "/event/type") == Some(wanted)
            && number(event, "/client/port") == Some(answer.client_port.into())
            && number(event, "/server/port") == Some(answer.server_port.into())
    })
}

/// What follows from what must be concluded, and from what the API did.
fn assessment(call: &Call) -> &'static str {
    match (&call.expected, call.status) {
        (Expected::Unknown(_), _) => "unassessed",
        (Expected::Allow, 101 | 200..300) => "normal",
        (Expected::Allow, 401 | 403) => "policy_drift",
        (Expected::Allow, _) => "failed_elsewhere",
        (Expected::Deny(_), 101 | 200..300) => "enforcement_gap",
        (Expected::Deny(_), 401 | 403) => "denied_as_expected",
        (Expected::Deny(_), _) => "denied_elsewhere",
    }
}

fn check(call: &Call, answer: &Answer, events: &[Value]) -> Result<()> {
    let told: Vec<_> = of_type(events, answer, "access").collect();
    let [event] = told.as_slice() else { bail!("{} events of it", told.len()) };
    let (verdict, reasons) = match &call.expected {
        Expected::Allow => ("allow", &[][..]),
        Expected::Deny(reasons) => ("deny", *reasons),
        Expected::Unknown(reasons) => ("indeterminate", *reasons),
    };
    let listed = event.pointer("/authz/reasons").cloned().unwrap_or_else(|| json!([]));
    let expected = [
        ("/http/status", json!(answer.status)),
        ("/authz/verdict", json!(verdict)),
        ("/authz/assessment", json!(assessment(call))),
    ];
    for (field, value) in expected {
        let found = event.pointer(field);
        ensure!(found == Some(&value), "{field} is {found:?}, not {value}, for {listed}: {event}");
    }
    ensure!(listed == json!(reasons), "reasons are {listed}, not {reasons:?}: {event}");
    if verdict == "allow" && event.pointer("/credential").is_some() {
        let evidence = text(event, "/identity/evidence");
        ensure!(evidence == Some("verified"), "the identity is {evidence:?}: {event}");
    }
    let gaps: Vec<_> = of_type(events, answer, "scope_check").collect();
    let is_gap = assessment(call) == "enforcement_gap";
    for gap in &gaps {
        let same = |field: &str| gap.pointer(field) == event.pointer(field);
        ensure!(same("/authz") && same("/route"), "a scope check tells otherwise: {gap} {event}");
        let attention = text(gap, "/event/severity") != Some("info");
        ensure!(attention == is_gap, "its severity is not that of what it tells: {gap}");
    }
    ensure!(gaps.len() <= 1 && (!is_gap || gaps.len() == 1), "{} scope checks", gaps.len());
    Ok(())
}

/// No part of a secret stands in what the agent wrote: of a JWT its signature, else all of it.
fn secret_free(dir: &Path, secrets: &BTreeSet<String>) -> Result<()> {
    let needle = |secret: &String| {
        let part = secret.rsplit('.').next().unwrap_or(secret);
        let start = part.len().saturating_sub(24) / 2;
        part.get(start..).and_then(|rest| rest.get(..24)).map(str::to_owned)
    };
    let needles: Vec<_> = secrets.iter().filter_map(needle).collect();
    ensure!(needles.len() > WANTED, "only {} secrets are looked for", needles.len());
    for (path, content) in files_below(dir)? {
        for needle in &needles {
            ensure!(!contains(&content, needle), "a secret stands in {}", path.display());
        }
    }
    Ok(())
}

//! Rules that change while the agent runs: a policy that is edited, and keys that are learnt from
//! the key set that a service fetches for itself.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use scopewatch_harness::{
    agent::Agent,
    events::{number, text},
    oauth::{Answer, Peers},
    require_root,
};
use serde_json::{Value, json};

use crate::{EVENTS_TIMEOUT, clean};

/// A policy for the sound API that asks for `scope`, with keys as `jwks` says.
fn policy(peers: &Peers, jwks: &str, scope: &str) -> Result<String> {
    let port = peers.ports().get("sound").context("no sound API")?;
    Ok(format!(
        "version: 1\n\
         issuers:\n  - {{id: corp, match: [\"{}\"], algs: [RS256], jwks: {jwks}}}\n\
         services:\n  - id: orders\n    select: {{ports: [{port}], role: server}}\n    \
         audiences: [orders-api]\n    accept: [{{issuer: corp}}]\n    routes:\n      \
         - {{id: read, match: {{path: \"/orders/*\"}}, require: {{scopes: {{all: [\"{scope}\"]}}}}}}\n",
        peers.issuer()
    ))
}

/// As editors do it: no reader finds half a file.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).context("write the policy")?;
    fs::rename(new, path).context("put the policy in place")
}

/// An agent that judges by the policy in `dir`.
fn agent(dir: &Path) -> Result<Agent> {
    Agent::run_configured(dir, &format!("policy: {{file: \"{}\"}}\n", dir.join("p.yaml").display()))
}

fn wait_for(agent: &mut Agent, kind: &str) -> Result<()> {
    agent.log().wait_for(kind, EVENTS_TIMEOUT, |events| {
        events.iter().any(|event| text(event, "/event/type") == Some(kind))
    })
}

/// Asks for an order with a token for `orders:read`, and finds the event of the answer.
fn read_order(peers: &mut Peers, agent: &mut Agent) -> Result<Value> {
    let answer = peers.ask(&json!({
        "api": "sound", "path": "/orders/17", "token": {"grant": "service", "scope": "orders:read"},
    }))?;
    ensure!(answer.status == 200, "{answer:?}");
    let tells = |event: &Value| tells_of(event, &answer);
    agent.log().wait_for("the call", EVENTS_TIMEOUT, |events| events.iter().any(tells))?;
    agent.log().read()?.iter().find(|event| tells(event)).cloned().context("no event of the call")
}

fn tells_of(event: &Value, answer: &Answer) -> bool {
    text(event, "/event/type") == Some("access")
        && number(event, "/client/port") == Some(answer.client_port.into())
        && number(event, "/server/port") == Some(answer.server_port.into())
}

#[track_caller]
fn check(event: &Value, verdict: &str, assessment: &str) {
    assert_eq!(text(event, "/authz/verdict"), Some(verdict), "{event}");
    assert_eq!(text(event, "/authz/assessment"), Some(assessment), "{event}");
}

#[test]
fn a_policy_that_is_edited_judges_from_then_on_and_one_that_is_wrong_never() -> Result<()> {
    require_root()?;
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut peers = Peers::start(theirs.path())?;
    let jwks = format!("{{file: \"{}\"}}", peers.keys().display());
    let path = ours.path().join("p.yaml");
    write(&path, &policy(&peers, &jwks, "orders:read")?)?;
    let mut agent = agent(ours.path())?;
    check(&read_order(&mut peers, &mut agent)?, "allow", "normal");

    // The file is looked at now and then, without being told.
    write(&path, &policy(&peers, &jwks, "orders:admin")?)?;
    wait_for(&mut agent, "policy.changed")?;
    check(&read_order(&mut peers, &mut agent)?, "deny", "enforcement_gap");

    write(&path, "version: 1\nservices: [{id: orders, selects: {}}]\n")?;
    agent.signal(Signal::SIGHUP)?;
    wait_for(&mut agent, "policy.rejected")?;
    check(&read_order(&mut peers, &mut agent)?, "deny", "enforcement_gap");
    clean(&agent.terminate()?)
}

#[test]
fn keys_are_learnt_from_the_set_that_a_service_fetches() -> Result<()> {
    require_root()?;
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut peers = Peers::start(theirs.path())?;
    let [api, ..] = peers.pids();
    let exe = fs::read_link(format!("/proc/{api}/exe")).context("the API's executable")?;
    let jwks = format!("{{observe: {{from: {{exe: \"{}\"}}}}}}", exe.display());
    write(&ours.path().join("p.yaml"), &policy(&peers, &jwks, "orders:read")?)?;
    let mut agent = agent(ours.path())?;
    // To judge this one, the API fetches the keys itself; the agent may see it answer before.
    let first = read_order(&mut peers, &mut agent)?;
    ensure!(text(&first, "/identity/subject").is_some(), "{first}");
    if let Err(e) = wait_for(&mut agent, "policy.changed") {
        let s = agent.terminate()?;
        eprintln!("{}", s.stderr);
        return Err(e);
    }
    let second = read_order(&mut peers, &mut agent)?;
    check(&second, "allow", "normal");
    assert_eq!(text(&second, "/identity/evidence"), Some("verified_observed_key"), "{second}");
    clean(&agent.terminate()?)
}

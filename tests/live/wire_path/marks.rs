//! Routes that a policy begins to mark while the agent runs: what is read of bodies follows it, also
//! on connections that are open.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    clients::{Python, Request},
    events::{is_over, text},
    require_root,
};
use serde_json::{Value, json};

use super::lab::is_on;
use crate::{EVENTS_TIMEOUT, clean};

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{}}}"#;

#[test]
fn a_route_that_is_marked_while_its_connection_is_open_tells_its_operations() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let port = testbed.nginx().port();
    let run = tempfile::tempdir()?;
    let policy = run.path().join("policy.yaml");
    write(&policy, port, "")?;
    let configuration = format!("policy: {{file: \"{}\"}}\n", policy.display());
    let mut agent = Agent::run_configured(run.path(), &configuration)?;
    let mut client = Python::start(testbed.target())?;
    let mut ask = || {
        let request = Request::new("POST", "/api/mcp").header("Content-Type", "application/json");
        let request = testbed.with_token(request.body(CALL), Bearer::Alice)?;
        client.send(&request).map(|reply| reply.client_port)
    };
    let calls = |events: &[Value]| {
        let mut told: Vec<_> =
            events.iter().filter(|it| is_on(it, port) && is_over(it)).cloned().collect();
        told.sort_by_key(|event| text(event, "/event/time").map(str::to_owned));
        told
    };
    let before = ask()?;
    agent.log().wait_for("the first call", EVENTS_TIMEOUT, |it| calls(it).len() == 1)?;
    write(&policy, port, ", protocol: mcp")?;
    agent.signal(Signal::SIGHUP)?;
    agent.log().wait_for("the new policy", EVENTS_TIMEOUT, |events| {
        events.iter().any(|it| text(it, "/event/type") == Some("policy.changed"))
    })?;
    let after = ask()?;
    agent.log().wait_for("the second call", EVENTS_TIMEOUT, |it| calls(it).len() == 2)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    ensure!(before == after, "another connection");
    let told = calls(&stopped.events);
    let operations: Vec<_> = told.iter().map(|it| it.pointer("/http/operation")).collect();
    let expected = json!(["tools/call search"]);
    ensure!(operations == [None, Some(&expected)], "{told:#?}");
    Ok(())
}

fn write(file: &Path, port: u16, mark: &str) -> Result<()> {
    let text = format!(
        "version: 1\n\
         services:\n\
         - id: tools\n\
         \x20 select: {{ports: [{port}], role: server}}\n\
         \x20 routes: [{{id: mcp, match: {{path: /api/mcp}}, require: {{credentials: []}}{mark}}}]\n"
    );
    fs::write(file, text).context("write the policy")
}

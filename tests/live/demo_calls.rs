//! Every call of the demo is seen from both of its ends, and told truly.

use anyhow::{Context as _, Result, bail};
use scopewatch_harness::{
    agent::Agent,
    calls::{CALLS, Made, Testbed, Via},
    events::{number, text},
    require_root,
};
use serde_json::{Value, json};

use crate::{clean, only, wait_for_both_sides};

/// Checks what either side must say of a call.
fn check_call(event: &Value, made: &Made) {
    let call = &made.call;
    let name = call.name;
    assert_eq!(text(event, "/event/type"), Some("access"), "{name}: {event}");
    assert_eq!(number(event, "/http/status"), Some(call.status.into()), "{name}: {event}");
    assert_eq!(text(event, "/http/scheme"), Some("https"), "{name}: {event}");
    assert_eq!(text(event, "/observation/proto"), Some("http/1.1"), "{name}: {event}");
    assert_eq!(event.pointer("/observation/complete"), Some(&Value::Bool(true)), "{name}: {event}");
    assert_eq!(text(event, "/token/state"), call.token_state, "{name}: {event}");
    assert_eq!(text(event, "/identity/subject"), call.subject, "{name}: {event}");
    let scopes: Vec<&str> = event
        .pointer("/authz/scopes")
        .and_then(Value::as_array)
        .map(|scopes| scopes.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    assert_eq!(scopes, call.scopes, "{name}: {event}");
    for side in ["client", "server"] {
        assert_eq!(text(event, &format!("/{side}/ip")), Some("127.0.0.1"), "{name}: {event}");
    }
    let ports = (number(event, "/client/port"), number(event, "/server/port"));
    let expected = (Some(made.reply.client_port.into()), Some(made.server_port.into()));
    assert_eq!(ports, expected, "{name}: {event}");
}

/// Checks which process the event is about.
fn check_process(event: &Value, pid: u32, comm: &str) {
    assert_eq!(number(event, "/process/pid"), Some(pid.into()), "{event}");
    assert_eq!(text(event, "/process/comm"), Some(comm), "{event}");
}

#[test]
fn both_sides_of_every_call_are_told() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_on_calls(dir.path())?;
    let made = testbed.make(CALLS, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for made in &made {
        let client = only(&stopped.events, &made.sought("client"))?;
        check_call(client, made);
        check_process(client, made.reply.client_pid, &made.reply.client_comm);
        let server = only(&stopped.events, &made.sought("server"))?;
        check_call(server, made);
        check_process(server, testbed.nginx().worker_pid(), "nginx");
    }
    Ok(())
}

#[test]
fn the_two_sides_pair_by_their_addresses() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_on_calls(dir.path())?;
    let made = testbed.make(CALLS, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    let events = agent.terminate()?.events;
    for made in &made {
        let client = only(&events, &made.sought("client"))?;
        let server = only(&events, &made.sought("server"))?;
        for field in ["/client/ip", "/client/port", "/server/ip", "/server/port"] {
            let both = (client.pointer(field), server.pointer(field));
            assert_eq!(both.0, both.1, "{field} of {}", made.call.name);
            both.0.with_context(|| format!("{field} is missing in {client}"))?;
        }
        // The same token has the same fingerprint wherever it is seen.
        assert_eq!(client.pointer("/credential/fp"), server.pointer("/credential/fp"));
        assert_eq!(client.pointer("/credential/fp").is_some(), made.call.bearer.is_some());
    }
    Ok(())
}

#[test]
fn exchanges_of_a_kept_connection_are_numbered() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_on_calls(dir.path())?;
    let python: Vec<_> = CALLS.iter().copied().filter(|call| call.via == Via::Python).collect();
    let made = testbed.make(&python, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    let events = agent.terminate()?.events;
    for role in ["client", "server"] {
        let events: Result<Vec<_>> =
            made.iter().map(|made| only(&events, &made.sought(role))).collect();
        let events = events?;
        let numbers: Vec<_> =
            events.iter().map(|event| number(event, "/observation/exchange")).collect();
        let expected: Vec<_> = (0..).take(events.len()).map(Some).collect();
        assert_eq!(numbers, expected, "{role}");
        let first = events.first().context("no call by python")?;
        let connection = text(first, "/observation/conn_id").context("no conn_id")?;
        assert!(events.iter().all(|e| text(e, "/observation/conn_id") == Some(connection)));
    }
    Ok(())
}

#[test]
fn the_one_call_that_policy_denies_and_the_server_allows_is_a_finding() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(dir.path(), &testbed.write_policy(dir.path())?)?;
    let made = testbed.make(CALLS, || Ok(()))?;
    wait_for_both_sides(&mut agent, &made)?;
    let events = agent.terminate()?.events;
    for made in &made {
        let event = only(&events, &made.sought("server"))?;
        let expected = match made.call.path {
            "/static/large.bin" => "enforcement_gap",
            // Nobody but the issuer knows what an opaque token grants.
            "/api/orders/1008/status" => "unassessed",
            _ if made.call.status >= 400 => "denied_as_expected",
            _ => "normal",
        };
        assert_eq!(text(event, "/authz/assessment"), Some(expected), "{event}");
    }
    let is_gap = |event: &&Value| {
        text(event, "/event/type") == Some("scope_check")
            && text(event, "/authz/assessment") == Some("enforcement_gap")
    };
    let gaps: Vec<_> = events.iter().filter(is_gap).collect();
    let [gap] = gaps.as_slice() else { bail!("{} findings: {gaps:#?}", gaps.len()) };
    assert_eq!(text(gap, "/http/path"), Some("/static/large.bin"), "{gap}");
    assert_eq!(gap.pointer("/authz/reasons"), Some(&json!(["scope_missing:files:read"])), "{gap}");
    assert_eq!(text(gap, "/event/severity"), Some("high"), "{gap}");
    Ok(())
}

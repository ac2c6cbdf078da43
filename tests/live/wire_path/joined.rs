//! Connections that were open, and used, before the agent was there: what is told of them from then
//! on is right, and what cannot be known is not said to be absent. Each client begins differently:
//! Go has its token in the compression's table, nghttp2 never puts one there, HTTP/1.1 has no such
//! state.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::{Python, Reply, Request, curl},
    events::{Sought, is_over, text},
    require_root,
    tokens::ISSUER,
};
use serde_json::{Value, json};

use super::{go, lab::is_on, lines::Lines};
use crate::{EVENTS_TIMEOUT, clean, only};

/// Node's client or server of HTTP/2.
pub const HTTP2_PEER: &str = include_str!("http2_peer.js");

/// Made before the agent starts. The second ones refer to what the first ones put into tables.
const BEFORE: [(Bearer, &str); 3] =
    [(Bearer::Alice, "/api/old/a"), (Bearer::Alice, "/api/old/b"), (Bearer::Alice, "/api/old/c")];

/// Made after it has started, with the status of each and whose token it shows.
const AFTER: [(Bearer, &str, &str, &str, u16); 6] = [
    (Bearer::Alice, "alice", "GET", "/api/new/a", 200),
    (Bearer::Carol, "carol", "GET", "/api/new/b", 403),
    (Bearer::Carol, "carol", "DELETE", "/api/new/c", 403),
    (Bearer::Alice, "alice", "GET", "/api/new/d", 200),
    (Bearer::Bob, "bob", "HEAD", "/api/new/e", 200),
    (Bearer::Dave, "dave", "GET", "/api/new/f", 401),
];

/// Sends a request on the connection that is open.
type Send<'a> = &'a mut dyn FnMut(&Request) -> Result<Reply>;

/// Uses a connection, starts the agent with a policy, uses it on; what the agent told.
fn join(testbed: &Testbed, send: Send<'_>) -> Result<(Stopped, Vec<Reply>)> {
    for (bearer, path) in BEFORE {
        send(&testbed.with_token(Request::new("GET", path), bearer)?)?;
    }
    let run = tempfile::tempdir()?;
    let port = testbed.nginx().port();
    let mut agent = Agent::run_configured(run.path(), &policy(run.path(), port)?)?;
    let mut replies = Vec::new();
    for (bearer, _, method, path, status) in AFTER {
        let reply = send(&testbed.with_token(Request::new(method, path), bearer)?)?;
        ensure!(reply.status == status, "{path} was answered with {}", reply.status);
        replies.push(reply);
    }
    // A connection that was seen from its start: there, what is missing is missing.
    curl(testbed.target(), &Request::new("GET", "/api/anonymous"))?;
    let wanted = AFTER.len() + 1;
    let _late = agent
        .log()
        .wait_for("all", EVENTS_TIMEOUT, |events| at_server(events, port).len() >= wanted);
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let told = at_server(&stopped.events, port).len();
    ensure!(told == wanted, "{told} events: {:#?}, {:?}", stopped.events, stopped.counters());
    Ok((stopped, replies))
}

/// Any token of the issuer will do; there is no key to verify one by.
fn policy(dir: &Path, port: u16) -> Result<String> {
    let file = dir.join("policy.yaml");
    // One for each path: an event tells the template of its route in its path's stead.
    let paths = AFTER.iter().map(|after| after.3).chain(["/api/anonymous"]);
    let route = |(nr, path)| format!("{{id: r{nr}, match: {{path: {path}}}}}");
    let routes = paths.enumerate().map(route).collect::<Vec<_>>().join(", ");
    let text = format!(
        "version: 1\n\
         issuers: [{{id: corp, match: [\"{ISSUER}\"], profile: lax}}]\n\
         services:\n\
         - id: orders\n\
         \x20 select: {{ports: [{port}], role: server}}\n\
         \x20 accept: [{{issuer: corp}}]\n\
         \x20 routes: [{routes}]\n"
    );
    fs::write(&file, text).context("write the policy")?;
    Ok(format!("policy: {{file: \"{}\"}}\n", file.display()))
}

fn at_server(events: &[Value], port: u16) -> Vec<&Value> {
    let is = |event: &&Value| {
        is_on(event, port) && is_over(event) && text(event, "/observation/role") == Some("server")
    };
    events.iter().filter(is).collect()
}

/// Holds what was told of the connection against what was sent. `unknown` are the paths of requests
/// whose token the agent cannot know; those of `unsure` it knows, but not every other field.
fn check(
    testbed: &Testbed,
    version: &str,
    [unknown, unsure]: [&[&str]; 2],
    (stopped, replies): &(Stopped, Vec<Reply>),
) -> Result<()> {
    let port = testbed.nginx().port();
    for ((_, subject, method, path, status), reply) in AFTER.iter().zip(replies) {
        let sought = Sought {
            role: "server",
            method: (*method).to_owned(),
            path: (*path).to_owned(),
            client_port: reply.client_port,
            server_port: port,
        };
        let events: Vec<Value> = at_server(&stopped.events, port).into_iter().cloned().collect();
        let event =
            only(&events, &sought).with_context(|| format!("{path}: {:#?}", stopped.events))?;
        let is_unknown = unknown.contains(path);
        let expected = [
            ("/http/status", json!(status)),
            ("/http/version", json!(version)),
            ("/process/pid", json!(testbed.nginx().worker_pid())),
            ("/observation/complete", json!(!is_unknown && !unsure.contains(path))),
        ];
        for (field, value) in expected {
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
        let told = text(event, "/identity/subject");
        ensure!(told == Some(*subject).filter(|_| !is_unknown), "{told:?} asks: {event:#}");
        ensure!(event.pointer("/credential").is_some() != is_unknown, "{event:#}");
        let verdict = text(event, "/authz/verdict");
        ensure!(!is_unknown || verdict == Some("indeterminate"), "{event:#}");
        ensure!(verdict.is_some() && !says_missing(event), "said to be absent: {event:#}");
    }
    let events = at_server(&stopped.events, port);
    let fresh = events.iter().find(|event| text(event, "/http/path") == Some("/api/anonymous"));
    let fresh = fresh.context("no event of the request without a token")?;
    ensure!(says_missing(fresh), "the policy does not ask for a credential: {fresh:#}");
    Ok(())
}

fn says_missing(event: &Value) -> bool {
    event.pointer("/authz/reasons").is_some_and(|it| it.to_string().contains("credential_missing"))
}

#[test]
fn http1_goes_on_with_everything_known() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let mut client = Python::start(testbed.target())?;
    let told = join(&testbed, &mut |request| client.send(request))?;
    check(&testbed, "1.1", [&[], &[]], &told)
}

#[test]
fn http2_whose_token_is_always_sent_in_full_goes_on_with_it_known() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let port = testbed.nginx().port();
    let mut command = Command::new("node");
    command.args(["-e", HTTP2_PEER, "ask", &port.to_string()]).arg(&testbed.target().authority);
    let mut client = Lines::start(&mut command)?;
    let client_pid = client.process.pid();
    let told = join(&testbed, &mut |request| {
        let token = request.headers.get("Authorization").context("no token")?;
        let line = format!("{} {} 0 {token}", request.method, request.path);
        let [status, length, client_port] = client.ask(&line)?;
        let client_comm = "node".to_owned();
        let (status, client_port) = (status.try_into()?, client_port.try_into()?);
        Ok(Reply { status, length, client_port, client_pid, client_comm })
    })?;
    check(&testbed, "2", [&[], &[]], &told)
}

/// Go refers to the token of before by its place in a table that the agent has not seen; a token
/// that is new is sent in full, and what refers to it from then on is known.
#[test]
fn http2_whose_token_was_sent_before_goes_on_with_it_unknown_until_it_is_sent_again() -> Result<()>
{
    require_root()?;
    let testbed = Testbed::start()?;
    let mut client = go::Client::start(&testbed, "h2")?;
    let told = join(&testbed, &mut |request| client.ask(&testbed, request))?;
    check(&testbed, "2", [&["/api/new/a", "/api/new/d"], &[]], &told)
}

//! HTTP/2 by Node at both ends, which is nghttp2: bodies that are longer than a stream's window, with
//! TLS and without, there by prior knowledge.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    clients::{Reply, Request},
    events::{is_over, text},
    require_root,
};
use serde_json::{Value, json};

use super::{lab::is_on, lines::Lines};
use crate::{EVENTS_TIMEOUT, clean};

const SCRIPT: &str = include_str!("node_peer.js");

/// More than a stream may send before it is permitted more (RFC 9113 §6.9.2): it waits for frames
/// that come the other way.
const LONG: usize = 200_000;

/// Starts a server, with TLS or without; the port that it listens on.
pub fn serve(testbed: &Testbed, has_tls: bool) -> Result<(Lines, u16)> {
    let mut command = Command::new("node");
    command.args(["-e", SCRIPT, "serve"]);
    if has_tls {
        let certificates = testbed.certificates();
        command.args([&certificates.server, &certificates.server_key]);
    }
    Lines::serve(&mut command)
}

/// A client with one connection.
pub struct Client {
    pub lines: Lines,
}

impl Client {
    /// Connects to `port`, with TLS or without.
    pub fn start(testbed: &Testbed, port: u16, has_tls: bool) -> Result<Self> {
        let mut command = Command::new("node");
        command.args(["-e", SCRIPT, "ask", &port.to_string()]);
        if has_tls {
            command.arg(&testbed.target().authority);
        }
        Ok(Self { lines: Lines::start(&mut command)? })
    }

    pub fn ask(&mut self, request: &Request) -> Result<Reply> {
        let Request { method, path, headers, body } = request;
        let token = headers.get("Authorization").context("no token")?;
        let line = format!("{method} {path} {} {token}", body.len());
        let [status, length, client_port] = self.lines.ask(&line)?;
        Ok(Reply {
            status: status.try_into()?,
            length,
            client_port: client_port.try_into()?,
            client_pid: self.lines.process.pid(),
            client_comm: "node".to_owned(),
        })
    }
}

#[test]
fn bodies_longer_than_the_window_are_told_by_http2_with_tls() -> Result<()> {
    check(true)
}

#[test]
fn bodies_longer_than_the_window_are_told_by_http2_without_tls() -> Result<()> {
    check(false)
}

fn check(has_tls: bool) -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (server, port) = serve(&testbed, has_tls)?;
    let run = tempfile::tempdir()?;
    let listed = if has_tls { String::new() } else { port.to_string() };
    let configuration = format!("capture: {{plain_http: {{ports: [{listed}]}}}}");
    let mut agent = Agent::run_configured(run.path(), &configuration)?;
    let mut client = Client::start(&testbed, port, has_tls)?;
    let made = [("GET", "/api/get", 0), ("POST", "/api/short", 7), ("PUT", "/api/long", LONG)];
    let mut replies = Vec::new();
    for (method, path, length) in made {
        let request = testbed.with_token(Request::new(method, path), Bearer::Alice)?;
        let reply = client.ask(&request.body(&"b".repeat(length)))?;
        ensure!(reply.status == 200, "{path} was answered with {}", reply.status);
        replies.push(reply);
    }
    let told = |events: &[Value]| {
        events.iter().filter(|it| is_on(it, port) && is_over(it)).cloned().collect::<Vec<_>>()
    };
    let _late = agent.log().wait_for("all", EVENTS_TIMEOUT, |it| told(it).len() >= made.len());
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let events = told(&stopped.events);
    ensure!(events.len() == made.len(), "{events:#?}, {:?}", stopped.counters());
    for ((method, path, length), reply) in made.into_iter().zip(replies) {
        let event = events.iter().find(|event| text(event, "/http/path") == Some(path));
        let event = event.with_context(|| format!("no event of {path}: {events:#?}"))?;
        for (field, value) in [
            ("/http/method", json!(method)),
            ("/http/version", json!("2")),
            ("/http/scheme", json!(if has_tls { "https" } else { "http" })),
            ("/http/status", json!(200)),
            ("/http/req_bytes", json!(length)),
            ("/http/resp_bytes", json!(reply.length)),
            ("/observation/role", json!("server")),
            ("/observation/transport", json!(if has_tls { "tls" } else { "plain" })),
            ("/observation/complete", json!(true)),
            ("/identity/subject", json!("alice")),
            ("/client/port", json!(reply.client_port)),
            ("/process/pid", json!(server.process.pid())),
            ("/peer/pid", json!(reply.client_pid)),
        ] {
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
    }
    ensure!(stopped.dropped() == 0, "{:?}", stopped.counters());
    Ok(())
}

//! Connections that were open, and used, before the agent was there: what is told of them from then
//! on is right, and what cannot be known is not said to be absent.
//!
//! HTTP/1.1 has no state from before. In HTTP/2 a field may be a reference into a table that was
//! filled before: clients put `:authority` there, and no request that refers to it is ever whole. Go
//! puts the token there as well; nghttp2 never does.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::{Python, Reply, Request, Target, curl_by_version},
    events::{Sought, is_over, number, text},
    require_root,
    tokens::ISSUER,
};
use serde_json::{Value, json};

use super::{
    go,
    lab::is_on,
    node,
    servers::{ASYNCIO, Serving, script},
};
use crate::{EVENTS_TIMEOUT, clean, only};

/// Made before the agent starts. The second ones refer to what the first ones put into tables.
const BEFORE: [(Bearer, &str); 3] =
    [(Bearer::Alice, "/api/old/a"), (Bearer::Alice, "/api/old/b"), (Bearer::Alice, "/api/old/c")];

/// Made after it has started, with whose token each shows and how nginx answers that.
const AFTER: [(Bearer, &str, &str, &str, u16); 6] = [
    (Bearer::Alice, "alice", "GET", "/api/new/a", 200),
    (Bearer::Carol, "carol", "GET", "/api/new/b", 403),
    (Bearer::Carol, "carol", "DELETE", "/api/new/c", 403),
    (Bearer::Alice, "alice", "GET", "/api/new/d", 200),
    (Bearer::Bob, "bob", "HEAD", "/api/new/e", 200),
    (Bearer::Dave, "dave", "GET", "/api/new/f", 401),
];

/// Made at last, on a connection of its own and without a token.
const ANONYMOUS: &str = "/api/anonymous";

/// Sends a request on the connection that is open.
type Send<'a> = &'a mut dyn FnMut(&Request) -> Result<Reply>;

/// A server that is older than the agent.
struct Server {
    port: u16,
    pid: u32,
    /// Whether its answer goes by the token, as nginx's does; others always answer 200.
    asks_whose: bool,
    /// Whether it has TLS.
    is_secure: bool,
    /// Whether what is told of its old connections says where they are from and to.
    has_addresses: bool,
}

impl Server {
    fn nginx(testbed: &Testbed) -> Self {
        let nginx = testbed.nginx();
        Self {
            port: nginx.port(),
            pid: nginx.worker_pid(),
            asks_whose: true,
            is_secure: true,
            has_addresses: true,
        }
    }

    fn answers(&self, status: u16) -> u16 {
        if self.asks_whose { status } else { 200 }
    }

    fn told<'event>(&self, events: &'event [Value]) -> Vec<&'event Value> {
        let is = |event: &&Value| {
            let role = text(event, "/observation/role");
            let is_its = if self.has_addresses {
                is_on(event, self.port)
            } else {
                number(event, "/process/pid") == Some(self.pid.into())
            };
            let is_access = text(event, "/event/type") == Some("access");
            is_its && is_access && is_over(event) && role == Some("server")
        };
        events.iter().filter(is).collect()
    }

    /// Any token of the issuer will do; there is no key to verify one by.
    fn policy(&self, dir: &Path) -> Result<String> {
        let file = dir.join("policy.yaml");
        // One for each path: an event tells the template of its route in its path's stead.
        let paths = AFTER.iter().map(|after| after.3).chain([ANONYMOUS]);
        let route = |(nr, path)| format!("{{id: r{nr}, match: {{path: {path}}}}}");
        let routes = paths.enumerate().map(route).collect::<Vec<_>>().join(", ");
        let port = self.port;
        let select = if self.has_addresses {
            format!("ports: [{port}]")
        } else {
            format!("exe: \"{}\"", fs::read_link(format!("/proc/{}/exe", self.pid))?.display())
        };
        let text = format!(
            "version: 1\n\
             issuers: [{{id: corp, match: [\"{ISSUER}\"], profile: lax}}]\n\
             services:\n\
             - id: orders\n\
             \x20 select: {{{select}, role: server}}\n\
             \x20 accept: [{{issuer: corp}}]\n\
             \x20 routes: [{routes}]\n"
        );
        fs::write(&file, text).context("write the policy")?;
        let plain = if self.is_secure { String::new() } else { port.to_string() };
        let file = file.display();
        Ok(format!("policy: {{file: \"{file}\"}}\ncapture: {{plain_http: {{ports: [{plain}]}}}}\n"))
    }

    /// Uses a connection, starts the agent with a policy, uses it on; what the agent told.
    fn join(&self, testbed: &Testbed, send: Send<'_>) -> Result<(Stopped, Vec<Reply>)> {
        for (bearer, path) in BEFORE {
            send(&testbed.with_token(Request::new("GET", path), bearer)?)?;
        }
        let run = tempfile::tempdir()?;
        let mut agent = Agent::run_configured(run.path(), &self.policy(run.path())?)?;
        let mut replies = Vec::new();
        for (bearer, _, method, path, status) in AFTER {
            let reply = send(&testbed.with_token(Request::new(method, path), bearer)?)?;
            ensure!(reply.status == self.answers(status), "{path}: {}", reply.status);
            replies.push(reply);
        }
        // A connection that was seen from its start: there, what is missing is missing.
        let target = Target { port: self.port, authority: testbed.target().authority.clone() };
        let wanted = AFTER.len() + usize::from(self.is_secure);
        if self.is_secure {
            let request = Request::new("GET", ANONYMOUS);
            curl_by_version(&target, &request, ["--tlsv1.3", "--http2"])?;
        }
        let _late =
            agent.log().wait_for("all", EVENTS_TIMEOUT, |events| self.told(events).len() >= wanted);
        let stopped = agent.terminate()?;
        clean(&stopped)?;
        let told = self.told(&stopped.events).len();
        ensure!(told == wanted, "{told} events: {:#?}, {:?}", stopped.events, stopped.counters());
        Ok((stopped, replies))
    }

    /// Holds what was told of the connection against what was sent.
    fn check(&self, known: &Known, (stopped, replies): &(Stopped, Vec<Reply>)) -> Result<()> {
        let events: Vec<Value> = self.told(&stopped.events).into_iter().cloned().collect();
        for ((_, subject, method, path, status), reply) in AFTER.iter().zip(replies) {
            let sought = Sought {
                role: "server",
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                client_port: reply.client_port,
                server_port: self.port,
            };
            let event = if self.has_addresses {
                only(&events, &sought).with_context(|| format!("{path}: {events:#?}"))?
            } else {
                let mut of_path = events.iter().filter(|it| text(it, "/http/path") == Some(path));
                let event = of_path.next().with_context(|| format!("{path}: {events:#?}"))?;
                ensure!(of_path.next().is_none(), "told twice: {event:#}");
                ensure!(
                    event.pointer("/client").and_then(|it| it.get("ip")).is_none(),
                    "{event:#}"
                );
                event
            };
            for (field, value) in [
                ("/http/status", json!(self.answers(*status))),
                ("/http/version", json!(known.version)),
                ("/process/pid", json!(self.pid)),
                ("/observation/complete", json!(known.is_whole)),
            ] {
                ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
            }
            let is_unknown = known.not_whose.contains(path);
            let told = text(event, "/identity/subject");
            ensure!(told == Some(*subject).filter(|_| !is_unknown), "{told:?} asks: {event:#}");
            ensure!(event.pointer("/credential").is_some() != is_unknown, "{event:#}");
            let verdict = text(event, "/authz/verdict");
            ensure!(!is_unknown || verdict == Some("indeterminate"), "{event:#}");
            ensure!(verdict.is_some() && !says_missing(event), "said to be absent: {event:#}");
        }
        let fresh = events.iter().find(|event| text(event, "/http/path") == Some(ANONYMOUS));
        ensure!(fresh.is_some() == self.is_secure, "{events:#?}");
        ensure!(fresh.is_none_or(says_missing), "the policy asks for no credential: {fresh:#?}");
        Ok(())
    }
}

/// What can be known of a connection.
struct Known {
    version: &'static str,
    /// Whether all of each request.
    is_whole: bool,
    /// Paths of requests whose token can not.
    not_whose: &'static [&'static str],
}

const HTTP1: Known = Known { version: "1.1", is_whole: true, not_whose: &[] };

/// `:authority` refers to what came before.
const NGHTTP2: Known = Known { version: "2", is_whole: false, not_whose: &[] };

/// So does a token that was sent before. One that is new is sent in full, and what refers to it from
/// then on is known.
const GO: Known = Known { version: "2", is_whole: false, not_whose: &["/api/new/a", "/api/new/d"] };

fn says_missing(event: &Value) -> bool {
    event.pointer("/authz/reasons").is_some_and(|it| it.to_string().contains("credential_missing"))
}

#[test]
fn http1_goes_on_with_everything_known() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let server = Server::nginx(&testbed);
    let mut client = Python::start(testbed.target())?;
    let told = server.join(&testbed, &mut |request| client.send(request))?;
    server.check(&HTTP1, &told)
}

#[test]
fn http2_whose_token_is_always_sent_in_full_goes_on_with_it_known() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let server = Server::nginx(&testbed);
    let mut client = node::Client::start(&testbed, server.port, true)?;
    let told = server.join(&testbed, &mut |request| client.ask(request))?;
    server.check(&NGHTTP2, &told)
}

#[test]
fn http2_whose_token_was_sent_before_goes_on_with_it_unknown_until_it_is_sent_again() -> Result<()>
{
    require_root()?;
    let testbed = Testbed::start()?;
    let server = Server::nginx(&testbed);
    let mut client = go::Client::start(&testbed, "h2")?;
    let told = server.join(&testbed, &mut |request| client.ask(&testbed, request))?;
    server.check(&GO, &told)
}

/// There, the connection is found by how a message begins, not by a call.
#[test]
fn http2_without_tls_goes_on() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (process, port) = node::serve(&testbed, false)?;
    let pid = process.process.pid();
    let server = Server { port, pid, asks_whose: false, is_secure: false, has_addresses: true };
    let mut client = node::Client::start(&testbed, port, false)?;
    let told = server.join(&testbed, &mut |request| client.ask(request))?;
    server.check(&NGHTTP2, &told)
}

/// Sessions on memory BIOs: no call on a socket happens within a call of TLS, which is all that tells
/// of the addresses of a connection from before. One that is made later is bound by its handshake,
/// and is not told by both paths.
#[test]
fn a_node_server_is_told_without_addresses() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (process, port) = node::serve(&testbed, true)?;
    let pid = process.process.pid();
    let server = Server { port, pid, asks_whose: false, is_secure: true, has_addresses: false };
    let mut client = node::Client::start(&testbed, port, true)?;
    let told = server.join(&testbed, &mut |request| client.ask(request))?;
    server.check(&NGHTTP2, &told)
}

/// The same, with handshakes by a call of their own.
#[test]
fn an_asyncio_server_is_told_without_addresses() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let Serving { process, port } = script("/usr/bin/python3", "-c", ASYNCIO, &testbed)?;
    let pid = process.pid();
    let server = Server { port, pid, asks_whose: false, is_secure: true, has_addresses: false };
    let target = Target { port, authority: testbed.target().authority.clone() };
    let mut client = Python::start(&target)?;
    let told = server.join(&testbed, &mut |request| client.send(request))?;
    server.check(&HTTP1, &told)
}

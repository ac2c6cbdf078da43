//! HTTP without TLS, on ports that are listed: a service behind a proxy that ends TLS.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    child::Reaped,
    clients::{Request, Target, curl},
    events::{number, text},
    require_root,
};
use serde_json::{Value, json};

use super::{front::Front, lab::is_on};
use crate::{EVENTS_TIMEOUT, clean, sights::offered};

const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = include_str!("service.py");

/// A Python process of `service.py`.
struct Script {
    process: Reaped,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Script {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(PYTHON);
        command.args(["-c", SCRIPT]).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Reaped::start(&mut command)?;
        let stdin = process.inner().stdin.take().context("no stdin")?;
        let stdout = process.inner().stdout.take().context("no stdout")?;
        Ok(Self { process, stdin, answers: BufReader::new(stdout) })
    }

    fn numbers(&mut self) -> Result<Vec<u64>> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("read from the script")?;
        Ok(line.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }

    /// A service on the loopback, and its port.
    fn service() -> Result<(Self, u16)> {
        Self::service_at("127.0.0.1")
    }

    fn service_at(host: &str) -> Result<(Self, u16)> {
        let mut service = Self::start(&["serve", host])?;
        let port = service.numbers()?.first().copied().context("the service has no port")?;
        Ok((service, u16::try_from(port)?))
    }

    /// A client of the service on `port`.
    fn client(port: u16) -> Result<Self> {
        Self::start(&["ask", &port.to_string(), "127.0.0.1"])
    }

    /// Asks for `path` on a kept connection; the client's port.
    fn ask(&mut self, testbed: &Testbed, path: &str) -> Result<u16> {
        writeln!(self.stdin, "{path} {}", token(testbed)?).context("ask the client")?;
        let port = self.numbers()?.get(1).copied().context("the client got no answer")?;
        Ok(u16::try_from(port)?)
    }
}

fn token(testbed: &Testbed) -> Result<String> {
    let request = testbed.with_token(Request::new("GET", "/"), Bearer::Alice)?;
    request.headers.get("Authorization").cloned().context("no token")
}

/// An nginx that ends TLS on a port of its own, before the service on `service`.
fn proxy(dir: &Path, testbed: &Testbed, service: u16) -> Result<(Reaped, u16)> {
    let http = format!("upstream service {{ server 127.0.0.1:{service}; keepalive 4; }}");
    let location =
        "proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\";";
    Front { listen: "ssl", http: &http, location }.start(dir, testbed)
}

fn listing(port: u16) -> String {
    format!("capture: {{plain_http: {{ports: [{port}]}}}}")
}

/// The one event of `path` on the server at `port`, with these fields.
fn check(stopped: &Stopped, port: u16, path: &str, fields: &[(&str, Value)]) -> Result<()> {
    let of = |event: &&Value| is_on(event, port) && text(event, "/http/path") == Some(path);
    let events: Vec<_> = stopped.events.iter().filter(of).collect();
    let [event] = events.as_slice() else {
        anyhow::bail!(
            "{} events of {path} on {port}: {events:#?}, {:?}",
            events.len(),
            stopped.counters()
        );
    };
    let common = [
        ("/http/status", json!(200)),
        ("/observation/role", json!("server")),
        ("/observation/complete", json!(true)),
        ("/identity/subject", json!("alice")),
    ];
    for (field, value) in common.iter().chain(fields) {
        ensure!(event.pointer(field) == Some(value), "{field} is not {value}: {event:#}");
    }
    Ok(())
}

fn wait_for(agent: &mut Agent, port: u16, count: usize) -> Result<()> {
    agent.log().wait_for("all events", EVENTS_TIMEOUT, |events| {
        events.iter().filter(|event| is_on(event, port)).count() >= count
    })
}

#[test]
fn both_connections_of_a_proxy_that_ends_tls_are_told_once() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (service, port) = Script::service()?;
    let dir = scopewatch_harness::agent::open_dir()?;
    let (proxy, front) = proxy(dir.path(), &testbed, port)?;
    let run = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(run.path(), &listing(port))?;
    let target = Target { port: front, authority: testbed.target().authority.clone() };
    let mut replies = Vec::new();
    for nth in ["first", "second", "third"] {
        let path = format!("/api/behind/{nth}");
        let request = testbed.with_token(Request::new("GET", &path), Bearer::Alice)?;
        replies.push((path, curl(&target, &request)?));
    }
    wait_for(&mut agent, port, 3)?;
    wait_for(&mut agent, front, 3)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for (path, reply) in &replies {
        check(
            &stopped,
            front,
            path,
            &[
                ("/observation/transport", json!("tls")),
                ("/client/port", json!(reply.client_port)),
                ("/process/pid", json!(proxy.pid())),
                ("/peer/pid", json!(reply.client_pid)),
            ],
        )?;
        check(
            &stopped,
            port,
            path,
            &[
                ("/observation/transport", json!("plain")),
                ("/http/scheme", json!("http")),
                ("/process/pid", json!(service.process.pid())),
                ("/process/comm", json!("python3")),
                ("/peer/pid", json!(proxy.pid())),
            ],
        )?;
    }
    ensure!(stopped.dropped() == 0, "{:?}", stopped.counters());
    Ok(())
}

#[test]
fn a_connection_without_tls_from_before_the_agent_is_joined() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    for way in offered()? {
        join(&testbed, way).with_context(|| format!("sockets are seen by {way}"))?;
    }
    Ok(())
}

fn join(testbed: &Testbed, way: &str) -> Result<()> {
    let (service, port) = Script::service()?;
    let mut client = Script::client(port)?;
    client.ask(testbed, "/api/before")?;
    let configuration = format!("capture: {{sockets: {way}, plain_http: {{ports: [{port}]}}}}");
    let run = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(run.path(), &configuration)?;
    for path in ["/api/after", "/api/later"] {
        client.ask(testbed, path)?;
    }
    let client_port = client.ask(testbed, "/api/last")?;
    wait_for(&mut agent, port, 3)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for path in ["/api/after", "/api/later", "/api/last"] {
        check(
            &stopped,
            port,
            path,
            &[
                ("/observation/transport", json!("plain")),
                ("/client/port", json!(client_port)),
                ("/process/pid", json!(service.process.pid())),
                ("/peer/pid", json!(client.process.pid())),
            ],
        )?;
    }
    let told = stopped.events.iter().filter(|event| is_on(event, port)).count();
    ensure!(told == 3, "{told} events");
    Ok(())
}

#[test]
fn a_port_that_is_not_listed_leaves_no_record() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (_listed, listed) = Script::service()?;
    let (_other, port) = Script::service()?;
    let run = tempfile::tempdir()?;
    let mut agent = Agent::run_configured(run.path(), &listing(listed))?;
    let mut client = Script::client(port)?;
    for nth in 0..50 {
        client.ask(&testbed, &format!("/api/unlisted/{nth}"))?;
    }
    // That the list is in force is seen by one exchange: a segment each way, as neither side ends.
    let mut seen = Script::client(listed)?;
    seen.ask(&testbed, "/api/listed")?;
    wait_for(&mut agent, listed, 1)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    ensure!(!stopped.events.iter().any(|event| is_on(event, port)), "an unlisted port was told");
    let records = stopped.counters().get("segment_records").copied().unwrap_or(0);
    // The service writes head and body by themselves.
    ensure!((2..=3).contains(&records), "{records} records: {:?}", stopped.counters());
    check(&stopped, listed, "/api/listed", &[("/observation/transport", json!("plain"))])?;
    ensure!(number(&stopped.events[0], "/server/port") == Some(listed.into()), "another's");
    Ok(())
}

#[test]
fn ipv6_with_extension_headers_and_mapped_addresses_are_told() -> Result<()> {
    require_root()?;
    for packets in ["auto", "tcx"] {
        check_ipv6(packets).with_context(|| format!("capture.packets: {packets}"))?;
    }
    Ok(())
}

fn check_ipv6(packets: &str) -> Result<()> {
    let testbed = Testbed::start()?;
    let (service, port) = Script::service_at("::")?;
    let run = tempfile::tempdir()?;
    let configuration = format!("capture: {{packets: {packets}, plain_http: {{ports: [{port}]}}}}");
    let mut agent = Agent::run_configured(run.path(), &configuration)?;
    let mut asked = Vec::new();
    for (host, path, address) in
        [("::1", "/api/padded", "::1"), ("::ffff:127.0.0.1", "/api/mapped", "127.0.0.1")]
    {
        let mut client = Script::start(&["ask", &port.to_string(), host])?;
        let client_port = client.ask(&testbed, path)?;
        asked.push((client, client_port, path, address));
    }
    wait_for(&mut agent, port, 2)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for (client, client_port, path, address) in &asked {
        let fields = [
            ("/client/ip", json!(address)),
            ("/server/ip", json!(address)),
            ("/client/port", json!(client_port)),
            ("/process/pid", json!(service.process.pid())),
            ("/peer/pid", json!(client.process.pid())),
        ];
        check(&stopped, port, path, &fields)?;
    }
    Ok(())
}

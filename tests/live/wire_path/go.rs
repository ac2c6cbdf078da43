//! Go's own TLS and HTTP at one end, which nothing probes, and OpenSSL at the other: the secret and
//! the exchange are the connection's, so one end suffices. Go's process is not known then.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    calls::Testbed,
    child::{self, Reaped},
    clients::{Reply, Request},
    events::text,
    require_root,
};

use super::lab::Lab;

/// Builds the peer in the testbed's directory.
pub fn build(testbed: &Testbed) -> Result<PathBuf> {
    let (source, program) = (testbed.dir().join("peer.go"), testbed.dir().join("gopeer"));
    fs::write(&source, include_str!("peer.go")).context("write peer.go")?;
    let mut command = Command::new("go");
    command.arg("build").arg("-o").args([&program, &source]).current_dir(testbed.dir());
    let output = child::output(&mut command, b"")?;
    ensure!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(program)
}

/// A client process.
pub struct Client {
    process: Reaped,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    pub fn start(testbed: &Testbed, protocol: &str) -> Result<Self> {
        let mut command = Command::new(build(testbed)?);
        command.arg("ask").arg(&testbed.target().authority).arg(protocol);
        let mut process = Reaped::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = process.inner().stdin.take().context("no stdin")?;
        let answers = BufReader::new(process.inner().stdout.take().context("no stdout")?);
        Ok(Self { process, stdin, answers })
    }

    pub fn ask(&mut self, testbed: &Testbed, request: &Request) -> Result<Reply> {
        let Request { method, path, headers, body } = request;
        let token = headers.get("Authorization").and_then(|value| value.strip_prefix("Bearer "));
        let token = token.context("no token")?;
        let port = testbed.nginx().port();
        writeln!(self.stdin, "{method} https://localhost:{port}{path} {token} {}", body.len())
            .context("ask the client")?;
        let mut line = String::new();
        self.answers.read_line(&mut line).context("read from the client")?;
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [status, length, client_port] = numbers[..] else {
            anyhow::bail!("the client said {line:?}")
        };
        Ok(Reply {
            status: status.try_into().context("the status")?,
            length,
            client_port: client_port.try_into().context("the port")?,
            client_pid: self.process.pid(),
            client_comm: "gopeer".to_owned(),
        })
    }
}

#[test]
fn go_asks_nginx_by_http1() -> Result<()> {
    asks("http/1.1", "1.1", 50_000)
}

#[test]
fn go_asks_nginx_by_http2() -> Result<()> {
    asks("h2", "2", 0)
}

/// By HTTP/2 nothing is `uploaded`: nginx answers before it came and resets the stream, which rightly
/// leaves the exchange unfinished.
fn asks(protocol: &str, version: &str, uploaded: usize) -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    let mut client = Client::start(&lab.testbed, protocol)?;
    for nth in ["one", "two", "three"] {
        for (method, length) in [("GET", 0), ("POST", uploaded)] {
            let mut request = lab.request(&format!("/api/{nth}"))?.body(&"b".repeat(length));
            method.clone_into(&mut request.method);
            let reply = client.ask(&lab.testbed, &request)?;
            lab.tell_of_unprobed(request, reply);
        }
    }
    let stopped = lab.finish()?;
    let mut told = stopped.events.iter().filter(|event| event.pointer("/http/method").is_some());
    ensure!(told.all(|event| text(event, "/http/version") == Some(version)), "another version");
    ensure!(stopped.dropped() == 0, "{:?}", stopped.counters());
    Ok(())
}

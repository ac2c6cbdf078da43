//! Equal addresses in several network namespaces: each connection is told by itself, with its own
//! processes.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    certs::Certificates,
    child::{self, Reaped},
    events::text,
    require_root, wait_until,
};
use serde_json::{Value, json};

use super::{
    lab::is_on,
    netns::{ip, remove, serve, within},
};
use crate::{EVENTS_TIMEOUT, clean};

const NAMESPACES: [&str; 2] = ["scopewatch-one", "scopewatch-two"];
const PORT: u16 = 4434;
const CLIENT_PORT: u16 = 40_404;

/// Connects from a port that is always the same, says so, and asks when it is told to.
const CLIENT: &str = r#"
import socket, ssl, sys
raw = socket.socket()
raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
raw.bind(("127.0.0.1", int(sys.argv[2])))
raw.connect(("127.0.0.1", int(sys.argv[1])))
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
tls = context.wrap_socket(raw)
print("connected", flush=True)
path = sys.stdin.readline().strip()
tls.sendall(f"GET {path} HTTP/1.0\r\nHost: h\r\n\r\n".encode())
while tls.recv(65536):
    pass
print("answered", flush=True)
"#;

struct Namespaces;

impl Namespaces {
    fn make() -> Result<Self> {
        drop(Self);
        let namespaces = Self;
        for name in NAMESPACES {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(namespaces)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        remove(&NAMESPACES);
    }
}

fn serve_in(name: &str, certificates: &Certificates) -> Result<Reaped> {
    let mut server = serve(within(name, "openssl"), &PORT.to_string(), certificates)?;
    wait_until("s_server to listen", Duration::from_secs(5), || {
        ensure!(server.ended()?.is_none(), "s_server ended");
        let mut probe = within(name, "sh");
        let listens = format!("grep -q ':{PORT:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6");
        Ok(child::output(probe.args(["-c", &listens]), b"")?.status.success().then_some(()))
    })?;
    Ok(server)
}

struct Client {
    process: Reaped,
    stdin: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Client {
    fn connect(name: &str) -> Result<Self> {
        let mut command = within(name, "/usr/bin/python3");
        command.args(["-c", CLIENT, &PORT.to_string(), &CLIENT_PORT.to_string()]);
        let mut process = Reaped::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = process.inner().stdin.take().context("no stdin")?;
        let said = BufReader::new(process.inner().stdout.take().context("no stdout")?);
        let mut client = Self { process, stdin, said };
        client.says("connected")?;
        Ok(client)
    }

    fn says(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line).context("read from the client")?;
        ensure!(line.trim() == word, "the client said {line:?}");
        Ok(())
    }
}

#[test]
fn equal_addresses_in_two_namespaces_are_told_apart() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::make(dir.path())?;
    let namespaces = Namespaces::make()?;
    let servers =
        [serve_in(NAMESPACES[0], &certificates)?, serve_in(NAMESPACES[1], &certificates)?];
    let mut agent = Agent::run(dir.path())?;
    let mut clients = Vec::new();
    for name in NAMESPACES {
        clients.push(Client::connect(name)?);
    }
    for (nth, client) in clients.iter_mut().enumerate() {
        writeln!(client.stdin, "/status/{}", ["one", "two"][nth])?;
    }
    for client in &mut clients {
        client.says("answered")?;
    }
    let ours = |event: &&Value| is_on(event, PORT);
    agent.log().wait_for("both events", EVENTS_TIMEOUT, |events| {
        events.iter().filter(ours).count() >= 2
    })?;
    std::thread::sleep(Duration::from_millis(200));
    let stopped = agent.terminate()?;
    drop(namespaces);
    clean(&stopped)?;
    for ((path, client), server) in
        ["/status/one", "/status/two"].iter().zip(&clients).zip(&servers)
    {
        let of = |event: &&Value| ours(event) && text(event, "/http/path") == Some(path);
        let events: Vec<_> = stopped.events.iter().filter(of).collect();
        ensure!(events.len() == 1, "{} events of {path}: {:#?}", events.len(), stopped.events);
        let event = events.first().context("no event")?;
        for (field, value) in [
            ("/http/status", json!(200)),
            ("/observation/role", json!("server")),
            ("/client/port", json!(CLIENT_PORT)),
            ("/process/pid", json!(server.pid())),
            ("/peer/pid", json!(client.process.pid())),
        ] {
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
    }
    Ok(())
}

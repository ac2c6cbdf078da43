//! Servers of other kinds, each started under the eyes of the agent: an OpenSSL of its own in the
//! executable, memory BIOs, threads, accepting late.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    child::Reaped,
    clients::{Reply, Request, Target, curl_by_version},
    events::Sought,
    require_root, wait_until,
};

use crate::{EVENTS_TIMEOUT, clean, only};

/// Versions of TLS by curl's options, for HTTP/1.1.
const VERSIONS: Versions =
    [("new", ["--tlsv1.3", "--tls-max=1.3"]), ("old", ["--tlsv1.2", "--tls-max=1.2"])];

/// The same for HTTP/2.
const HTTP2: Versions = [("new", ["--tlsv1.3", "--http2"]), ("old", ["--tls-max=1.2", "--http2"])];

type Versions = [(&'static str, [&'static str; 2]); 2];

const NODE: &str = r#"
const fs = require("fs");
const [cert, key] = process.argv.slice(1).map((path) => fs.readFileSync(path));
const server = require("https").createServer({ cert, key }, (_, answer) => answer.end("ok"));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

const NODE_HTTP2: &str = r#"
const fs = require("fs");
const [cert, key] = process.argv.slice(1).map((path) => fs.readFileSync(path));
const server = require("http2").createSecureServer({ cert, key });
server.on("stream", (stream) => { stream.respond({ ":status": 200 }); stream.end("ok"); });
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

const PYTHON: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// On memory BIOs; it keeps connections open.
pub const ASYNCIO: &str = r#"
import asyncio, ssl, sys
async def answer(reader, writer):
    while not reader.at_eof():
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        body = b"" if head.startswith(b"HEAD") else b"ok"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
    writer.close()
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"#;

#[test]
fn node_serves_with_its_own_openssl() -> Result<()> {
    check(VERSIONS, |testbed| script("node", "-e", NODE, testbed))
}

#[test]
fn python_serves_by_threads() -> Result<()> {
    check(VERSIONS, |testbed| script("/usr/bin/python3", "-c", PYTHON, testbed))
}

#[test]
fn python_serves_by_memory_bios() -> Result<()> {
    check(VERSIONS, |testbed| script("/usr/bin/python3", "-c", ASYNCIO, testbed))
}

/// It accepts a connection when there is something to read: the first payload is the listener's.
#[test]
fn apache_serves_and_accepts_late() -> Result<()> {
    check(VERSIONS, apache)
}

#[test]
fn node_serves_http2() -> Result<()> {
    check(HTTP2, |testbed| script("node", "-e", NODE_HTTP2, testbed))
}

#[test]
fn apache_serves_http2() -> Result<()> {
    check(HTTP2, apache)
}

/// Its TLS is not probed: the exchange is told from the client's end, which names no other.
#[test]
fn go_serves_http1_and_http2() -> Result<()> {
    for versions in [VERSIONS, HTTP2] {
        check_at("client", versions, |testbed| {
            let program = super::go::build(testbed)?;
            script(&program.to_string_lossy(), "serve", "", testbed)
        })?;
    }
    Ok(())
}

/// A server that runs, and its port.
pub struct Serving {
    pub process: Reaped,
    pub port: u16,
}

/// Starts the agent, then the server; makes an exchange by each version of TLS. Each must be one
/// event that names both processes.
fn check(versions: Versions, start: impl Fn(&Testbed) -> Result<Serving>) -> Result<()> {
    check_at("server", versions, start)
}

/// The same, told from the end of `role`; where that is the client's, the server is not known.
fn check_at(
    role: &'static str,
    versions: Versions,
    start: impl Fn(&Testbed) -> Result<Serving>,
) -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let Serving { process, port } = start(&testbed)?;
    let target = Target::new(port, testbed.certificates());
    let mut made: Vec<(Sought, Reply)> = Vec::new();
    for (version, options) in versions {
        let request = Request::new("GET", &format!("/api/{version}"));
        let request = testbed.with_token(request, Bearer::Alice)?;
        let reply = curl_by_version(&target, &request, options)?;
        let (method, path) = (request.method, request.path);
        let client_port = reply.client_port;
        let sought = Sought { role, method, path, client_port, server_port: port };
        made.push((sought, reply));
    }
    let late = agent.log().wait_for("both", EVENTS_TIMEOUT, |events| {
        made.iter().all(|(sought, _)| events.iter().any(|event| sought.matches(event)))
    });
    let stopped = agent.terminate()?;
    late.with_context(|| stopped.stderr.clone())?;
    clean(&stopped)?;
    let version = if versions == HTTP2 { "2" } else { "1.1" };
    for (sought, reply) in &made {
        let event = only(&stopped.events, sought)?;
        let client = reply.client_pid;
        let (near, far) =
            if role == "server" { (process.pid(), Some(client)) } else { (client, None) };
        let named = event.pointer("/peer/pid").and_then(serde_json::Value::as_u64);
        ensure!(named == far.map(u64::from), "the peer is not {far:?}: {event:#}");
        let expected = [
            ("/process/pid", near.into()),
            ("/observation/role", role.into()),
            ("/identity/subject", "alice".into()),
            ("/http/status", reply.status.into()),
            ("/http/resp_bytes", reply.length.into()),
            ("/http/version", version.into()),
        ];
        for (field, value) in expected {
            let value: serde_json::Value = value;
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
    }
    Ok(())
}

/// A script that is told certificate and key, and prints its port.
pub fn script(program: &str, option: &str, text: &str, testbed: &Testbed) -> Result<Serving> {
    let certificates = testbed.certificates();
    let mut command = Command::new(program);
    command
        .args([option, text].iter().filter(|word| !word.is_empty()))
        .args([&certificates.server, &certificates.server_key]);
    let mut process = Reaped::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut line = String::new();
    let stdout = process.inner().stdout.take().context("no stdout")?;
    BufReader::new(stdout).read_line(&mut line).context("read the port")?;
    let port = line.trim().parse().with_context(|| format!("{program} said {line:?}"))?;
    Ok(Serving { process, port })
}

fn apache(testbed: &Testbed) -> Result<Serving> {
    let certificates = testbed.certificates();
    let dir = testbed.dir().join("apache");
    fs::create_dir(&dir).context("create apache's directory")?;
    fs::create_dir_all(dir.join("www/api")).context("create apache's files")?;
    for (version, _) in VERSIONS {
        fs::write(dir.join("www/api").join(version), "ok").context("write apache's files")?;
    }
    let port = free_port()?;
    let path = |path: &Path| path.display().to_string();
    let configuration = include_str!("apache.conf.in")
        .replace("@DIR@", &path(&dir))
        .replace("@PORT@", &port.to_string())
        .replace("@CERTIFICATE@", &path(&certificates.server))
        .replace("@KEY@", &path(&certificates.server_key));
    let file = dir.join("apache.conf");
    fs::write(&file, configuration).context("write apache.conf")?;
    let mut command = Command::new("/usr/sbin/apache2");
    // One process, so that it is known which.
    command.arg("-X").arg("-f").arg(&file).stdin(Stdio::null());
    let process = Reaped::start(&mut command)?;
    wait_until("apache to listen", Duration::from_secs(10), || {
        let pid_file = dir.join("apache.pid");
        Ok(pid_file.exists().then_some(()))
    })?;
    Ok(Serving { process, port })
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("bind a free port")?;
    Ok(listener.local_addr()?.port())
}

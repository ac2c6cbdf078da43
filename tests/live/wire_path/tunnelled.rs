//! TLS within TLS: a client speaks to a server through a proxy to which it speaks TLS, too.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::{Reply, Request, curl_through},
    events::{is_over, text},
    require_root,
};
use serde_json::{Value, json};

use super::servers::{Serving, script};
use crate::{EVENTS_TIMEOUT, clean};

/// What both proxies have in common: they take connections, and CONNECT.
const PROXY: &str = r#"
import select, socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
def serve(plain):
    with context.wrap_socket(plain, server_side=True) as near:
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(4096)
        port = int(head.split()[1].rsplit(b":", 1)[1])
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        go_on(near, port)
"#;

/// Passes bytes on.
const RELAY: &str = r#"
def go_on(near, port):
    with socket.create_connection(("127.0.0.1", port)) as far:
        while True:
            ready = [near] if near.pending() else select.select([near, far], [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (far if source is near else near).sendall(data)
"#;

/// Answers itself, as whom the client means to speak to.
const IMPERSONATE: &str = r#"
def go_on(near, _port):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = context.wrap_bio(incoming, outgoing, server_side=True)
    def drive(step, *arguments):
        while True:
            try:
                return step(*arguments)
            except ssl.SSLWantReadError:
                near.sendall(outgoing.read())
                data = near.recv(65536)
                incoming.write(data) if data else incoming.write_eof()
            finally:
                near.sendall(outgoing.read())
    drive(inner.do_handshake)
    drive(inner.read, 65536)
    drive(inner.write, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    near.recv(65536)
"#;

const LISTEN: &str = r#"
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"#;

/// Versions of TLS to the server.
const VERSIONS: [(&str, &str); 2] = [("new", "1.3"), ("old", "1.2")];

/// A proxy, and what was asked through it.
struct Tunnel {
    testbed: Testbed,
    proxy: Serving,
    made: Vec<(Request, Reply)>,
}

impl Tunnel {
    /// Makes an exchange of each version through a proxy that goes on so; what was told.
    fn dig(go_on: &str) -> Result<(Self, Stopped)> {
        require_root()?;
        let testbed = Testbed::start()?;
        let text = [PROXY, go_on, LISTEN].concat();
        let proxy = script("/usr/bin/python3", "-c", &text, &testbed)?;
        let dir = tempfile::tempdir()?;
        let mut agent = Agent::run(dir.path())?;
        let mut made = Vec::new();
        for (name, version) in VERSIONS {
            let request = Request::new("GET", &format!("/api/tunnel/{name}"));
            let request = testbed.with_token(request, Bearer::Alice)?;
            let reply = curl_through(testbed.target(), &request, proxy.port, version)?;
            ensure!(reply.status == 200, "the answer was {}", reply.status);
            made.push((request, reply));
        }
        // Each is told within the tunnel, and the tunnel itself.
        let count = |events: &[Value]| events.iter().filter(|event| is_over(event)).count();
        let late = agent.log().wait_for("all", EVENTS_TIMEOUT, |e| count(e) >= made.len() * 2);
        let stopped = agent.terminate()?;
        late.with_context(|| format!("{:#?}, {:?}", stopped.events, stopped.counters()))?;
        clean(&stopped)?;
        ensure!(count(&stopped.events) == made.len() * 2, "too many: {:#?}", stopped.events);
        Ok((Self { testbed, proxy, made }, stopped))
    }

    /// The one event of each exchange in a tunnel has what `expected` says of it, and each tunnel
    /// has one of its own.
    fn check(
        &self,
        stopped: &Stopped,
        expected: impl Fn(&Reply) -> Vec<(&'static str, Value)>,
    ) -> Result<()> {
        let mut tunnels =
            stopped.events.iter().filter(|e| text(e, "/http/method") == Some("CONNECT"));
        for (request, reply) in &self.made {
            let told =
                stopped.events.iter().filter(|e| text(e, "/http/path") == Some(&request.path));
            let [event] = told.collect::<Vec<_>>()[..] else {
                anyhow::bail!("not one event of {}: {:#?}", request.path, stopped.events)
            };
            let common = vec![
                ("/observation/role", json!("server")),
                ("/observation/complete", json!(true)),
                ("/http/status", json!(200)),
                ("/http/resp_bytes", json!(reply.length)),
                ("/identity/subject", json!("alice")),
                ("/server/sni", json!("localhost")),
                ("/peer/pid", json!(reply.client_pid)),
            ];
            has(event, common.into_iter().chain(expected(reply)))?;
            let tunnel = tunnels.next().context("no tunnel is told")?;
            let own = vec![
                ("/client/port", json!(reply.client_port)),
                ("/server/port", json!(self.proxy.port)),
                ("/process/pid", json!(self.proxy.process.pid())),
                ("/peer/pid", json!(reply.client_pid)),
            ];
            has(tunnel, own)?;
        }
        ensure!(tunnels.next().is_none(), "a tunnel is told twice");
        Ok(())
    }
}

fn has(event: &Value, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Result<()> {
    for (field, value) in fields {
        ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
    }
    Ok(())
}

/// The proxy's connection to the server carries the same session: it is told there, and not twice.
#[test]
fn what_a_proxy_passes_on_is_told_once_with_its_true_ends() -> Result<()> {
    let (tunnel, stopped) = Tunnel::dig(RELAY)?;
    let nginx = tunnel.testbed.nginx();
    tunnel.check(&stopped, |_| {
        vec![
            ("/server/port", json!(nginx.port())),
            ("/process/pid", json!(nginx.worker_pid())),
            ("/process/comm", json!("nginx")),
        ]
    })
}

/// There is no other connection: the session is told with the addresses of the one that carries it.
#[test]
fn what_a_proxy_answers_itself_is_told_at_its_own_address() -> Result<()> {
    let (tunnel, stopped) = Tunnel::dig(IMPERSONATE)?;
    let Serving { process, port } = &tunnel.proxy;
    tunnel.check(&stopped, |reply| {
        vec![
            ("/client/port", json!(reply.client_port)),
            ("/server/port", json!(port)),
            ("/process/pid", json!(process.pid())),
        ]
    })
}

//! Handshakes that are under way when the agent starts: what one end derived before is missing, what
//! the other derives later is not.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    clients::Request,
    events::{is_over, text},
    require_root,
};
use serde_json::Value;

use super::{lab::is_on, lines::Lines};
use crate::{EVENTS_TIMEOUT, clean};

/// Sends its hello, waits until nginx has answered, and takes the answer only when it is told to.
const CLIENT: &str = "
import select, socket, ssl, sys
port, authorities = int(sys.argv[1]), sys.argv[2]
plain = socket.create_connection(('127.0.0.1', port))
context = ssl.create_default_context(cafile=authorities)
came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
stream = context.wrap_bio(came, goes, server_hostname='localhost')
def step(what):
    while True:
        try:
            return what()
        except ssl.SSLWantReadError:
            plain.sendall(goes.read())
            came.write(plain.recv(65536))
try:
    stream.do_handshake()
except ssl.SSLWantReadError:
    plain.sendall(goes.read())
select.select([plain], [], [])
print(plain.getsockname()[1], flush=True)
for line in sys.stdin:
    path, token = line.split(' ', 1)
    step(stream.do_handshake)
    ask = f'GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nAuthorization: {token.strip()}\\r\\n\\r\\n'
    stream.write(ask.encode())
    plain.sendall(goes.read())
    print(step(lambda: stream.read(65536)).split(b' ')[1].decode(), flush=True)
";

#[test]
fn who_derives_after_the_agent_started_is_enough_for_each_end_to_tell_once() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let port = testbed.nginx().port();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", CLIENT, &port.to_string()]).arg(&testbed.certificates().authority);
    let mut client = Lines::start(&mut command)?;
    let _its_port = client.line()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let request = testbed.with_token(Request::new("GET", "/"), Bearer::Alice)?;
    let token = request.headers.get("Authorization").context("no token")?;
    let paths = ["/api/one", "/api/two", "/api/three"];
    for path in paths {
        ensure!(client.ask(&format!("{path} {token}"))? == [200], "{path} was refused");
    }
    agent.log().wait_for("the last call", EVENTS_TIMEOUT, |events| {
        events.iter().any(|event| text(event, "/http/path") == paths.last().copied())
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let events: Vec<_> =
        stopped.events.iter().filter(|event| is_on(event, port) && is_over(event)).collect();
    for path in paths {
        // Each end by its calls, as the wire path has not seen the hellos.
        for role in ["server", "client"] {
            let is_it = |event: &&&Value| {
                text(event, "/http/path") == Some(path)
                    && text(event, "/observation/role") == Some(role)
            };
            let told: Vec<_> = events.iter().filter(is_it).collect();
            let count = told.len();
            ensure!(count == 1, "{count} events of {path}, {role}: {told:#?}, {}", stopped.stderr);
            ensure!(
                told.iter().all(|it| text(it, "/identity/subject") == Some("alice")),
                "{told:#?}"
            );
        }
    }
    Ok(())
}

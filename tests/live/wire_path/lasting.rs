//! Exchanges that last: an event stream and a WebSocket in a Node server, held by a Python client
//! for some seconds more than it takes until a session is told.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    child::Reaped,
    clients::Request,
    events::{number, text},
    require_root,
};
use serde_json::{Value, json};

use super::{
    lab::is_on,
    servers::{Serving, script},
};
use crate::clean;

const SERVER: &str = r#"
const fs = require("fs");
const { createHash } = require("crypto");
const [cert, key] = process.argv.slice(1).map((path) => fs.readFileSync(path));
const server = require("https").createServer({ cert, key }, (_, answer) => {
  answer.writeHead(200, { "content-type": "text/event-stream" });
  let left = 13;
  const timer = setInterval(() => {
    answer.write("data: tick\n\n");
    if (--left === 0) { clearInterval(timer); answer.end(); }
  }, 1000);
});
server.on("upgrade", (request, socket) => {
  const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + guid);
  socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    + "Sec-WebSocket-Accept: " + accept.digest("base64") + "\r\n\r\n");
  socket.on("data", () => socket.write(Buffer.from([0x81, 2, 0x6f, 0x6b])));
  socket.on("end", () => socket.end());
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

/// Prints both ports when both are open, and how many bytes the stream had at its end.
const CLIENT: &str = r#"
import http.client, socket, ssl, sys
port, token = int(sys.argv[1]), sys.stdin.readline().strip()
context = ssl._create_unverified_context()
web = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
web.sendall(("GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + token + "\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").encode())
head = b""
while b"\r\n\r\n" not in head:
    head += web.recv(4096)
stream = http.client.HTTPSConnection("127.0.0.1", port, context=context)
stream.request("GET", "/sse", headers={"Authorization": token})
answer = stream.getresponse()
ports = [each.getsockname()[1] for each in (web, stream.sock)]
print(*ports, flush=True)
def say():
    web.sendall(b"\x81\x82\0\0\0\0hi")
    assert len(web.recv(4)) == 4
say()
length = len(answer.read())
say()
web.close()
print(length, flush=True)
sys.stdin.readline()
"#;

#[test]
fn a_session_is_told_while_it_lasts_and_counted_at_its_end() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let Serving { process: server, port } = script("node", "-e", SERVER, &testbed)?;
    let alice = testbed.with_token(Request::new("GET", "/"), Bearer::Alice)?;
    let token = alice.headers.get("Authorization").cloned().context("no token")?;

    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", CLIENT, &port.to_string()]);
    let mut client = Reaped::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let mut stdin = client.inner().stdin.take().context("no stdin")?;
    writeln!(stdin, "{token}").context("tell the client its token")?;
    let mut lines = BufReader::new(client.inner().stdout.take().context("no stdout")?).lines();
    let mut numbers = || -> Result<Vec<u16>> {
        let line = lines.next().context("the client ended")??;
        line.split_whitespace().map(|word| Ok(word.parse()?)).collect()
    };
    let ports = numbers()?;
    let [web, stream] = ports[..] else { anyhow::bail!("two ports, not {ports:?}") };
    let told = |events: &[Value], kind: &str| {
        events.iter().filter(|e| is_on(e, port) && text(e, "/event/type") == Some(kind)).count()
    };
    agent.log().wait_for("both sessions while they last", Duration::from_secs(25), |events| {
        told(events, "access.begun") == 2
    })?;
    ensure!(told(agent.log().read()?, "access") == 0, "nothing is over yet");
    let length = numbers()?.first().copied().context("no length")?;
    agent
        .log()
        .wait_for("both ends", Duration::from_secs(25), |events| told(events, "access") == 2)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    drop((stdin, server));

    let on = |client: u16| {
        let is_it =
            move |e: &&Value| is_on(e, port) && number(e, "/client/port") == Some(client.into());
        stopped.events.iter().filter(is_it).collect::<Vec<_>>()
    };
    for (client, status, sent, received) in [(web, 101, 16, 8), (stream, 200, 0, length)] {
        let events = on(client);
        let [begun, over] = events[..] else { anyhow::bail!("not two: {events:#?}") };
        let alike =
            ["/observation/conn_id", "/observation/exchange", "/credential/fp", "/http/path"];
        for field in alike {
            ensure!(begun.pointer(field) == over.pointer(field), "{field}: {begun:#} {over:#}");
        }
        ensure!(begun.pointer("/event/uid") != over.pointer("/event/uid"), "one uid for two");
        for event in [begun, over] {
            ensure!(event.pointer("/http/status") == Some(&json!(status)), "{event:#}");
            ensure!(text(event, "/identity/subject") == Some("alice"), "{event:#}");
        }
        ensure!(text(begun, "/event/type") == Some("access.begun"), "{begun:#}");
        ensure!(begun.pointer("/http/duration_ns").is_none(), "{begun:#}");
        ensure!(text(over, "/event/type") == Some("access"), "{over:#}");
        ensure!(over.pointer("/observation/complete") == Some(&json!(true)), "{over:#}");
        ensure!(number(over, "/http/req_bytes") == Some(sent), "{over:#}");
        ensure!(number(over, "/http/resp_bytes") == Some(received.into()), "{over:#}");
        ensure!(number(over, "/http/duration_ns") > Some(10_000_000_000), "{over:#}");
    }
    Ok(())
}

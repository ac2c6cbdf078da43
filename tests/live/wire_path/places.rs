//! Clients on other libraries and other ways of I/O, listeners and networks of other kinds.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    certs::Certificates,
    child,
    clients::{Reply, Request, curl},
    events::{number, text},
    require_root,
};
use serde_json::json;

use super::{
    lab::{Lab, is_on},
    netns::{ask, ip, remove, serve, within},
};
use crate::{EVENTS_TIMEOUT, clean};

/// Prints the status, the length and the port of one exchange through a memory BIO.
const ASYNCIO: &str = r#"
import asyncio, json, ssl, sys
async def main():
    call = json.load(sys.stdin)
    context = ssl.create_default_context(cafile=call["authority"])
    reader, writer = await asyncio.open_connection("localhost", call["port"], ssl=context)
    lines = ["GET " + call["path"] + " HTTP/1.1", "Host: localhost", "Connection: close",
             "Authorization: " + call["token"], "", ""]
    writer.write("\r\n".join(lines).encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    print(head.split()[1].decode(), len(body), writer.get_extra_info("sockname")[1])
asyncio.run(main())
"#;

/// The same with Node, whose OpenSSL is its own.
const NODE: &str = r#"
const call = JSON.parse(require("fs").readFileSync(0));
const ca = require("fs").readFileSync(call.authority);
const headers = { Authorization: call.token };
const options = { host: "127.0.0.1", servername: "localhost", port: call.port, path: call.path, ca, headers, agent: false };
require("https").get(options, (answer) => {
    const port = answer.socket.localPort;
    let length = 0;
    answer.on("data", (piece) => { length += piece.length; });
    answer.on("end", () => console.log(answer.statusCode, length, port));
});
"#;

#[test]
fn clients_that_keep_sockets_from_the_library_are_told_once() -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    let request = lab.request("/api/orders/asyncio")?;
    let reply = script(&lab, "/usr/bin/python3", &["-c", ASYNCIO], &request)?;
    lab.tell(request, reply);
    let request = lab.request("/api/orders/node")?;
    let reply = script(&lab, "node", &["-e", NODE], &request)?;
    lab.tell(request, reply);
    lab.finish().map(drop)
}

/// Makes one exchange by `program`, which is told of it on its standard input.
fn script(lab: &Lab, program: &str, arguments: &[&str], request: &Request) -> Result<Reply> {
    let target = lab.testbed.target();
    let input = json!({
        "path": request.path, "token": request.headers.get("Authorization"),
        "port": target.port, "authority": target.authority,
    });
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().with_context(|| format!("start {program}"))?;
    let client_pid = process.id();
    let mut stdin = process.stdin.take().context("no stdin")?;
    stdin.write_all(input.to_string().as_bytes())?;
    drop(stdin);
    let output = process.wait_with_output().context("wait for the client")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u64> = printed.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    let [status, length, port] = *numbers.as_slice() else {
        anyhow::bail!("{program} printed {printed:?}");
    };
    Ok(Reply {
        status: u16::try_from(status)?,
        length,
        client_port: u16::try_from(port)?,
        client_pid,
        client_comm: program.rsplit('/').next().unwrap_or(program).to_owned(),
    })
}

/// The first payload of such a connection passes under the listener's cookie.
#[test]
fn strangers_at_a_deferred_listener_hide_nobody() -> Result<()> {
    require_root()?;
    let lab = Lab::start()?;
    let port = lab.testbed.nginx().deferred_port();
    let not_tls: [&[u8]; 2] = [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\x05hello"];
    for words in not_tls.iter().cycle().take(16) {
        let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stranger.write_all(words)?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut target = lab.testbed.target().clone();
    target.port = port;
    let request = lab.request("/api/orders/deferred")?;
    let ports = [curl(&target, &request)?.client_port, curl(&target, &request)?.client_port];
    let Lab { mut agent, .. } = lab;
    let told = |events: &[serde_json::Value], client: u16| {
        let of = |event: &&serde_json::Value| {
            is_on(event, port)
                && number(event, "/client/port") == Some(client.into())
                && text(event, "/http/path") == Some("/api/orders/deferred")
        };
        events.iter().filter(of).count()
    };
    agent.log().wait_for("both exchanges", EVENTS_TIMEOUT, |events| {
        ports.iter().all(|&client| told(events, client) > 0)
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    ensure!(ports.iter().all(|&client| told(&stopped.events, client) == 1), "told twice");
    Ok(())
}

/// Two network namespaces and the line between them, removed with it.
struct Line;

/// Addresses for documentation (RFC 5737), at either end of the line.
const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";
/// Nobody's.
const NOWHERE: &str = "192.0.2.9";
const NAMESPACES: [&str; 2] = ["scopewatch-here", "scopewatch-there"];

impl Line {
    fn lay() -> Result<Self> {
        drop(Self);
        let [here, there] = NAMESPACES;
        let line = Self;
        ip(&["netns", "add", here])?;
        ip(&["netns", "add", there])?;
        ip(&[
            "-n", here, "link", "add", "end", "type", "veth", "peer", "name", "end", "netns", there,
        ])?;
        for (namespace, address) in [(here, HERE), (there, THERE)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", "end"])?;
            ip(&["-n", namespace, "link", "set", "end", "up"])?;
        }
        Ok(line)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        remove(&NAMESPACES);
    }
}

#[test]
fn a_connection_between_two_namespaces_is_told_once() -> Result<()> {
    check_between_namespaces((HERE, 4433), "")
}

/// The client's socket and its packets to the other namespace have other addresses than the
/// packets that arrive there.
#[test]
fn a_connection_through_a_nat_is_told_once() -> Result<()> {
    let translation = format!(
        "add table ip t; \
         add chain ip t output {{ type nat hook output priority -100; }}; \
         add rule ip t output ip daddr {NOWHERE} tcp dport 443 dnat to {HERE}:4433"
    );
    check_between_namespaces((NOWHERE, 443), &translation)
}

/// A client in one namespace asks a server in the other at an address. `translation` is what
/// nftables does in the client's.
fn check_between_namespaces((address, port): (&str, u16), translation: &str) -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::make(dir.path())?;
    let line = Line::lay()?;
    let [here, there] = NAMESPACES;
    if !translation.is_empty() {
        child::checked(within(there, "nft").arg(translation), b"")?;
    }
    let server = serve(within(here, "openssl"), "4433", &certificates)?;
    let mut agent = Agent::run(dir.path())?;
    let client = ask(|| within(there, "curl"), &format!("https://{address}:{port}/status"))?;
    let is_it = |event: &&serde_json::Value| is_on(event, 4433);
    agent.log().wait_for("the event", EVENTS_TIMEOUT, |events| events.iter().any(|e| is_it(&e)))?;
    // The other end's, if there were one.
    std::thread::sleep(Duration::from_millis(200));
    let stopped = agent.terminate()?;
    drop(line);
    clean(&stopped)?;
    let events: Vec<_> = stopped.events.iter().filter(is_it).collect();
    ensure!(events.len() == 1, "{} events: {events:#?}", events.len());
    let event = events.first().context("no event")?;
    for (field, value) in [
        ("/http/status", json!(200)),
        ("/observation/role", json!("server")),
        ("/client/ip", json!(THERE)),
        ("/server/ip", json!(HERE)),
        ("/process/pid", json!(server.pid())),
        ("/peer/pid", json!(client)),
    ] {
        ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
    }
    Ok(())
}

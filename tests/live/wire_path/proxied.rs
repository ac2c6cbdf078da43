//! Connections that a proxy makes for others, and says so by a header of the PROXY protocol.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use scopewatch_harness::{
    agent::{Agent, open_dir},
    calls::{Bearer, Testbed},
    child::checked,
    clients::Request,
    events::text,
    require_root,
};
use serde_json::Value;

use super::{front::Front, lab::is_on};
use crate::{EVENTS_TIMEOUT, clean};

/// Says for whom it comes, then speaks TLS; the token comes on standard input.
const CLIENT: &str = "
import socket, ssl, sys
port, authorities, header = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
plain = socket.create_connection(('127.0.0.1', port))
plain.sendall(header)
context = ssl.create_default_context(cafile=authorities)
stream = context.wrap_socket(plain, server_hostname='localhost')
token = sys.stdin.readline().strip()
ask = f'GET {sys.argv[4]} HTTP/1.1\\r\\nHost: localhost\\r\\nAuthorization: {token}\\r\\nConnection: close\\r\\n\\r\\n'
stream.sendall(ask.encode())
assert stream.recv(4096).startswith(b'HTTP/1.1 200'), 'refused'
while stream.recv(4096): pass
";

const FIRST: &[u8] = b"PROXY TCP4 192.0.2.77 198.51.100.7 40000 443\r\n";

/// The same of another client in the second version: addresses of TCP over IPv6.
fn second() -> Vec<u8> {
    let signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    let mut header = signature.to_vec();
    header.extend([0x21, 0x21, 0, 36]);
    header.extend("2001:db8::77".parse::<std::net::Ipv6Addr>().map_or([0; 16], |it| it.octets()));
    header.extend("2001:db8::7".parse::<std::net::Ipv6Addr>().map_or([0; 16], |it| it.octets()));
    header.extend([0x9c, 0x40, 0x01, 0xbb]);
    header
}

fn call(testbed: &Testbed, port: u16, header: &[u8], path: &str) -> Result<()> {
    let hex: String = header.iter().map(|byte| format!("{byte:02x}")).collect();
    let request = testbed.with_token(Request::new("GET", path), Bearer::Alice)?;
    let token = request.headers.get("Authorization").context("no token")?;
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", CLIENT, &port.to_string()]);
    command.arg(&testbed.certificates().authority).args([&hex, path]);
    checked(&mut command, format!("{token}\n").as_bytes()).map(drop)
}

fn policy(dir: &Path, port: u16, trusted: &str) -> Result<String> {
    let file = dir.join("policy.yaml");
    let text = format!(
        "version: 1\ndefaults: {{trusted_proxies: [\"{trusted}\"]}}\nservices:\n  - id: front\n    \
         select: {{ports: [{port}], role: server}}\n    routes: [{{match: {{path: \"/**\"}}}}]\n"
    );
    fs::write(&file, text)?;
    Ok(format!("policy: {{file: {}}}\n", file.display()))
}

/// Who called, as the events of two calls have it: one with each version of the header.
fn forwarded(trusted: &str) -> Result<[Option<String>; 2]> {
    let testbed = Testbed::start()?;
    let (front_dir, dir) = (open_dir()?, open_dir()?);
    let front =
        Front { listen: "ssl proxy_protocol", http: "", location: "return 200 \"yes\\n\";" };
    let (nginx, port) = front.start(front_dir.path(), &testbed)?;
    let mut agent = Agent::run_configured(dir.path(), &policy(dir.path(), port, trusted)?)?;
    call(&testbed, port, FIRST, "/first")?;
    call(&testbed, port, &second(), "/second")?;
    let ours = |events: &[Value]| -> Vec<Value> {
        let access = events.iter().filter(|event| text(event, "/event/type") == Some("access"));
        access.filter(|event| is_on(event, port)).cloned().collect()
    };
    agent.log().wait_for("both calls", EVENTS_TIMEOUT, |events| ours(events).len() >= 2)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    drop(nginx);
    let events = ours(&stopped.events);
    assert_eq!(events.len(), 2, "{events:?}");
    for event in &events {
        assert_eq!(text(event, "/client/ip"), Some("127.0.0.1"), "{event}");
        assert_eq!(text(event, "/identity/subject"), Some("alice"), "{event}");
    }
    let of = |nth: usize| text(events.get(nth)?, "/client/forwarded_for").map(str::to_owned);
    Ok([of(0), of(1)])
}

#[test]
fn the_client_that_a_trusted_proxy_names_is_told_and_judged() -> Result<()> {
    require_root()?;
    let expected = ["192.0.2.77", "2001:db8::77"].map(|ip| Some(ip.to_owned()));
    assert_eq!(forwarded("127.0.0.0/8")?, expected);
    Ok(())
}

#[test]
fn whom_another_names_is_not_believed() -> Result<()> {
    require_root()?;
    assert_eq!(forwarded("10.0.0.0/8")?, [None, None]);
    Ok(())
}

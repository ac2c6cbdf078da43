//! I/O through a filter BIO goes past `SSL_read` and `SSL_write`, but not past the agent.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use scopewatch_harness::{
    agent::Agent,
    certs::Certificates,
    child::Reaped,
    clients::{Request, Target, curl},
    events::{Sought, number, text},
    require_root, wait_until,
};

use crate::{EVENTS_TIMEOUT, clean, only};

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// OpenSSL's own server, which answers every request with a page about the connection. It reads
/// and writes by `BIO_f_ssl`, with the handshake inside of the first read.
struct Server {
    process: Reaped,
    port: u16,
}

impl Server {
    fn start(certificates: &Certificates) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
        command.arg("-cert").arg(&certificates.server).arg("-key").arg(&certificates.server_key);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Reaped::start(&mut command)?;
        wait_until("s_server to answer", START_TIMEOUT, || {
            if let Some(status) = process.ended()? {
                bail!("s_server ended at start, {status}");
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop))
        })?;
        Ok(Self { process, port })
    }
}

#[test]
fn a_server_on_a_filter_bio_is_seen() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::make(dir.path())?;
    let server = Server::start(&certificates)?;
    let mut agent = Agent::run_on_calls(dir.path())?;
    let target = Target::new(server.port, &certificates);
    let reply = curl(&target, &Request::new("GET", "/status"))?;
    let sides = ["client", "server"].map(|role| Sought {
        role,
        method: "GET".to_owned(),
        path: "/status".to_owned(),
        client_port: reply.client_port,
        server_port: server.port,
    });
    agent.log().wait_for("both sides of the call", EVENTS_TIMEOUT, |events| {
        sides.iter().all(|side| events.iter().any(|event| side.matches(event)))
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let [_, side] = &sides;
    let event = only(&stopped.events, side)?;
    assert_eq!(number(event, "/http/status"), Some(200), "{event}");
    assert_eq!(text(event, "/process/comm"), Some("openssl"), "{event}");
    assert_eq!(number(event, "/process/pid"), Some(server.process.pid().into()), "{event}");
    Ok(())
}

//! Packets at the interfaces, as on a host without cgroup v2: on loopback, and on an interface that
//! comes while the agent runs and leads to another network namespace.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    certs::Certificates,
    child::{self, Reaped},
    clients::curl,
    events::text,
    require_root,
};
use serde_json::{Value, json};

use super::{
    lab::{Lab, is_on},
    netns::{ask, ip, remove, serve, within},
};
use crate::{EVENTS_TIMEOUT, clean};

const CONFIGURATION: &str = "capture:\n  packets: tcx\n";

/// Addresses for documentation (RFC 5737), at either end of the line.
const HERE: &str = "198.51.100.1";
const THERE: &str = "198.51.100.2";
const NAMESPACE: &str = "scopewatch-beyond";
const INTERFACE: &str = "swline";
const PORT: u16 = 4436;

/// Calls on loopback.
const MADE: usize = 5;

/// A namespace and the line to it, removed with it.
struct Line;

impl Line {
    fn lay() -> Result<Self> {
        drop(Self);
        let line = Self;
        ip(&["netns", "add", NAMESPACE])?;
        let peer = ["type", "veth", "peer", "name", "end", "netns", NAMESPACE];
        ip(&[&["link", "add", INTERFACE], &peer[..]].concat())?;
        ip(&["addr", "add", &format!("{HERE}/24"), "dev", INTERFACE])?;
        ip(&["link", "set", INTERFACE, "up"])?;
        ip(&["-n", NAMESPACE, "addr", "add", &format!("{THERE}/24"), "dev", "end"])?;
        ip(&["-n", NAMESPACE, "link", "set", "end", "up"])?;
        Ok(line)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        remove(&[NAMESPACE]);
    }
}

/// A program at one end of the line.
fn at(end: &str, program: &str) -> Command {
    if end == HERE { Command::new(program) } else { within(NAMESPACE, program) }
}

/// Whether the kernel has TCX. Where it has not, that is told, and the agent goes on without packets.
fn is_there() -> Result<bool> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("read the kernel's symbols")?;
    if symbols.lines().any(|line| line.ends_with(" tcx_link_attach")) {
        return Ok(true);
    }
    let dir = tempfile::tempdir()?;
    let stopped = Agent::run_configured(dir.path(), CONFIGURATION)?.terminate()?;
    clean(&stopped)?;
    for words in ["calls are probed instead", "no TCX"] {
        ensure!(stopped.stderr.contains(words), "{words:?} is not said: {}", stopped.stderr);
    }
    Ok(false)
}

#[test]
fn exchanges_on_loopback_are_told_once_with_both_ends() -> Result<()> {
    require_root()?;
    if !is_there()? {
        return Ok(());
    }
    let mut lab = Lab::start_configured(CONFIGURATION)?;
    for nth in 0..MADE {
        let request = lab.request(&format!("/api/orders/{nth}"))?;
        let reply = curl(lab.testbed.target(), &request)?;
        lab.tell(request, reply);
    }
    let stopped = lab.finish()?;
    let opened = stopped.counters().get("tls_opened").copied();
    ensure!(opened == Some(MADE as u64), "{opened:?} connections were opened");
    Ok(())
}

#[test]
fn exchanges_with_another_namespace_are_told_once_by_the_end_that_is_here() -> Result<()> {
    require_root()?;
    if !is_there()? {
        return Ok(());
    }
    for (server, client, role) in [(HERE, THERE, "server"), (THERE, HERE, "client")] {
        check(server, client, role).with_context(|| format!("the {role} is here"))?;
    }
    Ok(())
}

/// A program of somebody else at the interface, which comes after the agent's, drops what leaves by it.
fn check_others(server: &str, client: &str) -> Result<()> {
    let tc = |arguments: &[&str]| child::checked(Command::new("tc").args(arguments), b"");
    tc(&["qdisc", "add", "dev", INTERFACE, "clsact"])?;
    // A classic program: return "drop".
    let program = ["direct-action", "bytecode", "1,6 0 0 2"];
    tc(&[&["filter", "add", "dev", INTERFACE, "egress", "bpf"], &program[..]].concat())?;
    let mut curl = at(client, "curl");
    curl.args(["-q", "-s", "-k", "--noproxy", "*", "--max-time", "1", "-o", "/dev/null"]);
    curl.arg(format!("https://{server}:{PORT}/status"));
    let answered = Reaped::start(&mut curl)?.wait(Duration::from_secs(5))?.success();
    ensure!(!answered, "what another program drops comes through");
    Ok(())
}

/// A client at one end of a line asks a server at the other.
fn check(server: &str, client: &str, role: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::make(dir.path())?;
    let mut agent = Agent::run_configured(dir.path(), CONFIGURATION)?;
    let line = Line::lay()?;
    let s_server = serve(at(server, "openssl"), &format!("{server}:{PORT}"), &certificates)?;
    // Interfaces that have come are looked for once a second.
    std::thread::sleep(Duration::from_secs(2));
    let asker = ask(|| at(client, "curl"), &format!("https://{server}:{PORT}/status"))?;
    check_others(server, client)?;
    let is_it = |event: &&Value| is_on(event, PORT);
    agent.log().wait_for("the event", EVENTS_TIMEOUT, |events| events.iter().any(|e| is_it(&e)))?;
    // Another one, if there were one.
    std::thread::sleep(Duration::from_millis(200));
    let stopped = agent.terminate()?;
    drop(line);
    clean(&stopped)?;
    let events: Vec<_> = stopped.events.iter().filter(is_it).collect();
    ensure!(events.len() == 1, "{} events: {events:#?}", events.len());
    let event = events.first().context("no event")?;
    let here = if role == "server" { s_server.pid() } else { asker };
    for (field, value) in [
        ("/http/status", json!(200)),
        ("/observation/role", json!(role)),
        ("/observation/complete", json!(true)),
        ("/client/ip", json!(client)),
        ("/server/ip", json!(server)),
        ("/process/pid", json!(here)),
    ] {
        ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
    }
    ensure!(text(event, "/peer/comm").is_none(), "an end is told that was not seen: {event:#}");
    Ok(())
}

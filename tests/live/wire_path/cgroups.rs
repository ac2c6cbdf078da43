//! A client whose socket is served by other threads than its TLS, as event loops have it: nobody is
//! seen at the socket right after a key was derived. Its cgroup tells that it holds its end, if that is
//! one of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{agent::Agent, calls::Testbed, child::Reaped, events::text, require_root};
use serde_json::{Value, json};

use super::lab::is_on;
use crate::{EVENTS_TIMEOUT, clean};

/// Goes into a cgroup, if one is named, and asks once.
const CLIENT: &str = r#"
import os, queue, socket, ssl, sys, threading
port, path, procs = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if procs:
    with open(procs, "w") as file:
        file.write(str(os.getpid()))
raw = socket.create_connection(("127.0.0.1", port))
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
said, heard = queue.Queue(), queue.Queue()
def say():
    while True:
        raw.sendall(said.get())
def hear():
    while True:
        heard.put(raw.recv(65536))
for work in (say, hear):
    threading.Thread(target=work, daemon=True).start()
def until_done(call):
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            said.put(outgoing.read())
            incoming.write(heard.get())
until_done(tls.do_handshake)
tls.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
assert until_done(lambda: tls.read(65536)).startswith(b"HTTP/1.1 ")
"#;

/// A cgroup, removed with it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let hierarchy =
            mounts.lines().map(fields).find(|it| it.get(2).is_some_and(|k| k == "cgroup2"));
        let root =
            hierarchy.and_then(|it| it.get(1).cloned()).context("no cgroup v2 is mounted")?;
        let path = Path::new(&root).join(format!("scopewatch-test-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether the test, and what it starts, is in the root cgroup.
fn is_in_root() -> Result<bool> {
    Ok(fs::read_to_string("/proc/self/cgroup")?.lines().any(|line| line == "0::/"))
}

#[test]
fn a_process_in_the_cgroup_of_its_socket_is_told_to_hold_it() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let port = testbed.nginx().port();
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let cgroup = Cgroup::make()?;
    let alone = cgroup.0.join("cgroup.procs");
    let elsewhere = if is_in_root()? { "key_only" } else { "same_cgroup" };
    let mut asked = Vec::new();
    for (path, procs, grade) in
        [("/api/alone", Some(&alone), "same_cgroup"), ("/api/as-we-are", None, elsewhere)]
    {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", CLIENT, &port.to_string(), path]).stdin(Stdio::null());
        command.arg(procs.map_or(Path::new(""), PathBuf::as_path));
        let mut client = Reaped::start(&mut command)?;
        let pid = client.pid();
        ensure!(client.wait(Duration::from_secs(10))?.success(), "the client failed");
        asked.push((path, pid, grade));
    }
    agent.log().wait_for("both", EVENTS_TIMEOUT, |events| {
        events.iter().filter(|event| is_on(event, port)).count() >= asked.len()
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for (path, pid, grade) in asked {
        let is_it = |event: &&Value| text(event, "/http/path") == Some(path);
        let event = stopped.events.iter().find(is_it).with_context(|| format!("no {path}"))?;
        for (field, value) in [
            ("/observation/role", json!("server")),
            ("/observation/attribution", json!("socket_call")),
            ("/observation/peer_attribution", json!(grade)),
            ("/peer/pid", json!(pid)),
        ] {
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
    }
    Ok(())
}

//! The agent with sinks: what it says of itself, and disks that do not do their work.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use scopewatch_harness::{
    agent::{Agent, contains, open_dir},
    calls::Testbed,
    child::checked,
    clients::{Request, curl},
    events::served_on,
    nginx::Grant,
    require_root,
    tokens::Token,
    wait_until,
};
use serde_json::Value;

use crate::{EVENTS_TIMEOUT, clean};

/// Calls while a disk is not there.
const CALLS: usize = 40;

fn configuration(dir: &Path, spool: &Path) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    format!(
        "privacy: {{fingerprint_key: {}}}\n\
         status: {{listen: \"unix:{}\", health_seconds: 10}}\n\
         export:\n  spool: {{directory: {}, max_bytes: 2097152, sync_millis: 50}}\n  \
         signing_key: {}\n  sinks: [{{name: file, file: {{path: {}}}}}]\n",
        at("fingerprint.key"),
        at("status.sock"),
        spool.display(),
        at("signing.key"),
        at("events.json"),
    )
}

/// What the agent answers at its socket.
fn ask(dir: &Path, path: &str) -> Result<String> {
    let mut stream = UnixStream::connect(dir.join("status.sock")).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn status(dir: &Path) -> Result<Value> {
    let answer = ask(dir, "/status")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(serde_json::from_str(body)?)
}

/// A file system of its own in a file, whose disk can be made to stall.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(dir: &Path) -> Result<Self> {
        let (image, at) = (dir.join("disk"), dir.join("mounted"));
        File::create(&image)?.set_len(64 * 1024 * 1024)?;
        fs::create_dir(&at)?;
        checked(Command::new("mkfs.ext4").arg("-q").arg(&image), &[])?;
        checked(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at), &[])?;
        Ok(Self { at })
    }

    /// Whoever writes waits until it is thawed.
    fn freeze(&self) -> Result<()> {
        checked(Command::new("fsfreeze").arg("--freeze").arg(&self.at), &[]).map(drop)
    }

    fn thaw(&self) -> Result<()> {
        checked(Command::new("fsfreeze").arg("--unfreeze").arg(&self.at), &[]).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that failed in between left it frozen, and would leave the agent behind.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.at).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).output();
    }
}

/// Events of calls to the testbed, by what of the path distinguishes them.
fn calls(testbed: &Testbed, from: usize) -> Result<()> {
    for number in from..from + CALLS {
        curl(testbed.target(), &testbed.read_order(u32::try_from(number)?)?)?;
    }
    Ok(())
}

#[test]
fn a_disk_that_stalls_stops_neither_capture_nor_what_the_agent_says_of_itself() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (dir, disk_dir) = (open_dir()?, open_dir()?);
    let disk = Disk::mount(disk_dir.path())?;
    let mut agent =
        Agent::run_exporting(dir.path(), &configuration(dir.path(), &disk.at.join("spool")))?;
    calls(&testbed, 1)?;
    let port = testbed.nginx().port();
    let served = |events: &[Value]| served_on(events, port);
    agent.log().wait_for("calls before", EVENTS_TIMEOUT, |events| served(events) >= CALLS)?;

    disk.freeze()?;
    calls(&testbed, 1001)?;
    let exchanges = |status: &Value| status["flows"]["exchanges"].as_u64().unwrap_or(0);
    // Both ends of each call are told as one exchange: capture went on while the disk stood still.
    wait_until("exchanges while the disk stalls", EVENTS_TIMEOUT, || {
        let status = status(dir.path())?;
        Ok((exchanges(&status) >= 2 * CALLS as u64).then_some(()))
    })?;
    assert!(served(agent.log().read()?) < 2 * CALLS, "the disk did not stall");
    // Nobody hears of the output meanwhile, and who looks after the agent is told.
    wait_until("health that fails", Duration::from_secs(30), || {
        let answer = ask(dir.path(), "/healthz")?;
        Ok(answer.starts_with("HTTP/1.1 503").then_some(answer))
    })
    .map(|answer| assert!(answer.contains("output has not been heard of"), "{answer}"))?;
    disk.thaw()?;

    agent.log().wait_for("all calls", EVENTS_TIMEOUT, |events| served(events) >= 2 * CALLS)?;
    wait_until("health", EVENTS_TIMEOUT, || {
        Ok(ask(dir.path(), "/healthz")?.starts_with("HTTP/1.1 200").then_some(()))
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    assert_eq!((stopped.dropped(), served(&stopped.events)), (0, 2 * CALLS));
    Ok(())
}

#[test]
fn what_a_full_disk_refuses_is_counted_told_and_stops_nothing() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (dir, disk_dir) = (open_dir()?, open_dir()?);
    let disk = Disk::mount(disk_dir.path())?;
    let spool = disk.at.join("spool");
    let mut agent = Agent::run_exporting(dir.path(), &configuration(dir.path(), &spool))?;
    let port = testbed.nginx().port();
    let served = |events: &[Value]| served_on(events, port);
    let gone = |events: &[Value], reason: &str| -> u64 {
        let gaps = events.iter().filter(|event| event["event"]["type"] == "agent.gap");
        let gaps = gaps.filter(|event| event["gap"]["reason"] == reason);
        gaps.filter_map(|event| event["gap"]["count"].as_u64()).sum()
    };
    calls(&testbed, 1)?;
    agent.log().wait_for("calls before", EVENTS_TIMEOUT, |events| served(events) >= CALLS)?;

    fill(&disk.at.join("filler"))?;
    calls(&testbed, 1001)?;
    wait_until("calls while the disk is full", EVENTS_TIMEOUT, || {
        let status = status(dir.path())?;
        let exchanges = status["flows"]["exchanges"].as_u64();
        Ok((exchanges >= Some(2 * CALLS as u64)).then_some(()))
    })?;
    fs::remove_file(disk.at.join("filler"))?;
    calls(&testbed, 2001)?;
    agent.log().wait_for("all calls, or word of them", EVENTS_TIMEOUT, |events| {
        gone(events, "disk") > 0 && served(events) as u64 + gone(events, "disk") >= 3 * CALLS as u64
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    assert_eq!(stopped.dropped(), 0, "capture lost something");
    let seen = served(&stopped.events);
    assert!((2 * CALLS..3 * CALLS).contains(&seen), "{seen}");
    Ok(())
}

/// Fills what is left of the disk that `path` is on.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0; 64 * 1024];
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if file.write_all(&block).and_then(|()| file.sync_data()).is_err() {
            return Ok(());
        }
    }
    bail!("the disk does not fill")
}

#[test]
fn nothing_that_the_agent_says_of_itself_holds_a_token() -> Result<()> {
    require_root()?;
    let marker = "canary7be1140a";
    let opaque = Token::opaque(&format!("opaque.{marker}"));
    let testbed = Testbed::start_with(|_| Ok(vec![(opaque.clone(), Grant::Read)]))?;
    let dir = open_dir()?;
    let spool = dir.path().join("spool");
    let mut agent = Agent::run_exporting(dir.path(), &configuration(dir.path(), &spool))?;
    let request = Request::new("GET", "/api/orders/1").header("Authorization", &opaque.bearer());
    curl(testbed.target(), &request)?;
    let port = testbed.nginx().port();
    agent.log().wait_for("the call", EVENTS_TIMEOUT, |events| served_on(events, port) >= 1)?;
    agent.log().wait_for("health", EVENTS_TIMEOUT, |events| {
        events.iter().any(|event| event["event"]["type"] == "agent.health")
    })?;
    for path in ["/status", "/metrics", "/healthz"] {
        let answer = ask(dir.path(), path)?;
        assert!(!contains(answer.as_bytes(), marker), "a token stands in {path}");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let status = status(dir.path())?;
    let [sink] = status["export"]["sinks"].as_array().context("no sinks")?.as_slice() else {
        bail!("{status}")
    };
    assert_eq!(sink["name"], "file");
    assert_eq!(sink["lost"], 0);
    assert_eq!(status["coverage"]["uncovered"], serde_json::json!({}));
    clean(&agent.terminate()?)?;
    for (path, content) in scopewatch_harness::agent::files_below(dir.path())? {
        assert!(!contains(&content, marker), "a token stands in {}", path.display());
    }
    Ok(())
}

//! Libraries that are replaced on disk by another build while processes run on them, as an upgrade
//! of their package does: who has the old one goes on with it, who starts has the new one, and both
//! are told.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    clients::{Request, Target},
    events::{Sought, number},
    openssl::{Client, How, Opening, Release},
    require_root, wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{EVENTS_TIMEOUT, clean, only};

/// The release that is replaced, and the one that takes its place.
const OLD: &str = "system";
const NEW: &str = "3.5";

/// Time for what a new process maps to be found and probed.
const PROBES_TIMEOUT: Duration = Duration::from_secs(15);

/// A client and a server on what was installed when they started.
struct Ends {
    client: Client,
    server: Client,
    port: u16,
}

impl Ends {
    fn start(name: &str, testbed: &Testbed, libraries: &Path) -> Result<Self> {
        let release = release(name)?;
        let mut server = Client::start_installed(release, testbed.target(), libraries)?;
        let port = server.serve(testbed.certificates(), &[])?;
        let target = Target { port, ..testbed.target().clone() };
        Ok(Self { client: Client::start_installed(release, &target, libraries)?, server, port })
    }

    /// Makes an exchange on the session, opened for it if it is `new`.
    fn exchange(
        &mut self,
        testbed: &Testbed,
        (session, new): (&str, bool),
        path: &str,
    ) -> Result<Sought> {
        if new {
            self.client.open(session, Opening::default())?;
        }
        let request = testbed.with_token(Request::new("GET", path), Bearer::Alice)?;
        let reply = self.client.exchange(session, &request, How::default())?.reply;
        ensure!(reply.status == 200, "the answer was {}", reply.status);
        Ok(Sought {
            role: "server",
            method: request.method,
            path: request.path,
            client_port: reply.client_port,
            server_port: self.port,
        })
    }

    /// Both run on files that are not there any more.
    fn check_replaced(&self, libraries: &Path) -> Result<()> {
        for pid in [self.client.pid(), self.server.pid()] {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("read the maps")?;
            let dir = libraries.display().to_string();
            let mut own = maps.lines().filter(|line| line.contains(&dir)).peekable();
            ensure!(own.peek().is_some(), "process {pid} maps nothing in {dir}: {maps}");
            ensure!(own.all(|line| line.ends_with(" (deleted)")), "not replaced: {maps}");
        }
        Ok(())
    }

    /// One event tells of the exchange and names both processes: it was opened by its secrets.
    fn check_opened(&self, events: &[Value], sought: &Sought) -> Result<()> {
        let event = only(events, sought)?;
        for (field, pid) in [("/process/pid", &self.server), ("/peer/pid", &self.client)] {
            let pid = pid.pid();
            ensure!(number(event, field) == Some(pid.into()), "{field} is not {pid}: {event:#}");
        }
        Ok(())
    }

    /// Each end has its event: its calls were listened to.
    fn check_called(&self, events: &[Value], sought: &Sought) -> Result<()> {
        for (role, pid) in [("client", self.client.pid()), ("server", self.server.pid())] {
            let event = only(events, &Sought { role, ..sought.clone() })?;
            ensure!(number(event, "/process/pid") == Some(pid.into()), "not of {pid}: {event:#}");
        }
        Ok(())
    }
}

fn release(name: &str) -> Result<&'static Release> {
    Release::named(name).context("no such release")
}

fn installed(name: &str) -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    release(name)?.install(dir.path())?;
    Ok(dir)
}

#[test]
fn a_library_replaced_while_the_agent_runs_is_told_of_in_both_builds() -> Result<()> {
    require_root()?;
    let (testbed, libraries, dir) = (Testbed::start()?, installed(OLD)?, tempfile::tempdir()?);
    let mut old = Ends::start(OLD, &testbed, libraries.path())?;
    let mut agent = Agent::run(dir.path())?;
    let mut told = vec![old.exchange(&testbed, ("kept", true), "/api/old/before")?];
    release(NEW)?.install(libraries.path())?;
    old.check_replaced(libraries.path())?;
    let mut new = Ends::start(NEW, &testbed, libraries.path())?;
    told.push(old.exchange(&testbed, ("kept", false), "/api/old/kept")?);
    told.push(old.exchange(&testbed, ("new", true), "/api/old/new")?);
    // A process is looked at again and again in its first seconds, not at its first call.
    wait_until("the new library to be probed", PROBES_TIMEOUT, || {
        new.exchange(&testbed, ("early", true), "/api/new/early")?;
        let is_its = |event: &Value| number(event, "/server/port") == Some(new.port.into());
        Ok(agent.log().read()?.iter().any(is_its).then_some(()))
    })?;
    let fresh = new.exchange(&testbed, ("new", true), "/api/new/new")?;
    agent.log().wait_for("all events", EVENTS_TIMEOUT, |events| {
        told.iter().chain([&fresh]).all(|sought| !sought.all(events).is_empty())
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    told.iter().try_for_each(|sought| old.check_opened(&stopped.events, sought))?;
    new.check_opened(&stopped.events, &fresh)
}

#[test]
fn an_agent_that_starts_after_a_library_was_replaced_tells_of_who_runs_on_it() -> Result<()> {
    require_root()?;
    let (testbed, libraries, dir) = (Testbed::start()?, installed(OLD)?, tempfile::tempdir()?);
    let mut old = Ends::start(OLD, &testbed, libraries.path())?;
    old.exchange(&testbed, ("kept", true), "/api/old/before")?;
    release(NEW)?.install(libraries.path())?;
    old.check_replaced(libraries.path())?;
    let mut agent = Agent::run(dir.path())?;
    // The server waits for this one in a call that began before it was probed.
    old.exchange(&testbed, ("kept", false), "/api/old/waited-for")?;
    let kept = old.exchange(&testbed, ("kept", false), "/api/old/kept")?;
    let new = old.exchange(&testbed, ("new", true), "/api/old/new")?;
    let client = Sought { role: "client", ..kept.clone() };
    agent.log().wait_for("all events", EVENTS_TIMEOUT, |events| {
        [&kept, &client, &new].iter().all(|sought| !sought.all(events).is_empty())
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    old.check_called(&stopped.events, &kept)?;
    old.check_opened(&stopped.events, &new)
}

//! A client and a server on one release of OpenSSL, and an agent that watches them.
//!
//! In: exchanges. Out: the agent's events, checked: of an opened connection one for each exchange,
//! told from the server's end; from calls one for each end.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::Request,
    events::{Sought, text},
    openssl::{Client, How, Prelude, Release},
};
use tempfile::TempDir;

use super::lab::is_on;
use crate::{EVENTS_TIMEOUT, clean, only};

/// Both ends and who watches.
pub struct Pair {
    agent: Agent,
    /// The end that asks.
    pub client: Client,
    server: Client,
    port: u16,
    testbed: Testbed,
    sought: Vec<Sought>,
    _dir: TempDir,
}

impl Pair {
    /// Starts both ends on the release of that name, then the agent.
    pub fn start(release: &str) -> Result<Self> {
        Self::start_after(release, &[])
    }

    /// The same, where both talk before TLS.
    pub fn start_after(release: &str, prelude: Prelude) -> Result<Self> {
        Self::start_by(release, prelude, |release, testbed, port| {
            let mut target = testbed.target().clone();
            target.port = port.unwrap_or(target.port);
            Client::start(release, &target)
        })
    }

    /// The same with libraries in which no secrets are looked for.
    pub fn start_disguised(release: &str) -> Result<Self> {
        Self::start_by(release, &[], |release, testbed, port| {
            let mut target = testbed.target().clone();
            target.port = port.unwrap_or(target.port);
            Client::start_disguised(release, &target, testbed.dir())
        })
    }

    /// The same with libraries that are not found at all.
    pub fn start_hidden(release: &str) -> Result<Self> {
        Self::start_by(release, &[], |release, testbed, port| {
            let mut target = testbed.target().clone();
            target.port = port.unwrap_or(target.port);
            Client::start_hidden(release, &target, testbed.dir())
        })
    }

    /// Stops the agent, which has told nothing; the ids of client and server.
    pub fn finish_untold(self) -> Result<(Stopped, [u32; 2])> {
        let pids = [self.client.pid(), self.server.pid()];
        let stopped = self.agent.terminate()?;
        clean(&stopped)?;
        let told = stopped.events.iter().filter(|event| is_on(event, self.port)).count();
        ensure!(told == 0, "{told} exchanges were told");
        Ok((stopped, pids))
    }

    fn start_by(
        release: &str,
        prelude: Prelude,
        start: impl Fn(&Release, &Testbed, Option<u16>) -> Result<Client>,
    ) -> Result<Self> {
        let testbed = Testbed::start()?;
        let release = Release::named(release).context("no such release")?;
        let mut server = start(release, &testbed, None)?;
        let port = server.serve(testbed.certificates(), prelude)?;
        let client = start(release, &testbed, Some(port))?;
        let dir = tempfile::tempdir()?;
        let agent = Agent::run(dir.path())?;
        Ok(Self { agent, client, server, port, testbed, sought: Vec::new(), _dir: dir })
    }

    /// Makes an exchange on the client's session of that name.
    pub fn exchange(&mut self, session: &str, path: &str) -> Result<()> {
        let request = self.testbed.with_token(Request::new("GET", path), Bearer::Alice)?;
        let reply = self.client.exchange(session, &request, How::default())?.reply;
        self.sought.push(Sought {
            role: "server",
            method: request.method,
            path: request.path,
            client_port: reply.client_port,
            server_port: self.port,
        });
        Ok(())
    }

    /// Stops the agent and checks that each exchange is one event that names both processes.
    pub fn finish_opened(self) -> Result<()> {
        let (client, server) = (self.client.pid(), self.server.pid());
        let (stopped, sought) = self.finish(1)?;
        for sought in &sought {
            let event = only(&stopped.events, sought)?;
            for (field, value) in [("/process/pid", server), ("/peer/pid", client)] {
                ensure!(event.pointer(field) == Some(&value.into()), "{field}: {event:#}");
            }
        }
        Ok(())
    }

    /// Stops the agent and checks that each end of each exchange is one event.
    pub fn finish_on_calls(self) -> Result<()> {
        let (client, server) = (self.client.pid(), self.server.pid());
        let (stopped, sought) = self.finish(2)?;
        for sought in sought {
            for (role, pid) in [("client", client), ("server", server)] {
                let event = only(&stopped.events, &Sought { role, ..sought.clone() })?;
                ensure!(event.pointer("/process/pid") == Some(&pid.into()), "{event:#}");
            }
        }
        Ok(())
    }

    /// Waits for `each` event of every exchange; there must be no others.
    fn finish(self, each: usize) -> Result<(Stopped, Vec<Sought>)> {
        let Self { mut agent, port, sought, .. } = self;
        let expected = sought.len() * each;
        let told = |events: &[serde_json::Value]| events.iter().filter(|e| is_on(e, port)).count();
        let late = agent.log().wait_for("all", EVENTS_TIMEOUT, |events| told(events) >= expected);
        let stopped = agent.terminate()?;
        late.with_context(|| format!("{expected} expected: {}", stopped.stderr))?;
        clean(&stopped)?;
        ensure!(told(&stopped.events) == expected, "more than was done: {:#?}", stopped.events);
        let alice = |event: &&serde_json::Value| {
            is_on(event, port) && text(event, "/identity/subject") != Some("alice")
        };
        ensure!(!stopped.events.iter().any(|event| alice(&event)), "of somebody else");
        Ok((stopped, sought))
    }
}

//! A client on one release of OpenSSL, a server, and an agent that watches both.
//!
//! In: behaviours that make calls. Out: the agent's events, each checked against the call that it
//! must tell of, and every call against the one event that each of its ends must have.

use std::{collections::BTreeMap, fs::File, mem};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::Request,
    events::{Sought, number, text},
    openssl::{Client, Exchanged, Release},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{EVENTS_TIMEOUT, clean, only};

/// Makes calls and [tells](Lab::tell) which.
pub type Behaviour = fn(&mut Lab) -> Result<()>;

/// Who watches whom.
pub struct Lab {
    // The agent first: it must not outlive its directory.
    agent: Agent,
    client: Client,
    testbed: Testbed,
    release: &'static Release,
    told: Vec<Told>,
    behaviour: &'static str,
    dir: TempDir,
}

/// What the agent left, checked.
pub struct Outcome {
    /// Its counters.
    pub counters: BTreeMap<String, u64>,
}

/// An exchange that was made.
struct Told {
    behaviour: &'static str,
    request: Request,
    exchanged: Exchanged,
    /// What the client's event must say is missing.
    notes: &'static [&'static str],
}

impl Lab {
    /// Starts all three. The client has its libraries loaded before the agent looks for them.
    pub fn start(release: &'static Release) -> Result<Self> {
        let testbed = Testbed::start()?;
        let client = Client::start(release, testbed.target())?;
        let dir = tempfile::tempdir()?;
        let agent = Agent::run_on_calls(dir.path())?;
        Ok(Self { agent, client, testbed, release, told: Vec::new(), behaviour: "", dir })
    }

    /// Has `behaviour` make its calls.
    pub fn behave(&mut self, name: &'static str, behaviour: Behaviour) -> Result<()> {
        self.behaviour = name;
        behaviour(self).with_context(|| format!("{name}, on {}", self.client.version()))
    }

    pub const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// A client in the place of the one there was.
    pub fn another_client(&mut self) -> Result<Client> {
        let client = Client::start(self.release, self.testbed.target())?;
        Ok(mem::replace(&mut self.client, client))
    }

    /// A request by Alice that no other behaviour makes.
    pub fn request(&self, method: &str, name: &str) -> Result<Request> {
        let path = format!("/api/{}/{name}", self.behaviour.replace(' ', "-"));
        self.testbed.with_token(Request::new(method, &path), Bearer::Alice)
    }

    /// A request by Alice for a megabyte.
    pub fn request_large(&self) -> Result<Request> {
        self.testbed.with_token(Request::new("GET", "/static/large.bin"), Bearer::Alice)
    }

    /// A request by Alice for that many bytes.
    pub fn request_bytes(&self, bytes: u64) -> Result<Request> {
        let path = format!("/static/{bytes}.bin");
        let file = self.testbed.dir().join("nginx/www").join(path.trim_start_matches('/'));
        File::create(file).and_then(|file| file.set_len(bytes)).context("make a long file")?;
        self.testbed.with_token(Request::new("GET", &path), Bearer::Alice)
    }

    /// An exchange was made, of which both ends must have one complete event.
    pub fn tell(&mut self, request: Request, exchanged: Exchanged) {
        self.tell_incomplete(request, exchanged, &[]);
    }

    /// An exchange was made, of which the client's event lacks something.
    pub fn tell_incomplete(
        &mut self,
        request: Request,
        exchanged: Exchanged,
        notes: &'static [&'static str],
    ) {
        self.told.push(Told { behaviour: self.behaviour, request, exchanged, notes });
    }

    /// Stops the agent and checks its events.
    pub fn finish(self) -> Result<Outcome> {
        let Self { mut agent, client, testbed, told, dir: _dir, .. } = self;
        let (version, port) = (client.version().to_owned(), testbed.nginx().port());
        let expected = told.len() * 2;
        // What does not come is named below.
        let _late = agent.log().wait_for("all events", EVENTS_TIMEOUT, |events| {
            events.iter().filter(|event| is_on(event, port)).count() >= expected
        });
        let stopped = agent.terminate()?;
        clean(&stopped)?;
        check_counters(&stopped)?;
        for told in &told {
            told.check(&stopped.events, &testbed)
                .with_context(|| format!("{}, on {version}", told.behaviour))?;
        }
        let others: Vec<_> =
            stopped.events.iter().filter(|e| !told.iter().any(|t| t.is_told_by(e, port))).collect();
        let others: Vec<_> = others.into_iter().filter(|event| is_on(event, port)).collect();
        ensure!(others.is_empty(), "events of nothing that was done, on {version}: {others:#?}");
        Ok(Outcome { counters: stopped.counters() })
    }
}

/// Whether the event tells of the server on `port`, or of a connection to nowhere known.
fn is_on(event: &Value, port: u16) -> bool {
    match number(event, "/server/port") {
        Some(number) => number == u64::from(port),
        None => text(event, "/process/comm").is_some_and(|comm| comm.starts_with("nginx")),
    }
}

fn check_counters(stopped: &Stopped) -> Result<()> {
    let counters = stopped.counters();
    for name in ["session_table_full", "call_table_full", "user_faults"] {
        ensure!(counters.get(name) == Some(&0), "{name}: {counters:?}");
    }
    Ok(())
}

impl Told {
    fn sought(&self, role: &'static str, port: u16) -> Sought {
        Sought {
            role,
            method: self.request.method.clone(),
            path: self.request.path.clone(),
            client_port: self.exchanged.reply.client_port,
            server_port: port,
        }
    }

    fn is_told_by(&self, event: &Value, port: u16) -> bool {
        ["client", "server"].iter().any(|role| self.sought(role, port).matches(event))
    }

    fn check(&self, events: &[Value], testbed: &Testbed) -> Result<()> {
        let (port, reply) = (testbed.nginx().port(), &self.exchanged.reply);
        ensure!(reply.status == 200, "the answer was {}", reply.status);
        let client = only(events, &self.sought("client", port))?;
        self.check_event(client, self.notes)?;
        check_process(client, reply.client_pid, &reply.client_comm)?;
        let server = only(events, &self.sought("server", port))?;
        self.check_event(server, &[])?;
        check_process(server, testbed.nginx().worker_pid(), "nginx")
    }

    fn check_event(&self, event: &Value, notes: &[&str]) -> Result<()> {
        let mut expected = vec![
            ("/event/type", json!("access")),
            ("/http/status", json!(200)),
            ("/http/resp_bytes", json!(self.exchanged.reply.length)),
            ("/token/state", json!("active")),
            ("/identity/subject", json!("alice")),
            ("/client/ip", json!("127.0.0.1")),
            ("/server/ip", json!("127.0.0.1")),
            ("/observation/complete", json!(notes.is_empty())),
        ];
        if !notes.is_empty() {
            expected.push(("/observation/notes", json!(notes)));
        } else if !self.request.body.is_empty() {
            expected.push(("/http/req_bytes", json!(self.request.body.len())));
        }
        for (field, value) in expected {
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
        Ok(())
    }
}

fn check_process(event: &Value, pid: u32, comm: &str) -> Result<()> {
    ensure!(number(event, "/process/pid") == Some(pid.into()), "not of process {pid}: {event:#}");
    ensure!(text(event, "/process/comm") == Some(comm), "not of {comm}: {event:#}");
    Ok(())
}

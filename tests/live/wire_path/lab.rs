//! A server, an agent that watches by the wire path, and the exchanges that were made.
//!
//! In: exchanges, each with its request. Out: the agent's events, checked: one for each exchange,
//! told from the server's end, and none of anything else on that server.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped},
    calls::{Bearer, Testbed},
    clients::{Reply, Request},
    events::{Sought, is_over, number, served_on, text},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{EVENTS_TIMEOUT, clean, only};

/// Who watches, and what was made.
pub struct Lab {
    // The agent first: it must not outlive its directory.
    pub agent: Agent,
    pub testbed: Testbed,
    made: Vec<Made>,
    pub dir: TempDir,
}

/// An exchange that was made.
struct Made {
    request: Request,
    reply: Reply,
    names_client: bool,
}

impl Lab {
    /// Starts server and agent.
    pub fn start() -> Result<Self> {
        Self::start_configured("")
    }

    /// The same with the agent's `configuration`.
    pub fn start_configured(configuration: &str) -> Result<Self> {
        let testbed = Testbed::start()?;
        Self::watch(testbed, configuration)
    }

    /// Has an agent watch a server that runs already.
    pub fn watch(testbed: Testbed, configuration: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let agent = Agent::run_configured(dir.path(), configuration)?;
        Ok(Self { agent, testbed, made: Vec::new(), dir })
    }

    /// A request by Alice.
    pub fn request(&self, path: &str) -> Result<Request> {
        self.testbed.with_token(Request::new("GET", path), Bearer::Alice)
    }

    /// An exchange was made, whose event must name both processes.
    pub fn tell(&mut self, request: Request, reply: Reply) {
        self.made.push(Made { request, reply, names_client: true });
    }

    /// The same by a client whose TLS is not probed: which process it is, is not known.
    pub fn tell_of_unprobed(&mut self, request: Request, reply: Reply) {
        self.made.push(Made { request, reply, names_client: false });
    }

    /// Stops the agent and checks its events.
    pub fn finish(self) -> Result<Stopped> {
        let Self { mut agent, testbed, made, dir: _dir } = self;
        let port = testbed.nginx().port();
        // What does not come is named below.
        let _late = agent
            .log()
            .wait_for("all events", EVENTS_TIMEOUT, |events| served_on(events, port) >= made.len());
        let stopped = agent.terminate()?;
        clean(&stopped)?;
        let counters = stopped.counters();
        for made in &made {
            made.check(&stopped.events, &testbed).with_context(|| format!("{counters:?}"))?;
        }
        let told: Vec<_> =
            stopped.events.iter().filter(|event| is_on(event, port) && is_over(event)).collect();
        let others: Vec<_> = told
            .iter()
            .filter(|event| text(event, "/observation/role") != Some("server"))
            .collect();
        ensure!(told.len() == made.len(), "more than was done: {others:#?}");
        Ok(stopped)
    }
}

/// Whether an event tells of the server on `port`.
pub fn is_on(event: &Value, port: u16) -> bool {
    number(event, "/server/port") == Some(port.into())
}

impl Made {
    fn check(&self, events: &[Value], testbed: &Testbed) -> Result<()> {
        let Self { request, reply, names_client } = self;
        let sought = Sought {
            role: "server",
            method: request.method.clone(),
            path: request.path.clone(),
            client_port: reply.client_port,
            server_port: testbed.nginx().port(),
        };
        let event = only(events, &sought)?;
        let mut expected = vec![
            ("/event/type", json!("access")),
            ("/observation/role", json!("server")),
            ("/observation/complete", json!(true)),
            ("/http/status", json!(reply.status)),
            ("/http/resp_bytes", json!(reply.length)),
            ("/token/state", json!("active")),
            ("/identity/subject", json!("alice")),
            ("/client/ip", json!("127.0.0.1")),
            ("/server/ip", json!("127.0.0.1")),
            ("/process/pid", json!(testbed.nginx().worker_pid())),
            ("/process/comm", json!("nginx")),
        ];
        if *names_client {
            expected.push(("/peer/pid", json!(reply.client_pid)));
            expected.push(("/peer/comm", json!(reply.client_comm)));
        } else {
            ensure!(event.get("peer").is_none(), "a process is guessed: {event:#}");
        }
        if !request.body.is_empty() {
            expected.push(("/http/req_bytes", json!(request.body.len())));
        }
        for (field, value) in expected {
            ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
        }
        Ok(())
    }
}

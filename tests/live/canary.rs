//! No token reaches anything that the agent writes.

use std::path::Path;

use anyhow::{Context as _, Result};
use scopewatch_harness::{
    agent::{Agent, contains, files_below, open_dir},
    calls::Testbed,
    clients::{Python, Request, curl},
    events::served_on,
    nginx::Grant,
    require_root,
    tokens::{Claims, Token},
};

use crate::{EVENTS_TIMEOUT, clean};

/// Stands in every token of this test, and nowhere else.
const MARKER: &str = "canary5f1d9c03";

/// What must not be found: the opaque marker, and the parts of each JWT that only its bearer has.
struct Canaries {
    tokens: Vec<Token>,
}

impl Canaries {
    fn needles(&self) -> Vec<String> {
        let signatures = self.tokens.iter().filter_map(Token::signature);
        // A fragment would do for who wants to match it: no 24 characters may be there either.
        let fragments = signatures.flat_map(|signature| {
            let starts = [0, signature.len() / 2];
            starts.into_iter().filter_map(move |start| signature.get(start..start.checked_add(24)?))
        });
        fragments.map(str::to_owned).chain([MARKER.to_owned()]).collect()
    }

    fn check_files(&self, dir: &Path) -> Result<()> {
        for (path, content) in files_below(dir)? {
            for needle in self.needles() {
                assert!(!contains(&content, &needle), "a token stands in {}", path.display());
            }
        }
        Ok(())
    }
}

#[test]
fn no_output_of_the_agent_holds_a_token() -> Result<()> {
    require_root()?;
    let opaque = Token::opaque(&format!("opaque.{MARKER}"));
    let mut canaries = Canaries { tokens: Vec::new() };
    let testbed = Testbed::start_with(|mint| {
        let good = mint.sign(&Claims::of("alice").scope("orders:read"))?;
        let expired = mint.sign(&Claims::of("dave").scope("orders:read").expires_in(-60))?;
        canaries.tokens = vec![good.clone(), expired.clone()];
        let opaque = (opaque.clone(), Grant::Read);
        Ok(vec![(good, Grant::Read), (expired, Grant::Expired), opaque])
    })?;
    let dir = open_dir()?;
    let mut agent = Agent::run(dir.path())?;
    let mut python = Python::start(testbed.target())?;
    let mut sent = 0;
    for token in canaries.tokens.iter().chain([&opaque]) {
        for request in requests(token) {
            curl(testbed.target(), &request)?;
            python.send(&request)?;
            sent += 2;
        }
    }
    let port = testbed.nginx().port();
    agent.log().wait_for("all events", EVENTS_TIMEOUT, |events| served_on(events, port) >= sent)?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    // stdout, stderr and the event log are files below this directory.
    let files = files_below(dir.path())?;
    let events = files.iter().find(|(path, _)| path.ends_with("events.json"));
    assert!(!events.context("no event log")?.1.is_empty());
    canaries.check_files(dir.path())
}

/// Requests that show `token` in the usual and in careless places.
fn requests(token: &Token) -> [Request; 5] {
    let get = |path: &str| Request::new("GET", path);
    let text = token.as_str();
    let form = "application/x-www-form-urlencoded";
    [
        get("/api/orders/1").header("Authorization", &token.bearer()),
        get("/api/orders/2").header("Authorization", &format!("bearer  {text}")),
        get(&format!("/api/orders/3?access_token={text}")),
        get("/api/orders/4").header("Cookie", &format!("session={text}")),
        Request::new("POST", "/api/orders/5")
            .header("Content-Type", form)
            .body(&format!("access_token={text}")),
    ]
}

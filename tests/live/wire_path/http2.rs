//! HTTP/2 of other implementations against nginx: many streams at once, and one by one.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    child,
    clients::{Request, curl_by_version},
    events::{number, text},
    require_root,
};
use serde_json::{Value, json};

use super::lab::{Lab, is_on};
use crate::clean;

/// Connections of one load, and streams that are open on each at a time.
const CONNECTIONS: &str = "8";
const STREAMS: &str = "100";

/// Whose loads there are, of how many requests, and how each is answered.
const LOADS: [(Bearer, &str, usize, u64); 3] = [
    (Bearer::Alice, "alice", 12_000, 200),
    (Bearer::Carol, "carol", 4_000, 403),
    (Bearer::Dave, "dave", 4_000, 401),
];

/// Time for the agent to catch up after the last request.
const CATCH_UP: Duration = Duration::from_secs(60);

/// nghttp2's own load generator: 8 connections of 100 streams. Its requests, nginx's log and the
/// events are as many, for each token.
#[test]
fn a_hundred_streams_on_eight_connections_are_told_exactly() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    for (bearer, _, count, status) in LOADS {
        load(&testbed, bearer, count, status)?;
    }
    let total: usize = LOADS.iter().map(|(_, _, count, _)| count).sum();
    ensure!(testbed.nginx().served()?.len() == total, "nginx served others");
    let port = testbed.nginx().port();
    let _late = agent.log().wait_for("an event of every request", CATCH_UP, |events| {
        events.iter().filter(|event| is_on(event, port)).count() >= total
    });
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    ensure!(stopped.dropped() == 0, "{:?}", stopped.counters());
    let told: Vec<_> = stopped.events.iter().filter(|event| is_on(event, port)).collect();
    ensure!(told.len() == total, "{} of {total}: {:?}", told.len(), stopped.counters());
    for (_, subject, count, status) in LOADS {
        let of = |event: &&&Value| {
            text(event, "/identity/subject") == Some(subject)
                && text(event, "/http/path") == Some("/api/load")
                && number(event, "/http/status") == Some(status)
        };
        let of: Vec<_> = told.iter().filter(of).collect();
        ensure!(of.len() == count, "{} of {count} by {subject}", of.len());
        for event in of {
            check(event, testbed.nginx().worker_pid(), "h2load")?;
        }
    }
    Ok(())
}

fn check(event: &Value, server: u32, client: &str) -> Result<()> {
    for (field, value) in [
        ("/http/method", json!("GET")),
        ("/http/version", json!("2")),
        ("/observation/role", json!("server")),
        ("/observation/complete", json!(true)),
        ("/process/pid", json!(server)),
        ("/peer/comm", json!(client)),
    ] {
        ensure!(event.pointer(field) == Some(&value), "{field} is not {value}: {event:#}");
    }
    Ok(())
}

fn load(testbed: &Testbed, bearer: Bearer, count: usize, status: u64) -> Result<()> {
    let request = testbed.with_token(Request::new("GET", "/api/load"), bearer)?;
    let token = request.headers.get("Authorization").context("no token")?;
    let mut command = Command::new("h2load");
    command.args(["-n", &count.to_string(), "-c", CONNECTIONS, "-m", STREAMS]);
    // It takes fields as arguments only; the token is worth nothing elsewhere.
    command.arg("-H").arg(format!("authorization: {token}"));
    command.arg(format!("https://127.0.0.1:{}/api/load", testbed.nginx().port()));
    let output = child::output(&mut command, b"")?;
    let report = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "h2load failed: {report}");
    let done = format!("requests: {count} total, {count} started, {count} done");
    let statuses = format!("{count} {}xx", status / 100);
    ensure!(report.contains(&done) && report.contains(&statuses), "disturbed: {report}");
    ensure!(report.contains("Application protocol: h2"), "not HTTP/2: {report}");
    Ok(())
}

#[test]
fn curl_asks_by_http2() -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    for (path, version) in [("/api/new", "--tlsv1.3"), ("/api/old", "--tls-max=1.2")] {
        // Nothing with a body: nginx answers before it has come and resets the stream, and whether
        // it is told as unfinished goes by who was faster.
        for method in ["GET", "DELETE", "HEAD"] {
            let mut request = lab.request(path)?;
            method.clone_into(&mut request.method);
            let reply = curl_by_version(lab.testbed.target(), &request, [version, "--http2"])?;
            lab.tell(request, reply);
        }
    }
    let stopped = lab.finish()?;
    let all = stopped.events.iter().filter(|event| event.pointer("/http/method").is_some());
    ensure!(all.clone().all(|event| text(event, "/http/version") == Some("2")), "not HTTP/2");
    ensure!(stopped.dropped() == 0, "{:?}", stopped.counters());
    Ok(())
}

/// Asks for several things at once, with priorities, and pads its header blocks.
#[test]
fn nghttp_asks_with_padding_and_priorities() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let request = testbed.with_token(Request::new("GET", "/api/"), Bearer::Alice)?;
    let token = request.headers.get("Authorization").context("no token")?;
    let paths = ["/api/one", "/api/two", "/static/large.bin", "/empty", "/chunked/page.txt"];
    let mut command = Command::new("nghttp");
    command.args(["--null-out", "--padding=40", "--no-verify-peer"]);
    command.arg("-H").arg(format!("authorization: {token}"));
    let port = testbed.nginx().port();
    command.args(paths.map(|path| format!("https://127.0.0.1:{port}{path}")));
    let output = child::output(&mut command, b"")?;
    ensure!(output.status.success(), "nghttp: {}", String::from_utf8_lossy(&output.stderr));
    let _late = agent.log().wait_for("all", CATCH_UP, |events| {
        events.iter().filter(|event| is_on(event, port)).count() >= paths.len()
    });
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let told: Vec<_> = stopped.events.iter().filter(|event| is_on(event, port)).collect();
    ensure!(told.len() == paths.len(), "{told:#?}");
    for (path, status, bytes) in [
        ("/api/one", 200, Some("{\"order\":\"/api/one\"}\n".len())),
        ("/api/two", 200, Some("{\"order\":\"/api/two\"}\n".len())),
        ("/static/large.bin", 200, Some(scopewatch_harness::nginx::LARGE_BYTES)),
        ("/empty", 204, Some(0)),
        ("/chunked/page.txt", 200, None),
    ] {
        let event = told.iter().find(|event| text(event, "/http/path") == Some(path));
        let event = event.with_context(|| format!("no event of {path}"))?;
        check(event, testbed.nginx().worker_pid(), "nghttp")?;
        ensure!(number(event, "/http/status") == Some(status), "{event:#}");
        ensure!(text(event, "/identity/subject") == Some("alice"), "{event:#}");
        let expected = bytes.map(|bytes| bytes as u64);
        let is_so = expected.is_none() || number(event, "/http/resp_bytes") == expected;
        ensure!(is_so, "not {bytes:?} bytes: {event:#}");
    }
    Ok(())
}

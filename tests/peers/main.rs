//! The harness against its real servers and clients. No agent, no root.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    calls::{Bearer, CALLS, Testbed, Via},
    child,
    clients::{Load, Python, Request, curl, wrk},
    nginx::LARGE_BYTES,
    oauth::{Peers, matrix::matrix},
    openssl::{Client, How, Opening, RELEASES},
};

#[test]
fn the_api_decides_every_call_as_expected() -> Result<()> {
    let testbed = Testbed::start()?;
    let made = testbed.make(CALLS, || Ok(()))?;
    for made in &made {
        assert_eq!(made.reply.status, made.call.status, "{}", made.call.name);
        let comm = if made.call.via == Via::Curl { "curl" } else { "python" };
        assert!(made.reply.client_comm.starts_with(comm), "{}", made.reply.client_comm);
    }
    let served = testbed.nginx().served()?;
    assert_eq!(served.len(), CALLS.len());
    for (line, made) in served.iter().zip(&made) {
        assert_eq!(line["path"], made.call.path);
        assert_eq!(line["status"], made.call.status);
        assert_eq!(line["client_port"], made.reply.client_port);
    }
    Ok(())
}

#[test]
fn python_keeps_its_connection_and_curl_opens_its_own() -> Result<()> {
    let testbed = Testbed::start()?;
    let request = testbed.read_order(1)?;
    let mut python = Python::start(testbed.target())?;
    let first = python.send(&request)?;
    assert_eq!(python.send(&request)?, first);
    assert_ne!(curl(testbed.target(), &request)?.client_port, first.client_port);
    Ok(())
}

#[test]
fn large_and_chunked_bodies_arrive_whole() -> Result<()> {
    let testbed = Testbed::start()?;
    let large = curl(testbed.target(), &Request::new("GET", "/static/large.bin"))?;
    assert_eq!((large.status, large.length), (200, u64::try_from(LARGE_BYTES)?));
    let mut command = Command::new("curl");
    command.args(["-q", "-s", "--http1.1", "-o", "/dev/null", "-D", "-", "--cacert"]);
    command.arg(&testbed.target().authority);
    command.arg(format!("https://localhost:{}/chunked/page.txt", testbed.nginx().port()));
    let head = String::from_utf8(child::checked(&mut command, b"")?)?;
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let chunked = curl(testbed.target(), &Request::new("GET", "/chunked/page.txt"))?;
    assert!(chunked.length > 10_000);
    Ok(())
}

#[test]
fn refusals_say_why() -> Result<()> {
    let testbed = Testbed::start()?;
    let request = testbed.with_token(Request::new("GET", "/api/orders/1"), Bearer::Carol)?;
    let field = request.headers.get("Authorization").context("no token")?;
    let mut command = Command::new("curl");
    command.args(["-q", "-s", "-o", "/dev/null", "-D", "-", "--config", "-", "--cacert"]);
    command.arg(&testbed.target().authority);
    command.arg(format!("https://localhost:{}/api/orders/1", testbed.nginx().port()));
    let config = format!("header = \"Authorization: {field}\"\n");
    let head = String::from_utf8(child::checked(&mut command, config.as_bytes())?)?;
    // HTTP/2 has names in lower case (RFC 9113 §8.2.1).
    let challenge = "www-authenticate: bearer realm=\"orders\", error=\"insufficient_scope\"";
    assert!(head.to_ascii_lowercase().contains(challenge), "{head}");
    Ok(())
}

#[test]
fn minted_tokens_verify_with_the_public_key() -> Result<()> {
    let testbed = Testbed::start()?;
    let token = testbed.tokens().next().context("no token")?;
    let (signed, signature) = token.as_str().rsplit_once('.').context("not a JWT")?;
    let key = testbed.dir().join("public.pem");
    fs::write(&key, testbed.mint().public_key()?)?;
    let raw = testbed.dir().join("signature");
    let decoder = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    fs::write(&raw, base64::Engine::decode(&decoder, signature)?)?;
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha256", "-verify"]).arg(&key).arg("-signature").arg(&raw);
    child::checked(&mut command, signed.as_bytes())?;
    Ok(())
}

#[test]
fn loads_are_counted_and_end_when_told() -> Result<()> {
    let testbed = Testbed::start()?;
    let request = testbed.read_order(1)?;
    let load = Load::start(testbed.target(), &request, 2)?;
    let report = wrk(testbed.target(), &request, 4, Duration::from_secs(1), testbed.dir())?;
    let loaded = load.finish()?;
    assert_eq!((report.failures, report.socket_errors), (0, 0));
    assert_eq!(loaded.errors, Vec::<String>::new());
    ensure!(loaded.requests > 0 && report.requests > 0, "{loaded:?} {report:?}");
    // wrk abandons the requests that are under way when its time is over.
    let served = u64::try_from(testbed.nginx().served()?.len())?;
    let counted = loaded.requests + report.requests;
    assert!((counted..=counted + 4).contains(&served), "{served} served, {counted} counted");
    Ok(())
}

#[test]
fn a_load_notices_that_the_server_went_away() -> Result<()> {
    let testbed = Testbed::start()?;
    let load = Load::start(testbed.target(), &testbed.read_order(1)?, 2)?;
    while testbed.nginx().served()?.is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let worker = testbed.nginx().worker_pid();
    drop(testbed);
    assert!(!fs::exists(format!("/proc/{worker}"))?, "nginx's worker outlived the testbed");
    assert!(!load.finish()?.errors.is_empty());
    Ok(())
}

#[test]
fn every_release_of_openssl_calls_the_api() -> Result<()> {
    let testbed = Testbed::start()?;
    let request = testbed.read_order(1)?;
    for release in &RELEASES {
        let mut client = Client::start(release, testbed.target())?;
        client.open("one", Opening { blocking: false, ..Opening::default() })?;
        let how = How {
            write: "SSL_write_ex",
            read: "SSL_read_ex",
            piece: 7,
            peek: true,
            ..How::default()
        };
        let reply = client.exchange("one", &request, how)?.reply;
        assert_eq!((reply.status, reply.client_pid), (200, client.pid()), "{}", client.version());
        client.leave()?;
    }
    assert_eq!(testbed.nginx().served()?.len(), RELEASES.len());
    Ok(())
}

#[test]
fn every_order_api_decides_as_the_matrix_says() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut peers = Peers::start(dir.path())?;
    let calls = matrix();
    let mut wrong = Vec::new();
    for call in &calls {
        let answer = peers.ask(&call.sent)?;
        if answer.status != call.status {
            wrong.push(format!("{}: {answer:?} instead of {}", call.name, call.status));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let names: std::collections::BTreeSet<_> = calls.iter().map(|call| call.name).collect();
    assert_eq!(names.len(), calls.len(), "names are unique");
    Ok(())
}

//! Versions, suites and ways to begin, by clients on each release of OpenSSL.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    calls::Testbed,
    events::{Sought, text},
    openssl::{Client, How, Opening, Release, Terms},
    require_root,
};

use super::lab::Lab;
use crate::{EVENTS_TIMEOUT, clean, only};

/// What is agreed on: a name for paths, the version, the suite, encrypt-then-MAC.
const AGREED: [(&str, &str, &str, bool); 10] = [
    ("new-gcm-short", "1.3", "TLS_AES_128_GCM_SHA256", true),
    ("new-gcm-long", "1.3", "TLS_AES_256_GCM_SHA384", true),
    ("new-chacha", "1.3", "TLS_CHACHA20_POLY1305_SHA256", true),
    ("new-ccm", "1.3", "TLS_AES_128_CCM_SHA256", true),
    ("old-gcm-short", "1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", true),
    ("old-gcm-long", "1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", true),
    ("old-chacha", "1.2", "ECDHE-ECDSA-CHACHA20-POLY1305", true),
    ("old-ccm", "1.2", "ECDHE-ECDSA-AES128-CCM", true),
    ("old-cbc", "1.2", "ECDHE-ECDSA-AES256-SHA384", true),
    ("old-cbc-mac-first", "1.2", "ECDHE-ECDSA-AES256-SHA384", false),
];

/// The release that has no key site yet.
const WITHOUT_KEY_SITE: &str = "1.1.1";

#[test]
fn every_suite_is_opened_with_the_openssl_of_this_system() -> Result<()> {
    check("system", true)
}

#[test]
fn every_suite_is_opened_with_openssl_3_5() -> Result<()> {
    check("3.5", true)
}

#[test]
fn every_suite_is_opened_with_the_openssl_of_sid() -> Result<()> {
    check("sid", true)
}

/// The server's secret opens the connection.
#[test]
fn every_suite_is_opened_though_the_client_shows_no_secret() -> Result<()> {
    check(WITHOUT_KEY_SITE, false)
}

/// Two exchanges on each of two connections for every suite: by a full handshake, then resumed.
fn check(release: &str, peer: bool) -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let release = Release::named(release).context("no such release")?;
    // Before the agent: a library that is new to it is found some time after its process began.
    let mut client = Client::start(release, testbed.target())?;
    let mut lab = Lab::watch(testbed, "")?;
    for (name, version, suite, encrypt_then_mac) in AGREED {
        for (way, resume) in [("full", false), ("resumed", true)] {
            let terms = Some(Terms { version, suite, encrypt_then_mac, resume });
            let opened = client.open(name, Opening { terms, ..Opening::default() });
            opened.with_context(|| format!("{name}, {way}"))?;
            for nth in ["first", "second"] {
                let request = lab.request(&format!("/api/{name}/{way}/{nth}"))?;
                let reply = client.exchange(name, &request, How::default())?.reply;
                if peer {
                    lab.tell(request, reply);
                } else {
                    lab.tell_of_server(request, reply);
                }
            }
        }
    }
    lab.finish().map(drop)
}

#[test]
fn calls_tell_of_connections_on_which_no_end_shows_its_secrets() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let release = Release::named(WITHOUT_KEY_SITE).context("no such release")?;
    let mut server = Client::start(release, testbed.target())?;
    let port = server.serve(testbed.certificates())?;
    let mut target = testbed.target().clone();
    target.port = port;
    let mut client = Client::start(release, &target)?;
    let Lab { mut agent, testbed, dir: _dir, .. } = Lab::watch(testbed, "")?;
    client.open("one", Opening::default())?;
    let mut sides = Vec::new();
    for nth in ["first", "second", "third"] {
        let request = testbed.read_order(1)?;
        let request =
            scopewatch_harness::clients::Request { path: format!("/api/{nth}"), ..request };
        let reply = client.exchange("one", &request, How::default())?.reply;
        for (role, pid) in [("client", client.pid()), ("server", server.pid())] {
            let (method, path) = ("GET".to_owned(), request.path.clone());
            let client_port = reply.client_port;
            sides.push((pid, Sought { role, method, path, client_port, server_port: port }));
        }
    }
    agent.log().wait_for("both sides", EVENTS_TIMEOUT, |events| {
        sides.iter().all(|(_, side)| events.iter().any(|event| side.matches(event)))
    })?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for (pid, side) in &sides {
        let event = only(&stopped.events, side)?;
        ensure!(event.pointer("/process/pid") == Some(&(*pid).into()), "{event:#}");
        ensure!(text(event, "/identity/subject") == Some("alice"), "{event:#}");
    }
    Ok(())
}

//! Versions, suites and ways to begin, by clients on each release of OpenSSL.

use anyhow::{Context as _, Result};
use scopewatch_harness::{
    calls::Testbed,
    openssl::{Client, How, Opening, Release, Terms},
    require_root,
};

use super::{lab::Lab, pair::Pair};

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

#[test]
fn every_suite_is_opened_with_openssl_1_1_1() -> Result<()> {
    check("1.1.1")
}

#[test]
fn every_suite_is_opened_with_the_openssl_of_this_system() -> Result<()> {
    check("system")
}

#[test]
fn every_suite_is_opened_with_openssl_3_5() -> Result<()> {
    check("3.5")
}

#[test]
fn every_suite_is_opened_with_the_openssl_of_sid() -> Result<()> {
    check("sid")
}

/// Two exchanges on each of two connections for every suite: by a full handshake, then resumed.
fn check(release: &str) -> Result<()> {
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
                lab.tell(request, reply);
            }
        }
    }
    lab.finish().map(drop)
}

#[test]
fn every_suite_is_opened_between_two_ends_on_openssl_1_1_1() -> Result<()> {
    require_root()?;
    let mut pair = Pair::start("1.1.1")?;
    for (name, version, suite, encrypt_then_mac) in AGREED {
        for (way, resume) in [("full", false), ("resumed", true)] {
            let terms = Some(Terms { version, suite, encrypt_then_mac, resume });
            let opened = pair.client.open(name, Opening { terms, ..Opening::default() });
            opened.with_context(|| format!("{name}, {way}"))?;
            for nth in ["first", "second"] {
                pair.exchange(name, &format!("/api/{name}/{way}/{nth}"))?;
            }
        }
    }
    pair.finish_opened()
}

/// TLS 1.2 on terms that are not resumed.
const OLD: Terms = Terms {
    version: "1.2",
    suite: "ECDHE-ECDSA-AES128-GCM-SHA256",
    encrypt_then_mac: true,
    resume: false,
};

#[test]
fn a_renegotiation_changes_keys_between_requests() -> Result<()> {
    require_root()?;
    for release in ["1.1.1", "system", "sid"] {
        let mut pair = Pair::start(release)?;
        for (name, suite) in [("gcm", OLD.suite), ("cbc", "ECDHE-ECDSA-AES256-SHA384")] {
            let terms = Some(Terms { suite, ..OLD });
            pair.client.open(name, Opening { terms, ..Opening::default() })?;
            pair.exchange(name, &format!("/api/{name}/before"))?;
            for nth in ["once", "twice"] {
                pair.client.make("renegotiate", name)?;
                pair.exchange(name, &format!("/api/{name}/{nth}"))?;
            }
        }
        pair.finish_opened().with_context(|| format!("on {release}"))?;
    }
    Ok(())
}

/// Early data, and new keys within a connection, by the oldest release that has them.
#[test]
fn openssl_1_1_1_may_send_early_and_change_keys() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let release = Release::named("1.1.1").context("no such release")?;
    let mut client = Client::start(release, testbed.target())?;
    let mut lab = Lab::watch(testbed, "")?;
    let suite = "TLS_AES_128_GCM_SHA256";
    let terms = Some(Terms { version: "1.3", suite, ..OLD });
    client.open("one", Opening { terms, ..Opening::default() })?;
    for nth in ["first", "second", "third"] {
        let request = lab.request(&format!("/api/updated/{nth}"))?;
        let reply = client.exchange("one", &request, How::default())?.reply;
        lab.tell(request, reply);
        client.make("update_keys", "one")?;
    }
    let request = lab.request("/api/early")?;
    let reply = client.exchange_early("one", suite, &request)?.reply;
    lab.tell(request, reply);
    lab.finish().map(drop)
}

#[test]
fn calls_tell_of_connections_on_which_no_end_shows_its_secrets() -> Result<()> {
    require_root()?;
    let mut pair = Pair::start_disguised("1.1.1")?;
    pair.client.open("one", Opening::default())?;
    for nth in ["first", "second", "third"] {
        pair.exchange("one", &format!("/api/{nth}"))?;
    }
    pair.finish_on_calls()
}

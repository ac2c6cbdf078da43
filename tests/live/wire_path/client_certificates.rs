//! Connections on which the client shows a certificate: nginx asks for it.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use scopewatch_harness::{
    agent::Agent,
    calls::{Bearer, Testbed},
    certs::{AUTHORITY_NAME, CLIENT_NAME},
    clients::{Reply, Request, Target, curl_with_certificate},
    events::Sought,
    openssl::{Client, How, Opening, Release, Terms},
    require_root,
};
use serde_json::{Value, json};

use crate::{EVENTS_TIMEOUT, clean, only};

/// Versions and suites.
const AGREED: [(&str, &str, &str); 2] = [
    ("1.3", "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
];

/// An exchange, and fields of its event.
struct Made {
    request: Request,
    reply: Reply,
    expected: Vec<(&'static str, Value)>,
}

#[test]
fn the_certificate_that_a_client_proves_to_hold_is_told() -> Result<()> {
    require_root()?;
    for release in ["1.1.1", "system", "sid"] {
        check(release).with_context(|| format!("on {release}"))?;
    }
    Ok(())
}

/// Exchanges in both versions, by full handshakes and resumed ones, with a certificate.
fn check(release: &str) -> Result<()> {
    let testbed = Testbed::start()?;
    let port = testbed.nginx().mutual_port();
    let target = Target { port, ..testbed.target().clone() };
    let mut client = Client::start(Release::named(release).context("no such release")?, &target)?;
    client.certify(testbed.certificates())?;
    let proved = [
        ("/tls/client_cert/x5t_s256", json!(thumbprint(&testbed)?)),
        ("/tls/client_cert/subject", json!(format!("CN={CLIENT_NAME}"))),
        ("/tls/client_cert/issuer", json!(format!("CN={AUTHORITY_NAME}"))),
    ];
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let mut made = Vec::new();
    for (version, suite, name) in AGREED {
        for resume in [false, true] {
            let terms = Some(Terms { version, suite, encrypt_then_mac: true, resume });
            client.open(version, Opening { terms, ..Opening::default() })?;
            for nth in ["first", "second"] {
                let path = format!("/api/{version}/{resume}/{nth}");
                let request = testbed.with_token(Request::new("GET", &path), Bearer::Alice)?;
                let reply = client.exchange(version, &request, How::default())?.reply;
                let mut expected = vec![
                    ("/tls/version", json!(version)),
                    ("/tls/suite", json!(name)),
                    ("/tls/resumed", json!(resume)),
                ];
                // It is not shown again, but the server knows the client again.
                expected.extend(proved.clone());
                made.push(Made { request, reply, expected });
            }
        }
    }
    let request = testbed.with_token(Request::new("GET", "/api/curl"), Bearer::Alice)?;
    let reply = curl_with_certificate(&target, &request, testbed.certificates())?;
    let mut expected = proved.to_vec();
    expected.extend([("/server/sni", json!("localhost")), ("/tls/alpn", json!("http/1.1"))]);
    made.push(Made { request, reply, expected });

    let _late = agent.log().wait_for("all", EVENTS_TIMEOUT, |events| events.len() >= made.len());
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    for Made { request, reply, expected } in made {
        let Request { method, path, .. } = request;
        let (role, client_port) = ("server", reply.client_port);
        let sought = Sought { role, method, path, client_port, server_port: port };
        let event = only(&stopped.events, &sought)?;
        for (field, value) in expected {
            let told = event.pointer(field).unwrap_or(&Value::Null);
            ensure!(*told == value, "{field} is not {value}: {event:#}");
        }
        let fingerprint = event.pointer("/client/tls_fp").and_then(Value::as_str);
        let version = event.pointer("/tls/version").and_then(Value::as_str).unwrap_or_default();
        let start = format!("t{}", version.replace('.', ""));
        ensure!(fingerprint.is_some_and(|told| told.starts_with(&start)), "{event:#}");
    }
    Ok(())
}

/// The client certificate's, as tokens are bound to it.
fn thumbprint(testbed: &Testbed) -> Result<String> {
    let digits = testbed.certificates().client_fingerprint()?;
    let bytes: Result<Vec<u8>, _> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16))
        .collect();
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes?))
}

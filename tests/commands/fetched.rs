//! Keys of issuers over https, from a real nginx whose certificate a private authority signed.

use std::{
    fs, io,
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use scopewatch::{keyring::Keyring, policy::compile::compile};
use scopewatch_harness::{certs::Certificates, nginx::Nginx, wait_until};

/// RFC 8037 appendix A.2
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Passes connections to 127.0.0.2, a name that the certificate does not have, on to `port`.
fn another_name(port: u16) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.2:0")?;
    let own = listener.local_addr()?.port();
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ends_with_either = io::copy(&mut from, &mut to);
            let _closed = to.shutdown(Shutdown::Both);
        });
    };
    thread::spawn(move || {
        for near in listener.incoming().filter_map(Result::ok) {
            let far = TcpStream::connect(("127.0.0.1", port));
            let Ok((near2, far)) = near.try_clone().and_then(|it| Ok((it, far?))) else { return };
            let Ok(far2) = far.try_clone() else { return };
            pass(near, far);
            pass(far2, near2);
        }
    });
    Ok(own)
}

#[test]
fn keys_by_https_are_taken_from_whom_the_named_authorities_vouch_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let certificates = Certificates::make(dir.path())?;
    let nginx = Nginx::start(dir.path(), &certificates, &[])?;
    fs::write(dir.path().join("www/static/jwks.json"), KEYS)?;
    let other = dir.path().join("other");
    fs::create_dir(&other)?;
    let other = Certificates::make(&other)?;
    let (port, relay) = (nginx.port(), another_name(nginx.port())?);
    // One after another: the last one's keys are there when all the others have been asked for.
    let issuer = |id: &str, host: &str, ca: Option<&Path>| {
        let ca = ca.map_or_else(String::new, |ca| format!(", ca_file: {}", ca.display()));
        format!(
            "- {{id: {id}, match: [\"https://{id}.example\"], \
             jwks: {{url: \"https://{host}/static/jwks.json\"{ca}}}}}\n"
        )
    };
    let authority = certificates.authority.as_path();
    let text = [
        "version: 1\nissuers:\n".to_owned(),
        issuer("host-trusts", &format!("localhost:{port}"), None),
        issuer("another-authority", &format!("localhost:{port}"), Some(&other.authority)),
        issuer("another-name", &format!("127.0.0.2:{relay}"), Some(authority)),
        issuer("no-file", &format!("localhost:{port}"), Some(&dir.path().join("none.pem"))),
        issuer("by-address", &format!("127.0.0.1:{port}"), Some(authority)),
        issuer("vouched-for", &format!("localhost:{port}"), Some(authority)),
    ];
    let compiled = compile("policy.yaml", &text.concat(), &|_| Err(String::new()));
    let policy = compiled.map_err(|problems| anyhow!("{problems}"))?.policy;
    let keyring = Keyring::start(policy.issuers, 1)?;
    let has_keys = |id: &str| -> Result<bool> {
        let trust = keyring.trust();
        let found = trust.find(&format!("https://{id}.example"));
        Ok(!found.context("an issuer of the policy")?.1.keys.is_empty())
    };
    wait_until("the keys", Duration::from_secs(60), || Ok(has_keys("vouched-for")?.then_some(())))?;
    for (id, expected) in [
        ("host-trusts", false),
        ("another-authority", false),
        ("another-name", false),
        ("no-file", false),
        ("by-address", true),
        ("vouched-for", true),
    ] {
        assert_eq!(has_keys(id)?, expected, "{id}");
    }
    Ok(())
}

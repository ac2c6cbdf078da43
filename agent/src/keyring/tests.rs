//! Keys that change under the agent.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
};

use super::*;
use crate::token::{
    issuer::{Algorithm, IssuerIndex},
    profile::Profile,
};

fn jwks(kid: &str) -> String {
    // RFC 8037 A.2
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#)
}

fn issuer(keys: Vec<KeyOrigin>) -> Issuer {
    Issuer {
        id: "corp".into(),
        matches: vec!["https://sso.example/realms/corp".into()],
        tenants: Vec::new(),
        profile: Profile::Lax,
        algorithms: BTreeSet::from([Algorithm::EdDsa]),
        keys,
        leeway: Duration::ZERO,
        max_lifetime: None,
        required_claims: Vec::new(),
    }
}

fn ids(trust: &Trust) -> Vec<String> {
    let (_, trusted) = trust.find("https://sso.example/realms/corp").unwrap();
    let keys = trusted.keys.iter().flat_map(|held| held.set.keys());
    keys.map(|key| key.id.clone().unwrap()).collect()
}

/// Waits until the keyring has these keys.
#[track_caller]
fn wait_for(keyring: &Keyring, expected: &[&str]) {
    let start = Instant::now();
    while ids(&keyring.trust()) != expected {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", ids(&keyring.trust()));
        thread::sleep(Duration::from_millis(10));
    }
}

fn process(exe: &str) -> Process {
    Process { exe: Some(exe.into()), ..Process::unknown(1) }
}

fn observing() -> KeyOrigin {
    KeyOrigin::Observed(ObservedFrom { exe: Some("/bin/app".into()), ..ObservedFrom::default() })
}

#[test]
fn a_file_is_read_again_when_it_changes_and_kept_when_it_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corp.jwks");
    fs::write(&path, jwks("old")).unwrap();
    let keys = vec![KeyOrigin::Inline(jwks("inline")), KeyOrigin::File(path.clone())];
    let keyring = Keyring::start(vec![issuer(keys)], 1).unwrap();
    let first = keyring.trust();
    assert_eq!(ids(&first), ["inline", "old"]);
    assert_eq!(first.generation, 1 << 32);
    // Replaced as careful programs do it.
    fs::write(dir.path().join("new"), jwks("new")).unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    wait_for(&keyring, &["inline", "new"]);
    assert_eq!(keyring.trust().generation, (1 << 32) + 1);

    let mut file = KeyFile::read(&path, "corp").unwrap();
    assert!(!file.renew());
    fs::write(&path, "{").unwrap();
    assert!(!file.renew());
    assert!(file.held.set.names("new"));
    fs::remove_file(&path).unwrap();
    assert!(!file.renew());
    fs::write(&path, jwks("back")).unwrap();
    assert!(file.renew() && file.held.set.names("back"));
}

#[test]
fn keys_that_cannot_be_used_from_the_start_are_named() {
    let refused = |origin: KeyOrigin, expected: &str| {
        let error = Keyring::start(vec![issuer(vec![origin])], 1).err().unwrap();
        assert!(chain(&error).contains(expected), "{error}");
    };
    let absent = KeyOrigin::File("/nonexistent/corp.jwks".into());
    refused(absent, "cannot read the keys of issuer corp from /nonexistent/corp.jwks: No such");
    let inline = KeyOrigin::Inline("{}".into());
    refused(inline, "cannot use the keys of issuer corp from jwks.inline: it is no JWK set");
}

#[test]
fn a_key_set_is_believed_from_the_process_and_the_host_that_the_policy_names() {
    let keyring = Keyring::start(vec![issuer(vec![observing()])], 1).unwrap();
    let at = Timestamp(1);
    let see = |exe: &str, host: &str, kid: &str| {
        keyring.observed(&process(exe), host, jwks(kid).as_bytes(), at);
    };
    see("/bin/other", "sso.example", "process");
    see("/bin/app", "evil.example", "host");
    keyring.observed(&process("/bin/app"), "sso.example", b"<html>", at);
    keyring.observed(&process("/bin/app"), "sso.example", &[0xff], at);
    see("/bin/app", "SSO.example", "right");
    wait_for(&keyring, &["right"]);
    // One snapshot: none of the others had made another.
    assert_eq!(keyring.trust().generation, (1 << 32) + 1);
}

#[test]
fn nobody_is_believed_where_the_policy_names_nobody() {
    let origin = KeyOrigin::Inline(jwks("inline"));
    let keyring = Keyring::start(vec![issuer(vec![origin])], 1).unwrap();
    keyring.observed(&process("/bin/app"), "sso.example", jwks("seen").as_bytes(), Timestamp(1));
    assert_eq!((ids(&keyring.trust()), keyring.refused()), (vec!["inline".to_owned()], 0));
}

#[test]
fn the_same_set_seen_again_has_nothing_examined_again() {
    let mut shelf = Shelf::read(&Arc::new(issuer(vec![observing()]))).unwrap();
    let later = |secs: u64| Timestamp(secs * NANOS_PER_SEC);
    assert!(shelf.see(jwks("a"), later(0)));
    assert!(!shelf.see(jwks("a"), later(59)));
    assert!(shelf.see(jwks("a"), later(60)));
    assert!(shelf.see(jwks("b"), later(61)));
    assert!(!shelf.see("no keys".into(), later(62)));
    assert!(shelf.held()[0].set.names("b"));
}

/// Answers each request with the keys that come next, and the last ones for ever.
fn serve(mut answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    answers.reverse();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = if answers.len() > 1 { answers.pop() } else { answers.first().cloned() };
            let body = body.unwrap_or_default();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{address}/jwks")
}

#[test]
fn keys_are_fetched_from_where_the_policy_says_and_carry_their_time() {
    let url = serve(vec![jwks("one"), jwks("two")]);
    let keyring =
        Keyring::start(vec![issuer(vec![KeyOrigin::Url { url, ca_file: None }])], 1).unwrap();
    wait_for(&keyring, &["one"]);
    let trust = keyring.trust();
    let (_, trusted) = trust.find("https://sso.example/realms/corp").unwrap();
    assert!(trusted.keys[0].as_of.is_some() && !trusted.keys[0].is_observed);
    // Within the cooldown nobody can have them fetched again.
    let key = MissingKey { issuer: IssuerIndex(0), key_id: Some("two".into()) };
    keyring.missing(key);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(ids(&keyring.trust()), ["one"]);
}

#[test]
fn keys_that_cannot_be_fetched_again_stay() {
    let client = Client::new().unwrap();
    let (url, schedule) =
        (serve(vec![jwks("one"), "<html>".into()]), Schedule::new(Instant::now()));
    let mut remote = Remote { url, ca_file: None, schedule, held: None };
    assert!(remote.fetch(&client, "corp"));
    assert!(!remote.fetch(&client, "corp"));
    assert!(remote.held.is_some_and(|held| held.set.names("one")));
}

#[test]
fn nothing_goes_out_unless_the_policy_names_an_address() {
    let shelf = Shelf::read(&Arc::new(issuer(vec![observing()]))).unwrap();
    assert!(shelf.remote.is_empty());
    let keyring = Keyring::start(vec![issuer(vec![observing()])], 1).unwrap();
    keyring.missing(MissingKey { issuer: IssuerIndex(0), key_id: None });
    assert_eq!((keyring.news.len(), keyring.refused()), (0, 0));
}

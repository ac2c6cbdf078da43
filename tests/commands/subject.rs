//! `scopewatch subject`: pseudonyms, whose they are, and that one be forgotten.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Result;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use scopewatch::clock::Timestamp;
use scopewatch_harness::tokens::Token;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    BAD_DATA, CONFIG, NO_INPUT, Said,
    audit_log::{self, Call, path},
    run_on,
};

/// Nobody was found.
const NOT_FOUND: i32 = 1;
/// The command line is wrong.
const USAGE: i32 = 64;

/// Of the documented function, by a key of 32 bytes of 7.
const ALICE: &str = "rWG2Rt4GMlQ50tV3cNLV6u";

/// A directory with a key file that has forgotten nobody, as the agent makes one, but for its bytes.
fn with_key() -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("subject.key");
    write(&file, &scopewatch::token::subject::SubjectKey::new([7; 32].into()).encode())?;
    Ok((dir, file))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes)?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o600))?)
}

fn subject(command: &[&str], key: &Path, names: &str) -> Result<Said> {
    let arguments = [&["subject"], command, &["--key", path(key)?]].concat();
    run_on(&arguments, names.as_bytes())
}

#[test]
fn pseudonyms_are_printed_with_their_names_and_found_by_them() -> Result<()> {
    let (_dir, key) = with_key()?;
    let out = subject(&["pseudonym"], &key, "alice\r\n\nbob x\n")?.well();
    let bob = match out.lines().collect::<Vec<_>>().as_slice() {
        [alice, bob] => {
            assert_eq!(*alice, format!("{ALICE}\talice"));
            bob.strip_suffix("\tbob x").expect("the name as it was given").to_owned()
        }
        _ => panic!("{out}"),
    };
    let found = subject(&["lookup", &bob, ALICE], &key, "carol\nbob x\nalice")?.well();
    assert_eq!(found, format!("{bob}\tbob x\n{ALICE}\talice\n"));
    Ok(())
}

#[test]
fn who_is_not_found_is_told_of() -> Result<()> {
    let (_dir, key) = with_key()?;
    let said = subject(&["lookup", ALICE], &key, "bob\n")?;
    assert_eq!(said.badly(NOT_FOUND, &["no name on standard input is any of them"]), "");
    let other = "a".repeat(22);
    let said = subject(&["lookup", ALICE, &other], &key, "alice\n")?;
    assert_eq!((said.code, said.out), (Some(0), format!("{ALICE}\talice\n")));
    assert!(said.err.contains(&format!("no name on standard input is {other}")), "{}", said.err);
    Ok(())
}

#[test]
fn nobody_can_name_who_is_forgotten() -> Result<()> {
    let (dir, key) = with_key()?;
    let held = fs::read(&key)?;
    let before = subject(&["pseudonym"], &key, "bob")?.well();
    let said = subject(&["forget"], &key, "alice\ncarol\n")?.well();
    assert!(said.starts_with("2 forgotten, 0 had been before"), "{said}");
    assert!(!said.contains("alice") && !said.contains(ALICE), "{said}");

    let after = subject(&["pseudonym"], &key, "alice\nbob")?.well();
    assert_eq!(after, format!("forgotten\talice\n{before}"));
    subject(&["lookup", ALICE], &key, "alice")?.badly(NOT_FOUND, &[]);
    let said = subject(&["forget"], &key, "alice\ndave")?.well();
    assert!(said.starts_with("1 forgotten, 1 had been before"), "{said}");

    let root = held.windows(32).find(|bytes| *bytes == [7; 32]).expect("the root").to_vec();
    assert!(!fs::read(&key)?.windows(32).any(|bytes| bytes == root));
    assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path())?.count(), 1, "no draft stays");
    Ok(())
}

#[test]
fn of_many_names_only_those_of_a_pseudonym_are_forgotten() -> Result<()> {
    let (_dir, key) = with_key()?;
    let names = "bob\nalice\ncarol\n";
    let said = subject(&["forget", "--pseudonym", ALICE], &key, names)?.well();
    assert!(said.starts_with("1 forgotten, 0 had been before"), "{said}");
    let after = subject(&["pseudonym"], &key, names)?.well();
    let forgotten: Vec<_> = after.lines().filter(|line| line.starts_with("forgotten\t")).collect();
    assert_eq!(forgotten, ["forgotten\talice"]);

    let before = fs::read(&key)?;
    subject(&["forget", "--pseudonym", ALICE], &key, names)?.badly(NOT_FOUND, &["is any of them"]);
    assert_eq!(fs::read(&key)?, before, "nobody was forgotten");
    Ok(())
}

#[test]
fn what_cannot_be_used_is_refused_with_a_sentence() -> Result<()> {
    let (dir, key) = with_key()?;
    let none = dir.path().join("none.key");
    for command in ["pseudonym", "forget"] {
        subject(&[command], &none, "alice")?.badly(NO_INPUT, &["there is no key file"]);
        assert!(!none.exists(), "none is made");
        subject(&[command], &key, "\n")?.badly(BAD_DATA, &["standard input is empty"]);
    }
    subject(&["lookup", "alice"], &key, "alice")?.badly(USAGE, &["a pseudonym is wanted"]);
    let arguments = ["subject", "forget", "--key", path(&key)?];
    run_on(&arguments, b"bob\n\xff\n")?.badly(BAD_DATA, &["line 2", "no UTF-8"]);
    assert!(!subject(&["pseudonym"], &key, "bob")?.well().starts_with("forgotten"));

    let whole = fs::read(&key)?;
    for (bytes, why) in [
        (&whole[..whole.len() - 1], "cut off or changed"),
        (&[7; 32], "does not begin as a subject key does"),
    ] {
        write(&key, bytes)?;
        for command in [&["pseudonym"][..], &["lookup", ALICE], &["forget"]] {
            subject(command, &key, "alice")?.badly(CONFIG, &["holds no subject key", why]);
        }
        assert_eq!(fs::read(&key)?, bytes, "left as it was");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
    subject(&["pseudonym"], &key, "alice")?.badly(CONFIG, &["open to group or others"]);
    Ok(())
}

/// A token with these claims, and a signature of noise.
fn token(claims: &Value) -> Token {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "typ": "at+jwt"});
    Token::opaque(&format!("{}.{}.c2lnbmF0dXJl", part(&header), part(claims)))
}

/// The identities in the log of a call that `alice` makes, and that `gateway` makes for `bob`.
fn identities(key: &Path) -> Result<Vec<Value>> {
    const NOW: u64 = 1_795_341_871;
    let alice = token(&json!({"sub": "alice"}));
    let bob = token(&json!({"sub": "bob", "act": {"sub": "gateway"}}));
    let calls = [&alice, &bob].map(|token| Call { request: "GET /v1/orders", token, status: 200 });
    let dir = tempfile::tempdir()?;
    let log = audit_log::replay(
        dir.path(),
        &format!("privacy: {{subject: pseudonym, subject_key: {:?}}}\n", path(key)?),
        Timestamp(NOW * 1_000_000_000),
        &calls,
    )?;
    for name in ["alice", "bob", "gateway"] {
        assert!(!log.contains(&format!("\"{name}\"")), "{log}");
    }
    let events = log.lines().map(serde_json::from_str::<Value>);
    events.map(|event| Ok(event?.pointer("/identity").cloned().unwrap_or_default())).collect()
}

#[test]
fn a_replay_writes_no_pseudonym_of_who_is_forgotten_and_says_that_somebody_was() -> Result<()> {
    let (_dir, key) = with_key()?;
    let known = subject(&["pseudonym"], &key, "bob\ngateway")?.well();
    let [bob, gateway] = ["bob", "gateway"].map(|name| {
        let line = known.lines().find(|line| line.ends_with(&format!("\t{name}")));
        line.and_then(|line| line.split('\t').next()).expect("a pseudonym").to_owned()
    });
    let before = identities(&key)?;
    let [first, second] = before.as_slice() else { panic!("{before:?}") };
    assert_eq!((&first["subject"], &first["withheld"]), (&ALICE.into(), &Value::Null));
    assert_eq!(
        (&second["subject"], &second["actor_chain"][0]),
        (&bob.as_str().into(), &gateway.into())
    );

    subject(&["forget"], &key, "alice\ngateway\n")?.well();
    let after = identities(&key)?;
    let [first, second] = after.as_slice() else { panic!("{after:?}") };
    assert_eq!((&first["subject"], &first["withheld"]), (&Value::Null, &"forgotten".into()));
    assert_eq!((&second["subject"], &second["withheld"]), (&bob.into(), &"forgotten".into()));
    assert_eq!(second["actor_chain"], Value::Null);
    assert_eq!(first["evidence"], before[0]["evidence"], "all else is told");
    Ok(())
}

#[test]
fn a_token_is_inspected_by_the_same_names() -> Result<()> {
    let (dir, key) = with_key()?;
    let configuration = dir.path().join("scopewatch.yaml");
    fs::write(
        &configuration,
        format!("privacy: {{subject: pseudonym, subject_key: {:?}}}\n", path(&key)?),
    )?;
    let token = token(&json!({"sub": "alice"}));
    let inspect = || {
        let arguments = ["token", "inspect", "--json", "--config", path(&configuration)?];
        let said = run_on(&arguments, token.as_str().as_bytes())?;
        Ok::<_, anyhow::Error>(serde_json::from_str::<Value>(&said.out)?["claims"]["sub"].clone())
    };
    assert_eq!(inspect()?, ALICE);
    subject(&["forget"], &key, "alice")?.well();
    assert_eq!(inspect()?, Value::Null);
    Ok(())
}

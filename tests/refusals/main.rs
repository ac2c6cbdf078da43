//! What the agent refuses: one clear sentence and the exit code of `sysexits.h`, without probes and
//! without root.

use std::{
    ffi::OsStr,
    fs,
    process::{Command, Output},
    time::Duration,
};

use anyhow::Result;
use scopewatch_harness::{
    agent::{command, open_dir, output_unprivileged},
    child::{self, Reaped},
};

const USAGE: i32 = 64;
const BAD_DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const UNAVAILABLE: i32 = 69;
const NO_PERMISSION: i32 = 77;
const CONFIG: i32 = 78;

/// Checks the exit code and that stderr is one line that holds `words` and no backtrace.
fn check(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "not one line: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    for noise in ["backtrace", "panicked", "Caused by", "RUST_"] {
        assert!(!stderr.contains(noise), "{noise:?} is in: {stderr}");
    }
    assert!(output.stdout.is_empty(), "stdout: {}", String::from_utf8_lossy(&output.stdout));
}

fn refused<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Output> {
    child::output(&mut command(arguments)?, b"")
}

#[test]
fn an_unknown_configuration_key_is_named() -> Result<()> {
    let dir = open_dir()?;
    let config = dir.path().join("scopewatch.yaml");
    fs::write(&config, "no_such_key: 1\n")?;
    let output = refused(&["run".as_ref(), "--config".as_ref(), config.as_os_str()])?;
    check(&output, CONFIG, &["no_such_key"]);
    Ok(())
}

#[test]
fn a_configuration_that_is_not_there_is_named() -> Result<()> {
    let dir = open_dir()?;
    let config = dir.path().join("absent.yaml");
    let output = refused(&["run".as_ref(), "--config".as_ref(), config.as_os_str()])?;
    check(&output, CONFIG, &["absent.yaml"]);
    Ok(())
}

#[test]
fn a_recording_that_is_not_there_is_named() -> Result<()> {
    let dir = open_dir()?;
    let recording = dir.path().join("absent.swrec");
    let output = refused(&["replay".as_ref(), recording.as_os_str()])?;
    check(&output, NO_INPUT, &["absent.swrec"]);
    Ok(())
}

#[test]
fn a_file_that_is_no_recording_is_named() -> Result<()> {
    let dir = open_dir()?;
    let recording = dir.path().join("letter.swrec");
    fs::write(&recording, "Dear all,\n")?;
    let output = refused(&["replay".as_ref(), recording.as_os_str()])?;
    check(&output, BAD_DATA, &["letter.swrec"]);
    Ok(())
}

#[test]
fn a_log_that_is_not_there_is_named() -> Result<()> {
    let dir = open_dir()?;
    let log = dir.path().join("absent.json");
    let output = refused(&["show".as_ref(), log.as_os_str()])?;
    check(&output, NO_INPUT, &["absent.json"]);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_probed_is_named() -> Result<()> {
    let dir = open_dir()?;
    let (absent, letter) = (dir.path().join("absent.so"), dir.path().join("letter.so"));
    fs::write(&letter, "Dear all,\n")?;
    let probe = |path: &std::path::Path| refused(&["probe".as_ref(), path.as_os_str()]);
    check(&probe(&absent)?, NO_INPUT, &["absent.so"]);
    check(&probe(&letter)?, BAD_DATA, &["letter.so", "ELF"]);
    check(&probe(dir.path())?, NO_INPUT, &["not a regular file"]);
    // No process has this number: it is above the kernel's limit.
    check(&refused(&["probe", "--pid", "4194305"])?, NO_INPUT, &["/proc/4194305"]);
    Ok(())
}

#[test]
fn a_process_without_tls_is_told_as_such() -> Result<()> {
    let mut sleep = Reaped::start(Command::new("sleep").arg("60"))?;
    let pid = sleep.pid().to_string();
    check(&refused(&["probe", "--pid", &pid])?, UNAVAILABLE, &[&pid, "no TLS library"]);
    sleep.stop(Duration::from_secs(1)).map(drop)
}

#[test]
fn bad_usage_ends_with_its_own_code() -> Result<()> {
    for arguments in
        [["run", "--no-such-option"].as_slice(), &["no-such-command"], &["replay"], &["probe"]]
    {
        let output = refused(arguments)?;
        // Usage errors may go on to show how the command is used.
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error:") || stderr.starts_with("scopewatch:"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    Ok(())
}

#[test]
fn attaching_without_privilege_is_refused() -> Result<()> {
    let dir = open_dir()?;
    check(&output_unprivileged(dir.path(), &["run"])?, NO_PERMISSION, &["root"]);
    // The recording would be written before the first probe: nothing may be left behind.
    let recording = "/tmp/scopewatch-refused.swrec";
    let output = output_unprivileged(dir.path(), &["record", "-o", recording])?;
    check(&output, NO_PERMISSION, &["root"]);
    assert!(!fs::exists(recording)?);
    Ok(())
}

/// RFC 7515 A.3.
const EXAMPLE_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const EXAMPLE_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9le\
    GFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSAp\
    mWQxfKTUJqPP3-Kg6NU1Q";

#[test]
fn a_token_is_valid_only_if_every_check_passes() -> Result<()> {
    let dir = open_dir()?;
    let keys = dir.path().join("joe.jwks");
    fs::write(&keys, EXAMPLE_KEY)?;
    let keys = keys.to_str().unwrap_or_default();
    let inspect = |arguments: &[&str], token: &str| {
        let arguments = [&["token", "inspect"], arguments].concat();
        child::output(&mut command(&arguments)?, token.as_bytes())
    };
    // Before and after its `exp`, 2011-03-22T18:43:00Z.
    let (before, after) = ("2011-03-22T18:42:59Z", "2011-03-22T18:43:00Z");
    let forged = EXAMPLE_TOKEN.replace("DtEh", "DtEi");
    for (arguments, token, code, words) in [
        (&["--jwks", keys, "--at", before][..], EXAMPLE_TOKEN, 0, ""),
        (&["--jwks", keys, "--at", before, "--json"], &format!("Bearer {EXAMPLE_TOKEN}\n"), 0, ""),
        (&["--jwks", keys, "--at", after], EXAMPLE_TOKEN, BAD_DATA, "not valid: expiry"),
        (&["--jwks", keys, "--at", before], &forged, BAD_DATA, "not valid: signature"),
        (&["--at", before], EXAMPLE_TOKEN, BAD_DATA, "its signature was not checked"),
        (&[], "opaque", BAD_DATA, "its signature was not checked"),
    ] {
        let output = inspect(arguments, token)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(!stdout.is_empty());
        // No part of a token is printed, the signature least of all.
        let parts = EXAMPLE_TOKEN.split('.').chain(forged.split('.'));
        parts.for_each(|part| assert!(!stdout.contains(part) && !stderr.contains(part)));
    }
    check(&inspect(&[], "")?, BAD_DATA, &["standard input is empty"]);
    check(&inspect(&["--at", "noon"], "x")?, USAGE, &["--at noon"]);
    check(&inspect(&["--jwks", "/nonexistent.jwks"], "x")?, NO_INPUT, &["/nonexistent.jwks"]);
    fs::write(dir.path().join("letter"), "Dear all,\n")?;
    let letter = dir.path().join("letter");
    let letter = letter.to_str().unwrap_or_default();
    check(&inspect(&["--jwks", letter], "x")?, BAD_DATA, &["letter", "no JWK set"]);
    Ok(())
}

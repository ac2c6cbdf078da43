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

//! What of secrets leaves the kernel, and what leaves the agent.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, contains, files_below, open_dir},
    calls::Testbed,
    child,
    clients::{Request, curl_with_key_log},
    events::served_on,
    require_root,
};
use tempfile::TempDir;

use super::lab::Lab;
use crate::{EVENTS_TIMEOUT, clean};

/// Derivations that are none of TLS's business, some of which look like it: the function of
/// `openssl kdf`, how many bytes it gives, and its options.
const OTHERS: [(&str, &str, &[&str]); 4] = [
    ("HKDF", "32", &["digest:SHA256", "key:secret", "salt:salt", "info:s hs traffic"]),
    ("TLS1-PRF", "32", &["digest:SHA256", "secret:secret", "seed:another label"]),
    ("PBKDF2", "16", &["pass:word", "salt:salt", "iter:9", "digest:SHA256"]),
    (
        "TLS13-KDF",
        "32",
        &[
            "digest:SHA256",
            "key:secret",
            "prefix:tls13 ",
            "label:exporter",
            "data:hash",
            "mode:EXPAND_ONLY",
        ],
    ),
];

/// One more, by another program of OpenSSL's.
const ENCRYPTION: [&str; 9] =
    ["enc", "-aes-256-cbc", "-pbkdf2", "-iter", "1000", "-pass", "pass:open", "-in", "/dev/null"];

/// `openssl` as it derives keys of one sort.
fn derive(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("openssl");
    child::checked(command.args(arguments).env("OPENSSL_CONF", "/dev/null"), b"")?;
    Ok(())
}

/// Secrets that one handshake of TLS 1.3 shows: the handshake's and the master secret at each end.
const SECRETS_OF_A_HANDSHAKE: u64 = 4;

#[test]
fn what_others_derive_stays_in_the_kernel() -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    derive(&ENCRYPTION)?;
    for (function, length, options) in OTHERS {
        let options = options.iter().flat_map(|option| ["-kdfopt", option]);
        let arguments: Vec<&str> =
            ["kdf", "-keylen", length].into_iter().chain(options).chain([function]).collect();
        derive(&arguments)?;
    }
    // That the probe is in place is seen by a handshake.
    let request = lab.request("/api/orders/seen")?;
    let reply = scopewatch_harness::clients::curl(lab.testbed.target(), &request)?;
    lab.tell(request, reply);
    let counters = lab.finish()?.counters();
    let count = |name: &str| counters.get(name).copied().context("no such counter");
    let secrets = count("secret_records")?;
    ensure!(secrets == SECRETS_OF_A_HANDSHAKE, "{secrets} secrets left: {counters:?}");
    let others = u64::try_from(OTHERS.len() + 1)?;
    ensure!(count("other_derivations")? >= others, "the probe is not there: {counters:?}");
    Ok(())
}

#[test]
fn no_file_of_the_agent_holds_a_session_secret() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let run = open_dir()?;
    let agent = Agent::run(run.path())?;
    let keys = made_while(agent, &testbed, run.path())?;
    check_files(run.path(), &keys)?;
    let record = open_dir()?;
    let agent = recording(&record)?;
    let keys = made_while(agent, &testbed, record.path())?;
    let recording = fs::read(record.path().join("calls.swrec")).context("read the recording")?;
    ensure!(contains(&recording, "/api/kept"), "the recording holds no plaintext");
    check_files(record.path(), &keys)
}

/// `scopewatch record` with all its files in `dir`.
fn recording(dir: &TempDir) -> Result<Agent> {
    let file = |name: &str| dir.path().join(name);
    let (recording, events) = (file("calls.swrec"), file("events.json"));
    let key = file("fingerprint.key");
    let arguments = [
        "record".as_ref(),
        "-o".as_ref(),
        recording.as_os_str(),
        "--events".as_ref(),
        events.as_os_str(),
        "--fingerprint-key".as_ref(),
        key.as_os_str(),
    ];
    Agent::start(&arguments, dir.path(), &events)
}

/// Secrets of connections that the agent opened: TLS 1.3 and 1.2.
fn made_while(mut agent: Agent, testbed: &Testbed, dir: &Path) -> Result<Vec<Vec<u8>>> {
    // Not among the agent's files.
    let log = testbed.dir().join("keys.log");
    let port = testbed.nginx().port();
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let request = testbed.read_order(1)?;
        let request = Request { path: "/api/kept".to_owned(), ..request };
        curl_with_key_log(testbed.target(), &request, &log, version)?;
    }
    agent.log().wait_for("two events", EVENTS_TIMEOUT, |events| served_on(events, port) >= 2)?;
    clean(&agent.terminate()?)?;
    let text = fs::read_to_string(&log).context("read the key log")?;
    fs::remove_file(&log).context("remove the key log")?;
    ensure!(!dir.starts_with(testbed.dir()), "the key log lies among the agent's files");
    let secrets: Vec<_> = text.lines().filter_map(secret).collect();
    ensure!(secrets.len() >= 5, "only {} secrets were logged", secrets.len());
    Ok(secrets)
}

/// The secret of a line of a key log: label, client random, secret.
fn secret(line: &str) -> Option<Vec<u8>> {
    let hex = line.split(' ').nth(2).filter(|_| !line.starts_with('#'))?;
    let digits: Vec<_> = hex.bytes().collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

fn check_files(dir: &Path, secrets: &[Vec<u8>]) -> Result<()> {
    for (path, content) in files_below(dir)? {
        let lower = content.to_ascii_lowercase();
        for secret in secrets {
            // Half of it would do for who wants to guess the rest.
            for half in secret.chunks(secret.len().div_ceil(2)) {
                let hex: String = half.iter().map(|byte| format!("{byte:02x}")).collect();
                let raw = content.windows(half.len()).any(|window| window == half);
                ensure!(!raw && !contains(&lower, &hex), "a secret is in {}", path.display());
            }
        }
    }
    Ok(())
}

//! `scopewatch token inspect`: what a token says, and whether it is genuine.
//!
//! In: a token on standard input, never as an argument, which others could see. Out: an
//! `Inspection`, as text or as JSON; the exit code is 0 only if the token is valid.

use std::{fs, io, io::Read as _, path::Path};

use zeroize::Zeroizing;

use crate::{
    cli,
    clock::Timestamp,
    commands::{configuration, naming, print},
    config::policyfile,
    failure::{ExitCode, Failure, chain},
    keyring,
    token::{
        MAX_TOKEN,
        inspect::{self, Inspection, Outcome},
        keys::{KeySet, MAX_SET, Trust},
    },
};

/// Longest input, in bytes: a token, the word before it, and white space.
const MAX_INPUT: usize = MAX_TOKEN + 1024;

/// Inspects the token on standard input.
///
/// # Errors
/// It is not valid, or something cannot be read.
pub fn inspect(asked: &cli::Inspect) -> Result<(), Failure> {
    let cli::Inspect { policy, jwks, at, config, json } = asked;
    let config = configuration(config.as_deref(), None)?;
    let at = match at {
        Some(text) => Timestamp::from_rfc3339(text).ok_or_else(|| {
            let message = format!("--at {text}: a time is wanted, such as 2026-11-22T10:04:31Z");
            Failure::new(ExitCode::Usage, message)
        })?,
        None => now()?,
    };
    let input = token()?;
    let token = bare(&input);
    let trust = match (policy, jwks) {
        (Some(path), _) => trust_by_policy(path)?,
        (None, Some(path)) => inspect::trust_by_keys(token, keys(path)?),
        (None, None) => Trust::default(),
    };
    let naming = naming::replayed(&config)?;
    let inspection = inspect::inspect(token, &trust, at, &|name| naming.name(name).ok().flatten());
    let text = if *json {
        serde_json::to_string_pretty(&inspection).unwrap_or_default()
    } else {
        inspection.to_string()
    };
    print(&text)?;
    if inspection.valid { Ok(()) } else { Err(invalid(&inspection)) }
}

fn trust_by_policy(path: &Path) -> Result<Trust, Failure> {
    let wrong = |problem: String| Failure::new(ExitCode::Config, problem);
    let compiled = policyfile::load(path).map_err(|problems| wrong(problems.to_string()))?;
    keyring::standing(compiled.policy.issuers).map_err(|error| wrong(chain(&error)))
}

fn keys(path: &Path) -> Result<KeySet, Failure> {
    let file = fs::File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
    let mut text = String::new();
    // One byte more than is read of a set, so that a longer one is told from one of that length.
    file.take(MAX_SET as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::unreadable(path, &error))?;
    KeySet::read(&text).map_err(|error| {
        let message = format!("cannot use {}: {}", path.display(), chain(&error));
        Failure::new(ExitCode::Data, message)
    })
}

fn invalid(inspection: &Inspection) -> Failure {
    let failed = inspection.checks.iter().filter(|check| check.outcome == Outcome::Fail);
    let failed = failed.map(|check| check.check).collect::<Vec<_>>().join(", ");
    let why = if failed.is_empty() { "its signature was not checked".into() } else { failed };
    Failure::new(ExitCode::Data, format!("the token is not valid: {why}"))
}

fn token() -> Result<Zeroizing<String>, Failure> {
    // With room for all of it, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_INPUT + 1));
    let read = io::stdin().lock().take(MAX_INPUT as u64 + 1).read_to_string(&mut text);
    let failed = |what: String| Failure::new(ExitCode::Data, what);
    read.map_err(|error| failed(format!("cannot read a token from standard input: {error}")))?;
    match text.len() {
        0 => Err(failed("standard input is empty: a token is wanted there".into())),
        length if length > MAX_INPUT => {
            Err(failed(format!("what is on standard input is longer than {MAX_TOKEN} bytes")))
        }
        _ => Ok(text),
    }
}

/// The token in `text`, which may be the value of a field.
fn bare(text: &str) -> &str {
    let text = text.trim();
    match text.split_once(' ') {
        Some((word, rest)) if ["bearer", "dpop"].contains(&word.to_ascii_lowercase().as_str()) => {
            rest.trim_start()
        }
        _ => text,
    }
}

fn now() -> Result<Timestamp, Failure> {
    let nanos = u64::try_from(jiff::Timestamp::now().as_nanosecond());
    nanos.map(Timestamp).map_err(|_| Failure::new(ExitCode::Os, "the clock is before 1970"))
}

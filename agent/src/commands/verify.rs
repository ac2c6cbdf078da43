//! `scopewatch verify`: reads events that were kept, and tells what is wrong with them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    cli,
    commands::print,
    failure::{ExitCode, Failure},
    integrity::{checkpoint::VerifyingKey, verify::Verifier},
    report::show::read_line,
};

/// Longest key file, in bytes: hundreds of keys.
const MAX_KEYS: u64 = 64 * 1024;

/// Reads all files and prints a line for each chain.
///
/// # Errors
/// A file cannot be read, or something is missing or was changed.
pub fn verify(asked: &cli::Verify) -> Result<(), Failure> {
    let keys = asked.keys.as_deref().map_or_else(|| Ok(Vec::new()), keys)?;
    let mut verifier = Verifier::new(keys);
    for path in &asked.files {
        read(path, &mut verifier).map_err(|error| Failure::unreadable(path, &error))?;
    }
    let report = verifier.conclude();
    print(&report.to_string())?;
    match report.chains.iter().find(|chain| !chain.problems.is_empty()) {
        Some(chain) => {
            let first = chain.problems.first().map(ToString::to_string).unwrap_or_default();
            Err(Failure::new(ExitCode::Data, format!("chain {}: {first}", chain.name)))
        }
        None if report.chains.is_empty() => {
            Err(Failure::new(ExitCode::Data, "there is no event of a chain"))
        }
        None => Ok(()),
    }
}

fn read(path: &Path, verifier: &mut Verifier) -> io::Result<()> {
    if path == Path::new("-") {
        return lines(&mut io::stdin().lock(), verifier);
    }
    let file = BufReader::new(File::open(path)?);
    if path.extension().is_some_and(|extension| extension == "gz") {
        lines(&mut BufReader::new(MultiGzDecoder::new(file)), verifier)
    } else {
        lines(&mut { file }, verifier)
    }
}

fn lines(input: &mut impl BufRead, verifier: &mut Verifier) -> io::Result<()> {
    let mut line = Vec::new();
    while read_line(input, &mut line)? {
        verifier.line(&line);
    }
    Ok(())
}

fn keys(path: &Path) -> Result<Vec<VerifyingKey>, Failure> {
    let unreadable = |error: io::Error| Failure::unreadable(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let text = io::read_to_string(io::Read::take(file, MAX_KEYS)).map_err(unreadable)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| {
        let no_key = || format!("{}: no key of a signed note: {line}", path.display());
        VerifyingKey::parse(line).ok_or_else(|| Failure::new(ExitCode::Data, no_key()))
    });
    keys.collect()
}

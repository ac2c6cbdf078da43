//! `scopewatch verify`: reads events that were kept, and tells what is wrong with them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    cli,
    commands::print,
    config::signingfile::MAX_SUCCESSIONS,
    failure::{ExitCode, Failure},
    integrity::{
        note::{ORIGIN, VerifyingKey},
        verify::Verifier,
    },
    report::show::read_line,
};

/// Longest key file, in bytes.
const MAX_KEYS: u64 = MAX_SUCCESSIONS;

/// Reads all files and prints a line for each chain.
///
/// # Errors
/// A file cannot be read, or something is missing or was changed.
pub fn verify(asked: &cli::Verify) -> Result<(), Failure> {
    let mut successions = String::new();
    let keys = asked.keys.iter().map(|path| keys(path, &mut successions));
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    let mut verifier = Verifier::new(keys.concat());
    verifier.successions(&successions);
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

/// Sorts what a file of keys has into keys, and checkpoints that name successors, which it appends.
fn keys(path: &Path, successions: &mut String) -> Result<Vec<VerifyingKey>, Failure> {
    let unreadable = |error: io::Error| Failure::unreadable(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_KEYS).read_to_end(&mut bytes).map_err(unreadable)?;
    let (mut keys, mut in_notes) = (Vec::new(), false);
    for line in String::from_utf8_lossy(&bytes).lines().map(str::trim) {
        // From the first note on, what is no key belongs to notes, of which some may be damaged.
        in_notes |= line.starts_with(ORIGIN) && !line.contains('+');
        match VerifyingKey::parse(line) {
            Some(key) => keys.push(key),
            None if in_notes => successions.extend([line, "\n"]),
            None if line.is_empty() => {}
            None => {
                let why = format!("{}: no key of a signed note: {line}", path.display());
                return Err(Failure::new(ExitCode::Data, why));
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::integrity::{chain::Chain, checkpoint, note::Signer};

    #[test]
    fn a_file_has_keys_or_what_they_say_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let [one, two] = [1, 2].map(|seed| Signer::new("h7", &[seed; 32]).unwrap());
        let next = two.verifying_key();
        let note = checkpoint::sign(&one, &Chain::new("h7/x".to_owned()), Some(&next), &[]);
        let line = one.verifying_key().to_line();
        let check = |text: &[u8], expected: Option<(usize, &str)>| {
            fs::write(&path, text).unwrap();
            let mut successions = String::new();
            let found = keys(&path, &mut successions);
            let found = found.ok().map(|keys| (keys.len(), successions.as_str()));
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(text));
        };
        check(b"", Some((0, "")));
        check(format!("\n{line}\n\n{line}\n").as_bytes(), Some((2, "")));
        check(note.as_bytes(), Some((0, &note)));
        check(format!("{line}\n{note}").as_bytes(), Some((1, &note)));
        // What is behind a note may be damaged; a key that cannot be read is told.
        check(&[note.as_bytes(), b"\xff"].concat(), Some((0, &format!("{note}\u{fffd}\n"))));
        check(line.replace("h7", "h8").as_bytes(), None);
        check(b"no key", None);
    }
}

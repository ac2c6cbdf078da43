//! `scopewatch subject`: what people are called in events, whose a pseudonym is, and that one be
//! forgotten.
//!
//! In: names on standard input, one a line, never as arguments, which others could see. Out: lines
//! of a pseudonym, a tab, and a name; or a subject key that has forgotten names.

use std::{
    io::{self, BufRead},
    path::PathBuf,
};

use crate::{
    cli::{self, SubjectCommand},
    commands::{configuration, naming::unusable, print},
    config::subjectfile,
    failure::{ExitCode, Failure},
    pipeline::LOOK_PERIOD,
    report::show::read_line,
    token::subject::{PSEUDONYM_CHARS, SubjectKey},
};

/// Stands in place of the pseudonym of who has none any more; shorter than all that are one.
const FORGOTTEN: &str = "forgotten";

/// Does what was asked.
///
/// # Errors
/// The key or standard input cannot be read, or nobody was found.
pub fn subject(asked: SubjectCommand) -> Result<(), Failure> {
    match asked {
        SubjectCommand::Pseudonym(key) => pseudonym(key),
        SubjectCommand::Lookup { pseudonyms, key } => lookup(pseudonyms, key),
        SubjectCommand::Forget { pseudonyms, key } => forget(pseudonyms, key),
    }
}

fn pseudonym(key: cli::SubjectKey) -> Result<(), Failure> {
    let key = existing(key)?;
    each_name(|name| {
        let pseudonym = key.pseudonym(name);
        print(&format!("{}\t{name}", pseudonym.as_deref().unwrap_or(FORGOTTEN)))
    })
}

fn lookup(pseudonyms: Vec<String>, key: cli::SubjectKey) -> Result<(), Failure> {
    let mut sought = Sought::new(pseudonyms)?;
    let key = existing(key)?;
    each_name(|name| match sought.find(&key, name) {
        Some(pseudonym) => print(&format!("{pseudonym}\t{name}")),
        None => Ok(()),
    })?;
    sought.conclude()
}

fn forget(pseudonyms: Vec<String>, key: cli::SubjectKey) -> Result<(), Failure> {
    let path = path(key)?;
    let mut sought = Sought::new(pseudonyms)?;
    let is_each = sought.is_empty();
    // All are read before the first is forgotten: wrong input leaves the key as it was.
    let mut names = Vec::new();
    each_name(|name| {
        names.push(name.to_owned());
        Ok(())
    })?;
    let forgotten = subjectfile::change(&path, |key| {
        if !is_each {
            names.retain(|name| sought.find(key, name).is_some());
        }
        let new = names.iter().filter(|name| key.forget(name)).count();
        (new > 0, new)
    });
    let Some(new) = forgotten.map_err(|error| unusable(&error))? else {
        return Err(no_key(&path));
    };
    if !names.is_empty() {
        let before = names.len().saturating_sub(new);
        print(&format!(
            "{new} forgotten, {before} had been before, by {}; an agent that runs follows within {} \
             seconds; copies of this key, other agents' and backups, each remember",
            path.display(),
            LOOK_PERIOD.as_secs()
        ))?;
    }
    if is_each { Ok(()) } else { sought.conclude() }
}

/// Pseudonyms whose names are wanted.
struct Sought(Vec<(String, bool)>);

impl Sought {
    fn new(pseudonyms: Vec<String>) -> Result<Self, Failure> {
        let is_digit = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        let is_one = |text: &String| text.len() == PSEUDONYM_CHARS && text.bytes().all(is_digit);
        match pseudonyms.iter().find(|text| !is_one(text)) {
            Some(other) => {
                let message =
                    format!("{other}: a pseudonym is wanted: {PSEUDONYM_CHARS} base64url digits");
                Err(Failure::new(ExitCode::Usage, message))
            }
            None => Ok(Self(pseudonyms.into_iter().map(|text| (text, false)).collect())),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pseudonym of `name`, if it is one of them.
    fn find(&mut self, key: &SubjectKey, name: &str) -> Option<&str> {
        let pseudonym = key.pseudonym(name)?;
        let (found, is_found) = self.0.iter_mut().find(|(sought, _)| *sought == pseudonym)?;
        *is_found = true;
        Some(found)
    }

    /// Warns of each whose name was not among those that were read; fails if none was.
    fn conclude(self) -> Result<(), Failure> {
        let unknown: Vec<_> = self.0.iter().filter(|(_, is_found)| !is_found).collect();
        if unknown.len() == self.0.len() {
            return Err(Failure::new(
                ExitCode::NotFound,
                "no name on standard input is any of them",
            ));
        }
        for (pseudonym, _) in unknown {
            eprintln!("scopewatch: warning: no name on standard input is {pseudonym}");
        }
        Ok(())
    }
}

/// Where the key is: what was asked for, else where the configuration has it.
fn path(asked: cli::SubjectKey) -> Result<PathBuf, Failure> {
    let cli::SubjectKey { config, key } = asked;
    let configured = configuration(config.as_deref(), None)?.subject_key;
    Ok(key.unwrap_or(configured))
}

/// The key. None is made: by a new one, nobody was ever named.
fn existing(asked: cli::SubjectKey) -> Result<SubjectKey, Failure> {
    let path = path(asked)?;
    let key = subjectfile::load(&path).map_err(|error| unusable(&error))?;
    key.ok_or_else(|| no_key(&path))
}

fn no_key(path: &std::path::Path) -> Failure {
    let message =
        format!("there is no key file {}: no agent made pseudonyms by it", path.display());
    Failure::new(ExitCode::NoInput, message)
}

/// Reads names from standard input, one a line; empty lines are none.
fn each_name(mut take: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let wrong = |what: String| Failure::new(ExitCode::Data, what);
    let mut input = io::stdin().lock();
    let (mut line, mut number, mut is_empty) = (Vec::new(), 0_u64, true);
    while next_line(&mut input, &mut line)? {
        number = number.saturating_add(1);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let name = std::str::from_utf8(text)
            .map_err(|_| wrong(format!("line {number} of standard input is no UTF-8")))?;
        if !name.is_empty() {
            is_empty = false;
            take(name)?;
        }
    }
    if is_empty {
        return Err(wrong("standard input is empty: names are wanted there, one a line".into()));
    }
    Ok(())
}

fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    read_line(input, line).map_err(|error| {
        let message = format!("cannot read names from standard input: {error}");
        Failure::new(ExitCode::NoInput, message)
    })
}

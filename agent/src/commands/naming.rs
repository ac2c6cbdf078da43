//! How people are named in what a command writes: by the configuration, and the key that it names.

use crate::{
    commands::own_directory,
    config::{
        compiled::Config,
        keyfile::KeyFileError,
        subjectfile::{self, SubjectFile},
    },
    failure::{ExitCode, Failure, chain},
    observation::{Naming, SubjectMode},
    token::pseudonym::Pseudonyms,
};

/// Of a live run, which makes a key if there is none; with the file to look at, where its key may
/// change.
///
/// # Errors
/// The key cannot be had.
pub fn live(config: &Config) -> Result<(Naming, Option<(SubjectFile, Pseudonyms)>), Failure> {
    let naming = match config.subject {
        SubjectMode::Plain => Naming::Plain,
        SubjectMode::Drop => Naming::Drop,
        SubjectMode::Pseudonym => {
            let path = &config.subject_key;
            own_directory(path)?;
            // Looked at before it is read: what changes meanwhile is read again.
            let file = SubjectFile::new(path.clone());
            let key = subjectfile::load_or_create(path).map_err(|error| unusable(&error))?;
            let pseudonyms = Pseudonyms::new(key);
            return Ok((Naming::Pseudonym(pseudonyms.clone()), Some((file, pseudonyms))));
        }
    };
    Ok((naming, None))
}

/// Of what was captured before: by the key of the live run if it is at hand, as whoever replays need
/// not own it.
///
/// # Errors
/// There is a key that cannot be used: one made for the purpose would name people who are forgotten.
pub fn replayed(config: &Config) -> Result<Naming, Failure> {
    let key = match config.subject {
        SubjectMode::Plain => return Ok(Naming::Plain),
        SubjectMode::Drop => return Ok(Naming::Drop),
        SubjectMode::Pseudonym => subjectfile::load(&config.subject_key),
    };
    let key = match key.map_err(|error| unusable(&error))? {
        Some(key) => key,
        None => {
            eprintln!(
                "scopewatch: warning: there is no key file {}: pseudonyms will differ from those \
                 of the live run, and whoever was forgotten has one",
                config.subject_key.display()
            );
            subjectfile::ephemeral().map_err(|error| Failure::new(ExitCode::Os, chain(&error)))?
        }
    };
    Ok(Naming::Pseudonym(Pseudonyms::new(key)))
}

/// The failure of a command that needs a subject key.
pub fn unusable(error: &KeyFileError) -> Failure {
    Failure::new(ExitCode::Config, chain(error))
}

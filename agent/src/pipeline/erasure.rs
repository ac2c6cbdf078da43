//! Keeps pseudonyms as the subject key's file has them while the agent runs. In: the file, SIGHUP.
//! Out: the key that is in it, to all who name people. The only thread that reads the file; naming
//! waits for none of it.
//!
//! A file that is gone, or is no key, leaves no key in use, unlike a policy: who took it away wanted
//! that nobody be named by it, and what is in memory would undo that.

use std::io;

use super::lookout::{Look, Lookout};
use crate::{config::subjectfile::SubjectFile, failure::chain, token::pseudonym::Pseudonyms};

/// The thread.
pub struct Erasure(Lookout);

impl Erasure {
    /// Starts to keep `pseudonyms` as `file` has them.
    ///
    /// # Errors
    /// The thread cannot be started, or SIGHUP cannot be handled.
    pub fn start(file: SubjectFile, pseudonyms: Pseudonyms) -> io::Result<Self> {
        Lookout::start("subjects", Subjects { file, pseudonyms }).map(Self)
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.0.stop();
    }
}

struct Subjects {
    file: SubjectFile,
    pseudonyms: Pseudonyms,
}

impl Look for Subjects {
    fn look(&mut self, is_asked: bool) {
        let Some(found) = self.file.poll(is_asked) else { return };
        let path = self.file.path().display();
        match found {
            Ok(Some(key)) => {
                self.pseudonyms.replace(Some(key));
                tracing::info!("pseudonyms are made by {path} as it is now");
            }
            Ok(None) => {
                self.pseudonyms.replace(None);
                tracing::warn!("there is no key file {path} any more: nobody is named");
            }
            Err(error) => {
                self.pseudonyms.replace(None);
                tracing::warn!("nobody is named: {}", chain(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs, thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        config::subjectfile::{change, load_or_create},
        token::pseudonym::Withheld,
    };

    /// Far beyond [`PERIOD`](super::super::lookout::PERIOD).
    const PATIENCE: Duration = Duration::from_secs(30);

    fn becomes(names: &Pseudonyms, name: &str, expected: &Result<String, Withheld>) {
        let start = Instant::now();
        while names.of(name) != *expected {
            assert!(start.elapsed() < PATIENCE, "{name} is still {:?}", names.of(name));
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn whoever_is_forgotten_is_named_no_more_and_without_a_key_nobody_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        let names = Pseudonyms::new(load_or_create(&path).unwrap());
        let erasure = Erasure::start(SubjectFile::new(path.clone()), names.clone()).unwrap();
        let bob = names.of("bob");
        assert!(names.of("alice").is_ok());
        change(&path, |key| (key.forget("alice"), ())).unwrap();
        becomes(&names, "alice", &Err(Withheld::Forgotten));
        assert_eq!(names.of("bob"), bob);

        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        becomes(&names, "bob", &Err(Withheld::NoKey));
        load_or_create(&path).unwrap();
        fs::write(&path, &kept[..kept.len() - 1]).unwrap();
        becomes(&names, "bob", &Err(Withheld::NoKey));
        fs::write(&path, kept).unwrap();
        becomes(&names, "bob", &bob);
        erasure.stop();
    }
}

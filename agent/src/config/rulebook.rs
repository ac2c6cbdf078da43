//! The rules on the disk: a policy, and the keys that it names. In: the policy's path. Out:
//! [`Rules`], and while the agent runs newer ones, when a file changes or somebody asks for it.
//! Rules that cannot be used never replace those that could.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use crate::{
    config::policyfile::{PolicyFile, Reload},
    failure::chain,
    keyring::{Keyring, KeyringError},
    policy::{
        compiled::{Policy, PolicyId},
        error::{Located, Problems},
    },
    rules::Rules,
    token::{
        issuer::{Issuer, KeyOrigin},
        keys::Trust,
    },
};

/// Why rules cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The policy is wrong.
    #[error(transparent)]
    Policy(#[from] Problems),
    /// Keys that it names are.
    #[error(transparent)]
    Keys(#[from] KeyringError),
}

/// What became of looking at the rules again.
#[derive(Debug)]
pub enum Renewal {
    /// What became of the policy.
    Policy(Reload),
    /// Keys are others, under the same policy.
    Keys(PolicyId),
    /// A new policy is not judged by, since its keys cannot be used.
    KeysRejected {
        /// The one that stays.
        policy: PolicyId,
        /// Why.
        reason: String,
    },
}

impl Renewal {
    /// The policy that is in force, and whether a newer one, or its keys, were refused.
    #[must_use]
    pub const fn in_force(&self) -> (&PolicyId, bool) {
        match self {
            Self::Policy(Reload::Loaded(id) | Reload::Changed { to: id, .. }) | Self::Keys(id) => {
                (id, false)
            }
            Self::Policy(Reload::Rejected { kept: id, .. })
            | Self::KeysRejected { policy: id, .. } => (id, true),
        }
    }
}

/// The rules of a running agent, and what they were read from.
pub struct Rulebook {
    path: PathBuf,
    file: PolicyFile,
    /// What is judged by: that of the file, unless its keys cannot be used.
    policy: Arc<Policy>,
    keyring: Arc<Keyring>,
    trust: Arc<Trust>,
    /// Counts key rings.
    epoch: u32,
    /// A change that is not judged by yet.
    held_back: Option<Reload>,
    /// What is likely not meant so in the first policy.
    pub warnings: Vec<Located>,
}

impl Rulebook {
    /// Reads the policy at `path` and the keys that it names.
    ///
    /// # Errors
    /// One of them is wrong or cannot be read.
    pub fn open(path: &Path) -> Result<Self, RulesError> {
        let (file, warnings) = PolicyFile::open(path)?;
        let policy = Arc::clone(file.policy());
        let keyring = Arc::new(Keyring::start(issuers(path, &policy), 1)?);
        let trust = keyring.trust();
        let (path, epoch, held_back) = (path.to_owned(), 1, None);
        Ok(Self { path, file, policy, keyring, trust, epoch, held_back, warnings })
    }

    /// What is judged by while the agent runs: what is seen of keys is taken.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let keyring = Some(Arc::clone(&self.keyring));
        Rules::new(Arc::clone(&self.policy), Arc::clone(&self.trust), keyring)
    }

    /// What is judged by where the same must come of the same: by the keys that are there now.
    #[must_use]
    pub fn fixed_rules(&self) -> Rules {
        Rules::new(Arc::clone(&self.policy), Arc::clone(&self.trust), None)
    }

    /// What to tell of the first policy.
    #[must_use]
    pub fn loaded(&self) -> Reload {
        self.file.loaded()
    }

    /// Whether keys are others than those of the rules that were handed out last.
    #[must_use]
    pub fn has_newer_keys(&self) -> bool {
        self.keyring.trust().generation != self.trust.generation
    }

    /// Reads again what changed, or where `asked` for, all; what became of it, nothing if all is as
    /// it was. A policy whose keys cannot be used is tried again each time, and told of once.
    pub fn renew(&mut self, asked: bool) -> Vec<Renewal> {
        let mut renewals = Vec::new();
        let is_known = self.held_back.is_some();
        match if asked { self.file.reload() } else { self.file.poll() } {
            Some(changed @ Reload::Changed { .. }) => self.held_back = Some(changed),
            Some(other) => renewals.push(Renewal::Policy(other)),
            None => {}
        }
        if let Some(changed) = self.held_back.take() {
            let policy = Arc::clone(self.file.policy());
            let epoch = self.epoch.saturating_add(1);
            match Keyring::start(issuers(&self.path, &policy), epoch) {
                Ok(keyring) => {
                    self.trust = keyring.trust();
                    (self.policy, self.keyring, self.epoch) = (policy, Arc::new(keyring), epoch);
                    renewals.push(Renewal::Policy(changed));
                }
                Err(error) => {
                    self.held_back = Some(changed);
                    if !is_known {
                        let (policy, reason) = (self.policy.id.clone(), chain(&error));
                        renewals.push(Renewal::KeysRejected { policy, reason });
                    }
                }
            }
        }
        if self.has_newer_keys() {
            self.trust = self.keyring.trust();
            renewals.push(Renewal::Keys(self.policy.id.clone()));
        }
        renewals
    }
}

/// The issuers of the policy at `path`, whose files lie beside it unless their paths are absolute.
fn issuers(path: &Path, policy: &Policy) -> Vec<Issuer> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut issuers = policy.issuers.clone();
    for origin in issuers.iter_mut().flat_map(|issuer| &mut issuer.keys) {
        if let KeyOrigin::File(file) | KeyOrigin::Url { ca_file: Some(file), .. } = origin {
            *file = beside.join(&*file);
        }
    }
    issuers
}

#[cfg(test)]
mod tests {
    use std::{fs, thread, time::Duration};

    use super::*;

    const POLICY: &str = "version: 1
issuers: [{id: corp, match: [https://sso.example], jwks: {file: keys.json}}]
services: [{id: a, select: {ports: [1]}}]
";
    /// RFC 8037 appendix A.2
    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn book(dir: &Path) -> Rulebook {
        fs::write(dir.join("p.yaml"), POLICY).unwrap();
        fs::write(dir.join("keys.json"), KEYS).unwrap();
        Rulebook::open(&dir.join("p.yaml")).unwrap()
    }

    #[test]
    fn keys_are_read_beside_the_policy_and_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = book(dir.path());
        let first = book.rules().trust.generation;
        assert!(book.renew(false).is_empty(), "nothing changed");
        fs::write(dir.path().join("keys.json"), r#"{"keys":[]}"#).unwrap();
        // The key ring looks every two seconds.
        for _ in 0..300 {
            if book.has_newer_keys() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        assert!(matches!(book.renew(false).as_slice(), [Renewal::Keys(_)]));
        assert_ne!(book.rules().trust.generation, first);
        assert!(book.renew(true).is_empty(), "nothing changed");
    }

    #[test]
    fn a_policy_whose_keys_cannot_be_used_waits_until_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = book(dir.path());
        let services =
            |book: &Rulebook| book.rules().engine.map(|engine| engine.policy().services.len());
        let other = POLICY
            .replace("keys.json", "other.json")
            .replace("[{id: a", "[{id: b, select: {ports: [2]}}, {id: a");
        fs::write(dir.path().join("p.yaml"), other).unwrap();
        let renewals = book.renew(true);
        let [Renewal::KeysRejected { reason, .. }] = renewals.as_slice() else { panic!() };
        assert!(reason.contains("issuer corp") && reason.contains("other.json"), "{reason}");
        assert_eq!(services(&book), Some(1));
        assert!(book.renew(false).is_empty(), "told once");
        fs::write(dir.path().join("other.json"), KEYS).unwrap();
        let renewals = book.renew(false);
        assert!(matches!(renewals.as_slice(), [Renewal::Policy(Reload::Changed { .. })]));
        assert_eq!(services(&book), Some(2));
    }

    #[test]
    fn at_first_all_keys_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("p.yaml"), POLICY).unwrap();
        let error = Rulebook::open(&dir.path().join("p.yaml")).err().unwrap().to_string();
        assert!(error.contains("issuer corp") && error.contains("keys.json"), "{error}");
    }
}

//! The rules on the disk: a policy, and the keys that it names. In: the policy's path. Out:
//! [`Rules`], and while the agent runs newer ones, when a file changes or somebody asks for it.
//! Rules that cannot be read never replace those that could.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    config::policyfile::{self, PolicyFile, Reload},
    policy::{
        compiled::PolicyId,
        error::{Located, Problems},
    },
    rules::Rules,
    token::{
        issuer::{Issuer, KeyOrigin},
        keys::{Held, KeySet, KeySetError, Trust, Trusted},
    },
};

/// Why rules cannot be read.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The policy is wrong.
    #[error(transparent)]
    Policy(#[from] Problems),
    /// A key set that the policy names cannot be read.
    #[error("cannot read the keys of issuer {issuer} in {file}: {reason}")]
    Keys {
        /// The issuer.
        issuer: String,
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A key set is none.
    #[error("the keys of issuer {issuer} cannot be used: {source}")]
    KeySet {
        /// The issuer.
        issuer: String,
        /// What is wrong with it.
        source: KeySetError,
    },
}

/// What became of looking at the rules again.
#[derive(Debug)]
pub enum Renewal {
    /// What became of the policy.
    Policy(Reload),
    /// Keys are others, under the same policy.
    Keys(PolicyId),
    /// Keys cannot be read: those that were known stay.
    KeysRejected {
        /// The policy that names them.
        policy: PolicyId,
        /// Why.
        reason: String,
    },
}

/// The rules of a running agent, and what they were read from.
pub struct Rulebook {
    path: PathBuf,
    policy: PolicyFile,
    /// Keys of each issuer, in the order of the policy.
    known: Vec<Known>,
    /// Counts how often keys changed.
    generation: u64,
    /// What is likely not meant so in the first policy.
    pub warnings: Vec<Located>,
}

/// The configured keys of an issuer.
#[derive(Clone)]
struct Known {
    issuer: String,
    /// Over the texts that they were read from, which may be secrets.
    digest: [u8; 32],
    keys: Vec<Held>,
}

impl Rulebook {
    /// Reads the policy at `path` and the keys that it names.
    ///
    /// # Errors
    /// One of them is wrong or cannot be read.
    pub fn open(path: &Path) -> Result<Self, RulesError> {
        let (policy, warnings) = PolicyFile::open(path)?;
        let issuers = policy.policy().issuers.iter();
        let known = issuers.map(|issuer| read_keys(path, issuer)).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), policy, known, generation: 1, warnings })
    }

    /// What is judged by.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let policy = self.policy.policy();
        let trusted = policy.issuers.iter().zip(&self.known).map(|(issuer, known)| Trusted {
            issuer: Arc::new(issuer.clone()),
            keys: known.keys.clone(),
        });
        Rules::new(Arc::clone(policy), Trust::new(trusted.collect(), self.generation))
    }

    /// What to tell of the first policy.
    #[must_use]
    pub fn loaded(&self) -> Reload {
        self.policy.loaded()
    }

    /// Issuers whose keys are at an address: they are not fetched.
    pub fn unfetched(&self) -> impl Iterator<Item = &str> {
        let by_url = |origin: &KeyOrigin| matches!(origin, KeyOrigin::Url(_));
        let issuers = self.policy.policy().issuers.iter();
        issuers
            .filter(move |issuer| issuer.keys.iter().any(by_url))
            .map(|issuer| issuer.id.as_str())
    }

    /// Reads again what changed, or where `asked` for, all; what became of it, nothing if all is as
    /// it was. Of an issuer whose keys cannot be read the known ones stay.
    pub fn renew(&mut self, asked: bool) -> Vec<Renewal> {
        let reload = if asked { self.policy.reload() } else { self.policy.poll() };
        let is_other = matches!(reload, Some(Reload::Changed { .. }));
        let mut renewals: Vec<_> = reload.map(Renewal::Policy).into_iter().collect();
        let policy = self.policy.policy();
        let mut known = Vec::new();
        for issuer in &policy.issuers {
            let before = self.known.iter().find(|known| known.issuer == issuer.id);
            known.push(read_keys(&self.path, issuer).unwrap_or_else(|error| {
                let (policy, reason) = (policy.id.clone(), error.to_string());
                renewals.push(Renewal::KeysRejected { policy, reason });
                before.cloned().unwrap_or_else(|| Known::nothing_of(issuer))
            }));
        }
        let digests = |known: &[Known]| known.iter().map(|each| each.digest).collect::<Vec<_>>();
        let are_others = digests(&known) != digests(&self.known);
        if is_other || are_others {
            self.known = known;
            self.generation = self.generation.saturating_add(1);
        }
        if are_others && !is_other {
            renewals.push(Renewal::Keys(policy.id.clone()));
        }
        renewals
    }
}

impl Known {
    fn nothing_of(issuer: &Issuer) -> Self {
        Self { issuer: issuer.id.clone(), digest: [0; 32], keys: Vec::new() }
    }
}

/// The configured keys of `issuer`, of the policy at `path`.
fn read_keys(path: &Path, issuer: &Issuer) -> Result<Known, RulesError> {
    let mut digest = Sha256::new();
    let mut known = Known::nothing_of(issuer);
    for origin in &issuer.keys {
        let text = match origin {
            KeyOrigin::File(named) => {
                let file = path.parent().unwrap_or(Path::new("")).join(named);
                let (text, issuer) = (policyfile::read(&file), issuer.id.clone());
                text.map_err(|reason| RulesError::Keys { issuer, file, reason })?
            }
            KeyOrigin::Inline(text) => text.clone(),
            KeyOrigin::Url(_) | KeyOrigin::Observed(_) => continue,
        };
        let text = Zeroizing::new(text);
        // A length before each, so that no two lists of texts read alike.
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text.as_bytes());
        let set = KeySet::read(&text)
            .map_err(|source| RulesError::KeySet { issuer: issuer.id.clone(), source })?;
        known.keys.push(Held::configured(set));
    }
    known.digest = digest.finalize().into();
    Ok(known)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert!(matches!(book.renew(false).as_slice(), [Renewal::Keys(_)]));
        assert_ne!(book.rules().trust.generation, first);
        assert!(book.renew(true).is_empty(), "nothing changed");
    }

    #[test]
    fn keys_that_cannot_be_read_leave_those_that_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = book(dir.path());
        fs::write(dir.path().join("keys.json"), "{").unwrap();
        let renewals = book.renew(false);
        let [Renewal::KeysRejected { reason, .. }] = renewals.as_slice() else { panic!() };
        assert!(reason.starts_with("the keys of issuer corp cannot be used"), "{reason}");
        assert_eq!(book.known[0].keys.len(), 1);
    }

    #[test]
    fn an_issuer_keeps_its_keys_where_the_policy_moves_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = book(dir.path());
        let other = "{id: other, match: [https://other.example]}";
        let moved = POLICY.replace("[{id: corp", &format!("[{other}, {{id: corp"));
        fs::write(dir.path().join("p.yaml"), moved).unwrap();
        assert!(matches!(book.renew(true).as_slice(), [Renewal::Policy(Reload::Changed { .. })]));
        let keys: Vec<_> = book.known.iter().map(|known| known.keys.len()).collect();
        assert_eq!(keys, [0, 1]);
    }

    #[test]
    fn at_first_all_keys_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("p.yaml"), POLICY).unwrap();
        let error = Rulebook::open(&dir.path().join("p.yaml")).err().unwrap().to_string();
        assert!(error.contains("issuer corp") && error.contains("keys.json"), "{error}");
    }
}

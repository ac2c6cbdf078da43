//! The policy on the disk. In: its path. Out: a compiled policy, and, while the agent runs, a new
//! one when the file or a document that it imports changes. A policy that is wrong never replaces
//! one that is right.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    config::stamp::Stamp,
    policy::{
        compile::{self, Compiled, MAX_LENGTH},
        compiled::{Policy, PolicyId},
        diff::{Diff, diff},
        error::{Located, Problem, Problems},
        place::Place,
    },
};

/// Reads and compiles the policy at `path`.
///
/// # Errors
/// All that is wrong with it, its not being readable among that.
pub fn load(path: &Path) -> Result<Compiled, Problems> {
    let file = path.display().to_string();
    let text = read(path).map_err(|reason| {
        let problem = Problem::Unreadable { path: file.clone(), reason };
        Problems(vec![Located { file: file.as_str().into(), at: Place::default(), problem }])
    })?;
    compile::compile(&file, &text, &|named| read(&beside(path, named)))
}

/// A file that the policy names: relative to the policy's own directory.
fn beside(policy: &Path, named: &Path) -> PathBuf {
    policy.parent().unwrap_or(Path::new("")).join(named)
}

/// Reads text of bounded length.
///
/// # Errors
/// The system's reason, or that it is too long.
pub fn read(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<Option<String>> {
        let mut text = String::new();
        let limit = (MAX_LENGTH as u64).saturating_add(1);
        File::open(path)?.take(limit).read_to_string(&mut text)?;
        Ok((text.len() <= MAX_LENGTH).then_some(text))
    };
    match read() {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("it is longer than {MAX_LENGTH} bytes")),
        Err(error) => Err(error.to_string()),
    }
}

/// What became of looking at the policy again: an event each.
#[derive(Clone, Debug)]
pub enum Reload {
    /// It was read for the first time: `policy.loaded`.
    Loaded(PolicyId),
    /// Another is judged by from now on: `policy.changed`.
    Changed {
        /// The old one.
        from: PolicyId,
        /// The new one.
        to: PolicyId,
        /// What differs.
        diff: Diff,
    },
    /// The new one is wrong, and the old one stays: `policy.rejected`.
    Rejected {
        /// The one that stays.
        kept: PolicyId,
        /// What is wrong.
        problems: Problems,
    },
}

/// The policy of a running agent.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    policy: Arc<Policy>,
    /// The policy and its documents, as they were when they were read last.
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl PolicyFile {
    /// Reads the policy at `path`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn open(path: &Path) -> Result<(Self, Vec<Located>), Problems> {
        // Stamps are taken before: a change while it is read is seen next time.
        let seen = stamps(vec![path.to_owned()]);
        let Compiled { policy, warnings } = load(path)?;
        let mut file = Self { path: path.to_owned(), policy: Arc::new(policy), seen };
        file.seen.extend(stamps(file.documents()));
        Ok((file, warnings))
    }

    /// The policy that is judged by.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// What to tell of the first policy.
    #[must_use]
    pub fn loaded(&self) -> Reload {
        Reload::Loaded(self.policy.id.clone())
    }

    /// Reads the policy again if a file changed. `None` if nothing did, or nothing of the content.
    pub fn poll(&mut self) -> Option<Reload> {
        let now = stamps(self.seen.iter().map(|(path, _)| path.clone()).collect());
        if now == self.seen { None } else { self.reload() }
    }

    /// Reads the policy again, as on SIGHUP. `None` if its content is the same.
    pub fn reload(&mut self) -> Option<Reload> {
        let paths = self.seen.iter().map(|(path, _)| path.clone()).collect();
        self.seen = stamps(paths);
        let policy = match load(&self.path) {
            Ok(Compiled { policy, .. }) => policy,
            Err(problems) => {
                return Some(Reload::Rejected { kept: self.policy.id.clone(), problems });
            }
        };
        if policy.id == self.policy.id {
            return None;
        }
        let old = std::mem::replace(&mut self.policy, Arc::new(policy));
        let mut paths = vec![self.path.clone()];
        paths.extend(self.documents());
        let known = std::mem::take(&mut self.seen);
        let stamp = |path: PathBuf| {
            let before = known.iter().find(|(it, _)| *it == path).map(|(_, stamp)| *stamp);
            let stamp = before.unwrap_or_else(|| Stamp::of(&path));
            (path, stamp)
        };
        self.seen = paths.into_iter().map(stamp).collect();
        let (from, to) = (old.id.clone(), self.policy.id.clone());
        Some(Reload::Changed { from, to, diff: diff(&old, &self.policy) })
    }

    fn documents(&self) -> Vec<PathBuf> {
        self.policy.documents.iter().map(|named| beside(&self.path, named)).collect()
    }
}

fn stamps(paths: Vec<PathBuf>) -> Vec<(PathBuf, Option<Stamp>)> {
    paths.into_iter().map(|path| (path.clone(), Stamp::of(&path))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "version: 1\nservices:\n- {id: a, select: {ports: [1]}}\n";
    const TWO: &str =
        "version: 1\nservices:\n- {id: a, select: {ports: [2]}}\n- {id: b, select: {ports: [3]}}\n";

    /// A policy file whose content was replaced as editors do it.
    fn replaced(dir: &Path, text: &str) {
        fs::write(dir.join("new"), text).unwrap();
        fs::rename(dir.join("new"), dir.join("p.yaml")).unwrap();
    }

    #[test]
    fn a_changed_policy_is_judged_by_and_a_wrong_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        replaced(dir.path(), ONE);
        let (mut file, _) = PolicyFile::open(&dir.path().join("p.yaml")).unwrap();
        let first = file.policy().id.clone();
        assert!(file.poll().is_none(), "nothing changed");

        replaced(dir.path(), "version: 1\nservice: []\n");
        let Some(Reload::Rejected { kept, problems }) = file.poll() else { panic!() };
        assert_eq!(kept, first);
        assert!(problems.to_string().contains("did you mean `services`?"), "{problems}");
        assert!(file.poll().is_none(), "told once");
        assert_eq!(file.policy().id, first);

        replaced(dir.path(), TWO);
        let Some(Reload::Changed { from, diff, .. }) = file.poll() else { panic!() };
        assert_eq!((from, diff.services.added, diff.services.changed), (first, 1, 1));
        assert_eq!(file.policy().services.len(), 2);

        replaced(dir.path(), TWO);
        assert!(file.poll().is_none(), "another file of the same content");
    }

    #[test]
    fn a_policy_that_vanished_stays() {
        let dir = tempfile::tempdir().unwrap();
        replaced(dir.path(), ONE);
        let (mut file, _) = PolicyFile::open(&dir.path().join("p.yaml")).unwrap();
        fs::remove_file(dir.path().join("p.yaml")).unwrap();
        assert!(matches!(file.poll(), Some(Reload::Rejected { .. })));
        assert_eq!(file.policy().services.len(), 1);
    }
}

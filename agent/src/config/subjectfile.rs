//! The file that holds a deployment's subject key. In: its path, and names that are to be
//! forgotten. Out: a [`SubjectKey`], and the file with another.
//!
//! The file is replaced, never changed: who reads it finds the old key or the new one. Then the old
//! content is overwritten in its place, since removing a file leaves its blocks as they were. That is
//! as much as can be done from here: a copy-on-write file system, a flash disk that moves blocks, a
//! snapshot or a backup keeps what it has.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    config::{
        keyfile::{self, KeyFileError, failed},
        stamp::Stamp,
    },
    token::subject::{MAX_LENGTH, SubjectKey, SubjectKeyError},
};

/// The key in the file at `path`; a new one is made if there is no such file.
///
/// # Errors
/// If the file cannot be read or made, or others than its owner have access to it.
pub fn load_or_create(path: &Path) -> Result<SubjectKey, KeyFileError> {
    if let Some(key) = load(path)? {
        return Ok(key);
    }
    keyfile::create(path, &ephemeral()?.encode())?;
    // Read back, since another agent may have been first.
    load(path)?.ok_or_else(|| keyfile::gone(path))
}

/// The key in the file at `path`; `None` if there is no such file.
///
/// # Errors
/// If the file cannot be read, or others than its owner have access to it.
pub fn load(path: &Path) -> Result<Option<SubjectKey>, KeyFileError> {
    loop {
        let before = Stamp::of(path);
        let opened = keyfile::open(path, OpenOptions::new().read(true))?;
        let key = opened.map(|(mut file, length)| read(&mut file, length, path)).transpose();
        // One that was opened, then replaced and overwritten, is none; who replaced it is done.
        match key {
            Err(KeyFileError::Subject { .. }) if Stamp::of(path) != before => {}
            key => return key,
        }
    }
}

/// A key that dies with the process.
///
/// # Errors
/// If the kernel gives no random bytes.
pub fn ephemeral() -> Result<SubjectKey, KeyFileError> {
    keyfile::random().map(SubjectKey::new)
}

/// Has `forget` make the key in the file at `path` forget names, and replaces the file if it says
/// that it did; `None` if there is no such file. Two that do this at once do it one after the other.
///
/// # Errors
/// If the file cannot be read or replaced, or what it held not be overwritten: the key that comes
/// with that is the old one for whoever reads the disk itself.
pub fn change<T>(
    path: &Path,
    forget: impl FnOnce(&mut SubjectKey) -> (bool, T),
) -> Result<Option<T>, KeyFileError> {
    let directory = keyfile::lock(path)?;
    let Some((mut old, length)) = keyfile::open(path, OpenOptions::new().read(true).write(true))?
    else {
        return Ok(None);
    };
    let mut key = read(&mut old, length, path)?;
    let (is_changed, answer) = forget(&mut key);
    if is_changed {
        let bytes = key.encode();
        if bytes.len() > MAX_LENGTH {
            let (path, source) = (path.to_owned(), SubjectKeyError::Long);
            return Err(KeyFileError::Subject { path, source });
        }
        keyfile::replace(path, &keyfile::draft_name(path)?, &bytes, &old)?;
        directory.sync_all().map_err(failed("sync the directory of", path))?;
        keyfile::overwrite(&mut old, length).map_err(failed("overwrite what was in", path))?;
    }
    Ok(Some(answer))
}

/// A subject key's file while the agent runs.
pub struct SubjectFile {
    path: PathBuf,
    seen: Option<Stamp>,
}

impl SubjectFile {
    /// The file at `path`, as it is now.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let seen = Stamp::of(&path);
        Self { path, seen }
    }

    /// The key that is in there by now, if the file changed or `asked` for; `Ok(None)` if the file is
    /// gone.
    pub fn poll(&mut self, asked: bool) -> Option<Result<Option<SubjectKey>, KeyFileError>> {
        // The stamp is taken before: a change while it is read is seen next time.
        let now = Stamp::of(&self.path);
        if now == self.seen && !asked {
            return None;
        }
        self.seen = now;
        Some(load(&self.path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read(file: &mut File, length: u64, path: &Path) -> Result<SubjectKey, KeyFileError> {
    let no_key = |source| KeyFileError::Subject { path: path.to_owned(), source };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_LENGTH {
        return Err(no_key(SubjectKeyError::Long));
    }
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut bytes).map_err(failed("read", path))?;
    SubjectKey::decode(&bytes).map_err(no_key)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        thread,
    };

    use super::*;

    fn forget(path: &Path, names: &[&str]) -> usize {
        let forgotten = change(path, |key| {
            let count = names.iter().filter(|name| key.forget(name)).count();
            (count > 0, count)
        });
        forgotten.unwrap().unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_forgets_for_whoever_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        let key = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap().pseudonym("bob"), key.pseudonym("bob"));
        assert_eq!(forget(&path, &["alice"]), 1);
        let less = load(&path).unwrap().unwrap();
        assert_eq!((less.pseudonym("alice"), less.pseudonym("bob")), (None, key.pseudonym("bob")));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn what_the_file_held_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        load_or_create(&path).unwrap();
        let old = dir.path().join("old");
        fs::hard_link(&path, &old).unwrap();
        let length = fs::read(&old).unwrap().len();
        forget(&path, &["alice"]);
        assert_eq!(fs::read(&old).unwrap(), vec![0; length]);
        assert!(load(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_of_which_nothing_was_to_be_forgotten_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        load_or_create(&path).unwrap();
        forget(&path, &["alice"]);
        let before = Stamp::of(&path);
        assert_eq!(forget(&path, &["alice"]), 0);
        assert_eq!(Stamp::of(&path), before);
        assert!(change(&dir.path().join("other"), |_| (true, ())).unwrap().is_none());
    }

    #[test]
    fn who_reads_while_others_forget_always_finds_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        let key = load_or_create(&path).unwrap();
        let bob = key.pseudonym("bob");
        thread::scope(|scope| {
            let forgetting = scope.spawn(|| {
                (0..60).for_each(|each| assert_eq!(forget(&path, &[&each.to_string()]), 1));
            });
            while !forgetting.is_finished() {
                assert_eq!(load(&path).unwrap().unwrap().pseudonym("bob"), bob);
            }
        });
    }

    #[test]
    fn those_who_forget_at_once_all_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        load_or_create(&path).unwrap();
        let names = ["a", "b", "c", "d", "e", "f"];
        thread::scope(|scope| {
            names.iter().for_each(|name| drop(scope.spawn(|| forget(&path, &[name]))));
        });
        let key = load(&path).unwrap().unwrap();
        assert!(names.iter().all(|name| key.pseudonym(name).is_none()));
    }

    #[test]
    fn what_is_no_subject_key_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        let check = |bytes: &[u8], mode: u32, expected: &str| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            for error in [
                load_or_create(&path).map(drop).unwrap_err(),
                change(&path, |_| (true, ())).map(drop).unwrap_err(),
            ] {
                let text = error.to_string();
                assert!(text.contains(expected), "{text}");
            }
            assert_eq!(fs::read(&path).unwrap(), bytes);
        };
        let whole = SubjectKey::new(Zeroizing::new([7; 32])).encode();
        check(&[7; 32], 0o600, "does not begin as a subject key does");
        check(&whole[..60], 0o600, "cut off or changed");
        check(&whole, 0o640, "open to group or others (mode 0640)");
    }

    #[test]
    fn a_file_is_read_again_when_it_changed_or_somebody_asks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subject.key");
        load_or_create(&path).unwrap();
        let mut file = SubjectFile::new(path.clone());
        assert!(file.poll(false).is_none());
        assert!(file.poll(true).is_some());
        forget(&path, &["alice"]);
        let key = file.poll(false).unwrap().unwrap().unwrap();
        assert_eq!(key.pseudonym("alice"), None);
        assert!(file.poll(false).is_none());
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.poll(false), Some(Ok(None))));
    }
}

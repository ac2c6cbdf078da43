//! The file that holds a deployment's fingerprint key. In: its path. Out: a [`FingerprintKey`].
//! `subjectfile.rs` and `signingfile.rs` keep the subject key and the signing key by the same rules.
//!
//! The file is 32 random bytes, readable by its owner alone. It comes into being whole or not at
//! all: agents that start at once agree on one key, and a crash leaves no half of one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::{
    paths,
    token::{
        fingerprint::{FingerprintKey, KEY_BYTES},
        subject::SubjectKeyError,
    },
};

/// How many bytes are overwritten at once.
const PIECE: usize = 4096;
/// Bits of a mode that let others than the owner at the key.
const OTHERS: u32 = 0o077;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A system call failed.
    #[error("cannot {action} key file {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed; `ELOOP` for a symbolic link.
        source: io::Error,
    },
    /// The path names something else, such as a directory or a device.
    #[error("key file {} is not a regular file", path.display())]
    NotAFile {
        /// What it names.
        path: PathBuf,
    },
    /// Who else can read the key can test guesses of tokens against fingerprints.
    #[error(
        "key file {} is open to group or others (mode {mode:04o}): chmod 600 it, or replace the \
         key if it may have been read",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its owner could replace the key.
    #[error("key file {} belongs to user {owner}, not to the agent's user or root", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// It holds no key.
    #[error("key file {} holds {length} bytes instead of {KEY_BYTES}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// Somebody put another key there, to be used from the next start on.
    #[error("key file {} holds another key than the agent signs with", path.display())]
    Another {
        /// The file.
        path: PathBuf,
    },
    /// There is no room for what keys say of their successors.
    #[error("{} is full: put it aside", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// It holds no subject key.
    #[error("key file {} holds no subject key: {source}", path.display())]
    Subject {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SubjectKeyError,
    },
}

/// The key in the file at `path`; a new one is made if there is no such file.
///
/// # Errors
///
/// If the file cannot be read or made, or others than its owner have access to it.
pub fn load_or_create(path: &Path) -> Result<FingerprintKey, KeyFileError> {
    bytes(path).map(FingerprintKey::new)
}

/// The bytes of the key in the file at `path`, for another use; new ones are made if there is no
/// such file.
///
/// # Errors
///
/// If the file cannot be read or made, or others than its owner have access to it.
pub fn bytes(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyFileError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    create(path, random()?.as_slice())?;
    // Read back, since another agent may have been first.
    read(path)?.ok_or_else(|| gone(path))
}

/// A key that dies with the process, for fingerprints that need not outlive it.
///
/// # Errors
///
/// If the kernel gives no random bytes.
pub fn ephemeral() -> Result<FingerprintKey, KeyFileError> {
    random().map(FingerprintKey::new)
}

/// The key in the file at `path`; `None` if there is no such file.
///
/// # Errors
///
/// If the file cannot be read, or others than its owner have access to it.
pub fn load(path: &Path) -> Result<Option<FingerprintKey>, KeyFileError> {
    Ok(read(path)?.map(FingerprintKey::new))
}

fn read(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, KeyFileError> {
    let Some((mut file, length)) = open(path, OpenOptions::new().read(true))? else {
        return Ok(None);
    };
    if usize::try_from(length) != Ok(KEY_BYTES) {
        return Err(KeyFileError::Length { path: path.to_owned(), length });
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    file.read_exact(bytes.as_mut_slice()).map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// The file at `path` and its length, if nobody else can reach what is in it; `None` if there is no
/// such file.
pub(super) fn open(
    path: &Path,
    options: &mut OpenOptions,
) -> Result<Option<(File, u64)>, KeyFileError> {
    // Without O_NONBLOCK, a FIFO in the file's place would stop the agent from starting.
    match options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => check(&file, path).map(|length| Some((file, length))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("open", path)(error)),
    }
}

/// Looks at the open file, not at the path, which may name another by now; its length.
fn check(file: &File, path: &Path) -> Result<u64, KeyFileError> {
    let found = file.metadata().map_err(failed("examine", path))?;
    let path = || path.to_owned();
    let mode = found.mode() & 0o7777;
    if !found.is_file() {
        return Err(KeyFileError::NotAFile { path: path() });
    }
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Exposed { path: path(), mode });
    }
    if ![0, geteuid().as_raw()].contains(&found.uid()) {
        return Err(KeyFileError::ForeignOwner { path: path(), owner: found.uid() });
    }
    Ok(found.len())
}

/// Writes a new key under a name that nobody else uses, then links it to `path`: linking is
/// atomic, and it replaces nothing.
pub(super) fn create(path: &Path, key: &[u8]) -> Result<(), KeyFileError> {
    let draft = draft_name(path)?;
    let written = write(&draft, key).map(drop).map_err(failed("write", &draft));
    let linked = written.and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("create", path)(error))
        }
        _ => Ok(()),
    });
    // Whatever came before: the draft holds a key, and must not stay.
    let removed = std::fs::remove_file(&draft).map_err(failed("remove", &draft));
    linked.and(removed)
}

pub(super) fn draft_name(path: &Path) -> Result<PathBuf, KeyFileError> {
    let suffix = random()?;
    let suffix = BASE64URL.encode(suffix.as_slice());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    Ok(path.with_file_name(name))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// Keeps others that replace files in the directory of `path` out, until the handle is closed.
pub(super) fn lock(path: &Path) -> Result<File, KeyFileError> {
    let directory =
        File::open(paths::directory(path)).map_err(failed("open the directory of", path))?;
    directory.lock().map_err(failed("lock the directory of", path))?;
    Ok(directory)
}

/// Puts `bytes` in the place of the file `old` by way of `draft`, as belonging to the same user: who
/// reads finds the old content or the new. To be on disk, the directory must be synced.
pub(super) fn replace(
    path: &Path,
    draft: &Path,
    bytes: &[u8],
    old: &File,
) -> Result<(), KeyFileError> {
    let owner = old.metadata().map_err(failed("examine", path))?;
    let replaced = write(draft, bytes)
        .and_then(|new| {
            let made = new.metadata()?;
            // What is as it should be needs no privilege.
            if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
                fchown(&new, Some(owner.uid()), Some(owner.gid()))?;
            }
            std::fs::rename(draft, path)
        })
        .map_err(failed("replace", path));
    if replaced.is_err() {
        let _ = std::fs::remove_file(draft);
    }
    replaced
}

/// Overwrites what is in a file, in its place: removing it would leave the blocks as they were.
pub(super) fn overwrite(file: &mut File, length: u64) -> io::Result<()> {
    file.rewind()?;
    let mut left = length;
    while left > 0 {
        let piece = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        file.write_all(&vec![0; piece])?;
        left = left.saturating_sub(piece as u64);
    }
    file.sync_all()
}

/// The error of a file that somebody removed meanwhile.
pub(super) fn gone(path: &Path) -> KeyFileError {
    failed("read back", path)(io::Error::from(io::ErrorKind::NotFound))
}

pub(super) fn random() -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyFileError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let mut file = File::open(source).map_err(failed("open", source))?;
    file.read_exact(bytes.as_mut_slice()).map_err(failed("read", source))?;
    Ok(bytes)
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// Loads a key file after `arrange` had its way with the place where it should be.
    #[track_caller]
    fn check(arrange: impl FnOnce(&Path), expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fp.key");
        arrange(&path);
        let outcome = match load_or_create(&path) {
            Ok(_) => "loaded".to_owned(),
            Err(error) => error.to_string().replace(&*path.to_string_lossy(), "PATH"),
        };
        assert_eq!(outcome, expected);
    }

    fn write_mode(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fp.key");
        let made = load_or_create(&path).unwrap();
        let found = load_or_create(&path).unwrap();
        assert_eq!(made.id(), found.id());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn agents_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fp.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let start = |_| scope.spawn(|| load_or_create(&path).unwrap().id());
            let agents: Vec<_> = (0..4).map(start).collect();
            agents.into_iter().map(|agent| agent.join().unwrap()).collect()
        });
        assert!(ids.windows(2).all(|two| two[0] == two[1]), "{ids:?}");
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        let exposed = "key file PATH is open to group or others (mode 0640): chmod 600 it, or \
                       replace the key if it may have been read";
        check(|path| write_mode(path, &[1; 32], 0o640), exposed);
        check(|path| write_mode(path, &[1; 32], 0o400), "loaded");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        check(
            |path| write_mode(path, &[1; 31], 0o600),
            "key file PATH holds 31 bytes instead of 32",
        );
        check(|path| fs::create_dir(path).unwrap(), "key file PATH is not a regular file");
        check(
            |path| {
                write_mode(&path.with_extension("real"), &[1; 32], 0o600);
                std::os::unix::fs::symlink(path.with_extension("real"), path).unwrap();
            },
            "cannot open key file PATH",
        );
    }

    #[test]
    fn ephemeral_keys_differ() {
        assert_ne!(ephemeral().unwrap().id(), ephemeral().unwrap().id());
    }
}

//! Keys in a file. In: a path. Out: its keys, read again when the file changes.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::KeyringError;
use crate::token::keys::{Held, KeySet, KeySetError, MAX_SET};

/// A file of keys.
pub(super) struct KeyFile {
    path: PathBuf,
    issuer: String,
    seen: Option<Stamp>,
    /// Keys as they were read last.
    pub held: Held,
}

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self { inode: metadata.ino(), size: metadata.size(), changed }
    }
}

impl KeyFile {
    pub fn read(path: &Path, issuer: &str) -> Result<Self, KeyringError> {
        let unreadable = |cause| KeyringError::Unreadable {
            issuer: issuer.to_owned(),
            path: path.to_owned(),
            cause,
        };
        let (text, seen) = read(path).map_err(unreadable)?;
        let held = keys(&text).map_err(|cause| KeyringError::Unusable {
            issuer: issuer.to_owned(),
            from: path.display().to_string(),
            cause,
        })?;
        Ok(Self { path: path.to_owned(), issuer: issuer.to_owned(), seen: Some(seen), held })
    }

    /// Reads the file again if it has changed. Out: whether its keys may have. What cannot be used
    /// leaves the keys from before, and is said once.
    pub fn renew(&mut self) -> bool {
        let stamp = fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata)).ok();
        if stamp == self.seen {
            return false;
        }
        self.seen = stamp;
        let (issuer, path) = (&self.issuer, self.path.display());
        let renewed =
            read(&self.path).map_err(|error| error.to_string()).and_then(|(text, seen)| {
                self.seen = Some(seen);
                keys(&text).map_err(|error| error.to_string())
            });
        match renewed {
            Ok(held) => {
                tracing::info!(issuer, %path, "keys were read again");
                self.held = held;
                true
            }
            Err(error) => {
                tracing::warn!(issuer, %path, error, "keys cannot be used: those from before stay");
                false
            }
        }
    }
}

fn keys(text: &str) -> Result<Held, KeySetError> {
    KeySet::read(text).map(Held::configured)
}

fn read(path: &Path) -> io::Result<(String, Stamp)> {
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut text = String::new();
    // One byte more than is read of a set, so that a longer one is told from one of that length.
    file.take(MAX_SET as u64 + 1).read_to_string(&mut text)?;
    Ok((text, stamp))
}

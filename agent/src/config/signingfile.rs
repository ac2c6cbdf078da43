//! The file that holds the key that signs checkpoints, and what is beside it for whoever verifies. In:
//! its path, and chains. Out: checkpoints, and the file with another key.
//!
//! A key signs for a bounded time. Then a new one is made, and
//!
//! 1. a checkpoint that names it, signed by the present key, is appended to `FILE.successions`,
//! 2. whoever asked for the checkpoint writes it where events go ([`SigningFile::checkpoint`]),
//! 3. the new key is written to `FILE.next`, which is renamed to `FILE`, and the old key's bytes are
//!    overwritten ([`SigningFile::hand_over`]).
//!
//! All is synced before the next step. Whatever step a crash comes after, there is one whole key in the
//! file, and those who verify know whence it has its trust: what names a key that never came to be used
//! does no harm. What fails is tried again later, and the present key signs on.
//!
//! `FILE.pub` has the key that the line began with. It gets another only if the present key does not
//! follow from it, as when somebody replaced the key.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use crate::{
    config::keyfile::{self, KeyFileError, failed},
    failure::chain as causes,
    integrity::{
        chain::Chain,
        checkpoint,
        note::{Signer, VerifyingKey},
        succession::{Place, Successions},
    },
    paths::with_suffix,
    token::fingerprint::KEY_BYTES,
};

/// How long a key signs. Whoever takes a host can forge what its key signed, so a day at most; each
/// replacement costs half a KiB for ever, and a few syncs of the disk.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How old a key is at least when a start of the agent replaces it, and how long it takes to try
/// again what failed: an agent that is restarted in a loop must not fill the disk.
const RETRY: Duration = Duration::from_secs(10 * 60);
/// Largest file of successions, 16 MiB: of 70 years at one a day, of half a year at one in ten minutes.
pub const MAX_SUCCESSIONS: u64 = 16 << 20;
/// Most keys that lines began with; the oldest go first.
const MAX_BEGINNINGS: usize = 64;

/// The key that signs checkpoints, and its file.
#[derive(Debug)]
pub struct SigningFile {
    signer: Signer,
    /// `None` for a key that is never replaced.
    path: Option<PathBuf>,
    due: Instant,
    next: Option<Successor>,
    since: Option<Place>,
    trouble: Option<String>,
}

struct Successor {
    signer: Signer,
    seed: Zeroizing<[u8; KEY_BYTES]>,
}

impl SigningFile {
    /// The key of `host` in the file at `path`, which is made if there is none.
    ///
    /// # Errors
    /// The file cannot be read or made, others than its owner have access to it, or the public key
    /// cannot be written beside it.
    pub fn open(path: &Path, host: &str, now: Instant) -> Result<Self, KeyFileError> {
        let seed = keyfile::bytes(path)?;
        let signer = Signer::new(host, &seed).ok_or_else(|| no_key(path))?;
        let age = fs::metadata(path).and_then(|found| found.modified()).ok();
        let age = age.and_then(|made| made.elapsed().ok()).unwrap_or_default();
        let due = now.checked_add(RETRY.saturating_sub(age)).unwrap_or(now);
        let mut file = Self { due, path: Some(path.to_owned()), ..Self::fixed(signer) };
        file.find_beginning(path)?;
        if let Err(error) = discard(&with_suffix(path, ".next")) {
            file.tell(&error);
        }
        Ok(file)
    }

    /// A key that is never replaced.
    #[must_use]
    pub fn fixed(signer: Signer) -> Self {
        let due = Instant::now();
        Self { signer, path: None, due, next: None, since: None, trouble: None }
    }

    /// What checks what it signs at present.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.signer.verifying_key()
    }

    /// Milliseconds since 1970 behind which a chain must begin, by its name, to be signed by this key.
    #[must_use]
    pub fn began_millis(&self) -> u64 {
        self.since.as_ref().and_then(Place::began_millis).unwrap_or(0)
    }

    /// Whether the next checkpoint is to be the key's last.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.path.is_some() && now >= self.due
    }

    /// Why the key could not be replaced, if it could not when that was tried last.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// A checkpoint of `chain` with these `remarks`. If the key [is due](Self::is_due) it names the next
    /// one, and is in the file of successions; once it is where events go, [`Self::hand_over`].
    pub fn checkpoint(&mut self, chain: &Chain, remarks: &[(&str, &str)], now: Instant) -> String {
        if self.is_due(now) {
            match self.prepare(chain, remarks) {
                Ok(note) => return note,
                Err(error) => self.put_off(&error, now),
            }
        }
        checkpoint::sign(&self.signer, chain, None, remarks)
    }

    fn prepare(&mut self, chain: &Chain, remarks: &[(&str, &str)]) -> Result<String, KeyFileError> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        let seed = keyfile::random()?;
        let signer = self.signer.successor(&seed).ok_or_else(|| no_key(path))?;
        let next = signer.verifying_key();
        let note = checkpoint::sign(&self.signer, chain, Some(&next), remarks);
        append(&with_suffix(path, ".successions"), &note)?;
        self.next = Some(Successor { signer, seed });
        Ok(note)
    }

    /// Whether the last checkpoint named another key, which did not replace this one yet.
    #[must_use]
    pub const fn is_handing_over(&self) -> bool {
        self.next.is_some()
    }

    /// Replaces the key by the one that the last checkpoint named, if it named one.
    pub fn hand_over(&mut self, now: Instant) {
        let (Some(Successor { signer, seed }), Some(path)) = (self.next.take(), &self.path) else {
            return;
        };
        match replace(path, &self.signer, &seed) {
            Ok(destroyed) => {
                (self.signer, self.trouble) = (signer, None);
                self.due = now.checked_add(LIFE).unwrap_or(now);
                tracing::info!(key = self.verifying_key().to_line(), "signing key replaced");
                if let Err(error) = destroyed {
                    self.tell(&error);
                }
            }
            Err(error) => self.put_off(&error, now),
        }
    }

    fn put_off(&mut self, error: &KeyFileError, now: Instant) {
        self.due = now.checked_add(RETRY).unwrap_or(now);
        self.tell(error);
    }

    fn tell(&mut self, error: &KeyFileError) {
        let why = causes(error);
        tracing::warn!(why, "signing key not replaced as it should be");
        self.trouble = Some(why);
    }

    /// Finds out where the present key may sign, by what is beside it; if it follows from no key
    /// there, the line begins with it.
    fn find_beginning(&mut self, path: &Path) -> Result<(), KeyFileError> {
        let (public, key) = (with_suffix(path, ".pub"), self.verifying_key());
        let text = read(&public).map_err(failed("read", &public))?;
        let mut beginnings: Vec<_> = text.lines().filter_map(VerifyingKey::parse).collect();
        let mut successions = Successions::new(beginnings.clone());
        let successions_file = with_suffix(path, ".successions");
        match read(&successions_file).map_err(failed("read", &successions_file)) {
            Ok(text) => successions.take_all(&text),
            Err(error) => self.tell(&error),
        }
        let trusted = successions.conclude();
        self.since = trusted.since(&key).cloned();
        if trusted.has(&key) {
            return Ok(());
        }
        tracing::info!(key = key.to_line(), "a line of signing keys begins");
        beginnings.push(key);
        let skipped = beginnings.len().saturating_sub(MAX_BEGINNINGS);
        let lines = beginnings.iter().skip(skipped).map(|key| format!("{}\n", key.to_line()));
        publish(&public, &lines.collect::<String>()).map_err(failed("write", &public))
    }
}

impl std::fmt::Debug for Successor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.signer.fmt(f)
    }
}

/// The error of bytes that make no key, of which none are known.
fn no_key(path: &Path) -> KeyFileError {
    failed("make a key of", path)(io::ErrorKind::InvalidData.into())
}

/// A file that anybody may read, as far as it is text; nothing if it is not there.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_SUCCESSIONS).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn publish(path: &Path, lines: &str) -> io::Result<()> {
    let draft = with_suffix(path, ".new");
    let mut file = File::create(&draft)?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, path)
}

/// Appends a note, so that it is on disk, or is not there.
fn append(path: &Path, note: &str) -> Result<(), KeyFileError> {
    let directory = keyfile::lock(path)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o644);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let mut file = file.map_err(failed("open", path))?;
    let length = file.metadata().map_err(failed("examine", path))?.len();
    if length.saturating_add(note.len() as u64) > MAX_SUCCESSIONS {
        return Err(KeyFileError::Full { path: path.to_owned() });
    }
    let appended = append_line(&mut file, length, note).and_then(|()| directory.sync_all());
    appended.map_err(|error| {
        // As far as that can be done; a reader passes a half over.
        let _ = file.set_len(length);
        failed("append to", path)(error)
    })
}

fn append_line(file: &mut File, length: u64, note: &str) -> io::Result<()> {
    // A crash may have left half a line, which must not become part of this one.
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let end = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{end}{note}").as_bytes())?;
    file.sync_all()
}

/// Puts the key `next` in the place of that of `present`; what comes with that is whether the old one
/// was destroyed, as far as a file system lets that be done.
fn replace(
    path: &Path,
    present: &Signer,
    next: &[u8; KEY_BYTES],
) -> Result<Result<(), KeyFileError>, KeyFileError> {
    let directory = keyfile::lock(path)?;
    let Some((mut old, length)) = keyfile::open(path, OpenOptions::new().read(true).write(true))?
    else {
        return keyfile::create(path, next).map(Ok);
    };
    let mut held = Zeroizing::new([0; KEY_BYTES]);
    old.read_exact(held.as_mut_slice()).map_err(failed("read", path))?;
    let held = present.successor(&held).map(|held| held.verifying_key());
    if length != KEY_BYTES as u64 || held != Some(present.verifying_key()) {
        return Err(KeyFileError::Another { path: path.to_owned() });
    }
    let draft = with_suffix(path, ".next");
    discard(&draft)?;
    keyfile::replace(path, &draft, next, &old)?;
    let destroyed = directory.sync_all().and_then(|()| keyfile::overwrite(&mut old, length));
    Ok(destroyed.map_err(failed("destroy the old key of", path)))
}

/// Removes what a crash left of a key that was never used: found later, it could sign.
fn discard(draft: &Path) -> Result<(), KeyFileError> {
    let left = keyfile::open(draft, OpenOptions::new().read(true).write(true))?;
    let Some((mut left, length)) = left else { return Ok(()) };
    keyfile::overwrite(&mut left, length).map_err(failed("overwrite", draft))?;
    fs::remove_file(draft).map_err(failed("remove", draft))
}

#[cfg(test)]
mod tests;

//! Records that a sink refused for good, kept for people to look at. In: records. Out: a file of
//! lines, bounded; what does not fit is counted by the sink's cursor all the same.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use crate::sinks::Refusal;

/// Most bytes of a file of dead letters: thousands of events, which all have the same fault.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The dead letters of one sink.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
}

impl DeadLetters {
    /// Those kept at `path`.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Keeps a record: a line that says why, and the record on the next one.
    ///
    /// # Errors
    /// It cannot be written, or the file is full.
    pub fn put(&self, record: &[u8], why: Refusal) -> io::Result<()> {
        let mut file: File =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        if file.metadata()?.len() >= MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let lines = [format!("# {why}\n").as_bytes(), record, b"\n"].concat();
        file.write_all(&lines)
    }
}

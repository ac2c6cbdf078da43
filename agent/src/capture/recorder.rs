//! Recordings: captured events in a file, from which the whole agent runs without privilege.
//!
//! # Format
//!
//! 1. Eight bytes: `SWREC` and three bytes of version, `00 00 02`.
//! 2. Frames until the end of the file: length (4 bytes, little-endian) of the content, CRC-32 of
//!    the content (4 bytes, little-endian), content. The content is postcard's encoding: of a
//!    [`Preamble`] in the first frame, of a [`CaptureEvent`] in all others.
//!
//! A frame's content is at most [`MAX_FRAME`] bytes. A file may end within a frame, as the writer
//! may have been killed: what is before it counts.
//!
//! A recording holds plaintext, tokens included, but no session keys. It is created with mode
//! 0600 and never overwrites a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    capture::{CaptureEvent, EventSink},
    identity::host::Host,
};

/// First bytes of a recording.
pub const MAGIC: [u8; 8] = *b"SWREC\0\0\x02";

/// Longest content of a frame: one record of the ring and its description fit many times.
pub const MAX_FRAME: u32 = 256 * 1024;

/// What a replay must know of the host on which the recording was made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Preamble {
    /// The host.
    pub host: Host,
}

/// Writes a recording.
pub struct Recorder<W: Write> {
    out: W,
    /// The first failure; after it nothing is written, and the run goes on without recording.
    failure: Option<io::Error>,
    buffer: Vec<u8>,
}

impl Recorder<BufWriter<File>> {
    /// Creates the file, which must not exist, readable by its owner only.
    ///
    /// # Errors
    /// It exists, or cannot be created or written.
    pub fn create(path: &Path, preamble: &Preamble) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Self::start(BufWriter::new(file), preamble)
    }
}

impl<W: Write> Recorder<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Writing fails.
    pub fn start(mut out: W, preamble: &Preamble) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        let mut recorder = Self { out, failure: None, buffer: Vec::new() };
        recorder.frame(preamble)?;
        Ok(recorder)
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// The first failure since the start, or that of the last flush.
    pub fn finish(mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)?;
        self.out.flush()
    }

    fn frame(&mut self, content: &impl Serialize) -> io::Result<()> {
        self.buffer.clear();
        self.buffer = postcard::to_extend(content, std::mem::take(&mut self.buffer))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let len = u32::try_from(self.buffer.len())
            .ok()
            .filter(|&len| len <= MAX_FRAME)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "frame too long"))?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&crc32fast::hash(&self.buffer).to_le_bytes())?;
        self.out.write_all(&self.buffer)
    }
}

impl<W: Write> EventSink for Recorder<W> {
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        if self.failure.is_none()
            && let Err(error) = self.frame(event)
        {
            tracing::error!(%error, "the recording stops here");
            self.failure = Some(error);
        }
    }
}

//! A library file opened once: its identity and bytes belong together, whatever happens to its
//! path meanwhile.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use crate::{
    binary::source::{Pieces, Source},
    sandbox::protocol::Inode,
};

/// Longest file that is read whole, in bytes. libcrypto is under 8 MiB everywhere; the bound keeps
/// a hostile container's "libssl.so" from exhausting the agent's memory.
pub const MAX_WHOLE: u64 = 64 * 1024 * 1024;

/// What is read of a file.
pub enum Content {
    /// All.
    Whole(Vec<u8>),
    /// What is asked for, of a longer file.
    Pieces(Pieces),
}

impl Content {
    /// Its bytes.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        match self {
            Self::Whole(bytes) => Source::Whole(bytes),
            Self::Pieces(pieces) => Source::Pieces(pieces),
        }
    }
}

/// An opened file and what it is.
#[derive(Debug)]
pub struct LibraryFile {
    file: File,
    /// Its identity.
    pub inode: Inode,
}

impl LibraryFile {
    /// Takes up an opened file.
    ///
    /// # Errors
    /// `fstat` fails, or it is no regular file.
    pub fn new(file: File) -> io::Result<Self> {
        let stat = nix::sys::stat::fstat(&file)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let inode = Inode { device: stat.st_dev, number: stat.st_ino };
        Ok(Self { file, inode })
    }

    /// Reads it, at most [`MAX_WHOLE`] bytes. Memory-mapping would let its owner end the agent by
    /// truncating it.
    ///
    /// # Errors
    /// Reading fails.
    pub fn read(&self) -> io::Result<Content> {
        if self.file.metadata()?.len() > MAX_WHOLE {
            return Ok(Content::Pieces(Pieces::new(self.file.try_clone()?)?));
        }
        let mut bytes = Vec::new();
        let file = &self.file;
        file.take(MAX_WHOLE).read_to_end(&mut bytes)?;
        Ok(Content::Whole(bytes))
    }

    /// The file, to be asked for little.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// The file itself, to be kept.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// The descriptor, for the broker.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }
}

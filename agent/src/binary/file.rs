//! A library file opened once: its identity and bytes belong together, whatever happens to its
//! path meanwhile.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use crate::sandbox::protocol::Inode;

/// Longest library that is read, in bytes. libssl is under 2 MiB everywhere; the bound keeps a
/// hostile container's "libssl.so" from exhausting the agent's memory.
pub const MAX_LIBRARY: u64 = 64 * 1024 * 1024;

/// Longest file that is read when somebody asks for it: executables that hold OpenSSL have 100 MiB.
pub const MAX_EXECUTABLE: u64 = 512 * 1024 * 1024;

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

    /// Reads it whole. Memory-mapping would let its owner end the agent by truncating it.
    ///
    /// # Errors
    /// It is longer than `limit` bytes, or reading fails.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than any library"));
        }
        let mut bytes = Vec::new();
        let file = &self.file;
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
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

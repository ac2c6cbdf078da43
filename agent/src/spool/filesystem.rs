//! What the spool asks of a file system: the seam between the code that must survive it, and the
//! two that there are, the system's ([`Directory`]) and one in memory with faults (`memory.rs`).

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// One directory.
pub trait Filesystem: Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// Names of all files, in any order.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file.
    ///
    /// # Errors
    /// There is one of that name, or no room.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// There is none of that name.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file; whoever has it open may still read it.
    ///
    /// # Errors
    /// There is none of that name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what was made and removed so far outlive a loss of power.
    ///
    /// # Errors
    /// The disk failed.
    fn sync(&self) -> io::Result<()>;
}

/// A file of a [`Filesystem`].
pub trait File: Send {
    /// Its length in bytes.
    ///
    /// # Errors
    /// It cannot be asked.
    fn length(&self) -> io::Result<u64>;

    /// Reads at `at`; fewer bytes than asked for, down to none, at the end.
    ///
    /// # Errors
    /// The disk failed.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `at`.
    ///
    /// # Errors
    /// There is no room, or the disk failed; any part of `bytes` may be written.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to a length.
    ///
    /// # Errors
    /// The disk failed.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Makes what was written so far outlive a loss of power.
    ///
    /// # Errors
    /// The disk failed; what of it was written is not known.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the system, its owner's alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held as long as this is: two writers would undo each other's work.
    _lock: fs::File,
}

impl Directory {
    /// The directory at `path`, which is made if it is not there; its parent must be.
    ///
    /// # Errors
    /// It cannot be made, or another process has it.
    pub fn new(path: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(path.join("lock"))?;
        lock.try_lock()?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

impl Filesystem for Directory {
    type File = fs::File;

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)?;
        let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
        let names = entries.map(name).collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Self::File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|found| found.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, into, at)
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

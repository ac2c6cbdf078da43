//! A file system in memory that fails in every way that a disk may: it fills up, refuses writes
//! half-way, fails to sync, and on a loss of power keeps any part of what was not synced, in any
//! order, sector by sector. What was synced, it keeps.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::spool::filesystem::{File, Filesystem};

/// Bytes that are written whole or not at all.
const SECTOR: usize = 512;

/// The file system. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Disk>>);

/// An open file.
pub struct MemoryFile {
    disk: Memory,
    inode: usize,
}

/// What the disk does wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Bytes that all files may have together.
    pub capacity: Option<u64>,
    /// So many of the next writes fail half-way.
    pub writes: u32,
    /// So many of the next syncs fail, and forget what they were to write.
    pub syncs: u32,
    /// Nothing may be changed.
    pub read_only: bool,
}

#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync.
    renames: Vec<(String, Option<usize>)>,
    faults: Faults,
    dice: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to.splice(*at..end, bytes.iter().copied());
            }
            Self::Truncate(length) => to.truncate(*length),
        }
    }
}

impl Memory {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on the disk does this wrong.
    pub fn fail(&self, faults: Faults) {
        self.disk().faults = faults;
    }

    /// What is there after a loss of power; chance decides over what was not synced.
    #[must_use]
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let mut disk = self.disk();
        disk.dice = seed;
        let mut names = disk.durable_names.clone();
        for (name, inode) in disk.renames.clone() {
            if disk.flip() {
                match inode {
                    Some(inode) => names.insert(name, inode),
                    None => names.remove(&name),
                };
            }
        }
        let mut inodes = disk.inodes.clone();
        for inode in &mut inodes {
            disk.keep_some(inode);
            *inode = Inode {
                now: inode.durable.clone(),
                ..Inode { changes: Vec::new(), ..inode.clone() }
            };
        }
        let durable_names = names.clone();
        Self(Arc::new(Mutex::new(Disk { inodes, names, durable_names, ..Disk::default() })))
    }

    /// Puts a file there, as if it always had been.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.disk();
        let inode = disk.inodes.len();
        disk.inodes.push(Inode {
            now: bytes.to_vec(),
            durable: bytes.to_vec(),
            changes: Vec::new(),
        });
        disk.names.insert(name.to_owned(), inode);
        disk.durable_names.insert(name.to_owned(), inode);
    }
}

impl Disk {
    /// A coin, by xorshift64.
    fn flip(&mut self) -> bool {
        let mut x = self.dice | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.dice = x;
        x & (1 << 32) != 0
    }

    /// Some of the changes reach the disk, the others never will.
    fn keep_some(&mut self, inode: &mut Inode) {
        for change in std::mem::take(&mut inode.changes) {
            match &change {
                Change::Truncate(_) if self.flip() => change.apply(&mut inode.durable),
                Change::Truncate(_) => {}
                Change::Write(at, bytes) => {
                    let mut at = *at;
                    let mut rest = bytes.as_slice();
                    while !rest.is_empty() {
                        let length = (SECTOR - at % SECTOR).min(rest.len());
                        let (sector, after) = rest.split_at(length);
                        if self.flip() {
                            Change::Write(at, sector.to_vec()).apply(&mut inode.durable);
                        }
                        (at, rest) = (at + length, after);
                    }
                }
            }
        }
    }

    fn used(&self) -> u64 {
        let length = |inode: &usize| self.inodes.get(*inode).map_or(0, |inode| inode.now.len());
        self.names.values().map(length).sum::<usize>() as u64
    }

    fn change(&mut self, inode: usize, change: Change) {
        if let Some(inode) = self.inodes.get_mut(inode) {
            change.apply(&mut inode.now);
            inode.changes.push(change);
        }
    }

    fn writable(&self) -> io::Result<()> {
        if self.faults.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// Whether this sync fails.
    fn sync_fails(&mut self) -> bool {
        let fails = self.faults.syncs > 0;
        self.faults.syncs = self.faults.syncs.saturating_sub(1);
        fails
    }
}

impl Filesystem for Memory {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut disk = self.disk();
        disk.writable()?;
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.names.insert(name.to_owned(), inode);
        disk.renames.push((name.to_owned(), Some(inode)));
        drop(disk);
        Ok(MemoryFile { disk: self.clone(), inode })
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let inode = self.disk().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(MemoryFile { disk: self.clone(), inode })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.writable()?;
        disk.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disk.renames.push((name.to_owned(), None));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.sync_fails() {
            return Err(io::Error::other("the disk failed"));
        }
        disk.durable_names = disk.names.clone();
        disk.renames.clear();
        Ok(())
    }
}

impl File for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.disk().inodes.get(self.inode).map_or(0, |inode| inode.now.len() as u64))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk.disk();
        let bytes = disk.inodes.get(self.inode).map_or(&[][..], |inode| &inode.now);
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        Ok(into.iter_mut().zip(rest).map(|(to, from)| *to = *from).count())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.writable()?;
        let at = usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let length = disk.inodes.get(self.inode).map_or(0, |inode| inode.now.len());
        let grows = (at + bytes.len()).saturating_sub(length) as u64;
        let room = disk.faults.capacity.map_or(u64::MAX, |most| most.saturating_sub(disk.used()));
        let broken = disk.faults.writes > 0;
        disk.faults.writes = disk.faults.writes.saturating_sub(1);
        if grows <= room && !broken {
            disk.change(self.inode, Change::Write(at, bytes.to_vec()));
            return Ok(());
        }
        let part = if broken { bytes.len() / 2 } else { usize::try_from(room).unwrap_or(0) };
        let part = bytes.get(..part.min(bytes.len())).unwrap_or_default();
        disk.change(self.inode, Change::Write(at, part.to_vec()));
        Err(io::ErrorKind::StorageFull.into())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.writable()?;
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        disk.change(self.inode, Change::Truncate(length));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let fails = disk.sync_fails();
        let Some(mut inode) = disk.inodes.get(self.inode).cloned() else { return Ok(()) };
        if fails {
            disk.keep_some(&mut inode);
        } else {
            let changes = std::mem::take(&mut inode.changes);
            changes.iter().for_each(|change| change.apply(&mut inode.durable));
        }
        if let Some(stored) = disk.inodes.get_mut(self.inode) {
            *stored = inode;
        }
        if fails { Err(io::Error::other("the disk failed")) } else { Ok(()) }
    }
}

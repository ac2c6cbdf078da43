//! Bytes of a file, all of them in memory or read as they are asked for.
//!
//! In: a slice, or a file too long to be read whole: an executable that holds OpenSSL has 100 MiB,
//! of which its tables are a tenth. Out: slices, at most [`MAX_READ`] bytes of a file in all.

use std::{cell::Cell, fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use object::{ReadCache, ReadRef};

/// Bytes of one file that are read by piece, repetitions counted. Node's tables have 10 MiB.
pub const MAX_READ: u64 = 64 * 1024 * 1024;

/// Bytes that are searched at once, and in all.
const STRIDE: usize = 1024 * 1024;
const MAX_SEARCHED: u64 = 128 * 1024 * 1024;

/// Where bytes come from.
#[derive(Clone, Copy)]
pub enum Source<'data> {
    /// Memory.
    Whole(&'data [u8]),
    /// A file, by piece.
    Pieces(&'data Pieces),
}

/// A file that is read by piece. What was read is kept until it is dropped.
pub struct Pieces {
    file: File,
    cache: ReadCache<File>,
    left: Cell<u64>,
}

impl Pieces {
    /// Reads from `file`.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub fn new(file: File) -> io::Result<Self> {
        let cache = ReadCache::new(file.try_clone()?);
        Ok(Self { file, cache, left: Cell::new(MAX_READ) })
    }

    fn take(&self, bytes: u64) -> Result<(), ()> {
        self.left.set(self.left.get().checked_sub(bytes).ok_or(())?);
        Ok(())
    }

    /// What `find` has of the first piece in which it finds anything. Pieces overlap by `overlap`
    /// bytes, and are not kept.
    fn search<T>(
        &self,
        range: Range<u64>,
        overlap: usize,
        find: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut buffer = vec![0; STRIDE];
        let end = range.end.min(range.start.saturating_add(MAX_SEARCHED));
        let mut at = range.start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(STRIDE);
            let piece = buffer.get_mut(..len)?;
            self.file.read_exact_at(piece, at).ok()?;
            if let Some(found) = find(piece) {
                return Some(found);
            }
            at = at.saturating_add(u64::try_from(STRIDE.saturating_sub(overlap)).ok()?);
        }
        None
    }
}

impl Source<'_> {
    /// What `find` has of the bytes in `range`, or of a piece of them; see [`Pieces`].
    pub fn search<T>(
        self,
        range: Range<u64>,
        overlap: usize,
        find: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<T> {
        match self {
            Self::Whole(bytes) => {
                let (start, end) =
                    (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
                find(bytes.get(start..end)?)
            }
            Self::Pieces(pieces) => pieces.search(range, overlap, find),
        }
    }
}

impl<'data> From<&'data [u8]> for Source<'data> {
    fn from(bytes: &'data [u8]) -> Self {
        Self::Whole(bytes)
    }
}

impl<'data> From<&'data Vec<u8>> for Source<'data> {
    fn from(bytes: &'data Vec<u8>) -> Self {
        Self::Whole(bytes)
    }
}

impl<'data> ReadRef<'data> for Source<'data> {
    fn len(self) -> Result<u64, ()> {
        match self {
            Self::Whole(bytes) => u64::try_from(bytes.len()).map_err(|_| ()),
            Self::Pieces(pieces) => (&pieces.cache).len(),
        }
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        match self {
            Self::Whole(bytes) => bytes.read_bytes_at(offset, size),
            Self::Pieces(pieces) => {
                pieces.take(size)?;
                pieces.cache.read_bytes_at(offset, size)
            }
        }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        match self {
            Self::Whole(bytes) => bytes.read_bytes_at_until(range, delimiter),
            Self::Pieces(pieces) => {
                // What it reads at most.
                pieces.take(4096)?;
                pieces.cache.read_bytes_at_until(range, delimiter)
            }
        }
    }
}

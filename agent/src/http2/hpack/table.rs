//! The static and the dynamic table (RFC 7541 §2.3), the latter as far as it is known.
//!
//! Whoever joins late does not know the entries that are already there. Indices count from the
//! newest entry, so that entries inserted since then resolve exactly and older ones are *unknown*;
//! no index ever resolves to another entry's content. An entry whose name is unknown takes a slot
//! like any other. Keeping an entry for too long is harmless: encoders never refer to one that
//! they evicted. Dropping one too early makes it unknown.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::Field;

/// Size that both ends start with, in octets (RFC 9113 §6.5.2, `SETTINGS_HEADER_TABLE_SIZE`).
pub const DEFAULT_SIZE: usize = 4096;

/// Most that one dynamic table may hold, in octets as RFC 7541 §4.1 counts them: what browsers
/// announce. An encoder may use more; then its oldest entries are unknown here.
pub const SIZE_MAX: usize = 64 * 1024;

/// What an entry counts beyond its strings (RFC 7541 §4.1).
const ENTRY_OVERHEAD: usize = 32;

/// One entry of the dynamic table, wiped on drop: clients index credentials.
pub struct Entry {
    /// Name and value.
    raw: Zeroizing<Box<[u8]>>,
    /// Length of the name, `None` if it is unknown.
    name_len: Option<usize>,
}

impl Entry {
    /// An entry with this value, and this name if it is known.
    #[must_use]
    pub fn new(name: Option<&[u8]>, value: &[u8]) -> Self {
        let raw = [name.unwrap_or_default(), value].concat().into_boxed_slice();
        Self { raw: Zeroizing::new(raw), name_len: name.map(<[u8]>::len) }
    }

    /// Name, if known, and value.
    #[must_use]
    pub fn field(&self) -> Field<'_> {
        let (name, value) =
            self.raw.split_at_checked(self.name_len.unwrap_or(0)).unwrap_or_default();
        Field { name: self.name_len.map(|_| name), value: Some(value), never_indexed: false }
    }

    /// Size in octets (RFC 7541 §4.1), without the name if that is unknown.
    fn size(&self) -> usize {
        self.raw.len().saturating_add(ENTRY_OVERHEAD)
    }
}

/// The dynamic table of one direction, and the static table beneath it.
pub struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, size_max: DEFAULT_SIZE }
    }
}

impl Table {
    /// The field at `index` as §2.3.3 counts, with what is not known left out. `None` for index 0,
    /// which names nothing.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Field<'_>> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some(Field::known(name.as_bytes(), value.as_bytes()));
        }
        let slot = index.saturating_sub(STATIC.len());
        Some(self.entries.get(slot).map_or_else(Field::default, Entry::field))
    }

    /// Inserts an entry and evicts what then exceeds the size. An entry larger than the table
    /// empties it (RFC 7541 §4.4).
    pub fn insert(&mut self, entry: Entry) {
        self.size = self.size.saturating_add(entry.size());
        self.entries.push_front(entry);
        self.evict();
    }

    /// Follows a size update of the encoder (RFC 7541 §4.3), as far as [`SIZE_MAX`] permits;
    /// tells whether it did not.
    pub fn resize(&mut self, size: usize) -> bool {
        self.size_max = size.min(SIZE_MAX);
        self.evict();
        size > SIZE_MAX
    }

    /// Starts from scratch: entries may have been missed, and size updates. From here on, all
    /// that is older than the next insertion is unknown.
    pub fn forget(&mut self) {
        *self = Self { size_max: SIZE_MAX, ..Self::default() };
    }

    /// Octets held, as RFC 7541 §4.1 counts them; at most [`SIZE_MAX`].
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    fn evict(&mut self) {
        while self.size > self.size_max {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size = self.size.saturating_sub(oldest.size());
        }
    }
}

/// Indices 1 to 61 (RFC 7541 appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

//! Where each sink is, on disk. In: the state of all cursors. Out: the same after a crash, or an
//! older one: records are then given again. Two slots of fixed size are written in turn, so that
//! one is always whole, and writing takes no room that is not there already.

use std::io;

use serde::{Deserialize, Serialize};

use crate::spool::{
    MAX_SINKS,
    filesystem::{File, Filesystem},
};

/// Bytes of a slot: [`MAX_SINKS`] names of the longest kind and their counts.
const SLOT_BYTES: usize = 8192;
/// What stands before the state: checksum, length, generation.
const SLOT_HEAD: usize = 16;
const NAME: &str = "ledger";

/// What a ledger says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entries {
    /// Number that no record has had yet.
    pub next: u64,
    /// One for each sink.
    pub sinks: Vec<SinkEntry>,
}

/// Where a sink is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SinkEntry {
    /// Its name.
    pub name: String,
    /// Number of the record that it is to get next.
    pub cursor: u64,
    /// Records that it confirmed.
    pub delivered: u64,
    /// Records that it refused for good.
    pub dead: u64,
    /// Numbers that had no record.
    pub lost: u64,
}

/// What the file held.
#[derive(Debug, Eq, PartialEq)]
pub enum Found {
    /// There was none.
    Nothing,
    /// There was one, but no slot of it is whole.
    Damage,
    /// The newest whole slot.
    Entries(Entries),
}

/// The open ledger.
pub struct Ledger<F: Filesystem> {
    file: F::File,
    generation: u64,
}

impl<F: Filesystem> Ledger<F> {
    /// Opens the ledger, and makes it if it is not there.
    ///
    /// # Errors
    /// The file cannot be read or made.
    pub fn open(filesystem: &F) -> io::Result<(Self, Found)> {
        let (mut file, fresh) = match filesystem.open(NAME) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (filesystem.create(NAME)?, true)
            }
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(filled as u64, rest)? {
                0 => break,
                more => filled = filled.saturating_add(more),
            }
        }
        if filled < bytes.len() {
            file.write_at(0, &bytes)?;
            file.sync()?;
            filesystem.sync()?;
        }
        let slots = bytes.chunks_exact(SLOT_BYTES).filter_map(read_slot);
        let newest = slots.max_by_key(|(generation, _)| *generation);
        let untouched = bytes.iter().all(|byte| *byte == 0);
        let (generation, found) = match newest {
            Some((generation, entries)) => (generation, Found::Entries(entries)),
            None if fresh || untouched => (0, Found::Nothing),
            None => (0, Found::Damage),
        };
        Ok((Self { file, generation }, found))
    }

    /// Writes the state over the older slot and waits until it is on disk.
    ///
    /// # Errors
    /// The disk failed; the newer slot still stands.
    pub fn write(&mut self, entries: &Entries) -> io::Result<()> {
        let generation = self.generation.saturating_add(1);
        let slot = slot(generation, entries).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.write_at((generation % 2).saturating_mul(SLOT_BYTES as u64), &slot)?;
        self.file.sync()?;
        self.generation = generation;
        Ok(())
    }
}

/// The bytes of a slot; `None` if the state does not fit, which [`MAX_SINKS`] excludes.
fn slot(generation: u64, entries: &Entries) -> Option<Vec<u8>> {
    let state = postcard::to_stdvec(entries).ok().filter(|_| entries.sinks.len() <= MAX_SINKS)?;
    let length = u32::try_from(state.len()).ok()?;
    let mut body = Vec::with_capacity(SLOT_BYTES);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&generation.to_le_bytes());
    body.extend_from_slice(&state);
    let mut slot = crc32fast::hash(&body).to_le_bytes().to_vec();
    slot.append(&mut body);
    if slot.len() > SLOT_BYTES {
        return None;
    }
    slot.resize(SLOT_BYTES, 0);
    Some(slot)
}

fn read_slot(slot: &[u8]) -> Option<(u64, Entries)> {
    let (crc, rest) = slot.split_first_chunk::<4>()?;
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (generation, state) = after.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let body = rest.get(..length.checked_add(SLOT_HEAD - 4)?)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let entries = postcard::from_bytes(state.get(..length)?).ok()?;
    Some((u64::from_le_bytes(*generation), entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{MAX_SINK_NAME, memory::Memory};

    fn entries(next: u64) -> Entries {
        let name = "file".to_owned();
        let sink = SinkEntry { name, cursor: next, delivered: next, dead: 0, lost: 0 };
        Entries { next, sinks: vec![sink] }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let memory = Memory::default();
        let (mut ledger, found) = Ledger::open(&memory).unwrap();
        assert_eq!(found, Found::Nothing);
        assert_eq!(Ledger::open(&memory).unwrap().1, Found::Nothing);
        ledger.write(&entries(1)).unwrap();
        ledger.write(&entries(2)).unwrap();
        assert_eq!(Ledger::open(&memory).unwrap().1, Found::Entries(entries(2)));
        // Generation 2 stands in the first slot.
        memory.open(NAME).unwrap().write_at(20, &[0xff]).unwrap();
        assert_eq!(Ledger::open(&memory).unwrap().1, Found::Entries(entries(1)));
        memory.open(NAME).unwrap().write_at(SLOT_BYTES as u64, &[0xff; 4]).unwrap();
        let (mut ledger, found) = Ledger::open(&memory).unwrap();
        assert_eq!(found, Found::Damage);
        ledger.write(&entries(3)).unwrap();
        assert_eq!(Ledger::open(&memory).unwrap().1, Found::Entries(entries(3)));
    }

    #[test]
    fn as_many_sinks_as_are_allowed_fit() {
        let longest = |index| SinkEntry {
            name: format!("{index:0MAX_SINK_NAME$}"),
            cursor: u64::MAX,
            delivered: u64::MAX,
            dead: u64::MAX,
            lost: u64::MAX,
        };
        let full = Entries { next: u64::MAX, sinks: (0..MAX_SINKS).map(longest).collect() };
        let written = slot(u64::MAX, &full).unwrap();
        assert_eq!(read_slot(&written), Some((u64::MAX, full)));
    }
}

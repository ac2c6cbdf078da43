//! A sink's way through the spool. In: segments, as far as they are written. Out: batches of
//! records in the order of their numbers, and on word of the sink, a cursor that goes on.
//!
//! Two lanes are merged by number. A number that neither has is a lost record: dropped, refused or
//! damaged. Nothing here fails: what cannot be read is passed over, and so counted.

use std::{mem, ops::Range, sync::Arc, time::Duration};

use crate::spool::{
    Lane,
    filesystem::{File, Filesystem},
    segment::{self, Frame, HEADER_BYTES, Header},
    state::Spool,
};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// How much a batch may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Records, at least 1.
    pub records: usize,
    /// Bytes of payload, the last record's excepted.
    pub bytes: usize,
}

/// Records that belong together only because they were there.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<(u64, Range<usize>)>,
    /// Number behind the last record, or behind what is known to be lost.
    end: u64,
}

impl Batch {
    /// Records in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Number and payload of each record, from the `from`th on.
    pub fn records(&self, from: usize) -> impl Iterator<Item = (u64, &[u8])> {
        let records = self.records.get(from..).unwrap_or_default().iter();
        records.map(|(number, range)| (*number, self.bytes.get(range.clone()).unwrap_or_default()))
    }

    /// Number behind the `nth` record; behind all if there are no more.
    fn number_behind(&self, nth: usize) -> u64 {
        match self.records.get(nth.saturating_add(1)) {
            Some(_) => self.records.get(nth).map_or(self.end, |(number, _)| number + 1),
            None => self.end,
        }
    }
}

/// Reads for one sink.
pub struct Reader<F: Filesystem> {
    spool: Arc<Spool<F>>,
    name: String,
    /// Number of the record that comes next.
    position: u64,
    lanes: [LaneReader<F>; 2],
}

impl<F: Filesystem> Reader<F> {
    /// The reader of the sink `name`; `None` if the spool was not opened for it.
    #[must_use]
    pub fn new(spool: &Arc<Spool<F>>, name: &str) -> Option<Self> {
        let known = spool.state().sinks.iter().find(|sink| sink.name == name).cloned()?;
        let lanes = Lane::ALL.map(|lane| LaneReader { lane, open: None });
        let spool = Arc::clone(spool);
        Some(Self { spool, name: known.name, position: known.cursor, lanes })
    }

    /// Waits up to `timeout` for records and puts them into `batch`, whose space is used again. An
    /// empty batch may still have passed lost records.
    pub fn next(&mut self, batch: &mut Batch, limits: Limits, timeout: Duration) {
        batch.bytes.clear();
        batch.records.clear();
        let position = self.position;
        let end = self.spool.wait(timeout, |state| state.next > position || state.closed).next;
        while batch.records.len() < limits.records && batch.bytes.len() < limits.bytes {
            let Self { spool, position, lanes, .. } = self;
            let [bulk, kept] = lanes;
            let nexts = [bulk.peek(spool, *position), kept.peek(spool, *position)];
            let first = nexts.iter().flatten().min().copied();
            let Some(number) = first.filter(|number| *number < end) else {
                // Records below `end` were all to be seen: what was not found is lost.
                *position = end.max(*position);
                break;
            };
            let [in_bulk, _] = nexts;
            let payload = if in_bulk == first { bulk.take() } else { kept.take() };
            let start = batch.bytes.len();
            batch.bytes.extend_from_slice(payload);
            batch.records.push((number, start..batch.bytes.len()));
            *position = number + 1;
        }
        batch.end = self.position;
    }

    /// The sink has done with the first `done` records of the batch that it was given last, of
    /// which it refused `dead` for good, and which before had `before` done.
    pub fn advance(&mut self, batch: &Batch, before: usize, done: usize, dead: u64) {
        let behind = done.checked_sub(1).map(|last| batch.number_behind(last));
        let to = if batch.is_empty() { Some(batch.end) } else { behind };
        let Some(to) = to else { return };
        let taken = u64::try_from(done.saturating_sub(before)).unwrap_or(0);
        let mut state = self.spool.state();
        if let Some(sink) = state.sinks.iter_mut().find(|sink| sink.name == self.name) {
            let passed = to.saturating_sub(sink.cursor);
            sink.cursor = sink.cursor.max(to);
            sink.delivered += taken.saturating_sub(dead);
            sink.dead += dead;
            sink.lost += passed.saturating_sub(taken);
        }
    }

    /// Whether everything was read that will ever come.
    #[must_use]
    pub fn at_end(&self) -> bool {
        let state = self.spool.state();
        state.closed && self.position >= state.next
    }
}

/// One lane, read segment by segment.
struct LaneReader<F: Filesystem> {
    lane: Lane,
    open: Option<Open<F>>,
}

struct Open<F: Filesystem> {
    header: Header,
    frames: Frames<F::File>,
    /// The frame that was looked at and not taken yet.
    peeked: Option<Peeked>,
}

/// A record that stands in the buffer of its [`Frames`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Peeked {
    pub(super) number: u64,
    payload: Range<usize>,
}

impl<F: Filesystem> LaneReader<F> {
    /// Number of the lane's next record that is at least `position`.
    fn peek(&mut self, spool: &Spool<F>, position: u64) -> Option<u64> {
        loop {
            let Some(open) = &mut self.open else {
                self.open = self.enter(spool, position);
                self.open.as_ref()?;
                continue;
            };
            if open.peeked.is_none() {
                let (written, is_last) = written(spool, self.lane, &open.header);
                open.peeked = open.frames.next(written);
                if open.peeked.is_none() && is_last {
                    return None;
                }
            }
            match &open.peeked {
                Some(peeked) if peeked.number >= position => return Some(peeked.number),
                Some(_) => open.peeked = None,
                // The end of a segment, or damage: what is missing has no number further on.
                None => self.open = self.enter(spool, position),
            }
            self.open.as_ref()?;
        }
    }

    /// Opens the first segment that has a record of at least `position`, or begins behind it.
    fn enter(&self, spool: &Spool<F>, position: u64) -> Option<Open<F>> {
        let mut passed = self.open.as_ref().map(|open| open.header.first);
        loop {
            let header = {
                let state = spool.state();
                let mut segments = state.lane(self.lane).iter();
                let wanted = segments.find(|segment| {
                    segment.last >= position
                        && passed.is_none_or(|first| segment.header.first > first)
                })?;
                wanted.header
            };
            // It may be gone by now, to make room: its records are lost.
            match spool.filesystem.open(&header.file_name()) {
                Ok(file) => {
                    return Some(Open { header, frames: Frames::new(file, &header), peeked: None });
                }
                Err(_) => passed = Some(header.first),
            }
        }
    }

    /// The payload of the record that was looked at.
    fn take(&mut self) -> &[u8] {
        let Some(open) = &mut self.open else { return &[] };
        let payload = mem::take(&mut open.peeked).map(|peeked| peeked.payload);
        open.frames.bytes(payload.unwrap_or_default())
    }
}

/// How far a segment is written, and whether it is the last of its lane.
fn written<F: Filesystem>(spool: &Spool<F>, lane: Lane, header: &Header) -> (u64, bool) {
    let state = spool.state();
    let segments = state.lane(lane);
    let is_last = segments.back().is_none_or(|last| last.header.first <= header.first);
    let this = segments.iter().find(|segment| segment.header == *header);
    // One that was dropped while it was read has nothing more to say.
    (this.map_or(0, |segment| segment.length), is_last)
}

/// The frames of one file, in order.
pub(super) struct Frames<T> {
    file: T,
    seed: u32,
    /// Least number of the next one.
    least: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    at: usize,
    /// Where in the file the buffer ends.
    read_to: u64,
    /// Nothing behind is to be trusted.
    damaged: bool,
}

impl<T: File> Frames<T> {
    pub(super) fn new(file: T, header: &Header) -> Self {
        let (seed, least) = (header.seed(), header.first);
        let read_to = HEADER_BYTES as u64;
        Self { file, seed, least, buffer: Vec::new(), at: 0, read_to, damaged: false }
    }

    /// The next frame that ends within the first `written` bytes of the file.
    pub(super) fn next(&mut self, written: u64) -> Option<Peeked> {
        let mut needed = segment::FRAME_BYTES;
        while !self.damaged {
            let ahead = self.buffer.get(self.at..).unwrap_or_default();
            if ahead.len() >= needed {
                match segment::frame(ahead, self.seed, self.least) {
                    Frame::Record { number, payload } => {
                        let start = self.at + segment::FRAME_BYTES;
                        let end = start + payload.len();
                        (self.at, self.least) = (end, number + 1);
                        return Some(Peeked { number, payload: start..end });
                    }
                    Frame::Short(more) => needed = more,
                    Frame::Damaged => self.damaged = true,
                }
            } else if !self.fill(needed, written) {
                return None;
            }
        }
        None
    }

    /// Reads on, so that at least one more byte is there; `false` at the end.
    fn fill(&mut self, needed: usize, written: u64) -> bool {
        self.buffer.drain(..self.at);
        self.at = 0;
        let length = self.buffer.len();
        let left = usize::try_from(written.saturating_sub(self.read_to)).unwrap_or(usize::MAX);
        let wanted = needed.saturating_sub(length).max(CHUNK).min(left);
        self.buffer.resize(length + wanted, 0);
        let into = self.buffer.get_mut(length..).unwrap_or_default();
        let read = self.file.read_at(self.read_to, into);
        // What cannot be read is passed over like what is damaged.
        self.damaged = read.is_err();
        let read = read.unwrap_or(0);
        self.buffer.truncate(length + read);
        self.read_to += read as u64;
        read > 0
    }

    /// Where in the file the frames end that were given so far.
    pub(super) fn end(&self) -> u64 {
        let ahead = self.buffer.len().saturating_sub(self.at);
        self.read_to.saturating_sub(ahead as u64)
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    pub(super) fn into_file(self) -> T {
        self.file
    }
}

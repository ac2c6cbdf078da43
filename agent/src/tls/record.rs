//! TLS records of one direction, cut from ordered ciphertext that may have holes (RFC 8446 §5.1,
//! RFC 5246 §6.2).
//!
//! In: bytes and gaps in stream order. Out: complete [`Record`]s, [`Loss`]es, or how many bytes
//! more are needed. Offsets count captured bytes only; a gap is a break between two of them. A
//! record never spans a break. After a break whose end is inside no known record the cursor
//! *searches*: it offers plausible headers, and whoever holds the keys accepts or rejects them.

use std::collections::VecDeque;

use crate::clock::Timestamp;

/// Bytes of a record header: type, version, length.
pub const HEADER: usize = 5;

/// Largest fragment: TLS 1.2 allows 2^14 + 2048 (RFC 5246 §6.2.3); 1.3 less.
pub const MAX_FRAGMENT: usize = (1 << 14) + 2048;

/// Ciphertext held per direction while secrets are awaited. Secrets reach us in the order of the
/// handshake that they belong to, so what is held is rarely more than a flight; the rest is room
/// for a server that speaks first and at length.
pub const MAX_HELD: usize = 1 << 20;

/// Stamps and breaks held per direction; both coalesce beyond it, so that one-byte segments cannot
/// cost more than their bytes.
const MAX_MARKS: usize = 1024;

/// Content types (RFC 8446 §B.1). Others are not TLS that we know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ContentType {
    /// change_cipher_spec
    ChangeCipherSpec = 20,
    /// alert
    Alert = 21,
    /// handshake
    Handshake = 22,
    /// application_data; in TLS 1.3 also the outside of everything encrypted
    ApplicationData = 23,
}

impl ContentType {
    /// The type with this number, if it is one that can occur in a stream.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            20 => Some(Self::ChangeCipherSpec),
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

/// One complete record as it was on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Type that its header claims.
    pub content: ContentType,
    /// The header: additional data of TLS 1.3, and the source of 1.2's.
    pub header: [u8; HEADER],
    /// Its fragment, at most [`MAX_FRAGMENT`].
    pub fragment: &'a [u8],
    /// Stamp of its last byte.
    pub at: Timestamp,
    /// Whether it was found by searching after a loss, so that only a tag can prove it.
    pub searched: bool,
}

/// Ciphertext that will never be seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Loss {
    /// Bytes of records lost, headers included; at least the plaintext that was in them.
    pub bytes: u64,
    /// Length of the fragment if exactly one record was lost and its header seen.
    pub record: Option<(ContentType, usize)>,
    /// When the loss was noticed.
    pub at: Timestamp,
}

/// What comes next in a direction.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// A record. It stays next until [`RecordCursor::consume`] or [`RecordCursor::reject`].
    Record(Record<'a>),
    /// Bytes were lost here. Told once.
    Lost(Loss),
    /// At least this many bytes more are needed.
    More(usize),
    /// The stream is not TLS: no record can start with these bytes.
    NotTls,
    /// The stream has ended and everything was taken.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Break {
    offset: u64,
    missing: u64,
    at: Timestamp,
}

/// Cursor over one direction.
#[derive(Debug, Default)]
pub struct RecordCursor {
    /// Captured bytes from `start` on; what lies before was consumed.
    bytes: Vec<u8>,
    start: usize,
    /// Offset of `bytes[start]` among all captured bytes.
    position: u64,
    /// (offset behind the bytes, their stamp), ascending.
    stamps: VecDeque<(u64, Timestamp)>,
    breaks: VecDeque<Break>,
    /// Bytes at `position` that belong to a record already told as lost.
    remainder: usize,
    searching: bool,
    /// Bytes passed over by searching since they were last asked for.
    skipped: u64,
    ended: bool,
}

impl RecordCursor {
    /// Appends bytes. What exceeds [`MAX_HELD`] is dropped and becomes a gap.
    pub fn feed(&mut self, at: Timestamp, bytes: &[u8]) {
        let bytes = self.drop_passed_over(bytes);
        let room = MAX_HELD.saturating_sub(self.held());
        let (kept, dropped) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        if !kept.is_empty() {
            self.compact();
            self.bytes.extend_from_slice(kept);
            self.stamp(at);
        }
        if !dropped.is_empty() {
            self.gap(at, dropped.len() as u64);
        }
    }

    /// What is left of new bytes behind those of a record that was passed over, which are never
    /// held.
    fn drop_passed_over<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.remainder == 0 || self.held() > 0 || self.broken() {
            return bytes;
        }
        let step = self.remainder.min(bytes.len());
        self.remainder = self.remainder.saturating_sub(step);
        self.position = self.position.saturating_add(step as u64);
        bytes.get(step..).unwrap_or_default()
    }

    /// States that `missing` bytes of the stream, at least one, were not captured here;
    /// `u64::MAX` if nobody knows how many.
    pub fn gap(&mut self, at: Timestamp, missing: u64) {
        let offset = self.end();
        let full = self.breaks.len() >= MAX_MARKS;
        match self.breaks.back_mut() {
            // So torn a stream is given up from its last break on.
            Some(last) if last.offset == offset || full => {
                let torn = offset.saturating_sub(last.offset);
                last.missing = last.missing.saturating_add(missing).saturating_add(torn);
                let keep = usize::try_from(last.offset.saturating_sub(self.position));
                self.bytes.truncate(self.start.saturating_add(keep.unwrap_or(0)));
            }
            _ => self.breaks.push_back(Break { offset, missing, at }),
        }
    }

    /// States that nothing follows.
    pub const fn end_of_stream(&mut self) {
        self.ended = true;
    }

    /// Captured bytes that are held, at most [`MAX_HELD`].
    #[must_use]
    pub const fn held(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// What comes next. A record and a wish for more are told again until something changes.
    pub fn next_record(&mut self) -> Next<'_> {
        self.drop_remainder();
        loop {
            let run = self.run();
            if self.searching && !self.seek(run) {
                return self.run_out(1);
            }
            let run = self.run();
            let Some(header) = self.view(run).first_chunk::<HEADER>().copied() else {
                return self.run_out(HEADER.saturating_sub(run));
            };
            let Some((content, length)) = plausible(&header) else {
                // Only a synchronised cursor comes here: `seek` stops at plausible headers.
                return Next::NotTls;
            };
            let whole = HEADER.saturating_add(length);
            if run >= whole {
                return self.record(content, header, whole);
            }
            let short = whole.saturating_sub(run);
            if self.searching && (self.broken() || self.ended) {
                self.reject();
                continue;
            }
            return if self.broken() {
                self.lose_record(content, length, short)
            } else if self.ended {
                self.lose_rest()
            } else {
                Next::More(short)
            };
        }
    }

    /// The whole records that lie ready from here to the next break, without moving.
    pub fn ahead(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = self.view(self.run());
        let at = self.stamps.front().map(|(_, at)| *at).unwrap_or_default();
        std::iter::from_fn(move || {
            let header = rest.first_chunk::<HEADER>().copied()?;
            let (content, length) = plausible(&header)?;
            let (record, behind) = rest.split_at_checked(HEADER.saturating_add(length))?;
            rest = behind;
            let fragment = record.get(HEADER..)?;
            Some(Record { content, header, fragment, at, searched: false })
        })
    }

    /// Takes the record that [`Self::next_record`] showed; the cursor is synchronised behind it.
    pub fn consume(&mut self) {
        let run = self.run();
        let length = self
            .view(run)
            .first_chunk::<HEADER>()
            .and_then(plausible)
            .map_or(1, |(_, length)| HEADER.saturating_add(length));
        self.advance(length);
        self.searching = false;
    }

    /// The content type and fragment length of the record that is next and not yet whole, where
    /// its header is there and nothing is in doubt.
    #[must_use]
    pub fn partial(&self) -> Option<(ContentType, usize)> {
        if self.searching || self.ended || self.broken() || self.remainder > 0 {
            return None;
        }
        plausible(self.view(self.run()).first_chunk::<HEADER>()?)
    }

    /// Where the next record begins that was not taken, counted from the last byte that was fed;
    /// negative within what is held. `None` where that is in doubt.
    #[must_use]
    pub fn boundary(&self) -> Option<i64> {
        if self.searching || self.ended || self.broken() {
            return None;
        }
        let [ahead, held] = [self.remainder, self.held()].map(i64::try_from);
        Some(ahead.ok()?.saturating_sub(held.ok()?))
    }

    /// Takes the record that is [`Self::partial`]: what is still to come of it is dropped when it
    /// comes. The stamp of its last byte so far.
    pub fn pass_over(&mut self) -> Timestamp {
        let Some((_, length)) = self.partial() else { return Timestamp::default() };
        let at = self.stamps.back().map(|(_, at)| *at).unwrap_or_default();
        let run = self.run();
        self.remainder = HEADER.saturating_add(length).saturating_sub(run);
        self.advance(run);
        at
    }

    /// Refuses the record that [`Self::next_record`] found by searching: no record starts there.
    pub fn reject(&mut self) {
        self.advance(1);
        self.skipped = self.skipped.saturating_add(1);
    }

    /// Bytes that were passed over by searching, and are lost in addition to what a [`Loss`] told,
    /// since this was last called.
    pub const fn take_skipped(&mut self) -> u64 {
        std::mem::replace(&mut self.skipped, 0)
    }

    /// Forgets everything, as after a failure.
    pub fn clear(&mut self) {
        let length = self.held();
        self.advance(length);
        self.breaks.clear();
        self.stamps.clear();
        self.bytes = Vec::new();
        self.start = 0;
    }

    fn record(&self, content: ContentType, header: [u8; HEADER], whole: usize) -> Next<'_> {
        let fragment = self.view(whole).get(HEADER..).unwrap_or_default();
        let last = self.position.saturating_add(whole as u64);
        let at = self.stamps.iter().find(|(end, _)| *end >= last).map(|(_, at)| *at);
        let at = at.unwrap_or_default();
        Next::Record(Record { content, header, fragment, at, searched: self.searching })
    }

    /// A record whose header was seen and whose end was not: if the gap ends inside it, the next
    /// record starts at a known place; if not, it must be searched for.
    fn lose_record(&mut self, content: ContentType, length: usize, short: usize) -> Next<'_> {
        let run = self.run();
        let Some(gap) = self.breaks.pop_front() else { return Next::More(short) };
        self.advance(run);
        let missing = usize::try_from(gap.missing).unwrap_or(usize::MAX);
        let (bytes, record) = if missing <= short {
            self.remainder = short.saturating_sub(missing);
            self.drop_remainder();
            (HEADER.saturating_add(length) as u64, Some((content, length)))
        } else {
            self.searching = true;
            (gap.missing.saturating_add(run as u64), None)
        };
        Next::Lost(Loss { bytes, record, at: gap.at })
    }

    /// Too few bytes before the next break, the end, or more input.
    fn run_out(&mut self, wanted: usize) -> Next<'_> {
        let run = self.run();
        if self.broken() {
            let Some(gap) = self.breaks.pop_front() else { return Next::More(wanted) };
            self.advance(run);
            self.searching = true;
            let bytes = gap.missing.saturating_add(run as u64);
            return Next::Lost(Loss { bytes, record: None, at: gap.at });
        }
        if !self.ended {
            return Next::More(wanted);
        }
        if run == 0 { Next::End } else { self.lose_rest() }
    }

    fn lose_rest(&mut self) -> Next<'_> {
        let run = self.run();
        let at = self.stamps.back().map(|(_, at)| *at).unwrap_or_default();
        self.advance(run);
        Next::Lost(Loss { bytes: run as u64, record: None, at })
    }

    /// Moves to the next plausible header of the run, or to where one might still begin.
    fn seek(&mut self, run: usize) -> bool {
        let mut found = run.saturating_sub(HEADER.saturating_sub(1));
        let mut hit = false;
        for (index, window) in self.view(run).windows(HEADER).enumerate() {
            if window.first_chunk::<HEADER>().is_some_and(likely) {
                (found, hit) = (index, true);
                break;
            }
        }
        self.advance(found);
        self.skipped = self.skipped.saturating_add(found as u64);
        hit
    }

    fn drop_remainder(&mut self) {
        let step = self.remainder.min(self.run());
        self.advance(step);
        self.remainder = self.remainder.saturating_sub(step);
        // A second gap inside the same lost record eats from its remainder too.
        while self.remainder > 0 && self.broken() {
            let Some(gap) = self.breaks.front_mut() else { return };
            let eaten = gap.missing.min(self.remainder as u64);
            gap.missing = gap.missing.saturating_sub(eaten);
            let over = gap.missing > 0;
            self.remainder = self.remainder.saturating_sub(usize::try_from(eaten).unwrap_or(0));
            if over {
                return;
            }
            self.breaks.pop_front();
            let step = self.remainder.min(self.run());
            self.advance(step);
            self.remainder = self.remainder.saturating_sub(step);
        }
    }

    /// Captured bytes up to the next break.
    fn run(&self) -> usize {
        let end = self.breaks.front().map_or(u64::MAX, |gap| gap.offset);
        usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX).min(self.held())
    }

    /// Whether the run ends at a break, not at the end of what was captured so far.
    fn broken(&self) -> bool {
        !self.breaks.is_empty()
    }

    fn view(&self, length: usize) -> &[u8] {
        self.bytes.get(self.start..).and_then(|bytes| bytes.get(..length)).unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.position.saturating_add(self.held() as u64)
    }

    fn advance(&mut self, length: usize) {
        let step = length.min(self.held());
        self.start = self.start.saturating_add(step);
        self.position = self.position.saturating_add(step as u64);
        while self.stamps.len() > 1
            && self.stamps.front().is_some_and(|(end, _)| *end <= self.position)
        {
            self.stamps.pop_front();
        }
    }

    fn compact(&mut self) {
        if self.held() == 0 {
            // A burst that is over does not keep its memory for the life of the connection.
            self.bytes.clear();
            self.bytes.shrink_to(4 * MAX_FRAGMENT);
            self.start = 0;
        }
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    fn stamp(&mut self, at: Timestamp) {
        let end = self.end();
        let full = self.stamps.len() >= MAX_MARKS;
        match self.stamps.back_mut() {
            Some(last) if last.1 == at || full => *last = (end, at),
            _ => self.stamps.push_back((end, at)),
        }
    }
}

/// Type and fragment length, if a record of TLS 1.0 or newer can start with these bytes. The
/// version of a record may be anything from 1.0 to 1.2 (RFC 8446 §5.1).
fn plausible(header: &[u8; HEADER]) -> Option<(ContentType, usize)> {
    let [kind, 3, 0..=4, high, low] = *header else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let content = ContentType::from_u8(kind)?;
    (length <= MAX_FRAGMENT && (length > 0 || kind == 23)).then_some((content, length))
}

/// Stricter than [`plausible`], for searching in ciphertext: what an encrypted stream has, at
/// least a tag long, or a ChangeCipherSpec.
fn likely(header: &[u8; HEADER]) -> bool {
    match plausible(header) {
        Some((ContentType::ChangeCipherSpec, length)) => header.get(2) == Some(&3) && length == 1,
        Some((_, length)) => header.get(2) == Some(&3) && length > 8,
        None => false,
    }
}

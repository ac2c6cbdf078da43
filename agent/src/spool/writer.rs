//! The one that changes the directory. In: records, gathered and then committed in batches. Out:
//! segments, within the bound, and an exact account of what had to go.

use std::{
    convert::Infallible,
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::spool::{
    Lane, MAX_SINK_NAME, MAX_SINKS, Options, Recovered, SyncPolicy,
    filesystem::{File, Filesystem},
    ledger::{Found, Ledger, SinkEntry},
    pending::Pending,
    reader::Frames,
    segment::{self, HEADER_BYTES, Header, RunName},
    state::{Segment, Spool, State},
};

/// Name of the file that holds room for a full disk.
const RESERVE: &str = "reserve";
/// How often segments that every sink has passed are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(1);
/// Bytes by which the reserve is filled.
const RESERVE_STEP: u64 = 64 * 1024;

/// Records that are gone for every sink that had not had them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// The start of the agent that they are of.
    pub run: RunName,
    /// Position within that run of the first of them.
    pub from: u64,
    /// Position within that run of the last of them.
    pub to: u64,
    /// How many; those of the other lane stand between them.
    pub count: u64,
    /// Whether they would have been kept while others were not.
    pub lane: Lane,
    /// Why they are gone.
    pub why: Why,
}

/// Why records are gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// The bound was reached.
    Bound,
    /// The disk did not take them.
    Disk,
}

/// Writes a spool.
pub struct Writer<F: Filesystem> {
    spool: Arc<Spool<F>>,
    options: Options,
    run: RunName,
    /// Number of this run's first record.
    base: u64,
    /// Number of the next record.
    next: u64,
    lanes: [LaneWriter<F>; 2],
    ledger: Ledger<F>,
    /// What the ledger says by now.
    recorded: State,
    dropped: Vec<Dropped>,
    has_reserve: bool,
    last_sync: Instant,
    last_collect: Instant,
    /// Number below which all that is there is on disk.
    synced: u64,
}

/// One lane.
struct LaneWriter<F: Filesystem> {
    active: Option<Active<F>>,
    /// Frames that were not written yet.
    pending: Pending,
}

struct Active<F: Filesystem> {
    file: F::File,
    header: Header,
    length: u64,
    /// Numbers of the first and last record that are not on disk yet, and how many there are.
    unsynced: Option<((u64, u64), u64)>,
}

impl<F: Filesystem> Writer<F> {
    pub(super) fn open(
        filesystem: F,
        options: &Options,
        run: RunName,
        now: Instant,
    ) -> io::Result<(Self, Arc<Spool<F>>, Recovered)> {
        let mut options = options.clone();
        options.max_bytes = options.max_bytes.max(super::MIN_BYTES);
        options.sinks.truncate(MAX_SINKS);
        options.sinks.retain(|name| name.len() <= MAX_SINK_NAME);
        let (ledger, found) = Ledger::open(&filesystem)?;
        let (mut state, mut recovered) = recover(&filesystem)?;
        recovered.ledger_lost = found == Found::Damage;
        let known = match found {
            Found::Entries(entries) => entries,
            Found::Nothing | Found::Damage => Default::default(),
        };
        let cursors = known.sinks.iter().map(|sink| sink.cursor);
        state.next = cursors.chain([known.next]).fold(state.next, u64::max);
        let start = state.oldest().unwrap_or(state.next);
        let entry = |name: &String| {
            let known = known.sinks.iter().find(|sink| sink.name == *name).cloned();
            known.unwrap_or_else(|| SinkEntry {
                name: name.clone(),
                cursor: start,
                delivered: 0,
                dead: 0,
                lost: 0,
            })
        };
        state.sinks = options.sinks.iter().map(entry).collect();
        let next = state.next;
        let lane = |_| LaneWriter { active: None, pending: Pending::default() };
        let spool = Spool::new(filesystem, state);
        let mut writer = Self {
            spool: Arc::clone(&spool),
            options,
            run,
            base: next,
            next,
            lanes: Lane::ALL.map(lane),
            ledger,
            recorded: State::default(),
            dropped: Vec::new(),
            has_reserve: false,
            last_sync: now,
            last_collect: now,
            synced: next,
        };
        // A removal may have been undone by a loss of power: what nobody waits for must not take the
        // room of what somebody does.
        if writer.record() {
            writer.remove_passed();
        }
        // The bound may be lower than it was.
        let _ = writer.make_room(Lane::Kept, 0);
        writer.refill_reserve();
        Ok((writer, spool, recovered))
    }

    /// Takes a record; gives its position within this run. It is written by the next
    /// [`Self::commit`]. One that is empty or too long is refused and counted as dropped.
    pub fn append(&mut self, lane: Lane, payload: &[u8]) -> u64 {
        let position = self.next - self.base;
        let _: Result<(), Infallible> = self.append_with(lane, |out| {
            out.extend_from_slice(payload);
            Ok(())
        });
        position
    }

    /// The same with a payload that `write` appends to what it is given.
    ///
    /// # Errors
    /// Those of `write`: there is no record then.
    pub fn append_with<E>(
        &mut self,
        lane: Lane,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.next;
        let fits = self.lane(lane).pending.push(number, write)?;
        self.next += 1;
        if !fits {
            self.drop_records(lane, Why::Bound, self.run, self.base, (number, number), 1);
        }
        Ok(())
    }

    /// Writes what was taken, shows it to the readers, and syncs it if that is due.
    pub fn commit(&mut self, now: Instant) {
        for lane in Lane::ALL {
            self.write(lane);
        }
        self.spool.state().next = self.next;
        self.spool.tell();
        self.tick(now);
    }

    /// Syncs if that is due, and removes what every sink has.
    pub fn tick(&mut self, now: Instant) {
        let due = match self.options.sync {
            SyncPolicy::Each => true,
            SyncPolicy::Interval(interval) => {
                now.saturating_duration_since(self.last_sync) >= interval
            }
        };
        if due {
            self.sync_files(now);
        }
        if now.saturating_duration_since(self.last_collect) >= COLLECT_EVERY {
            self.last_collect = now;
            self.collect();
        }
    }

    /// Syncs, and removes what every sink has.
    pub fn sync(&mut self, now: Instant) {
        self.sync_files(now);
        self.collect();
    }

    fn sync_files(&mut self, now: Instant) {
        self.last_sync = now;
        for lane in Lane::ALL {
            self.sync_lane(lane);
        }
        self.synced = self.spool.state().next;
        if !self.has_reserve {
            self.refill_reserve();
        }
    }

    /// Syncs a lane's segment. What the kernel could not write it has forgotten: those records
    /// count as dropped, although they may still be read, and another file is begun.
    fn sync_lane(&mut self, lane: Lane) {
        let Some(active) = &mut self.lane(lane).active else { return };
        let Some((range, count)) = active.unsynced.take() else { return };
        if active.file.sync().is_err() {
            self.lane(lane).active = None;
            self.drop_records(lane, Why::Disk, self.run, self.base, range, count);
        }
    }

    /// Number of records of this run, counted from its first, that are on disk or were dropped and
    /// told: what was taken before is acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.synced.saturating_sub(self.base)
    }

    /// What had to go since this was asked last.
    pub fn take_dropped(&mut self) -> Vec<Dropped> {
        mem::take(&mut self.dropped)
    }

    /// Writes and syncs what there is, and tells the readers that no more will come.
    pub fn close(&mut self, now: Instant) {
        self.commit(now);
        self.sync(now);
        self.spool.state().closed = true;
        self.spool.tell();
    }

    /// Writes where the sinks are: to be called when they have ended.
    pub fn finish(mut self) {
        self.collect();
    }

    const fn lane(&mut self, lane: Lane) -> &mut LaneWriter<F> {
        let [bulk, kept] = &mut self.lanes;
        match lane {
            Lane::Bulk => bulk,
            Lane::Kept => kept,
        }
    }

    fn write(&mut self, lane: Lane) {
        let mut pending = mem::take(&mut self.lane(lane).pending);
        let Some(range) = pending.range() else { return };
        let count = pending.count();
        let bytes = pending.bytes() + HEADER_BYTES as u64;
        if let Err(why) = self.make_room(lane, bytes) {
            self.drop_records(lane, why, self.run, self.base, range, count);
        } else if self.write_to_segment(lane, &mut pending, range).is_err() {
            self.drop_records(lane, Why::Disk, self.run, self.base, range, count);
            self.release_reserve();
        }
        pending.clear();
        self.lane(lane).pending = pending;
    }

    fn write_to_segment(
        &mut self,
        lane: Lane,
        pending: &mut Pending,
        (first, last): (u64, u64),
    ) -> io::Result<()> {
        let limit = self.options.segment_bytes();
        if self.lane(lane).active.as_ref().is_some_and(|active| active.length >= limit) {
            self.seal(lane);
        }
        let active = match self.lane(lane).active.take() {
            Some(active) => active,
            None => self.begin(lane, first)?,
        };
        let Active { mut file, header, length, unsynced } = active;
        if let Err(error) = file.write_at(length, pending.frames(header.seed())) {
            // Half a write is no frame. Should the file not be cut, reading ends there.
            let _ = file.truncate(length);
            self.lane(lane).active = Some(Active { file, header, length, unsynced });
            self.seal(lane);
            return Err(error);
        }
        let length = length + pending.bytes();
        let count = pending.count();
        let mut state = self.spool.state();
        let segments = state.lane_mut(lane);
        match segments.back_mut().filter(|segment| segment.header == header) {
            Some(segment) => {
                (segment.length, segment.last) = (length, last);
                segment.count += count;
            }
            None => segments.push_back(Segment { header, length, count, last }),
        }
        drop(state);
        let unsynced = match unsynced {
            Some(((oldest, _), before)) => ((oldest, last), before + count),
            None => ((first, last), count),
        };
        let unsynced = Some(unsynced);
        self.lane(lane).active = Some(Active { file, header, length, unsynced });
        Ok(())
    }

    /// Syncs and closes a lane's segment.
    fn seal(&mut self, lane: Lane) {
        self.sync_lane(lane);
        self.lane(lane).active = None;
    }

    /// Makes a lane's next segment.
    fn begin(&self, lane: Lane, first: u64) -> io::Result<Active<F>> {
        let header = Header { lane, first, run: self.run, base: self.base };
        let filesystem = &self.spool.filesystem;
        let name = header.file_name();
        let mut file = filesystem.create(&name)?;
        let made = file.write_at(0, &header.encode()).and_then(|()| filesystem.sync());
        if let Err(error) = made {
            let _ = filesystem.remove(&name);
            return Err(error);
        }
        Ok(Active { file, header, length: HEADER_BYTES as u64, unsynced: None })
    }

    /// Removes the oldest segments of the least worth until there is room for so many bytes.
    fn make_room(&mut self, lane: Lane, needed: u64) -> Result<(), Why> {
        let max = self.options.max_bytes;
        let fits = |state: &State| state.bytes().saturating_add(needed) <= max;
        if !fits(&self.spool.state()) {
            self.collect();
        }
        while !fits(&self.spool.state()) {
            let victims = match lane {
                Lane::Bulk => [Some(Lane::Bulk), None],
                Lane::Kept => [Some(Lane::Bulk), Some(Lane::Kept)],
            };
            let full = |victim: &Lane| !self.spool.state().lane(*victim).is_empty();
            let victim = victims.into_iter().flatten().find(full).ok_or(Why::Bound)?;
            if !self.drop_oldest(victim) {
                return Err(Why::Disk);
            }
        }
        Ok(())
    }

    /// Removes a lane's oldest segment.
    fn drop_oldest(&mut self, lane: Lane) -> bool {
        let oldest = self.spool.state().lane(lane).front().cloned();
        let Some(Segment { header, count, last, .. }) = oldest else { return false };
        if self.spool.filesystem.remove(&header.file_name()).is_err() {
            return false;
        }
        // Not before it is gone: what is written to it has yet to be synced.
        if self.lane(lane).active.as_ref().is_some_and(|active| active.header == header) {
            self.lane(lane).active = None;
        }
        self.spool.state().lane_mut(lane).pop_front();
        let range = (header.first, last);
        self.drop_records(lane, Why::Bound, header.run, header.base, range, count);
        true
    }

    fn drop_records(
        &mut self,
        lane: Lane,
        why: Why,
        run: RunName,
        base: u64,
        (first, last): (u64, u64),
        count: u64,
    ) {
        let (from, to) = (first.saturating_sub(base), last.saturating_sub(base));
        let alike = |one: &&mut Dropped| one.run == run && one.lane == lane && one.why == why;
        // One account each, however often it is added to before somebody asks.
        match self.dropped.iter_mut().find(alike) {
            Some(dropped) => {
                (dropped.from, dropped.to) = (dropped.from.min(from), dropped.to.max(to));
                dropped.count += count;
            }
            None => self.dropped.push(Dropped { run, from, to, count, lane, why }),
        }
    }

    /// Writes the ledger if it is behind; whether it is current.
    fn record(&mut self) -> bool {
        let entries = self.spool.state().entries();
        if self.recorded.next == entries.next && self.recorded.sinks == entries.sinks {
            return true;
        }
        let written = self.ledger.write(&entries).is_ok();
        if written {
            (self.recorded.next, self.recorded.sinks) = (entries.next, entries.sinks);
        }
        written
    }

    /// Removes segments that every sink has passed, once the ledger says so on disk.
    fn collect(&mut self) {
        let moved = self.recorded.sinks != self.spool.state().sinks;
        if moved && self.record() {
            self.remove_passed();
        }
    }

    fn remove_passed(&mut self) {
        let passed = self.recorded.passed();
        for lane in Lane::ALL {
            loop {
                let done = {
                    let state = self.spool.state();
                    let front = state.lane(lane).front();
                    front.filter(|segment| segment.last < passed).map(|segment| segment.header)
                };
                let active = self.lane(lane).active.as_ref().map(|active| active.header);
                let Some(header) = done.filter(|header| Some(*header) != active) else { break };
                if self.spool.filesystem.remove(&header.file_name()).is_err() {
                    break;
                }
                self.spool.state().lane_mut(lane).pop_front();
            }
        }
    }

    fn refill_reserve(&mut self) {
        let filesystem = &self.spool.filesystem;
        let fill = || {
            let mut file = filesystem.open(RESERVE).or_else(|_| filesystem.create(RESERVE))?;
            let mut length = file.length()?;
            let zeros = vec![0; usize::try_from(RESERVE_STEP).unwrap_or(0)];
            while length < self.options.reserve_bytes {
                file.write_at(length, &zeros)?;
                length += RESERVE_STEP;
            }
            io::Result::Ok(())
        };
        self.has_reserve = fill().is_ok();
    }

    fn release_reserve(&mut self) {
        if self.has_reserve {
            self.has_reserve = false;
            let released = self.spool.filesystem.open(RESERVE).and_then(|mut it| it.truncate(0));
            // It is a courtesy to whatever else must write: without it nothing here is wrong.
            let _ = released;
        }
    }
}

/// Reads the directory and mends it.
fn recover<F: Filesystem>(filesystem: &F) -> io::Result<(State, Recovered)> {
    let (mut state, mut recovered) = (State::default(), Recovered::default());
    let mut names = filesystem.list()?;
    names.retain(|name| segment::is_segment(name));
    // Within a lane the digits sort as the numbers do.
    names.sort_unstable();
    for name in names {
        let Some(segment) = recover_segment(filesystem, &name, &mut recovered) else {
            recovered.removed_segments += 1;
            let _ = filesystem.remove(&name);
            continue;
        };
        recovered.records += segment.count;
        state.next = state.next.max(segment.last + 1);
        state.lane_mut(segment.header.lane).push_back(segment);
    }
    Ok((state, recovered))
}

/// Reads a segment, cuts it behind its last whole record and puts that on disk; `None` if there is
/// none, or it cannot be read.
fn recover_segment<F: Filesystem>(
    filesystem: &F,
    name: &str,
    recovered: &mut Recovered,
) -> Option<Segment> {
    let file = filesystem.open(name).ok()?;
    let mut head = [0; HEADER_BYTES];
    if file.read_at(0, &mut head).ok()? < HEADER_BYTES {
        return None;
    }
    let header = Header::decode(&head).filter(|header| header.file_name() == name)?;
    let length = file.length().ok()?;
    let mut frames = Frames::new(file, &header);
    let (mut count, mut last) = (0, None);
    while let Some(frame) = frames.next(length) {
        count += 1;
        last = Some(frame.number);
    }
    let (end, mut file) = (frames.end(), frames.into_file());
    if end < length {
        recovered.cut_bytes += length - end;
        // On a disk that refuses it, what is behind is not read either.
        let _ = file.truncate(end);
    }
    // What only the page cache holds must not be taken for acknowledged.
    let _ = file.sync();
    Some(Segment { header, length: end, count, last: last? })
}

impl SyncPolicy {
    /// How often [`Writer::tick`] is to be called.
    #[must_use]
    pub const fn period(self) -> Duration {
        match self {
            Self::Each => Duration::from_secs(1),
            Self::Interval(interval) => interval,
        }
    }
}

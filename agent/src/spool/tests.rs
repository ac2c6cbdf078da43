//! The spool against a model, on a disk that fails in every way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any, prop},
    prop_oneof, proptest,
};

use super::{
    Lane, MIN_BYTES, Options, Spool, SyncPolicy,
    filesystem::{File as _, Filesystem as _},
    memory::{Faults, Memory},
    open,
    reader::{Batch, Limits, Reader},
    writer::{Dropped, Why, Writer},
};

const SINKS: [&str; 2] = ["fast", "slow"];
const AT_ONCE: Limits = Limits { records: 64, bytes: 256 * 1024 };

#[derive(Clone, Debug)]
enum Step {
    /// Takes so many records of a lane and of a length.
    Append(Lane, usize, usize),
    Commit,
    /// Lets an interval pass.
    Wait,
    /// A sink reads a batch and confirms a part of it.
    Read(usize, prop::sample::Index),
    /// The process ends as it is, or the power.
    Kill,
    PowerLoss(u64),
    Fail(Faults),
    Mend,
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop_oneof![3 => Just(Lane::Bulk), 1 => Just(Lane::Kept)];
    let length = prop_oneof![9..600_usize, 9..20_000_usize];
    let free = (0..2 * MIN_BYTES).prop_map(Some);
    let faults = prop_oneof![
        free.prop_map(|capacity| Faults { capacity, ..Faults::default() }),
        (1..3_u32).prop_map(|writes| Faults { writes, ..Faults::default() }),
        (1..4_u32).prop_map(|syncs| Faults { syncs, ..Faults::default() }),
        Just(Faults { read_only: true, ..Faults::default() }),
    ];
    prop_oneof![
        8 => (lane, 1..60_usize, length).prop_map(|(lane, count, length)| {
            Step::Append(lane, count, length)
        }),
        8 => Just(Step::Commit),
        3 => Just(Step::Wait),
        6 => (0..SINKS.len(), any::<prop::sample::Index>()).prop_map(|(s, n)| Step::Read(s, n)),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::PowerLoss),
        1 => faults.prop_map(Step::Fail),
        2 => Just(Step::Mend),
    ]
}

type Open = (Writer<Memory>, Arc<Spool<Memory>>, Vec<Reader<Memory>>);

/// A spool, and what ought to be true of it.
struct World {
    disk: Memory,
    policy: SyncPolicy,
    now: Instant,
    run: u8,
    /// Nothing while the disk keeps it from opening.
    open: Option<Open>,
    /// By run and position: id and lane. Ids count on over runs.
    taken: BTreeMap<(u8, u64), (u64, Lane)>,
    next_id: u64,
    acknowledged: BTreeSet<u64>,
    /// Told as dropped.
    excused: BTreeSet<u64>,
    received: [BTreeSet<u64>; 2],
    ledger_is_ours: bool,
}

impl World {
    fn new(policy: SyncPolicy) -> Self {
        let mut world = Self {
            disk: Memory::default(),
            policy,
            now: Instant::now(),
            run: 0,
            open: None,
            taken: BTreeMap::new(),
            next_id: 0,
            acknowledged: BTreeSet::new(),
            excused: BTreeSet::new(),
            received: Default::default(),
            ledger_is_ours: true,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.run += 1;
        let sinks = SINKS.map(str::to_owned).to_vec();
        let options = Options { sync: self.policy, ..Options::new(MIN_BYTES, sinks) };
        // A disk that cannot even be opened is the operator's to mend.
        self.open = open(self.disk.clone(), &options, [self.run; 16], self.now).ok().map(
            |(writer, spool, _)| {
                let readers = SINKS.map(|name| Reader::new(&spool, name).unwrap()).into();
                (writer, spool, readers)
            },
        );
        // A removal for want of room may have been undone by a loss of power, and is made again.
        self.settle();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Kill => self.start(),
            Step::PowerLoss(seed) => {
                self.disk = self.disk.after_power_loss(*seed);
                self.start();
            }
            Step::Fail(faults) => self.disk.fail(faults.clone()),
            Step::Mend => {
                self.disk.fail(Faults::default());
                if self.open.is_none() {
                    self.start();
                }
            }
            Step::Append(lane, count, length) => self.append(*lane, *count, *length),
            Step::Commit => self.commit(),
            Step::Wait => {
                self.now += Duration::from_secs(2);
                if let Some((writer, ..)) = &mut self.open {
                    writer.tick(self.now);
                }
                self.settle();
            }
            Step::Read(sink, part) => self.read(*sink, *part),
        }
        self.check();
    }

    fn append(&mut self, lane: Lane, count: usize, length: usize) {
        let Some((writer, ..)) = &mut self.open else { return };
        for _ in 0..count {
            let mut payload = self.next_id.to_le_bytes().to_vec();
            payload.resize(length, b'x');
            let position = writer.append(lane, &payload);
            self.taken.insert((self.run, position), (self.next_id, lane));
            self.next_id += 1;
        }
        // A full spool makes room at once. Who is killed before he says so loses the account, not
        // the count: each sink counts the numbers that no segment has.
        self.settle();
    }

    fn commit(&mut self) {
        if let Some((writer, ..)) = &mut self.open {
            writer.commit(self.now);
        }
        self.settle();
    }

    /// Takes down what the writer says was dropped, and what it says is on disk.
    fn settle(&mut self) {
        let Some((writer, spool, _)) = &mut self.open else { return };
        for Dropped { run: [run, ..], from, to, count, lane, why } in writer.take_dropped() {
            let told = self.taken.range((run, from)..=(run, to));
            let told: Vec<u64> =
                told.filter(|(_, (_, of))| *of == lane).map(|(_, (id, _))| *id).collect();
            assert!((1..=told.len() as u64).contains(&count), "{count} of {}", told.len());
            self.excused.extend(told);
            if lane == Lane::Kept && why == Why::Bound {
                assert!(spool.state().lane(Lane::Bulk).is_empty(), "bulk goes first");
            }
        }
        let acknowledged = writer.acknowledged();
        let run = self.taken.range((self.run, 0)..(self.run, acknowledged));
        self.acknowledged.extend(run.map(|(_, (id, _))| *id));
    }

    fn read(&mut self, sink: usize, part: prop::sample::Index) {
        let Some((_, _, readers)) = &mut self.open else { return };
        let mut batch = Batch::default();
        readers[sink].next(&mut batch, AT_ONCE, Duration::ZERO);
        let mut last = None;
        for (number, payload) in batch.records(0) {
            assert!(last.is_none_or(|last| last < number), "in order");
            last = Some(number);
            let id = u64::from_le_bytes(payload[..8].try_into().unwrap());
            assert!(id < self.next_id && payload[8..].iter().all(|byte| *byte == b'x'));
            self.received[sink].insert(id);
        }
        // Confirmed in two parts: what is behind a confirmed part was not given to anybody yet.
        let half = if batch.is_empty() { 0 } else { part.index(batch.len() + 1) };
        readers[sink].advance(&batch, 0, half, u64::from(half > 2));
        readers[sink].advance(&batch, half, batch.len(), 0);
    }

    fn check(&self) {
        let Some((_, spool, _)) = &self.open else { return };
        let state = spool.state();
        assert!(state.bytes() <= MIN_BYTES, "{} bytes", state.bytes());
        for sink in state.sinks.iter().filter(|_| self.ledger_is_ours) {
            assert_eq!(sink.delivered + sink.dead + sink.lost, sink.cursor, "{sink:?}");
        }
    }

    /// Mends everything and lets every sink read all that there is.
    fn finish(mut self) {
        self.step(&Step::Mend);
        self.step(&Step::Kill);
        self.append(Lane::Kept, 1, 9);
        let last = self.next_id - 1;
        self.commit();
        let (mut writer, spool, mut readers) = self.open.take().unwrap();
        writer.close(self.now);
        assert_eq!(writer.acknowledged(), 1);
        for (reader, received) in readers.iter_mut().zip(&mut self.received) {
            let mut batch = Batch::default();
            while !reader.at_end() {
                reader.next(&mut batch, AT_ONCE, Duration::ZERO);
                let ids = batch
                    .records(0)
                    .map(|(_, payload)| u64::from_le_bytes(payload[..8].try_into().unwrap()));
                received.extend(ids);
                reader.advance(&batch, 0, batch.len(), 0);
            }
            let owed = self.acknowledged.difference(&self.excused);
            let missing: Vec<_> = owed.filter(|id| !received.contains(id)).collect();
            assert!(missing.is_empty(), "acknowledged, never given: {missing:?}");
            assert!(received.contains(&last), "the spool still works");
        }
        let counts = spool.counts();
        assert!(counts.iter().all(|sink| sink.pending == 0), "{counts:?}");
        writer.finish();
        let segments =
            spool.state().segments.iter().map(std::collections::VecDeque::len).sum::<usize>();
        assert!(segments <= 2, "only the segments that are written to are left: {segments}");
    }
}

fn policy() -> impl Strategy<Value = SyncPolicy> {
    prop_oneof![Just(SyncPolicy::Each), Just(SyncPolicy::Interval(Duration::from_secs(1)))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_acknowledged_is_lost_uncounted(
        policy in policy(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(policy);
        steps.iter().for_each(|step| world.step(step));
        world.finish();
    }

    #[test]
    fn whatever_the_directory_holds_the_spool_opens(
        files in prop::collection::vec(
            (prop_oneof![
                Just("ledger".to_owned()), Just("reserve".to_owned()),
                (any::<bool>(), 0..30_u64).prop_map(|(kept, first)| {
                    format!("{}-{first:020}.seg", if kept { "kept" } else { "bulk" })
                }),
            ], prop::collection::vec(any::<u8>(), 0..200)), 0..6),
    ) {
        let mut world = World::new(SyncPolicy::Each);
        world.append(Lane::Bulk, 5, 100);
        world.append(Lane::Kept, 5, 100);
        world.commit();
        for (name, bytes) in &files {
            world.disk.put(name, bytes);
        }
        // What was put in the place of another file is not there any more.
        world.acknowledged.clear();
        world.ledger_is_ours = false;
        world.start();
        world.finish();
    }
}

fn opened(disk: &Memory, sinks: &[&str]) -> (Writer<Memory>, Arc<Spool<Memory>>) {
    let sinks = sinks.iter().map(|name| (*name).to_owned()).collect();
    let options = Options { sync: SyncPolicy::Each, ..Options::new(MIN_BYTES, sinks) };
    let (writer, spool, _) = open(disk.clone(), &options, [9; 16], Instant::now()).unwrap();
    (writer, spool)
}

fn read_all(spool: &Arc<Spool<Memory>>, sink: &str) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(spool, sink).unwrap();
    let (mut batch, mut all) = (Batch::default(), Vec::new());
    loop {
        reader.next(&mut batch, AT_ONCE, Duration::ZERO);
        if batch.is_empty() {
            return all;
        }
        all.extend(batch.records(0).map(|(_, payload)| payload.to_vec()));
        reader.advance(&batch, 0, batch.len(), 0);
    }
}

#[test]
fn a_sink_that_is_behind_keeps_what_it_has_not_had() {
    let disk = Memory::default();
    let (mut writer, spool) = opened(&disk, &["a", "b"]);
    for lane in [Lane::Bulk, Lane::Kept, Lane::Bulk] {
        writer.append(lane, lane.name().as_bytes());
    }
    writer.commit(Instant::now());
    let all = [b"bulk".to_vec(), b"kept".to_vec(), b"bulk".to_vec()];
    assert_eq!(read_all(&spool, "a"), all);
    writer.finish();
    let (_writer, spool) = opened(&disk, &["a", "b"]);
    assert!(read_all(&spool, "a").is_empty());
    assert_eq!(read_all(&spool, "b"), all);
    // A new one gets what there still is.
    let (_writer, spool) = opened(&disk, &["c"]);
    assert_eq!(read_all(&spool, "c"), all);
}

#[test]
fn overflow_drops_bulk_and_tells_exactly_what() {
    let disk = Memory::default();
    let (mut writer, spool) = opened(&disk, &["a"]);
    let payload = vec![b'x'; 10_000];
    let mut dropped = 0;
    for round in 0..400_u64 {
        writer.append(if round % 4 == 0 { Lane::Kept } else { Lane::Bulk }, &payload);
        writer.commit(Instant::now());
        for each in writer.take_dropped() {
            assert_eq!((each.lane, each.why, each.run), (Lane::Bulk, Why::Bound, [9; 16]));
            assert!(each.from <= each.to && each.to <= round);
            dropped += each.count;
        }
    }
    assert!(dropped > 100, "{dropped}");
    assert_eq!(read_all(&spool, "a").len() as u64, 400 - dropped);
    let counts = &spool.counts()[0];
    assert_eq!((counts.delivered, counts.lost, counts.pending), (400 - dropped, dropped, 0));
}

#[test]
fn a_full_disk_gives_up_the_reserve_and_loses_only_what_it_refused() {
    let disk = Memory::default();
    let (mut writer, spool) = opened(&disk, &["a"]);
    writer.append(Lane::Kept, b"before");
    writer.commit(Instant::now());
    disk.fail(Faults { capacity: Some(0), ..Faults::default() });
    writer.append(Lane::Kept, b"during");
    writer.commit(Instant::now());
    let dropped = writer.take_dropped();
    let lane = Lane::Kept;
    let expected = Dropped { run: [9; 16], from: 1, to: 1, count: 1, lane, why: Why::Disk };
    assert_eq!(dropped, [expected]);
    assert_eq!(disk.open("reserve").unwrap().length().unwrap(), 0);
    disk.fail(Faults::default());
    writer.append(Lane::Kept, b"after");
    writer.commit(Instant::now());
    assert_eq!(read_all(&spool, "a"), [b"before".to_vec(), b"after".to_vec()]);
    assert_eq!(spool.counts()[0].lost, 1);
    assert!(disk.open("reserve").unwrap().length().unwrap() > 0);
}

#[test]
fn damage_in_the_middle_costs_the_rest_of_its_segment_and_is_counted() {
    let disk = Memory::default();
    let (mut writer, _) = opened(&disk, &["a"]);
    (0..5).for_each(|_| assert!(writer.append(Lane::Bulk, &[7; 100]) < 5));
    writer.append(Lane::Kept, b"kept");
    writer.commit(Instant::now());
    let name = format!("bulk-{:020}.seg", 0);
    disk.open(&name).unwrap().write_at(52 + 2 * 116 + 50, &[0]).unwrap();
    let (_writer, spool) = opened(&disk, &["a"]);
    assert_eq!(read_all(&spool, "a").len(), 3);
    let counts = &spool.counts()[0];
    assert_eq!((counts.delivered, counts.lost), (3, 3));
}

#[test]
fn records_that_no_frame_holds_are_dropped_and_told() {
    let (mut writer, spool) = opened(&Memory::default(), &["a"]);
    writer.append(Lane::Kept, &[]);
    writer.append(Lane::Kept, &vec![0; super::segment::MAX_PAYLOAD + 1]);
    writer.append(Lane::Kept, &vec![0; super::segment::MAX_PAYLOAD / 2]);
    writer.commit(Instant::now());
    assert_eq!(writer.take_dropped()[0].count, 2);
    assert_eq!(read_all(&spool, "a").len(), 1);
}

//! Ring records and recordings, alone and through the whole agent behind them.

use std::{collections::HashSet, io::Cursor, sync::Arc};

use scopewatch::{
    capture::{
        CaptureEvent, EventSink,
        live::Live,
        record::{Record, decode},
        recorder::{MAGIC, Preamble, Recorder},
        replay::Replay,
        wire::Wire,
    },
    clock::Timestamp,
    event::{
        access::{Author, Origin},
        json, model,
    },
    flow::table::{Limits, Table},
    identity::{Enricher, host::Host, process::Process},
    observation::{Naming, Observer},
    rules::Standing,
    token::fingerprint::FingerprintKey,
};
use scopewatch_common::{ABI_VERSION, RecordKind};
use scopewatch_harness::talks::Dice;
use zeroize::Zeroizing;

/// One record: what it holds lies within it.
pub fn record(input: &[u8]) {
    let within =
        |part: &[u8]| assert!(input.as_ptr_range().contains(&part.as_ptr()) || part.is_empty());
    match decode(input) {
        Ok(Record::Data { bytes, .. } | Record::Segment { bytes, .. }) => within(bytes),
        Ok(Record::Secret { secret, context, .. }) => {
            within(secret);
            within(context);
        }
        Ok(Record::Exec { comm, path, .. }) => {
            within(comm);
            within(path);
        }
        Ok(_) | Err(_) => {}
    }
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    (1..=7).map(|kind| header(kind, 1, 300)).collect()
}

/// A record of this kind with zeros behind its header.
fn header(kind: u8, way: u8, len: usize) -> Vec<u8> {
    let mut record = ABI_VERSION.to_le_bytes().to_vec();
    record.extend([kind, way, 7, 0, 0, 0]);
    record.resize(len, 0);
    record
}

/// A host on which nobody is known.
struct Nobody;

impl Enricher for Nobody {
    fn process(&self, _pid: u32) -> Option<Process> {
        None
    }
}

/// Everything behind capture: connections, exchanges, observations, events.
struct Agent {
    table: Table,
    observer: Observer,
    author: Author,
    named: HashSet<u32>,
    must_name: bool,
}

/// Connections of the agent under test: few, so that they push each other out.
const CONNECTIONS: usize = 16;

impl Agent {
    fn new(must_name: bool) -> Self {
        let key = Arc::new(FingerprintKey::new(Zeroizing::new([7; 32])));
        let limits =
            Limits { connections: CONNECTIONS, idle_nanos: 1_000_000_000, held_bytes: 1 << 20 };
        let host = model::Host { id: String::new(), name: String::new(), boot_id: String::new() };
        Self {
            table: Table::new(limits),
            observer: Observer::new(key, Naming::Plain, &Standing::default()),
            author: Author::new(Origin::new(host)),
            named: HashSet::new(),
            must_name,
        }
    }

    fn tell(&mut self, seen: &[scopewatch::flow::table::Seen]) {
        for seen in seen {
            let observation = self.observer.observe(&seen.exchange, &seen.connection, seen.at);
            let event = self.author.access(1, &observation);
            let line = line(&event);
            assert!(!line.contains('\n'));
            // Times are written in milliseconds: what is read back is compared as it is written.
            let again = json::parse(&line).expect("a line is an event");
            assert_eq!(self::line(&again), line);
        }
    }
}

fn line(event: &model::Event) -> String {
    json::line(event).expect("an event is JSON")
}

impl EventSink for Agent {
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        match event {
            CaptureEvent::Process(process) => drop(self.named.insert(process.pid)),
            CaptureEvent::Socket { session, .. } | CaptureEvent::Data { session, .. } => {
                assert!(!self.must_name || self.named.contains(&session.pid), "nobody was named");
            }
            _ => {}
        }
        let mut seen = Vec::new();
        self.table.accept(event, &mut seen);
        assert!(self.table.len() <= CONNECTIONS);
        self.tell(&seen);
    }
}

/// A ring's records, as the drain thread takes them. Each: kind, way, length, content.
pub fn live(input: &[u8]) {
    let mut dice = Dice::of(input);
    let mut live = Live::new(Nobody, (dice.below(4) > 0).then(|| Wire::new(4)));
    let mut agent = Agent::new(true);
    while !dice.is_exhausted() {
        let kind = dice.below(10);
        if kind == 9 {
            live.tick(&mut agent);
            live.decisions().for_each(drop);
            continue;
        }
        let fixed = match RecordKind::try_from(kind as u8) {
            Ok(RecordKind::Data | RecordKind::Skipped) => 56,
            Ok(RecordKind::Segment) => 96,
            Ok(RecordKind::Secret) => 160,
            Ok(RecordKind::Socket) => 112,
            Ok(_) => 40,
            Err(_) => 24,
        };
        let way = dice.below(4) as u8;
        let payload = dice.below(256);
        let mut record = header(kind as u8, way, 24);
        record[4] = dice.below(3) as u8;
        record.extend(dice.bytes(fixed - 24));
        if matches!(kind, 1 | 6 | 8) {
            // Few sessions, streams that go on, and a length that is true.
            let at = if kind == 6 { 76 } else { 48 };
            record[24..40].fill(1);
            record[at..at + 4].copy_from_slice(&(payload as u32).to_le_bytes());
        }
        record.extend(dice.bytes(payload));
        live.record(&record, &mut agent);
    }
    live.finish(&mut agent);
    let mut seen = Vec::new();
    agent.table.finish_all(Timestamp(u64::MAX), &mut seen);
    agent.tell(&seen);
}

pub fn live_seeds() -> Vec<Vec<u8>> {
    let get = b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a.b.c\r\n\r\n";
    let mut call = vec![1, 1, 1, get.len() as u8, 0];
    call.extend([0; 32]);
    call.extend(get);
    let hello = crate::unhex("16030100050100000100");
    let mut segment = vec![1, 6, 1, hello.len() as u8, 0];
    segment.extend([0; 64]);
    segment.extend(hello);
    vec![call, segment, crate::random().remove(0)]
}

/// A recording: as it is, and, behind a zero, as frames of the input's content with true sums.
pub fn recording(input: &[u8]) {
    let Some((form, rest)) = input.split_first() else { return };
    let mut file = input.to_vec();
    if *form == 0 {
        file = MAGIC.to_vec();
        let mut rest = rest;
        while let [low, high, following @ ..] = rest {
            let len = usize::from(u16::from_le_bytes([*low, *high])).min(following.len());
            let (content, behind) = following.split_at(len);
            rest = behind;
            file.extend((content.len() as u32).to_le_bytes());
            file.extend(crc32fast::hash(content).to_le_bytes());
            file.extend(content);
        }
    }
    if let Ok(replay) = Replay::open(Cursor::new(&file)) {
        let _ = replay.run(&mut Agent::new(false));
    }
}

pub fn recording_seeds() -> Vec<Vec<u8>> {
    let mut file = Vec::new();
    let mut recorder = Recorder::start(&mut file, &Preamble { host: Host::default() }).unwrap();
    let session = scopewatch::capture::SessionKey { pid: 7, object: 1, generation: 2 };
    let (at, lost) = (Timestamp(1), 0);
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let tell = b"HTTP/1.1 204 x\r\n\r\n";
    let (outbound, inbound) =
        (scopewatch::flow::chunk::Direction::Outbound, scopewatch::flow::chunk::Direction::Inbound);
    for (direction, bytes) in [(outbound, &ask[..]), (inbound, &tell[..])] {
        let offset = 0;
        recorder.accept(&CaptureEvent::Data { at, session, direction, offset, lost, bytes });
    }
    recorder.accept(&CaptureEvent::Close { at, session, direction: None });
    recorder.finish().unwrap();
    // The same frames without lengths and sums, as the target makes them anew.
    let (mut frames, mut rest) = (vec![0], &file[MAGIC.len()..]);
    while let Some((head, following)) = rest.split_first_chunk::<8>() {
        let len = usize::from(u16::from_le_bytes([head[0], head[1]]));
        frames.extend(&head[..2]);
        frames.extend(&following[..len]);
        rest = &following[len..];
    }
    vec![file, frames]
}

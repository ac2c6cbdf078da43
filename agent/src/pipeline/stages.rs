//! The stages after capture: connections, exchanges, observations, events.
//!
//! In: captured events. Out: lines to the output. One worker runs on the thread that captures, so
//! that bytes are read where they were just opened; several have threads and bounded queues of
//! their own.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use super::Summary;
use crate::{
    capture::{CaptureEvent, EventSink, SessionKey, Skip},
    clock::Timestamp,
    config::{compiled::Config, rulebook::Renewal},
    event::{
        access::{Author, Origin},
        notice::Notice,
        volume::Gate,
    },
    flow::table::{self, Limits, Table},
    http::{body::Wanted, message::Phase},
    observation::Observer,
    policy::volume::Volume,
    rules::{Follower, Standing},
    sinks::output::{Lines, Output},
    telemetry::board::{Board, Said},
};

/// Captured events that wait for one worker: at most 16 KiB each, so 64 MiB a worker at worst.
const WORKER_QUEUE: usize = 4096;

/// What workers with threads of their own need not be told waits, at most: more comes again with the
/// next piece.
const SKIP_QUEUE: usize = 1024;

/// Shortest piece of plaintext, in bytes, after which it is asked whether more of the kind may be
/// skipped.
const MIN_PIECE: usize = 1024;

/// The stages after capture, running.
pub struct Stages {
    workers: Workers,
    origin: Origin,
    /// For events of the agent itself.
    lines: Lines,
    output: JoinHandle<io::Result<u64>>,
}

enum Workers {
    /// The only one, on the caller's thread.
    Here(Box<Worker>),
    Threads {
        queues: Vec<Sender<CaptureEvent<Bytes>>>,
        threads: Vec<JoinHandle<table::Counts>>,
        /// What need not be told any more, from all of them.
        skips: Receiver<Skip>,
    },
}

impl Stages {
    /// Starts the workers and the output.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        config: &Config,
        observer: &Observer,
        rules: &Standing,
        origin: &Origin,
        output: Output,
        board: &Board,
    ) -> io::Result<Self> {
        let (lines, batches) = output.channel();
        let limits = Limits {
            connections: config.connections_per_worker,
            idle_nanos: config.idle_nanos,
            held_bytes: config.held_bytes_per_worker,
        };
        let mut rules = rules.follow();
        let routes = Arc::clone(&rules.current().marks);
        let wanted = Wanted { routes, ..config.wanted.clone() };
        let worker = |index| Worker {
            index,
            board: board.clone(),
            table: Table::new(limits).reading(wanted.clone()),
            rules: rules.clone(),
            observer: observer.fresh(),
            author: Author::new(origin.clone()),
            lines: lines.clone(),
            gate: Gate::default(),
            seen: Vec::new(),
            skippable: None,
            now: Timestamp::default(),
        };
        let workers = match config.workers {
            ..=1 => Workers::Here(Box::new(worker(0))),
            count => threads(count, worker)?,
        };
        let output =
            thread::Builder::new().name("output".into()).spawn(move || output.run(&batches))?;
        Ok(Self { workers, origin: origin.clone(), lines, output })
    }

    /// Tells what became of the rules.
    pub fn tell(&mut self, renewal: &Renewal, at: Timestamp) {
        self.lines.push_notice(Notice::of(&self.origin, renewal, at));
        self.lines.flush();
    }

    /// Sends what was made of the events so far, where nobody else does.
    pub fn flush(&mut self) {
        if let Workers::Here(worker) = &mut self.workers {
            worker.lines.flush();
        }
    }

    /// Whether the output has ended, which it does before its time only when it cannot write.
    #[must_use]
    pub fn output_failed(&self) -> bool {
        self.output.is_finished()
    }

    /// Finishes what is under way and waits until everything is written.
    ///
    /// # Errors
    /// The output could not be written.
    pub fn finish(self) -> io::Result<Summary> {
        // The output ends with the last of those that write to it.
        drop(self.lines);
        let flows = match self.workers {
            Workers::Here(worker) => worker.finish(),
            Workers::Threads { queues, threads, .. } => {
                drop(queues);
                let mut flows = table::Counts::default();
                for thread in threads {
                    // One that panicked was reported by the panic hook; the others still count.
                    flows.add(thread.join().unwrap_or_default());
                }
                flows
            }
        };
        let events = self
            .output
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the output thread ended early")))?;
        Ok(Summary { events, flows, ..Summary::default() })
    }
}

impl EventSink for Stages {
    /// Hands an event to the worker that follows its connection; what concerns all goes to all.
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        let queues = match &mut self.workers {
            Workers::Here(worker) => return worker.accept(event),
            Workers::Threads { queues, .. } => queues,
        };
        match event.session() {
            Some(session) => {
                // A closed channel means that the run is ending.
                if let Some(queue) = queues.get(shard(session, queues.len())) {
                    let _ = queue.send(event.to_owned());
                }
            }
            None => queues.iter().for_each(|queue| {
                let _ = queue.send(event.to_owned());
            }),
        }
    }

    /// Known at once where there is no queue. Several workers say it when they come to it: positions
    /// in streams mean the same later.
    fn skippable(&mut self) -> Option<Skip> {
        match &mut self.workers {
            Workers::Here(worker) => worker.skippable.take(),
            Workers::Threads { skips, .. } => skips.try_recv().ok(),
        }
    }
}

fn threads(count: usize, worker: impl Fn(usize) -> Worker) -> io::Result<Workers> {
    let (mut queues, mut threads) = (Vec::new(), Vec::new());
    let (skipping, skips) = bounded(SKIP_QUEUE);
    for index in 0..count {
        let (queue, events) = bounded(WORKER_QUEUE);
        let worker = worker(index);
        let name = format!("worker-{index}");
        let skipping = skipping.clone();
        let run = move || worker.run(&events, &skipping);
        threads.push(thread::Builder::new().name(name).spawn(run)?);
        queues.push(queue);
    }
    Ok(Workers::Threads { queues, threads, skips })
}

/// Which of `count` workers follows a session. Session objects are 16-byte aligned or more.
fn shard(session: SessionKey, count: usize) -> usize {
    let mixed = (session.object >> 4) ^ session.generation ^ u64::from(session.pid);
    usize::try_from(mixed % count.max(1) as u64).unwrap_or(0)
}

/// Stages 4 to 6 for the connections of one shard.
struct Worker {
    /// Which one of all.
    index: usize,
    board: Board,
    table: Table,
    /// Says which routes are marked.
    rules: Follower,
    observer: Observer,
    author: Author,
    lines: Lines,
    /// Leaves out events of which the policy wants fewer.
    gate: Gate,
    /// Exchanges on their way out; empty between events.
    seen: Vec<table::Seen>,
    /// What need not be told after the last event.
    skippable: Option<Skip>,
    now: Timestamp,
}

impl Worker {
    fn run(
        mut self,
        events: &Receiver<CaptureEvent<Bytes>>,
        skipping: &Sender<Skip>,
    ) -> table::Counts {
        while let Ok(event) = events.recv() {
            self.accept(&event.borrow());
            if let Some(skip) = self.skippable.take() {
                let _full = skipping.try_send(skip);
            }
            if events.is_empty() {
                self.lines.flush();
            }
        }
        self.finish()
    }

    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        if let CaptureEvent::Tick { at } = event {
            self.now = *at;
            let (index, counts, left_out) = (self.index, self.table.counts, self.gate.left_out);
            self.board.say(|parts, now| {
                parts.flows.insert(index, Said::at(counts, now));
                parts.left_out.insert(index, left_out);
            });
            let Self { gate, lines, .. } = self;
            gate.tick(*at, &mut |mut event| lines.push(&mut event));
        }
        if let Some(rules) = self.rules.renewed() {
            self.table.mark(&rules.marks);
        }
        self.table.accept(event, &mut self.seen);
        self.emit();
        self.skippable = match event {
            // A body that is worth skipping comes in pieces of this length.
            CaptureEvent::Data { session, direction, bytes, .. } if bytes.len() >= MIN_PIECE => {
                self.table.skippable(*session, *direction)
            }
            _ => None,
        };
    }

    fn finish(mut self) -> table::Counts {
        self.table.finish_all(self.now, &mut self.seen);
        self.emit();
        let Self { gate, lines, .. } = &mut self;
        gate.finish(&mut |mut event| lines.push(&mut event));
        self.lines.flush();
        self.table.counts
    }

    fn emit(&mut self) {
        for table::Seen { exchange, connection, at } in self.seen.drain(..) {
            let observation = self.observer.observe(&exchange, &connection, at);
            if exchange.phase == Phase::Ended {
                self.table.counts.add_cuts(&observation.cuts);
            }
            // Numbered where it is encoded, as several workers write events.
            let judged = observation.judged.as_ref();
            let route = judged.and_then(|judged| judged.judgement.route.as_ref());
            let volume = route.map_or(Volume::Full, |route| route.volume);
            let event = self.author.access(0, &observation);
            let Self { gate, lines, .. } = self;
            gate.take(event, volume, &mut |mut event| lines.push(&mut event));
            if let Some(mut event) = self.author.scope_check(0, &observation) {
                self.lines.push(&mut event);
            }
        }
    }
}

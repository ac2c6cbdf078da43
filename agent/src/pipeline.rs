//! The only file that knows all stages: builds them, owns channels and the order of shutdown.
//!
//! ```text
//! ring -> drain thread -> (recorder) -> shards -> worker threads -> output thread
//!              |                                   flow, http, token, observation, event
//!              +-> discover thread -> broker thread -> kernel
//! ```
//!
//! Every channel is bounded. A slow output fills the workers' channels, they fill the drain, it
//! leaves records in the ring, and there the kernel half counts what finds no room: nothing waits
//! in the application, and nothing is lost uncounted.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    bpf::{load::Channels, ring::Ring, socket::Decisions},
    capture::{
        CaptureEvent, EventSink, SessionKey,
        live::{Live, boot_nanos},
        recorder::Recorder,
        replay::{End, Replay},
        wire::{self, Wire},
    },
    clock::Timestamp,
    config::compiled::Config,
    discover::watch::{Discoverer, Method},
    event::{access::Origin, model::Event},
    flow::table::{self, Limits, Table},
    identity::procfs::Procfs,
    observation::Observer,
    sandbox::broker::Handle,
    sinks::output::Output,
};

/// Captured events that wait for one worker: at most 16 KiB each, so 64 MiB a worker at worst.
const WORKER_QUEUE: usize = 4096;
/// Events that wait for the output.
const OUTPUT_QUEUE: usize = 4096;
/// New processes that wait for the discoverer, which merges what it cannot look at in time.
const PROGRAM_QUEUE: usize = 4096;
/// Records taken from the ring before anything else is looked after.
const DRAIN_BATCH: usize = 8192;
/// How long to let records gather after some were found.
const BUSY_WAIT: Duration = Duration::from_millis(2);
/// How long to sleep when none were found and nobody wakes the reader.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// How often time is told to the workers.
const TICK: Duration = Duration::from_secs(1);

/// What a run did, for the last line that it prints.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Events written.
    pub events: u64,
    /// What the workers did, added up.
    pub flows: table::Counts,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// What the wire path did.
    pub wire: wire::Counts,
}

/// The stages after capture, running.
pub struct Stages {
    shards: Shards,
    workers: Vec<JoinHandle<table::Counts>>,
    output: JoinHandle<io::Result<u64>>,
}

impl Stages {
    /// Starts the workers and the output.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        config: &Config,
        observer: &Arc<Observer>,
        origin: &Arc<Origin>,
        output: Output,
    ) -> io::Result<Self> {
        let (events, to_write) = bounded(OUTPUT_QUEUE);
        let limits =
            Limits { connections: config.connections_per_worker, idle_nanos: config.idle_nanos };
        let mut shards = Vec::new();
        let mut workers = Vec::new();
        for index in 0..config.workers {
            let (shard, queue) = bounded(WORKER_QUEUE);
            let worker = Worker {
                table: Table::new(limits),
                observer: Arc::clone(observer),
                origin: Arc::clone(origin),
                events: events.clone(),
            };
            let name = format!("worker-{index}");
            workers.push(thread::Builder::new().name(name).spawn(move || worker.run(&queue))?);
            shards.push(shard);
        }
        let output =
            thread::Builder::new().name("output".into()).spawn(move || output.run(&to_write))?;
        Ok(Self { shards: Shards(shards), workers, output })
    }

    /// Where captured events go.
    pub const fn sink(&mut self) -> &mut impl EventSink {
        &mut self.shards
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
        drop(self.shards);
        let mut flows = table::Counts::default();
        for worker in self.workers {
            // A worker that panicked was reported by the panic hook; the others still count.
            flows.add(worker.join().unwrap_or_default());
        }
        let events = self
            .output
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the output thread ended early")))?;
        Ok(Summary { events, flows, ..Summary::default() })
    }
}

/// Hands events to the worker that follows their connection; what concerns all goes to all.
struct Shards(Vec<Sender<CaptureEvent<Bytes>>>);

impl EventSink for Shards {
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        let owned = event.to_owned();
        match event.session() {
            Some(session) => {
                // A closed channel means that the run is ending.
                if let Some(worker) = self.0.get(shard(session, self.0.len())) {
                    let _ = worker.send(owned);
                }
            }
            None => self.0.iter().for_each(|worker| {
                let _ = worker.send(owned.clone());
            }),
        }
    }
}

/// Which of `count` workers follows a session. Session objects are 16-byte aligned or more.
fn shard(session: SessionKey, count: usize) -> usize {
    let mixed = (session.object >> 4) ^ session.generation ^ u64::from(session.pid);
    usize::try_from(mixed % count.max(1) as u64).unwrap_or(0)
}

/// Stages 4 to 6 for the connections of one shard.
struct Worker {
    table: Table,
    observer: Arc<Observer>,
    origin: Arc<Origin>,
    events: Sender<Event>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<CaptureEvent<Bytes>>) -> table::Counts {
        let mut seen = Vec::new();
        let mut now = Timestamp::default();
        for event in queue {
            if let CaptureEvent::Tick { at } = event {
                now = at;
            }
            self.table.accept(event, &mut seen);
            self.emit(&mut seen);
        }
        self.table.finish_all(now, &mut seen);
        self.emit(&mut seen);
        self.table.counts
    }

    fn emit(&self, seen: &mut Vec<table::Seen>) {
        for table::Seen { exchange, connection, at } in seen.drain(..) {
            let observation = self.observer.observe(&exchange, &connection, at);
            // The output numbers events, as several workers feed it.
            let _ = self.events.send(self.origin.access(0, &observation));
        }
    }
}

/// A live capture: what feeds the stages.
pub struct Capture {
    /// The drain thread's part of the kernel half.
    pub channels: Channels,
    /// Whether connections are opened from ciphertext and secrets.
    pub wire: bool,
    /// The way to the broker.
    pub broker: Handle,
    /// Whether return probes may be used.
    pub return_probes_safe: bool,
    /// Where to record, if asked to.
    pub recorder: Option<Recorder<io::BufWriter<std::fs::File>>>,
}

/// Runs a live capture until `stop` is set, then detaches, drains what is left, and finishes.
/// `ready` is called once everything that was there at the start is probed.
///
/// # Errors
/// A thread cannot be started, the ring cannot be waited for, or the output cannot be written.
pub fn run_live(
    capture: Capture,
    mut stages: Stages,
    config: &Config,
    stop: &AtomicBool,
    ready: impl FnOnce(usize),
) -> anyhow::Result<(Summary, Vec<u64>)> {
    let Capture { channels, wire, broker, return_probes_safe, recorder } = capture;
    let Channels { mut ring, decisions } = channels;
    let (programs, new_programs) = bounded(PROGRAM_QUEUE);
    let (is_ready, wait_ready) = bounded(1);
    let method = if wire { Method::Wire } else { Method::Calls };
    let discoverer = Discoverer::new(broker.clone(), method, return_probes_safe, config.rescan);
    let discover = thread::Builder::new()
        .name("discover".into())
        .spawn(move || discoverer.run(&new_programs, is_ready))?;

    let wire = wire.then(|| {
        Wire::new(config.connections_per_worker * config.workers).listing(&config.plain_ports)
    });
    let live = Live::new(Procfs::new(), wire);
    let mut drain = Drain { live, recorder, programs, decisions };
    let mut ready = Some(ready);
    let mut last_tick = Instant::now();
    while !stop.load(Ordering::Relaxed) && !stages.output_failed() {
        let taken = drain.take(&mut ring, &mut stages.shards);
        if last_tick.elapsed() >= TICK {
            drain.tick(&mut stages.shards);
            last_tick = Instant::now();
        }
        if let Ok(libraries) = wait_ready.try_recv()
            && let Some(ready) = ready.take()
        {
            ready(libraries);
        }
        match taken {
            0 => ring.wait(IDLE_WAIT)?,
            DRAIN_BATCH => {}
            _ => thread::sleep(BUSY_WAIT),
        }
    }
    // What the ring holds by now is told; what comes after is not waited for, as on a busy host it
    // has no end: the probes are the kernel's to remove, and it takes its time.
    let until = boot_nanos().unwrap_or(0);
    let counters = broker.stop();
    while drain.take(&mut ring, &mut stages.shards) > 0 && drain.live.counts.latest < until {}
    drain.tick(&mut stages.shards);
    drain.finish(&mut stages.shards);
    let Drain { live, recorder, programs, decisions: _ } = drain;
    drop(programs);
    let mut summary = stages.finish()?;
    summary.malformed = live.counts.malformed;
    summary.wire = live.wire_counts();
    if let Some(recorder) = recorder {
        recorder.finish()?;
    }
    let _ = discover.join();
    Ok((summary, counters))
}

/// Replays a recording through the stages.
///
/// # Errors
/// The recording cannot be read, or the output cannot be written. What was read before counts.
pub fn run_replay<R: io::Read>(
    replay: Replay<R>,
    mut stages: Stages,
) -> anyhow::Result<(Summary, End)> {
    let end = replay.run(stages.sink());
    let summary = stages.finish()?;
    Ok((summary, end?))
}

/// The drain thread's own state.
struct Drain {
    live: Live<Procfs>,
    recorder: Option<Recorder<io::BufWriter<std::fs::File>>>,
    programs: Sender<u32>,
    decisions: Decisions,
}

impl Drain {
    /// Takes what is in the ring, up to a batch; how many records it was.
    fn take(&mut self, ring: &mut Ring, shards: &mut Shards) -> usize {
        let Self { live, recorder, programs, decisions } = self;
        let mut sink = Tee { recorder: recorder.as_mut(), shards };
        let taken = ring.drain(DRAIN_BATCH, |raw| {
            if let Some(pid) = live.record(raw, &mut sink) {
                // A full queue is no loss: the next scan of all processes finds this one.
                let _ = programs.try_send(pid);
            }
        });
        for (cookie, capture) in live.decisions() {
            decisions.decide(cookie, capture);
        }
        taken
    }

    fn tick(&mut self, shards: &mut Shards) {
        self.live.refresh_clock();
        let mut sink = Tee { recorder: self.recorder.as_mut(), shards };
        self.live.tick(&mut sink);
    }

    fn finish(&mut self, shards: &mut Shards) {
        self.live.finish(&mut Tee { recorder: self.recorder.as_mut(), shards });
    }
}

/// Everything that the workers are told is recorded first.
struct Tee<'a> {
    recorder: Option<&'a mut Recorder<io::BufWriter<std::fs::File>>>,
    shards: &'a mut Shards,
}

impl EventSink for Tee<'_> {
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.accept(event);
        }
        self.shards.accept(event);
    }
}

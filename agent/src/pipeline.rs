//! The only file that knows all stages: builds them, owns channels and the order of shutdown.
//!
//! ```text
//! ring -> drain thread -> (recorder) -> stages -> output thread
//!              |                        flow, http, token, observation, event
//!              +-> discover thread -> broker thread -> kernel
//! rules thread: files -> rules in force, which the stages follow
//! subjects thread: a file -> the key of pseudonyms
//! ```
//!
//! Every channel is bounded. A slow output fills its channel, that stops the stages and with them
//! the drain, it leaves records in the ring, and there the kernel half counts what finds no room:
//! nothing waits in the application, and nothing is lost uncounted.

mod erasure;
mod keeper;
mod lookout;
mod stages;

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded};

pub use self::{erasure::Erasure, keeper::Keeper, lookout::PERIOD as LOOK_PERIOD, stages::Stages};

use crate::{
    bpf::{load::Channels, ring::Ring, socket::Decisions},
    capture::{
        CaptureEvent, EventSink, Skip,
        live::Live,
        recorder::Recorder,
        replay::{End, Replay},
        wire::{self, Wire},
    },
    config::compiled::Config,
    coverage::Reason,
    discover::watch::{Discoverer, Method},
    flow::table,
    identity::{boot::boot_nanos, procfs::Procfs},
    sandbox::broker::Handle,
    telemetry::board::{Board, Policy, Said},
};

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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Events written.
    pub events: u64,
    /// What the workers did, added up.
    pub flows: table::Counts,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// What the wire path did.
    pub wire: wire::Counts,
    /// TLS connections that were not told, by reason.
    pub uncovered: BTreeMap<Reason, u64>,
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
    /// Keeps the rules current, where there is a policy.
    pub keeper: Option<Keeper>,
    /// Where it is told how all goes.
    pub board: Board,
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
    let Capture { channels, wire, broker, return_probes_safe, keeper, board, recorder } = capture;
    let Channels { mut ring, decisions } = channels;
    let (programs, new_programs) = bounded(PROGRAM_QUEUE);
    let (is_ready, wait_ready) = bounded(1);
    let method = if wire { Method::Wire } else { Method::Calls };
    let rescan = config.rescan;
    let discoverer =
        Discoverer::new(broker.clone(), method, return_probes_safe, rescan, board.clone());
    let discover = thread::Builder::new()
        .name("discover".into())
        .spawn(move || discoverer.run(&new_programs, is_ready))?;

    let wire = wire.then(|| {
        Wire::new(config.connections_per_worker * config.workers).listing(&config.plain_ports)
    });
    let live = Live::new(Procfs::new(), wire);
    let mut drain = Drain { live, recorder, programs, decisions, board: board.clone() };
    let mut ready = Some(ready);
    let mut last_tick = Instant::now();
    tell(keeper.as_ref(), &mut stages, &board);
    while !stop.load(Ordering::Relaxed) && !stages.output_failed() {
        let taken = drain.take(&mut ring, &mut stages);
        if last_tick.elapsed() >= TICK {
            drain.tick(&mut stages);
            tell(keeper.as_ref(), &mut stages, &board);
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
    while drain.take(&mut ring, &mut stages) > 0 && drain.live.counts.latest < until {}
    drain.tick(&mut stages);
    drain.finish(&mut stages);
    let Drain { live, recorder, programs, .. } = drain;
    drop(programs);
    tell(keeper.as_ref(), &mut stages, &board);
    if let Some(keeper) = keeper {
        keeper.stop();
    }
    let mut summary = stages.finish()?;
    summary.malformed = live.counts.malformed;
    summary.wire = live.wire_counts();
    summary.uncovered.clone_from(&live.coverage().uncovered);
    if let Some(recorder) = recorder {
        recorder.finish()?;
    }
    let _ = discover.join();
    Ok((summary, counters))
}

/// Tells what became of the rules since it was last asked.
fn tell(keeper: Option<&Keeper>, stages: &mut Stages, board: &Board) {
    for (renewal, at) in keeper.into_iter().flat_map(Keeper::renewals) {
        let (id, rejected) = renewal.in_force();
        let policy = Policy { file: id.file.to_string(), hash: id.hash.to_string(), rejected };
        board.say(|parts, now| parts.policy = Some(Said::at(policy, now)));
        stages.tell(&renewal, at);
    }
}

/// Replays a recording through the stages.
///
/// # Errors
/// The recording cannot be read, or the output cannot be written. What was read before counts.
pub fn run_replay<R: io::Read>(
    replay: Replay<R>,
    mut stages: Stages,
) -> anyhow::Result<(Summary, End)> {
    let end = replay.run(&mut stages);
    let summary = stages.finish()?;
    Ok((summary, end?))
}

/// The drain thread's own state.
struct Drain {
    live: Live<Procfs>,
    recorder: Option<Recorder<io::BufWriter<std::fs::File>>>,
    programs: Sender<u32>,
    decisions: Decisions,
    board: Board,
}

impl Drain {
    /// Takes what is in the ring, up to a batch; how many records it was.
    fn take(&mut self, ring: &mut Ring, stages: &mut Stages) -> usize {
        let Self { live, recorder, programs, decisions, .. } = self;
        let mut sink = Tee { recorder: recorder.as_mut(), stages: &mut *stages };
        let taken = ring.drain(DRAIN_BATCH, |raw| {
            if let Some(pid) = live.record(raw, &mut sink) {
                // A full queue is no loss: the next scan of all processes finds this one.
                let _ = programs.try_send(pid);
            }
        });
        for (cookie, capture) in live.decisions() {
            decisions.decide(cookie, capture);
        }
        live.unwanted().for_each(|unwanted| decisions.skip(&unwanted));
        live.unread().for_each(|unread| decisions.leave(&unread));
        stages.flush();
        taken
    }

    fn tick(&mut self, stages: &mut Stages) {
        self.live.refresh_clock();
        let mut sink = Tee { recorder: self.recorder.as_mut(), stages };
        self.live.tick(&mut sink);
        let said = self.live.say(self.board.is_watched());
        self.board.say(|parts, now| parts.capture = Some(Said::at(said, now)));
    }

    fn finish(&mut self, stages: &mut Stages) {
        self.live.finish(&mut Tee { recorder: self.recorder.as_mut(), stages });
    }
}

/// Everything that the stages are told is recorded first.
struct Tee<'a> {
    recorder: Option<&'a mut Recorder<io::BufWriter<std::fs::File>>>,
    stages: &'a mut Stages,
}

impl EventSink for Tee<'_> {
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.accept(event);
        }
        self.stages.accept(event);
    }

    fn skippable(&mut self) -> Option<Skip> {
        self.stages.skippable()
    }
}

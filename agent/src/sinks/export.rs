//! Events on their way to any number of sinks. In: encoded events, on the output thread. Out: the
//! same in a chain and in the spool, with what the agent has to say of itself between them; and a
//! thread for each sink that takes them from there.
//!
//! What the disk refuses is counted and told, and stops nothing.

use std::{
    collections::BTreeMap,
    io, mem,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    config::signingfile::SigningFile,
    event::{
        control::{Checkpoint, Gap, Happened, Reason},
        model::{Agent, Host},
    },
    identity::boot,
    integrity::{
        canonical::{self, NotCanonical},
        chain::{Chain, name_of},
    },
    sinks::{
        Sink,
        dead::DeadLetters,
        delivery::{DeliveryLoop, Stop},
        output::{Batch, Line, Shed},
    },
    spool::{
        self, Lane, Options, Recovered, SinkCounts, Spool,
        filesystem::Directory,
        reader::Reader,
        segment::RunName,
        writer::{Dropped, Why, Writer},
    },
    telemetry::{
        self,
        board::{self, Board, Progress, Said},
    },
    token::guard,
};

/// Events after which a checkpoint is due, and time, if there was any event.
const CHECKPOINT: (u64, Duration) = (1000, Duration::from_secs(60));
/// Time between two snapshots for the board.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Time between two gaps of events that were refused one by one.
const GAP_INTERVAL: Duration = Duration::from_secs(1);
/// How long sinks may take, at the end, to deliver what is there; the rest stays in the spool.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a sink that is told to end may take before it is left behind.
const FAREWELL: Duration = Duration::from_secs(1);

/// A sink, and what it is called.
pub struct Named {
    /// Its name in the ledger: the same after every start.
    pub name: String,
    /// The sink.
    pub sink: Box<dyn Sink>,
}

/// Whom the export tells how it is doing.
#[derive(Default)]
struct Report {
    board: Board,
    /// Time between events of health; `None` for never.
    every: Option<Duration>,
    said: Option<Instant>,
    told: Option<Instant>,
}

/// Takes events to sinks.
pub struct Export {
    writer: Writer<Directory>,
    spool: Arc<Spool<Directory>>,
    max_bytes: u64,
    period: Duration,
    chain: Chain,
    key: SigningFile,
    host: Host,
    agent: Agent,
    threads: Vec<JoinHandle<()>>,
    stop: Stop,
    /// How each sink's delivery goes.
    progress: Vec<(String, Arc<Mutex<Progress>>)>,
    report: Report,
    since_checkpoint: u64,
    last_checkpoint: Instant,
    /// Reasons of events that are gone, and how many; those among them that were not told yet.
    gone: BTreeMap<Reason, u64>,
    untold: BTreeMap<Reason, u64>,
    last_told: Instant,
    shed: Arc<Shed>,
}

impl Export {
    /// Opens the spool and starts a thread for each sink.
    ///
    /// # Errors
    /// The spool cannot be opened, or a thread not started.
    pub fn start(
        directory: &Path,
        options: &Options,
        sinks: Vec<Named>,
        key: SigningFile,
        host: Host,
    ) -> io::Result<(Self, Recovered)> {
        let now = Instant::now();
        // By their names, chains are in order even if the clock was set back: `integrity/succession.rs`
        // goes by that.
        let began = boot::now().as_millis().max(key.began_millis().saturating_add(1));
        let run: RunName = ulid::Ulid::from_parts(began, random()?).to_bytes();
        let filesystem = Directory::new(directory)?;
        let (writer, spool, recovered) = spool::open(filesystem, options, run, now)?;
        let stop = Stop::default();
        let (mut threads, mut progress) = (Vec::new(), Vec::new());
        for Named { name, sink } in sinks {
            let Some(reader) = Reader::new(&spool, &name) else { continue };
            let dead = DeadLetters::new(directory.join(format!("{name}.dead")));
            let each = DeliveryLoop::new(name.clone(), reader, sink, dead, stop.clone());
            progress.push((name.clone(), each.progress()));
            threads.push(thread::Builder::new().name(name).spawn(move || each.run())?);
        }
        let mut export = Self {
            writer,
            spool,
            max_bytes: options.max_bytes,
            period: options.sync.period().min(SAY_EVERY),
            chain: Chain::new(name_of(&host.name, &run)),
            key,
            host,
            agent: Agent { version: env!("CARGO_PKG_VERSION").to_owned() },
            threads,
            stop,
            progress,
            report: Report::default(),
            since_checkpoint: 0,
            last_checkpoint: now,
            gone: BTreeMap::new(),
            untold: BTreeMap::new(),
            last_told: now,
            shed: Arc::default(),
        };
        export.say(&Happened::Start {});
        if export.key.is_due(now) {
            export.checkpoint();
        }
        export.writer.commit(now);
        Ok((export, recovered))
    }

    /// Takes batches until the channel is closed, then lets the sinks finish; how many events were
    /// taken.
    pub fn run(mut self, batches: &Receiver<Batch>) -> u64 {
        let mut events = 0;
        loop {
            match batches.recv_timeout(self.period) {
                Ok(batch) => events += self.take(&batch),
                Err(RecvTimeoutError::Timeout) => self.writer.tick(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.check();
            self.say_how_it_is();
        }
        self.finish();
        events
    }

    /// Tells `board` how it is doing, and the sinks every so often how the agent is.
    #[must_use]
    pub fn reporting(mut self, board: Board, every: Duration) -> Self {
        self.report = Report { board, every: Some(every), ..Report::default() };
        self
    }

    /// Tells how it is doing, if that is due.
    fn say_how_it_is(&mut self) {
        let now = Instant::now();
        let due = |last: Option<Instant>, every| {
            last.is_none_or(|last| now.saturating_duration_since(last) >= every)
        };
        if !due(self.report.said, SAY_EVERY) {
            return;
        }
        self.show();
        self.report.said = Some(now);
        let start = self.report.board.started();
        if self.report.every.is_some_and(|every| due(self.report.told.or(Some(start)), every)) {
            self.report.told = Some(now);
            let health = Box::new(telemetry::health(&self.report.board));
            self.say(&Happened::Health { health });
            self.writer.commit(now);
        }
    }

    /// Puts a snapshot on the board.
    fn show(&self) {
        let export = board::Export {
            chain: self.chain.name().to_owned(),
            events: self.chain.tree().size(),
            spool_bytes: self.spool.bytes(),
            spool_max_bytes: self.max_bytes,
            gone: self.gone.clone(),
            signing_trouble: self.key.trouble().map(str::to_owned),
            sinks: self.sinks(),
        };
        self.report.board.say(|parts, now| parts.export = Some(Said::at(export, now)));
    }

    fn sinks(&self) -> Vec<board::Sink> {
        let sink = |counts: SinkCounts| {
            let progress = self.progress.iter().find(|(name, _)| *name == counts.name);
            let progress = progress.map_or_else(Progress::default, |(_, progress)| {
                progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
            });
            board::Sink { counts, progress }
        };
        self.spool.counts().into_iter().map(sink).collect()
    }

    /// Counts what was dropped on the way to here.
    #[must_use]
    pub fn shed(&self) -> Arc<Shed> {
        Arc::clone(&self.shed)
    }

    /// Puts a batch into the spool.
    pub fn take(&mut self, batch: &Batch) -> u64 {
        let mut events = 0;
        for line in batch.lines() {
            self.append(line);
            events += 1;
        }
        self.writer.commit(Instant::now());
        events
    }

    fn append(&mut self, line: Line<'_>) {
        let redacted = guard::without_tokens(line.text);
        let linked = match &redacted {
            Some(clean) => {
                *self.untold.entry(Reason::Redacted).or_default() += 1;
                self.link(Line { text: clean, is_canonical: false, ..line })
            }
            None => self.link(line),
        };
        let linked = linked.is_ok() || {
            let plain = canonical::with_plain_numbers(redacted.as_deref().unwrap_or(line.text));
            plain.is_some_and(|plain| {
                self.link(Line { text: &plain, is_canonical: false, ..line }).is_ok()
            })
        };
        if linked {
            self.since_checkpoint += 1;
        } else {
            *self.untold.entry(Reason::Unlinked).or_default() += 1;
        }
    }

    /// Links an event where the spool will have it.
    fn link(&mut self, Line { text, lane, is_canonical }: Line<'_>) -> Result<(), NotCanonical> {
        let chain = &mut self.chain;
        self.writer.append_with(lane, |out| {
            if is_canonical { chain.link_canonical(text, out) } else { chain.link(text, out) }
        })
    }

    /// Says something of the agent itself.
    fn say(&mut self, happened: &Happened) {
        let seq = self.chain.tree().size();
        let json = happened.to_json(&self.host, &self.agent, self.chain.name(), seq, boot::now());
        match json {
            Ok(json) => {
                self.append(Line { text: &json, lane: Lane::Kept, is_canonical: false });
            }
            Err(error) => tracing::error!(%error, "event not encoded"),
        }
    }

    /// Says what is due: what is gone, and how far the chain has come.
    fn check(&mut self) {
        let told = self.tell_gaps(false);
        let (events, time) = CHECKPOINT;
        let due = self.since_checkpoint >= events
            || self.key.is_due(Instant::now())
            || self.since_checkpoint > 0 && self.last_checkpoint.elapsed() >= time;
        if due {
            self.checkpoint();
        }
        if told || due {
            self.writer.commit(Instant::now());
        }
    }

    /// Says what is gone and was not told yet, all of it if it is the `last` time; whether
    /// anything was.
    fn tell_gaps(&mut self, last: bool) -> bool {
        let dropped = self.writer.take_dropped();
        let stalled = self.shed.take();
        if stalled > 0 {
            *self.untold.entry(Reason::Stalled).or_default() += stalled;
        }
        // What comes with single events is told together.
        let untold = if self.last_told.elapsed() >= GAP_INTERVAL || last {
            mem::take(&mut self.untold)
        } else {
            BTreeMap::new()
        };
        if !untold.is_empty() {
            self.last_told = Instant::now();
        }
        let told = !dropped.is_empty() || !untold.is_empty();
        for Dropped { run, from, to, count, why, lane: _ } in dropped {
            let reason = match why {
                Why::Bound => Reason::Bound,
                Why::Disk => Reason::Disk,
            };
            let chain = name_of(&self.host.name, &run);
            self.tell(Gap { chain, from: Some(from), to: Some(to), count, reason });
        }
        for (reason, count) in untold {
            let chain = self.chain.name().to_owned();
            self.tell(Gap { chain, from: None, to: None, count, reason });
        }
        told
    }

    fn tell(&mut self, gap: Gap) {
        *self.gone.entry(gap.reason).or_default() += gap.count;
        self.say(&Happened::Gap { gap });
    }

    fn checkpoint(&mut self) {
        let gone = self.gone.iter().map(|(reason, count)| (reason.as_str(), count.to_string()));
        let gone: Vec<_> = gone.collect();
        let time = boot::now().to_rfc3339();
        let mut remarks = vec![("time", time.as_str())];
        let clock = telemetry::clock::discipline().map(|clock| clock.to_string());
        remarks.extend(clock.iter().map(|clock| ("clock", clock.as_str())));
        remarks.extend(gone.iter().map(|(reason, count)| (*reason, count.as_str())));
        let now = Instant::now();
        let note = self.key.checkpoint(&self.chain, &remarks, now);
        self.say(&Happened::Checkpoint { checkpoint: Checkpoint { note } });
        if self.key.is_handing_over() {
            // Who has the events alone must have it before another key signs.
            self.writer.commit(now);
            self.writer.sync(now);
            self.key.hand_over(now);
        }
        (self.since_checkpoint, self.last_checkpoint) = (0, now);
    }

    /// Ends the chain, lets the sinks deliver what they can, and writes down where they are.
    pub fn finish(mut self) -> Vec<SinkCounts> {
        self.tell_gaps(true);
        self.say(&Happened::Stop {});
        self.checkpoint();
        self.writer.close(Instant::now());
        self.wait(DRAIN);
        self.stop.now();
        self.wait(FAREWELL);
        self.show();
        let counts = self.spool.counts();
        for SinkCounts { name, delivered, dead, lost, pending } in &counts {
            tracing::info!(sink = name, delivered, dead, lost, pending, "stopped");
        }
        self.writer.finish();
        counts
    }

    /// Waits for the sinks, but no longer than that.
    fn wait(&self, longest: Duration) {
        let start = Instant::now();
        while start.elapsed() < longest && !self.threads.iter().all(JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

//! A sink's thread. In: its reader. Out: what the sink was given, tried again as long as it takes,
//! and a cursor that follows. No other sink waits for this one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    identity::boot,
    sinks::{Delivery, Refusal, Sink, dead::DeadLetters},
    spool::{
        filesystem::Filesystem,
        reader::{Batch, Limits, Reader},
    },
    telemetry::board::Progress,
};

/// What a sink is given at once.
const AT_ONCE: Limits = Limits { records: 4096, bytes: 1024 * 1024 };
/// How long to wait for records before looking at the rest of the world.
const PATIENCE: Duration = Duration::from_millis(250);
/// Shortest and longest time between two tries; each is twice the one before.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// Longest reason of a failure that is told, in characters.
const MAX_REASON: usize = 256;
/// Longest that a receiver can have the agent wait for it, and with it what is in the spool.
const LONGEST_ASKED: Duration = Duration::from_secs(600);
/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(20);

/// Tells a delivery to end, whatever is left.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends it.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, unless it is to end.
    fn wait(&self, time: Duration) {
        let start = Instant::now();
        while !self.is_set() && start.elapsed() < time {
            thread::sleep(GLANCE.min(time));
        }
    }
}

/// One sink, and how it is doing.
pub struct DeliveryLoop<F: Filesystem> {
    name: String,
    reader: Reader<F>,
    sink: Box<dyn Sink>,
    dead: DeadLetters,
    stop: Stop,
    /// Time until the next try; `None` while all is well.
    backoff: Option<Duration>,
    progress: Arc<Mutex<Progress>>,
}

impl<F: Filesystem> DeliveryLoop<F> {
    /// Gives what `reader` has to `sink`.
    #[must_use]
    pub fn new(
        name: String,
        reader: Reader<F>,
        mut sink: Box<dyn Sink>,
        dead: DeadLetters,
        stop: Stop,
    ) -> Self {
        sink.heed(&stop);
        let progress = Arc::default();
        Self { name, reader, sink, dead, stop, backoff: None, progress }
    }

    /// How it goes, kept current.
    #[must_use]
    pub fn progress(&self) -> Arc<Mutex<Progress>> {
        Arc::clone(&self.progress)
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Delivers until there is nothing more to come, or it is told to end.
    pub fn run(mut self) {
        let mut batch = Batch::default();
        while !self.stop.is_set() {
            self.reader.next(&mut batch, AT_ONCE, PATIENCE);
            if batch.is_empty() {
                self.reader.advance(&batch, 0, 0, 0);
                self.sink.idle();
                if self.reader.at_end() {
                    return;
                }
                continue;
            }
            let mut done = 0;
            while done < batch.len() && !self.stop.is_set() {
                done = self.deliver(&batch, done);
            }
        }
    }

    /// Gives the sink what is left of a batch; how much of it is done then.
    fn deliver(&mut self, batch: &Batch, before: usize) -> usize {
        let mut records = batch.records(before).map(|(_, payload)| payload);
        match self.sink.deliver(&mut records) {
            Delivery::Delivered => {
                if self.backoff.take().is_some() {
                    tracing::info!(sink = self.name, "delivers again");
                    self.note(|progress| progress.failing_since = None);
                }
                self.reader.advance(batch, before, batch.len(), 0);
                batch.len()
            }
            Delivery::Retry { done, why, after } => {
                let done = before.saturating_add(done).min(batch.len());
                self.reader.advance(batch, before, done, 0);
                if self.stop.is_set() {
                    return done;
                }
                self.note(|progress| {
                    progress.retries += 1;
                    progress.failing_since.get_or_insert_with(boot::now);
                    progress.last_failure =
                        Some(why.to_string().chars().take(MAX_REASON).collect());
                });
                let (least, most) = BACKOFF;
                if self.backoff.is_none() {
                    // Said once: what is not delivered stays in the spool.
                    tracing::warn!(sink = self.name, %why, "does not deliver: trying again");
                }
                // Where some were taken, the receiver is there.
                let last = self.backoff.filter(|_| done == before);
                let backoff = last.map_or(least, |last| last.saturating_mul(2).min(most));
                self.backoff = Some(backoff);
                // Receivers say how long at least: one that says 0 for ever is not asked for ever.
                let asked = after.map_or(backoff, |after| after.min(LONGEST_ASKED).max(backoff));
                self.stop.wait(asked);
                done
            }
            Delivery::Reject { done, why } => self.put_aside(batch, before, done, (1, 1), why),
            Delivery::Partly { done, of, refused, why } => {
                tracing::warn!(sink = self.name, refused, of, %why, "events refused for good");
                self.put_aside(batch, before, done, (of, refused), why)
            }
        }
    }

    /// Goes on behind records that `done` others were taken before, and keeps them all: `refused` of
    /// these `of` are dead, and nobody said which.
    fn put_aside(
        &mut self,
        batch: &Batch,
        before: usize,
        done: usize,
        (of, refused): (usize, u64),
        why: Refusal,
    ) -> usize {
        let taken = before.saturating_add(done).min(batch.len());
        self.reader.advance(batch, before, taken, 0);
        let end = taken.saturating_add(of).min(batch.len());
        for (_, record) in batch.records(taken).take(end - taken) {
            if let Err(error) = self.dead.put(record, why) {
                tracing::debug!(sink = self.name, %error, "dead letter not kept");
            }
        }
        let dead = refused.min(u64::try_from(end - taken).unwrap_or(u64::MAX));
        self.reader.advance(batch, taken, end, dead);
        end
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::spool::{self, Lane, MIN_BYTES, Options, SinkCounts, memory::Memory};

    /// Takes what it is given, but for what it was told to do first.
    struct Script {
        first: Vec<Delivery>,
        taken: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Sink for Script {
        fn deliver(&mut self, records: &mut dyn Iterator<Item = &[u8]>) -> Delivery {
            let next =
                if self.first.is_empty() { Delivery::Delivered } else { self.first.remove(0) };
            let count = match &next {
                Delivery::Delivered => usize::MAX,
                Delivery::Retry { done, .. } | Delivery::Reject { done, .. } => *done,
                Delivery::Partly { done, of, .. } => done + of,
            };
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend(records.take(count).map(<[u8]>::to_vec));
            next
        }
    }

    /// What became of five records under a script: what was taken, the counts, the dead letters.
    fn deliver(first: Vec<Delivery>) -> (Vec<u8>, SinkCounts, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead");
        let options = Options::new(MIN_BYTES, vec!["a".to_owned()]);
        let (mut writer, spool, _) =
            spool::open(Memory::default(), &options, [1; 16], Instant::now()).unwrap();
        for payload in ["a", "b", "c", "d", "e"] {
            writer.append(Lane::Kept, payload.as_bytes());
        }
        writer.close(Instant::now());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sink = Script { first, taken: Arc::clone(&taken) };
        let reader = Reader::new(&spool, "a").unwrap();
        let dead = DeadLetters::new(path.clone());
        DeliveryLoop::new("a".to_owned(), reader, Box::new(sink), dead, Stop::default()).run();
        let taken = taken.lock().unwrap().concat();
        (taken, spool.counts().remove(0), std::fs::read_to_string(path).unwrap_or_default())
    }

    fn retry(done: usize, after: Duration) -> Delivery {
        let why = io::ErrorKind::ConnectionRefused.into();
        Delivery::Retry { done, why, after: Some(after) }
    }

    #[test]
    fn retries_go_on_where_they_were_and_refused_records_are_put_aside() {
        let reject = Delivery::Reject { done: 1, why: Refusal::Unmappable };
        let first = vec![retry(0, Duration::ZERO), retry(2, Duration::ZERO), reject];
        let (taken, counts, kept) = deliver(first);
        assert_eq!(taken, b"abce");
        assert_eq!((counts.delivered, counts.dead, counts.lost, counts.pending), (4, 1, 0, 0));
        assert_eq!(kept, "# it has no form in this format\nd\n");
    }

    #[test]
    fn of_records_that_were_refused_in_part_all_are_kept_and_those_count() {
        let partly =
            |refused| vec![Delivery::Partly { done: 1, of: 3, refused, why: Refusal::Rejected }];
        let (taken, counts, kept) = deliver(partly(2));
        assert_eq!(taken, b"abcde");
        assert_eq!((counts.delivered, counts.dead, counts.pending), (3, 2, 0));
        let lines: Vec<_> = kept.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, ["b", "c", "d"]);
        // No receiver can refuse more than it got.
        let (_, counts, _) = deliver(partly(u64::MAX));
        assert_eq!((counts.delivered, counts.dead, counts.pending), (2, 3, 0));
    }

    #[test]
    fn a_receiver_is_waited_for_as_it_asks_but_not_beyond_the_end() {
        let start = Instant::now();
        deliver(vec![retry(0, Duration::from_millis(700))]);
        assert!(start.elapsed() >= Duration::from_millis(700));
        let (start, stop) = (Instant::now(), Stop::default());
        let also = stop.clone();
        let end = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            also.now();
        });
        stop.wait(LONGEST_ASKED);
        assert!(start.elapsed() < Duration::from_secs(5));
        end.join().unwrap();
    }
}

//! A sink's thread. In: its reader. Out: what the sink was given, tried again as long as it takes,
//! and a cursor that follows. No other sink waits for this one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    sinks::{Delivery, Sink, dead::DeadLetters},
    spool::{
        filesystem::Filesystem,
        reader::{Batch, Limits, Reader},
    },
};

/// What a sink is given at once.
const AT_ONCE: Limits = Limits { records: 4096, bytes: 1024 * 1024 };
/// How long to wait for records before looking at the rest of the world.
const PATIENCE: Duration = Duration::from_millis(250);
/// Shortest and longest time between two tries; each is twice the one before.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
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
        Self { name, reader, sink, dead, stop, backoff: None }
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
                }
                self.reader.advance(batch, before, batch.len(), 0);
                batch.len()
            }
            Delivery::Retry { done, why, after } => {
                let done = before.saturating_add(done).min(batch.len());
                self.reader.advance(batch, before, done, 0);
                let (least, most) = BACKOFF;
                if self.backoff.is_none() {
                    // Said once: what is not delivered stays in the spool.
                    tracing::warn!(sink = self.name, %why, "does not deliver: trying again");
                }
                let backoff = self.backoff.map_or(least, |last| last.saturating_mul(2).min(most));
                self.backoff = Some(backoff);
                self.stop.wait(after.unwrap_or(backoff).min(most));
                done
            }
            Delivery::Reject { done, why } => {
                let taken = before.saturating_add(done).min(batch.len());
                self.reader.advance(batch, before, taken, 0);
                let Some((_, record)) = batch.records(taken).next() else { return taken };
                if let Err(error) = self.dead.put(record, why) {
                    tracing::debug!(sink = self.name, %error, "dead letter not kept");
                }
                self.reader.advance(batch, taken, taken + 1, 1);
                taken + 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Mutex, PoisonError},
    };

    use super::*;
    use crate::{
        sinks::Refusal,
        spool::{self, Lane, MIN_BYTES, Options, memory::Memory},
    };

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
            };
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend(records.take(count).map(<[u8]>::to_vec));
            next
        }
    }

    #[test]
    fn retries_go_on_where_they_were_and_refused_records_are_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead");
        let options = Options::new(MIN_BYTES, vec!["a".to_owned()]);
        let (mut writer, spool, _) =
            spool::open(Memory::default(), &options, [1; 16], Instant::now()).unwrap();
        for payload in ["a", "b", "c", "d", "e"] {
            writer.append(Lane::Kept, payload.as_bytes());
        }
        writer.close(Instant::now());
        let why = || io::ErrorKind::ConnectionRefused.into();
        let after = Some(Duration::ZERO);
        let first = vec![
            Delivery::Retry { done: 0, why: why(), after },
            Delivery::Retry { done: 2, why: why(), after },
            Delivery::Reject { done: 1, why: Refusal::Unmappable },
        ];
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sink = Script { first, taken: Arc::clone(&taken) };
        let reader = Reader::new(&spool, "a").unwrap();
        let dead = DeadLetters::new(path.clone());
        DeliveryLoop::new("a".to_owned(), reader, Box::new(sink), dead, Stop::default()).run();
        assert_eq!(taken.lock().unwrap().concat(), b"abce");
        let counts = &spool.counts()[0];
        assert_eq!((counts.delivered, counts.dead, counts.lost, counts.pending), (4, 1, 0, 0));
        let kept = std::fs::read_to_string(path).unwrap();
        assert_eq!(kept, "# it has no form in this format\nd\n");
    }
}

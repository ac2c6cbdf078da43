//! Events as lines on standard output or into a file, or on to the sinks.
//!
//! In: events, at the workers, which number and encode them ([`Lines`]). Out: batches of lines over
//! a bounded channel to the output thread ([`Output::run`]), which does nothing but write. A worker
//! sends what it has when nothing more is waiting, so that a reader is never behind an idle agent.
//! Where the output is behind, a worker waits for it; on the way to sinks, while capturing, it does
//! not ([`Shed`]): a disk that stalls costs events, which are counted, and no bytes of others.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Write},
    mem,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use serde::Serialize;

use crate::{
    event::{
        human::{self, Colour},
        json,
        model::{Event, ServerOutcome, Severity},
        notice::Notice,
    },
    policy::judgement::Verdict,
    sinks::export::Export,
    spool::Lane,
};

/// Length at which a batch is sent, in bytes: some sixty events, so that neither the channel nor
/// the write counts.
const BATCH: usize = 64 * 1024;

/// Batches that wait for the output: with [`BATCH`], 4 MiB and what the last events go beyond it.
const QUEUE: usize = 64;

/// The same where nobody waits for it: with [`BATCH`], 64 MiB, some seconds of a busy host.
const DEEP_QUEUE: usize = 1024;

/// Bytes of events that a worker holds while the queue is full.
const HELD: usize = 8 * 1024 * 1024;

/// How events are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One readable line an event.
    Human(Colour),
    /// One JSON object a line.
    Json,
}

/// Where events go.
pub struct Output {
    to: To,
    format: Format,
    shed: Option<Arc<Shed>>,
}

/// How many events were dropped because the way to the spool was full.
#[derive(Debug, Default)]
pub struct Shed(AtomicU64);

impl Shed {
    /// How many it were since this was asked last.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }

    fn count(&self, events: usize) {
        self.0.fetch_add(events as u64, Ordering::Relaxed);
    }
}

enum To {
    Lines(Box<dyn Write + Send>),
    Sinks(Box<Export>),
}

/// An encoded event, without line end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Line<'a> {
    /// What it says.
    pub text: &'a str,
    /// What becomes of it when there is no room.
    pub lane: Lane,
    /// Whether it is known to be JSON in canonical form.
    pub is_canonical: bool,
}

/// Encoded events.
#[derive(Debug, Default)]
pub struct Batch {
    lines: String,
    ends: Vec<Ended>,
}

/// Where a line of a batch ends, and what else is known of it, as of a [`Line`].
#[derive(Clone, Copy, Debug)]
struct Ended {
    at: usize,
    lane: Lane,
    is_canonical: bool,
}

impl Batch {
    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |Ended { at, lane, is_canonical }| {
            let text = self.lines.get(start..at.saturating_sub(1)).unwrap_or_default();
            start = *at;
            Line { text, lane: *lane, is_canonical: *is_canonical }
        })
    }

    fn push(&mut self, line: Line<'_>) {
        self.lines.push_str(line.text);
        self.end_line(line.lane, line.is_canonical);
    }

    fn end_line(&mut self, lane: Lane, is_canonical: bool) {
        self.lines.push('\n');
        self.ends.push(Ended { at: self.lines.len(), lane, is_canonical });
    }

    /// Removes what need not be kept; how many events that is.
    fn keep_what_matters(&mut self) -> usize {
        let before = self.ends.len();
        let mut kept = Self::default();
        self.lines().filter(|line| line.lane == Lane::Kept).for_each(|line| kept.push(line));
        *self = kept;
        before - self.ends.len()
    }
}

/// A worker's way to the output.
pub struct Lines {
    format: Format,
    /// Number of the next event of the run: all workers count on.
    numbers: Arc<AtomicU64>,
    batch: Batch,
    /// Length of the batch at which it is sent.
    due: usize,
    to: Sender<Batch>,
    shed: Option<Arc<Shed>>,
}

impl Output {
    /// Standard output; as `format`, or if that is not given, readable on a terminal and JSON
    /// elsewhere.
    #[must_use]
    pub fn stdout(format: Option<Format>) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let format =
            format.unwrap_or(if terminal { Format::Human(Colour::On) } else { Format::Json });
        Self { to: To::Lines(Box::new(stdout)), format, shed: None }
    }

    /// Appends to a file, which is made readable by its owner only; JSON if not told otherwise.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &Path, format: Option<Format>) -> io::Result<Self> {
        let file: File = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let format = format.unwrap_or(Format::Json);
        Ok(Self { to: To::Lines(Box::new(file)), format, shed: None })
    }

    /// By way of the spool to all sinks.
    #[must_use]
    pub fn sinks(export: Export) -> Self {
        Self { to: To::Sinks(Box::new(export)), format: Format::Json, shed: None }
    }

    /// The same, but on the way to sinks workers drop what finds no room, and do not wait.
    #[must_use]
    pub fn shedding(self) -> Self {
        let shed = match &self.to {
            To::Sinks(export) => Some(export.shed()),
            To::Lines(_) => None,
        };
        Self { shed, ..self }
    }

    /// The ends of the channel: what a worker writes to (a clone for each), and what
    /// [`Output::run`] reads.
    #[must_use]
    pub fn channel(&self) -> (Lines, Receiver<Batch>) {
        let (to, batches) = bounded(if self.shed.is_some() { DEEP_QUEUE } else { QUEUE });
        (Lines::new(self.format, to, self.shed.clone()), batches)
    }

    /// Writes batches until the channel is closed; how many events were written.
    ///
    /// # Errors
    /// Writing fails; the events from there on are lost, so the caller stops the agent.
    pub fn run(self, batches: &Receiver<Batch>) -> io::Result<u64> {
        let mut to = match self.to {
            To::Lines(to) => to,
            To::Sinks(export) => return Ok(export.run(batches)),
        };
        let mut written = 0;
        for Batch { lines, ends } in batches {
            to.write_all(lines.as_bytes())?;
            to.flush()?;
            written += ends.len() as u64;
        }
        Ok(written)
    }
}

impl Clone for Lines {
    fn clone(&self) -> Self {
        let lines = Self::new(self.format, self.to.clone(), self.shed.clone());
        Self { numbers: Arc::clone(&self.numbers), ..lines }
    }
}

impl Lines {
    fn new(format: Format, to: Sender<Batch>, shed: Option<Arc<Shed>>) -> Self {
        let numbers = Arc::new(AtomicU64::new(0));
        Self { format, numbers, batch: Batch::default(), due: BATCH, to, shed }
    }

    /// Numbers the event of an exchange and encodes it.
    pub fn push(&mut self, event: &mut Event) {
        event.event.seq = self.number();
        match self.format {
            // What an `access` says already is not said twice to people.
            Format::Human(_) if !human::is_shown(event) => {}
            Format::Human(colour) => {
                self.append_text(&human::line(event, None, colour), lane(event));
            }
            Format::Json => self.append_json(event, lane(event)),
        }
    }

    /// Numbers an event of the agent itself and encodes it.
    pub fn push_notice(&mut self, mut notice: Notice) {
        notice.event.seq = self.number();
        match self.format {
            Format::Human(colour) => {
                self.append_text(&human::notice_line(&notice, colour), Lane::Kept);
            }
            Format::Json => self.append_json(&notice, Lane::Kept),
        }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn append_json(&mut self, event: &impl Serialize, lane: Lane) {
        match json::append(event, &mut self.batch.lines) {
            Ok(is_canonical) => self.batch.end_line(lane, is_canonical),
            Err(error) => tracing::error!(%error, "event not encoded"),
        }
        self.send_if_due();
    }

    fn append_text(&mut self, text: &str, lane: Lane) {
        self.batch.push(Line { text, lane, is_canonical: false });
        self.send_if_due();
    }

    fn send_if_due(&mut self) {
        if self.batch.lines.len() >= self.due {
            self.flush();
        }
    }

    /// Sends what is there.
    pub fn flush(&mut self) {
        if self.batch.ends.is_empty() {
            return;
        }
        let batch = mem::take(&mut self.batch);
        let full = match &self.shed {
            None => {
                // The output ended, which it does before its time only when it cannot write: the
                // run is ending, too.
                let _ = self.to.send(batch);
                None
            }
            Some(shed) => match self.to.try_send(batch) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => None,
                Err(TrySendError::Full(batch)) => Some((batch, shed)),
            },
        };
        if let Some((mut batch, shed)) = full {
            if batch.lines.len() > HELD {
                shed.count(batch.keep_what_matters());
            }
            if batch.lines.len() > HELD {
                shed.count(batch.ends.len());
                batch = Batch::default();
            }
            // Looked at again when as much has come as a batch has.
            self.due = batch.lines.len() + BATCH;
            self.batch = batch;
        } else {
            self.due = BATCH;
            self.batch.lines.reserve(BATCH + BATCH / 4);
        }
    }
}

/// What becomes of an event when there is no room: what deserves attention, and what a server or
/// the policy denied, goes last.
fn lane(event: &Event) -> Lane {
    let authz = &event.authz;
    let is_denied =
        authz.server_outcome == ServerOutcome::Denied || authz.verdict == Some(Verdict::Deny);
    if is_denied || event.event.severity >= Severity::Medium { Lane::Kept } else { Lane::Bulk }
}

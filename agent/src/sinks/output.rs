//! Events as lines on standard output or into a file.
//!
//! In: events, at the workers, which number and encode them ([`Lines`]). Out: batches of lines over
//! a bounded channel to the output thread ([`Output::run`]), which does nothing but write. A worker
//! sends what it has when nothing more is waiting, so that a reader is never behind an idle agent.

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

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;

use crate::event::{
    human::{self, Colour},
    json,
    model::Event,
    notice::Notice,
};

/// Length at which a batch is sent, in bytes: some sixty events, so that neither the channel nor
/// the write counts.
const BATCH: usize = 64 * 1024;

/// Batches that wait for the output: with [`BATCH`], 4 MiB and what the last events go beyond it.
const QUEUE: usize = 64;

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
    to: Box<dyn Write + Send>,
    format: Format,
}

/// Encoded events.
#[derive(Debug, Default)]
pub struct Batch {
    lines: Vec<u8>,
    events: u64,
}

/// A worker's way to the output.
pub struct Lines {
    format: Format,
    /// Number of the next event of the run: all workers count on.
    numbers: Arc<AtomicU64>,
    batch: Batch,
    to: Sender<Batch>,
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
        Self { to: Box::new(stdout), format }
    }

    /// Appends to a file, which is made readable by its owner only; JSON if not told otherwise.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &Path, format: Option<Format>) -> io::Result<Self> {
        let file: File = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { to: Box::new(file), format: format.unwrap_or(Format::Json) })
    }

    /// The ends of the channel: what a worker writes to (a clone for each), and what
    /// [`Output::run`] reads.
    #[must_use]
    pub fn channel(&self) -> (Lines, Receiver<Batch>) {
        let (to, batches) = bounded(QUEUE);
        let numbers = Arc::new(AtomicU64::new(0));
        (Lines { format: self.format, numbers, batch: Batch::default(), to }, batches)
    }

    /// Writes batches until the channel is closed; how many events were written.
    ///
    /// # Errors
    /// Writing fails; the events from there on are lost, so the caller stops the agent.
    pub fn run(mut self, batches: &Receiver<Batch>) -> io::Result<u64> {
        let mut written = 0;
        for Batch { lines, events } in batches {
            self.to.write_all(&lines)?;
            self.to.flush()?;
            written += events;
        }
        Ok(written)
    }
}

impl Clone for Lines {
    fn clone(&self) -> Self {
        let Self { format, numbers, batch: _, to } = self;
        let (numbers, to) = (Arc::clone(numbers), to.clone());
        Self { format: *format, numbers, batch: Batch::default(), to }
    }
}

impl Lines {
    /// Numbers the event of an exchange and encodes it.
    pub fn push(&mut self, mut event: Event) {
        event.event.seq = self.number();
        match self.format {
            // What an `access` says already is not said twice to people.
            Format::Human(_) if !human::is_shown(&event) => {}
            Format::Human(colour) => self.append_text(&human::line(&event, None, colour)),
            Format::Json => self.append_json(&event),
        }
    }

    /// Numbers an event of the agent itself and encodes it.
    pub fn push_notice(&mut self, mut notice: Notice) {
        notice.event.seq = self.number();
        match self.format {
            Format::Human(colour) => self.append_text(&human::notice_line(&notice, colour)),
            Format::Json => self.append_json(&notice),
        }
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn append_json(&mut self, event: &impl Serialize) {
        match json::append(event, &mut self.batch.lines) {
            Ok(()) => self.end_line(),
            Err(error) => tracing::error!(%error, "event not encoded"),
        }
    }

    fn append_text(&mut self, line: &str) {
        self.batch.lines.extend_from_slice(line.as_bytes());
        self.end_line();
    }

    fn end_line(&mut self) {
        let lines = &mut self.batch.lines;
        lines.push(b'\n');
        self.batch.events += 1;
        if lines.len() >= BATCH {
            self.flush();
        }
    }

    /// Sends what is there.
    pub fn flush(&mut self) {
        if self.batch.events > 0 {
            // The output ended, which it does before its time only when it cannot write: the run
            // is ending, too.
            let _ = self.to.send(mem::take(&mut self.batch));
            self.batch.lines.reserve(BATCH + BATCH / 4);
        }
    }
}

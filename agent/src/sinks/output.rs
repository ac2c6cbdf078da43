//! Events as lines on standard output or into a file.
//!
//! In: events over a bounded channel. Out: one line each, flushed whenever no more are waiting, so
//! that a reader is never behind an idle agent.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, IsTerminal as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use crossbeam_channel::{Receiver, TryRecvError};

use crate::event::{
    human::{self, Colour},
    json,
    model::Event,
};

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

impl Output {
    /// Standard output; as `format`, or if that is not given, readable on a terminal and JSON
    /// elsewhere.
    #[must_use]
    pub fn stdout(format: Option<Format>) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let format =
            format.unwrap_or(if terminal { Format::Human(Colour::On) } else { Format::Json });
        Self { to: Box::new(BufWriter::new(stdout)), format }
    }

    /// Appends to a file, which is made readable by its owner only; JSON if not told otherwise.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn file(path: &Path, format: Option<Format>) -> io::Result<Self> {
        let file: File = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { to: Box::new(BufWriter::new(file)), format: format.unwrap_or(Format::Json) })
    }

    /// Writes events until the channel is closed; how many were written.
    ///
    /// # Errors
    /// Writing fails; the events from there on are lost, so the caller stops the agent.
    pub fn run(mut self, events: &Receiver<Event>) -> io::Result<u64> {
        let mut written = 0;
        loop {
            let event = match events.try_recv() {
                Ok(event) => event,
                Err(TryRecvError::Empty) => {
                    self.to.flush()?;
                    let Ok(event) = events.recv() else { break };
                    event
                }
                Err(TryRecvError::Disconnected) => break,
            };
            self.write(event, written)?;
            written += 1;
        }
        self.to.flush()?;
        Ok(written)
    }

    fn write(&mut self, mut event: Event, seq: u64) -> io::Result<()> {
        event.event.seq = seq;
        let line = match self.format {
            Format::Human(colour) => human::line(&event, None, colour),
            Format::Json => json::line(&event)?,
        };
        self.to.write_all(line.as_bytes())?;
        self.to.write_all(b"\n")
    }
}

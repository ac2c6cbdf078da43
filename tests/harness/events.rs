//! Events as a SIEM would read them.
//!
//! In: a file of JSON lines that the agent is still writing. Out: its complete lines, and the event
//! that belongs to a given request.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::wait_until;

/// A growing file of events, each line read once.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    offset: u64,
    unfinished: Vec<u8>,
    events: Vec<Value>,
}

impl EventLog {
    /// The log at `path`, which need not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, unfinished: Vec::new(), events: Vec::new() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All events whose line is complete.
    ///
    /// # Errors
    /// When the file cannot be read or a line is not JSON.
    pub fn read(&mut self) -> Result<&[Value]> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(&self.events),
            opened => opened.context("open the event log")?,
        };
        file.seek(SeekFrom::Start(self.offset)).context("seek in the event log")?;
        let read = file.read_to_end(&mut self.unfinished).context("read the event log")?;
        self.offset = self.offset.saturating_add(u64::try_from(read)?);
        if let Some(end) = self.unfinished.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.unfinished.split_off(end.saturating_add(1));
            let lines = std::mem::replace(&mut self.unfinished, rest);
            self.events.extend(parse(&lines)?);
        }
        Ok(&self.events)
    }

    /// Reads until `enough` holds of all events so far.
    ///
    /// # Errors
    /// When it does not within `timeout`, or reading fails.
    pub fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        mut enough: impl FnMut(&[Value]) -> bool,
    ) -> Result<()> {
        wait_until(what, timeout, || Ok(enough(self.read()?).then_some(())))
            .with_context(|| format!("{} events were there", self.events.len()))
    }

    /// Reads what is left and hands all events over.
    ///
    /// # Errors
    /// When reading fails.
    pub fn into_events(mut self) -> Result<Vec<Value>> {
        self.read()?;
        Ok(self.events)
    }
}

/// Events of JSON `lines`; empty lines count for nothing.
///
/// # Errors
/// When a line is not JSON.
pub fn parse(lines: &[u8]) -> Result<Vec<Value>> {
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line)
                .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(line)))
        })
        .collect()
}

/// The text at `pointer` (RFC 6901).
#[must_use]
pub fn text<'event>(event: &'event Value, pointer: &str) -> Option<&'event str> {
    event.pointer(pointer).and_then(Value::as_str)
}

/// The number at `pointer`.
#[must_use]
pub fn number(event: &Value, pointer: &str) -> Option<u64> {
    event.pointer(pointer).and_then(Value::as_u64)
}

/// Whether `event` tells of an exchange at its end. One that lasts, on a slow machine any, is told
/// before that, too.
#[must_use]
pub fn is_over(event: &Value) -> bool {
    text(event, "/event/type") == Some("access")
}

/// What tells one side of one request from all other events.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sought {
    /// `client` or `server`: which end of the connection was observed.
    pub role: &'static str,
    /// Method of the request.
    pub method: String,
    /// Path without query, as it was sent.
    pub path: String,
    /// The client's port.
    pub client_port: u16,
    /// The server's port.
    pub server_port: u16,
}

impl Sought {
    /// Whether `event` is the one: observed from that end, or from the other one and telling of
    /// both.
    #[must_use]
    pub fn matches(&self, event: &Value) -> bool {
        let told = text(event, "/observation/role") == Some(self.role)
            || event.pointer("/peer/pid").is_some();
        told && is_over(event)
            && text(event, "/http/method") == Some(&self.method)
            && text(event, "/http/path") == Some(&reported(&self.path))
            && number(event, "/client/port") == Some(self.client_port.into())
            && number(event, "/server/port") == Some(self.server_port.into())
    }

    /// The events that match, in order.
    pub fn all<'event>(&self, events: &'event [Value]) -> Vec<&'event Value> {
        events.iter().filter(|event| self.matches(event)).collect()
    }
}

/// How an event tells of `path`: numbers in it may name people or things, and are not told.
fn reported(path: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = path.split('/').map(|part| if is_number(part) { "{int}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// How many events were observed in the server on `port`.
#[must_use]
pub fn served_on(events: &[Value], port: u16) -> usize {
    let served = |event: &&Value| {
        is_over(event)
            && text(event, "/observation/role") == Some("server")
            && number(event, "/server/port") == Some(port.into())
    };
    events.iter().filter(served).count()
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _};

    use super::*;

    #[test]
    fn numbers_in_paths_are_not_told() {
        assert_eq!(reported("/api/orders/1001/lines"), "/api/orders/{int}/lines");
        assert_eq!(reported("/static/v2.bin"), "/static/v2.bin");
    }

    #[test]
    fn a_line_counts_once_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut log = EventLog::new(&path);
        assert_eq!(log.read().unwrap().len(), 0);
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(b"{\"a\":1}\n{\"a\":").unwrap();
        assert_eq!(log.read().unwrap().len(), 1);
        file.write_all(b"2}\n").unwrap();
        assert_eq!(number(&log.read().unwrap()[1], "/a"), Some(2));
        file.write_all(b"nonsense\n").unwrap();
        assert!(log.read().is_err());
    }
}

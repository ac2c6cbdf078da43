//! One direction of a connection: its records, its keys, its place in both.
//!
//! In: ciphertext and losses; keys. Out: [`Event`]s. Record numbers advance by one per record;
//! after a loss a window of numbers is tried, and the tag tells which is right.

use super::{
    handshake::{Message, Messages},
    protect::{Opened, RecordOpener},
    reader::Malformed,
    record::{ContentType, HEADER, Loss, MAX_FRAGMENT, Next, Record, RecordCursor},
    schedule::{next_generation, traffic_keys},
    secret::{Secret, Stage},
    suite::{Suite, Version},
};
use crate::clock::Timestamp;

/// Record numbers tried for one record after a loss. A gap of this many records is some 64 MiB of
/// bulk data; more is counted from below by its size.
const WINDOW: u64 = 4096;

/// Opens tried since the last one that succeeded. Who can make us search can make us search for
/// nothing: this bounds what it costs, at some microseconds each.
const MAX_TRIES: u64 = 1 << 16;

/// Records that may fail to open in a row before a direction is given up.
const MAX_REFUSED: u32 = 64;

/// Record numbers tried for a secret that is not proved yet: keys that begin in a loss have not
/// come far.
const PROVING_WINDOW: u64 = 64;

/// Records that a secret is tried on where the first may belong to other keys.
const MAX_AHEAD: usize = 32;

/// Bytes of the smallest encrypted record: a header, a tag of eight bytes, a content type.
const MIN_RECORD: u64 = 14;

/// Smallest fragment that is skipped unopened.
const MIN_SKIPPED: usize = scopewatch_common::MIN_SKIPPED as usize;

/// Keys of one direction, and where it stands under them.
pub(super) struct Keys {
    pub opener: RecordOpener,
    /// Number of the next record.
    pub number: u64,
    pub stage: Stage,
    pub suite: &'static Suite,
    /// TLS 1.3: the traffic secret, from which a key update follows.
    pub traffic: Option<Secret>,
}

impl Keys {
    /// Keys of a TLS 1.3 traffic secret.
    pub fn of_traffic(suite: &'static Suite, stage: Stage, traffic: Secret) -> Option<Self> {
        let opener = RecordOpener::new(suite, &traffic_keys(suite, &traffic)?, false)?;
        Some(Self { opener, number: 0, stage, suite, traffic: Some(traffic) })
    }

    /// The next generation of application keys (RFC 8446 §7.2).
    pub fn updated(&self) -> Option<Self> {
        let traffic = self.traffic.as_ref().filter(|_| self.stage == Stage::Application)?;
        Self::of_traffic(self.suite, self.stage, next_generation(self.suite.hash, traffic)?)
    }
}

/// How the records that come next are protected.
#[derive(Default)]
pub(super) enum Mode {
    /// Not at all.
    #[default]
    Plain,
    /// By keys that are not known yet.
    Waiting(Stage),
    /// By these keys.
    Open(Box<Keys>),
}

/// What happened next in a direction.
pub(super) enum Event {
    /// More bytes are needed.
    Idle,
    /// Everything was taken.
    Ended,
    /// These bytes are no record.
    NotTls,
    /// Records were lost, or could not be opened.
    Lost { at: Timestamp, at_most: Option<u64> },
    /// A record of early data that its keys are missing for, taken.
    Unwanted { at: Timestamp, bytes: u64 },
    /// A record in clear, taken.
    Clear { content: ContentType, bytes: Vec<u8>, at: Timestamp },
    /// A record that was opened, taken; `skipped` bytes were passed over to find it.
    Opened { opened: Opened, at: Timestamp, skipped: u64 },
    /// A record of data that was not opened, as asked, taken.
    Skipped { bytes: u64, at: Timestamp },
    /// A record lies ready that cannot be opened in this mode.
    Sealed { content: ContentType, at: Timestamp },
    /// Too much was tried.
    Exhausted,
}

/// Records that may have been lost since one was last opened.
#[derive(Clone, Copy, Default)]
struct Missing {
    at_least: u64,
    at_most: u64,
}

/// One direction.
#[derive(Default)]
pub(super) struct Lane {
    pub cursor: RecordCursor,
    pub mode: Mode,
    /// Whether its hello was read.
    pub greeted: bool,
    /// Whether something was lost since a record was last opened.
    pub torn: bool,
    /// Whether early data is in the way of the handshake, and cannot or need not be opened.
    pub unwanted: bool,
    /// Whether a record lies ready that only a secret can open.
    pub sealed: bool,
    /// Bytes of plaintext that were opened or skipped.
    pub offset: u64,
    /// Bytes of plaintext that need not be opened.
    pub skip: u64,
    pub closed: bool,
    messages: Messages,
    held: Option<Message>,
    missing: Missing,
    tries: u64,
    refused: u32,
}

impl Lane {
    /// The next handshake message.
    pub fn message(&mut self) -> Result<Option<Message>, Malformed> {
        match self.held.take() {
            Some(message) => Ok(Some(message)),
            None => self.messages.next_message(),
        }
    }

    /// Puts a message back that cannot be handled before the other direction has moved.
    pub fn hold(&mut self, message: Message) {
        self.held = Some(message);
    }

    /// Appends a fragment of a handshake record.
    pub fn feed_messages(&mut self, fragment: &[u8]) {
        self.messages.feed(fragment);
    }

    /// The stage that the lane waits for or reads in.
    pub fn stage(&self) -> Option<Stage> {
        match &self.mode {
            Mode::Plain => None,
            Mode::Waiting(stage) => Some(*stage),
            Mode::Open(keys) => Some(keys.stage),
        }
    }

    /// Changes how the next records are protected.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.sealed = false;
        // Which of the lost records were under the new keys, nobody knows.
        self.missing.at_least = 0;
    }

    /// Forgets all that is held.
    pub fn clear(&mut self) {
        self.cursor.clear();
        self.messages.clear();
        self.held = None;
        self.sealed = false;
    }

    /// What comes next.
    pub fn event(&mut self) -> Event {
        loop {
            let record = match self.cursor.next_record() {
                Next::More(_) => return self.skip_partial().unwrap_or(Event::Idle),
                Next::End => return Event::Ended,
                Next::NotTls => return Event::NotTls,
                Next::Lost(loss) => return self.lose(loss),
                Next::Record(record) => record,
            };
            let at = record.at;
            match &mut self.mode {
                // Nothing proves a record in clear: what follows waits for keys.
                Mode::Plain if self.torn => return Event::Idle,
                Mode::Plain => match record.content {
                    ContentType::ChangeCipherSpec | ContentType::ApplicationData => {
                        return Event::Sealed { content: record.content, at };
                    }
                    ContentType::Alert | ContentType::Handshake => return self.clear_record(),
                },
                Mode::Waiting(_) if self.tries > MAX_TRIES => return Event::Exhausted,
                Mode::Waiting(_) => {
                    self.sealed = true;
                    return Event::Sealed { content: record.content, at };
                }
                Mode::Open(keys) if foreign(keys, &record) => return self.clear_record(),
                Mode::Open(_) => {
                    if let Some(event) = self.open_record() {
                        return event;
                    }
                }
            }
        }
    }

    /// Skips the record that is on its way, if it need not be opened: the rest of it is not held.
    fn skip_partial(&mut self) -> Option<Event> {
        let Mode::Open(keys) = &mut self.mode else { return None };
        if self.torn || self.skip == 0 {
            return None;
        }
        let (ContentType::ApplicationData, length) = self.cursor.partial()? else { return None };
        let bytes = skippable(keys, length, self.skip)?;
        keys.number = keys.number.saturating_add(1);
        self.skip = self.skip.saturating_sub(bytes);
        Some(Event::Skipped { bytes, at: self.cursor.pass_over() })
    }

    /// See [`Connection::unwanted`](super::open::Connection::unwanted).
    pub fn unwanted(&self) -> Option<(i64, u64)> {
        let Mode::Open(keys) = &self.mode else { return None };
        keys.opener.plaintext_length(MIN_SKIPPED)?;
        let open = !self.torn && self.skip > 0 && keys.stage != Stage::Handshake;
        self.cursor.boundary().filter(|_| open).map(|ahead| (ahead, self.skip))
    }

    /// Takes the next record as it is.
    pub fn clear_record(&mut self) -> Event {
        let Next::Record(record) = self.cursor.next_record() else { return Event::Idle };
        let (content, at, bytes) = (record.content, record.at, record.fragment.to_vec());
        self.cursor.consume();
        self.sealed = false;
        Event::Clear { content, bytes, at }
    }

    /// Whether these keys open what lies ready.
    pub fn proves(&mut self, keys: &Keys) -> bool {
        let (records, last) = match (self.torn, self.unwanted) {
            (false, false) => (1, 0),
            (false, true) => (MAX_AHEAD, 0),
            (true, _) => (MAX_AHEAD, self.missing.at_most.min(PROVING_WINDOW)),
        };
        let tries = &mut self.tries;
        self.cursor.ahead().take(records).any(|record| {
            (0..=last).any(|number| {
                *tries = tries.saturating_add(u64::from(records > 1));
                *tries <= MAX_TRIES && keys.opener.open(number, &record).is_some()
            })
        })
    }

    /// Opens the next record, or refuses it; nothing if another place must be tried.
    fn open_record(&mut self) -> Option<Event> {
        let Next::Record(record) = self.cursor.next_record() else { return Some(Event::Idle) };
        let Mode::Open(keys) = &mut self.mode else { return Some(Event::Idle) };
        let (at, length, searched) = (record.at, record.fragment.len(), record.searched);
        if !self.torn
            && record.content == ContentType::ApplicationData
            && let Some(bytes) = skippable(keys, length, self.skip)
        {
            keys.number = keys.number.saturating_add(1);
            self.cursor.consume();
            self.skip = self.skip.saturating_sub(bytes);
            return Some(Event::Skipped { bytes, at });
        }
        let opened = if self.torn {
            search(keys, &record, self.missing, &mut self.tries)
        } else {
            keys.opener.open(keys.number, &record).map(|opened| (keys.number, opened))
        };
        let Some((number, opened)) = opened else {
            return self.refuse(at, length, searched);
        };
        keys.number = number.saturating_add(1);
        let skipped = self.cursor.take_skipped();
        self.cursor.consume();
        (self.torn, self.unwanted, self.missing) = (false, false, Missing::default());
        (self.tries, self.refused) = (0, 0);
        Some(Event::Opened { opened, at, skipped })
    }

    fn refuse(&mut self, at: Timestamp, length: usize, searched: bool) -> Option<Event> {
        if self.tries > MAX_TRIES {
            return Some(Event::Exhausted);
        }
        if searched {
            self.cursor.reject();
            return None;
        }
        self.cursor.consume();
        if self.unwanted {
            return Some(Event::Unwanted { at, bytes: length as u64 });
        }
        self.refused = self.refused.saturating_add(1);
        if self.refused > MAX_REFUSED {
            return Some(Event::Exhausted);
        }
        self.tear(Missing { at_least: u64::from(!self.torn), at_most: 1 });
        Some(Event::Lost { at, at_most: Some(length as u64) })
    }

    fn lose(&mut self, loss: Loss) -> Event {
        if let (Some((ContentType::ApplicationData, length)), Mode::Open(keys), false) =
            (loss.record, &mut self.mode, self.torn)
            && let Some(bytes) = skippable(keys, length, self.skip)
        {
            keys.number = keys.number.saturating_add(1);
            self.skip = self.skip.saturating_sub(bytes);
            return Event::Skipped { bytes, at: loss.at };
        }
        let known = (loss.bytes != u64::MAX).then_some(loss.bytes);
        self.tear(match (loss.record, known) {
            (Some(_), _) => Missing { at_least: 1, at_most: 1 },
            (None, Some(bytes)) => Missing {
                at_least: bytes / (MAX_FRAGMENT.saturating_add(HEADER) as u64),
                at_most: (bytes / MIN_RECORD).saturating_add(1),
            },
            (None, None) => Missing { at_least: 0, at_most: WINDOW },
        });
        Event::Lost { at: loss.at, at_most: known }
    }

    fn tear(&mut self, missing: Missing) {
        self.torn = true;
        self.messages.clear();
        self.missing.at_least = self.missing.at_least.saturating_add(missing.at_least);
        self.missing.at_most = self.missing.at_most.saturating_add(missing.at_most);
    }
}

/// Whether a record is in clear although keys are set: TLS 1.3's ChangeCipherSpec for middleboxes
/// (RFC 8446 §D.4), and the alert of a client that could not make keys.
fn foreign(keys: &Keys, record: &Record<'_>) -> bool {
    keys.suite.version == Version::Tls13
        && !record.searched
        && match record.content {
            ContentType::ChangeCipherSpec => true,
            ContentType::Alert => keys.stage == Stage::Handshake,
            ContentType::Handshake | ContentType::ApplicationData => false,
        }
}

/// Plaintext bytes of a record that lies wholly in what need not be opened.
fn skippable(keys: &Keys, length: usize, skip: u64) -> Option<u64> {
    let bytes = keys.opener.plaintext_length(length)? as u64;
    (length >= MIN_SKIPPED && bytes <= skip && keys.stage != Stage::Handshake).then_some(bytes)
}

/// Tries a window of record numbers, then the keys that an update would have brought.
fn search(
    keys: &mut Keys,
    record: &Record<'_>,
    missing: Missing,
    tries: &mut u64,
) -> Option<(u64, Opened)> {
    let mut attempt = |keys: &Keys, first: u64, width: u64| {
        (first..=first.saturating_add(width)).find_map(|number| {
            *tries = tries.saturating_add(1);
            keys.opener.open(number, record).map(|opened| (number, opened))
        })
    };
    let width = missing.at_most.saturating_sub(missing.at_least).min(WINDOW);
    let first = keys.number.saturating_add(missing.at_least);
    if let Some(found) = attempt(keys, first, width) {
        return Some(found);
    }
    let updated = keys.updated()?;
    let found = attempt(&updated, 0, missing.at_most.min(WINDOW))?;
    *keys = updated;
    Some(found)
}

//! One connection, opened passively: ciphertext of both directions and secrets in, plaintext and
//! facts of the handshake out.
//!
//! Nothing blocks and nothing is guessed: a direction whose next record cannot be opened yet keeps
//! its ciphertext, up to a bound, and [`Connection::needs`] says which secrets would help. A
//! record's tag proves a secret; one that proves nothing changes nothing. The handshake's own
//! steps are in `greet.rs`, the trial of secrets in `unlock.rs`.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    authentication::Authentication,
    greet::Greeting,
    handshake::Message,
    lane::{Event, Lane, Mode},
    output::{Output, Reason, Side, State},
    pool::HitId,
    protect::Opened,
    record::ContentType,
    secret::{Need, Origin, Shown, Stage},
    tls12::Handshake,
    tls13::Tls13,
};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Direction,
};

/// How long, in stream time, early data that the server took may wait for its secret before the
/// rest of its direction goes on without it.
pub const EARLY_PATIENCE: u64 = NANOS_PER_SEC;

/// What both sides have agreed on so far.
pub(super) enum Phase {
    /// No ServerHello yet.
    Hello,
    /// TLS 1.3.
    Tls13(Box<Tls13>),
    /// TLS 1.2: its handshakes in order.
    Tls12(Vec<Handshake>),
}

/// One direction, and what belongs to it alone.
#[derive(Default)]
pub(super) struct Half {
    pub lane: Lane,
    /// TLS 1.2: handshake that the next ChangeCipherSpec puts into force.
    pub pending: Option<usize>,
    /// TLS 1.2: handshake in force.
    pub current: Option<usize>,
    /// Whether a ChangeCipherSpec was read whose effect waits for the other direction.
    pub turning: bool,
    /// When the record that was taken last was complete.
    pub at: Timestamp,
    /// Newest hit that was tried here.
    pub(super) seen: HitId,
}

/// A connection. Holds at most [`MAX_HELD`](super::record::MAX_HELD) bytes of ciphertext and one
/// handshake message per direction, besides outputs that were not taken.
pub struct Connection {
    pub(super) inbound: Half,
    pub(super) outbound: Half,
    /// The direction in which the client sends.
    pub(super) client: Option<Direction>,
    /// The direction whose records were the first to be protected by a secret.
    pub(super) first_sealed: Option<Direction>,
    pub(super) phase: Phase,
    pub(super) greeting: Greeting,
    pub(super) authentication: Authentication,
    pub(super) outputs: VecDeque<Output>,
    pub(super) origins: Vec<Origin>,
    /// What was asked for, and shown, when the first record opened.
    pub(super) proof: Option<(Need, Shown)>,
    latest: Timestamp,
    pub(super) failed: Option<Reason>,
}

/// Whether a step changed anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Moved,
    Waits,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Connection {
    /// A connection of which nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inbound: Half::default(),
            outbound: Half::default(),
            client: None,
            first_sealed: None,
            phase: Phase::Hello,
            greeting: Greeting::default(),
            authentication: Authentication::default(),
            outputs: VecDeque::new(),
            origins: Vec::new(),
            proof: None,
            latest: Timestamp::default(),
            failed: None,
        }
    }

    /// Appends ciphertext of one direction.
    pub fn feed(&mut self, direction: Direction, at: Timestamp, bytes: &[u8]) {
        self.change(direction, at, |lane| lane.cursor.feed(at, bytes));
    }

    /// States that `missing` bytes (at least one, `u64::MAX` if unknown) were not captured.
    pub fn gap(&mut self, direction: Direction, at: Timestamp, missing: u64) {
        self.change(direction, at, |lane| lane.cursor.gap(at, missing));
    }

    /// States that a direction has ended.
    pub fn end(&mut self, direction: Direction, at: Timestamp) {
        self.change(direction, at, |lane| lane.cursor.end_of_stream());
    }

    /// Leaves the next `bytes` of plaintext of a direction unopened, as far as whole records of
    /// application data lie in them; replaces what an earlier call left over.
    pub const fn skip(&mut self, direction: Direction, bytes: u64) {
        self.half_mut(direction).lane.skip = bytes;
    }

    /// Where records may begin that [`Self::skip`] leaves unopened: how far ahead of the last byte fed
    /// (or behind it, within a record that is not whole), and how many bytes of plaintext from there.
    /// `None` where the records' lengths don't tell that of their plaintext, or something is missing.
    #[must_use]
    pub fn unwanted(&self, direction: Direction) -> Option<(i64, u64)> {
        self.half(direction).lane.unwanted()
    }

    /// Takes the next thing learnt.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where the connection stands.
    #[must_use]
    pub fn state(&self) -> State {
        if let Some(reason) = self.failed {
            return State::Failed(reason);
        }
        if self.needs().next().is_some() {
            return State::WaitingForSecret;
        }
        let open = |half: &Half| matches!(half.lane.mode, Mode::Open(_));
        if open(&self.inbound) || open(&self.outbound) { State::Open } else { State::Handshake }
    }

    /// The direction in which the client sends, once its ClientHello was seen.
    #[must_use]
    pub const fn client(&self) -> Option<Direction> {
        self.client
    }

    /// The direction of the end that derived the first secret first: whoever seals a record has
    /// derived its key, and the other end cannot before it has that record's flight. In TLS 1.3 and
    /// where TLS 1.2 resumes, that is the server's; the client's where it sends early data, and in
    /// full handshakes of TLS 1.2.
    #[must_use]
    pub const fn first_sealed(&self) -> Option<Direction> {
        self.first_sealed
    }

    /// Ciphertext that is held, in bytes.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.inbound.lane.cursor.held().saturating_add(self.outbound.lane.cursor.held())
    }

    /// Whether TLS 1.3 is agreed on, if only by a HelloRetryRequest.
    pub(super) const fn is_tls13(&self) -> bool {
        matches!(self.phase, Phase::Tls13(_)) || self.greeting.retried()
    }

    /// Which end sends in this direction.
    pub(super) fn side(&self, direction: Direction) -> Option<Side> {
        let client = self.client?;
        Some(if client == direction { Side::Client } else { Side::Server })
    }

    pub(super) const fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    pub(super) const fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }

    pub(super) const fn lane(&mut self, direction: Direction) -> &mut Lane {
        &mut self.half_mut(direction).lane
    }

    fn change(&mut self, direction: Direction, at: Timestamp, change: impl FnOnce(&mut Lane)) {
        if self.failed.is_some() {
            return;
        }
        self.latest = self.latest.max(at);
        let half = self.half_mut(direction);
        // A secret that opened nothing may open what lies behind a loss.
        if half.lane.torn || half.lane.unwanted {
            half.seen = 0;
        }
        change(&mut half.lane);
        self.run();
    }

    pub(super) fn run(&mut self) {
        loop {
            let mut moved = false;
            for direction in [Direction::Outbound, Direction::Inbound] {
                match self.step(direction) {
                    Ok(step) => moved |= step == Step::Moved,
                    Err(reason) => return self.fail(reason),
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn fail(&mut self, reason: Reason) {
        self.failed = Some(reason);
        // Wipes the secrets.
        (self.phase, self.proof) = (Phase::Hello, None);
        for direction in [Direction::Outbound, Direction::Inbound] {
            let lane = self.lane(direction);
            lane.clear();
            lane.set_mode(Mode::Plain);
            if !lane.closed {
                lane.closed = true;
                let at = self.latest;
                self.outputs.push_back(Output::Gap { direction, at, at_most: None });
                self.outputs.push_back(Output::Closed { direction, at, clean: false });
            }
        }
    }

    fn step(&mut self, direction: Direction) -> Result<Step, Reason> {
        if self.failed.is_some() {
            return Ok(Step::Waits);
        }
        if let Some(message) = self.lane(direction).message()? {
            return self.handle(direction, message);
        }
        if self.half(direction).turning {
            return self.turn(direction);
        }
        if let Mode::Waiting(stage) = self.lane(direction).mode
            && let Some(keys) = self.derived(direction, stage)
        {
            self.lane(direction).set_mode(Mode::Open(Box::new(keys)));
        }
        match self.lane(direction).event() {
            Event::Idle => Ok(Step::Waits),
            Event::Ended => Ok(self.close(direction, self.latest, false)),
            // Whatever follows a close_notify is no affair of TLS.
            Event::NotTls if self.half(direction).lane.closed => {
                self.lane(direction).clear();
                Ok(Step::Waits)
            }
            Event::NotTls => Err(Reason::NotTls),
            Event::Exhausted => Err(Reason::Desynchronised),
            Event::Lost { at, at_most } => self.lose(direction, at, at_most),
            Event::Unwanted { at, bytes } => {
                if self.greeting.early_lost {
                    self.outputs.push_back(Output::Gap { direction, at, at_most: Some(bytes) });
                }
                Ok(Step::Moved)
            }
            Event::Clear { content, bytes, at } => {
                self.clear(direction, content, &bytes, at);
                Ok(Step::Moved)
            }
            Event::Opened { opened, at, skipped } => {
                Ok(self.opened(direction, opened, at, skipped))
            }
            Event::Skipped { bytes, at } => {
                let offset = self.advance(direction, bytes);
                self.outputs.push_back(Output::Skipped { direction, at, offset, bytes });
                Ok(Step::Moved)
            }
            Event::Sealed { content, at } => self.sealed(direction, content, at),
        }
    }

    /// Hands a message to the handshake, or puts it back until the other direction has moved.
    fn handle(&mut self, direction: Direction, message: Message) -> Result<Step, Reason> {
        match self.greet(direction, message)? {
            None => Ok(Step::Moved),
            Some(message) => {
                self.lane(direction).hold(message);
                Ok(Step::Waits)
            }
        }
    }

    fn lose(
        &mut self,
        direction: Direction,
        at: Timestamp,
        at_most: Option<u64>,
    ) -> Result<Step, Reason> {
        self.outputs.push_back(Output::Gap { direction, at, at_most });
        self.authentication.doubt();
        self.torn(direction)?;
        Ok(Step::Moved)
    }

    fn clear(&mut self, direction: Direction, content: ContentType, bytes: &[u8], at: Timestamp) {
        self.half_mut(direction).at = at;
        match content {
            ContentType::Handshake => self.lane(direction).feed_messages(bytes),
            ContentType::Alert => self.alert(direction, bytes, at),
            ContentType::ChangeCipherSpec | ContentType::ApplicationData => {}
        }
    }

    fn opened(
        &mut self,
        direction: Direction,
        opened: Opened,
        at: Timestamp,
        skipped: u64,
    ) -> Step {
        if skipped > 0 {
            self.authentication.doubt();
            self.outputs.push_back(Output::Gap { direction, at, at_most: Some(skipped) });
        }
        self.half_mut(direction).at = at;
        self.first_sealed.get_or_insert(direction);
        self.note_answer(direction, opened.content, at);
        match opened.content {
            ContentType::Handshake => self.lane(direction).feed_messages(&opened.plaintext),
            ContentType::Alert => self.alert(direction, &opened.plaintext, at),
            ContentType::ChangeCipherSpec => self.half_mut(direction).turning = true,
            ContentType::ApplicationData if opened.plaintext.is_empty() => {}
            ContentType::ApplicationData => {
                let length = opened.plaintext.len() as u64;
                let offset = self.advance(direction, length);
                let lane = self.lane(direction);
                lane.skip = lane.skip.saturating_sub(length);
                let bytes = Bytes::from(opened.plaintext);
                self.outputs.push_back(Output::Data { direction, at, offset, bytes });
            }
        }
        Step::Moved
    }

    fn alert(&mut self, direction: Direction, bytes: &[u8], at: Timestamp) {
        let [level, description] = *bytes else { return };
        let fatal = level == 2;
        self.outputs.push_back(Output::Alert { direction, at, fatal, description });
        if description == 0 {
            self.close(direction, at, true);
        }
    }

    fn close(&mut self, direction: Direction, at: Timestamp, clean: bool) -> Step {
        let lane = self.lane(direction);
        let skipped = lane.cursor.take_skipped();
        if lane.closed {
            return Step::Waits;
        }
        lane.closed = true;
        if skipped > 0 {
            self.outputs.push_back(Output::Gap { direction, at, at_most: Some(skipped) });
        }
        self.outputs.push_back(Output::Closed { direction, at, clean });
        Step::Moved
    }

    fn advance(&mut self, direction: Direction, bytes: u64) -> u64 {
        let lane = self.lane(direction);
        let offset = lane.offset;
        lane.offset = offset.saturating_add(bytes);
        offset
    }

    /// A record lies ready that cannot be opened: it is the sign for new keys, or waits.
    fn sealed(
        &mut self,
        direction: Direction,
        content: ContentType,
        at: Timestamp,
    ) -> Result<Step, Reason> {
        let stage = self.lane(direction).stage();
        if stage.is_some() && content != ContentType::ChangeCipherSpec {
            self.first_sealed.get_or_insert(direction);
        }
        match (content, stage) {
            (ContentType::ChangeCipherSpec, None) => {
                self.lane(direction).clear_record();
                self.half_mut(direction).turning = true;
                Ok(Step::Moved)
            }
            (ContentType::ChangeCipherSpec, Some(_)) if self.is_tls13() => {
                self.lane(direction).clear_record();
                Ok(Step::Moved)
            }
            // Early data that the retry has refused.
            (ContentType::ApplicationData, None) if self.greeting.awaits_another() => {
                self.lane(direction).clear_record();
                Ok(Step::Moved)
            }
            (ContentType::ApplicationData, None) if !matches!(self.phase, Phase::Hello) => {
                Err(Reason::Unexpected)
            }
            (ContentType::Alert, Some(_)) if self.is_tls13() => {
                if let Event::Clear { bytes, at, .. } = self.lane(direction).clear_record() {
                    self.alert(direction, &bytes, at);
                }
                Ok(Step::Moved)
            }
            (_, Some(Stage::Early)) if self.latest.since(at) > EARLY_PATIENCE => {
                Ok(self.forgo_early(direction))
            }
            _ => Ok(Step::Waits),
        }
    }
}

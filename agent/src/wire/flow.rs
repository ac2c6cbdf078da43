//! One connection: how it begins, what its two directions yield, how it ends, and when its ports
//! belong to another one.

use std::net::IpAddr;

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Payload,
    wire::{
        FlowId, Side, WireChunk,
        classify::Protocol,
        extent,
        gate::{Gate, Start},
        ledger::Ledger,
        reassembly::{Reassembler, WINDOW},
        segment::{FlowKey, Segment},
        sequence::distance,
    },
};

/// How long a closed flow is remembered, in nanoseconds, so that late copies of its segments don't
/// look like a new one: Linux's TIME-WAIT (`TCP_TIMEWAIT_LEN`; RFC 9293 §3.4.2 has four minutes).
pub const TIME_WAIT: u64 = 60 * NANOS_PER_SEC;

/// Bytes that a SYN-ACK may acknowledge: the SYN, and what came with it (RFC 7413).
const MAX_OPENING_BYTES: i32 = 65_535;

/// Where a flow puts what it yields, and when that is.
pub(super) struct Sink<'a> {
    pub(super) at: Timestamp,
    pub(super) ledger: &'a mut Ledger,
    pub(super) out: &'a mut Vec<WireChunk>,
}

/// What a flow needs to begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Birth {
    /// From side A to side B.
    key: FlowKey,
    /// Sequence number of side A's first byte.
    first: u32,
    pub(super) start: Start,
}

impl Birth {
    /// The flow that a segment begins, unless it's one that can't.
    pub(super) fn of(segment: &Segment<'_>) -> Option<Self> {
        let flags = segment.flags;
        let Segment { key, ack, wire_len, .. } = *segment;
        if flags.rst {
            return None;
        }
        match (flags.syn, flags.ack) {
            (true, false) => Some(Self { key, first: segment.data_seq(), start: Start::Syn }),
            (true, true) => Some(Self { key: key.reversed(), first: ack, start: Start::Syn }),
            (false, _) if wire_len > 0 => {
                let start = if flags.first { Start::FirstPayload } else { Start::Late };
                Some(Self { key, first: segment.data_seq(), start })
            }
            (false, _) => None,
        }
    }
}

/// How a segment relates to the flow that has its ports.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Fit {
    /// It's part of the flow.
    Same,
    /// It's part of no connection that is known to exist.
    Odd,
    /// It proves that the ports have a new connection.
    Successor(Birth),
}

/// A SYN with other numbers than the flow's: its peer's SYN-ACK will show whether it was real.
#[derive(Clone, Copy, Debug)]
struct Challenge {
    from: Side,
    /// Sequence number of its first byte.
    first: u32,
}

/// One connection, or what there was of it to see.
#[derive(Debug)]
pub struct Flow {
    id: FlowId,
    key: FlowKey,
    a: Option<Reassembler>,
    b: Option<Reassembler>,
    gate: Gate,
    challenge: Option<Challenge>,
    /// The sockets at which side A's and side B's segments were seen last.
    sockets: [u64; 2],
    closed: Option<Timestamp>,
    /// When the table will next look after this flow.
    pub(super) scheduled: Option<Timestamp>,
}

impl Flow {
    pub(super) fn new(id: FlowId, birth: Birth) -> Self {
        let Birth { key, first, start } = birth;
        Self {
            id,
            key,
            a: Some(Reassembler::new(first, start != Start::Syn)),
            b: None,
            gate: Gate::new(start),
            challenge: None,
            sockets: [0; 2],
            closed: None,
            scheduled: None,
        }
    }

    /// Its name in the chunks that it yields.
    #[must_use]
    pub const fn id(&self) -> FlowId {
        self.id
    }

    /// Its ends, from side A to side B.
    #[must_use]
    pub const fn key(&self) -> FlowKey {
        self.key
    }

    /// What it carries, as far as is known.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.gate.protocol()
    }

    /// The client for which side A, a proxy, says that it opened the connection; known when the
    /// protocol is. Not proved by anything.
    #[must_use]
    pub fn proxied_for(&self) -> Option<IpAddr> {
        self.gate.proxied_for()
    }

    /// Whether its beginning was missed in either direction.
    #[must_use]
    pub fn joined_late(&self) -> bool {
        self.a.iter().chain(&self.b).any(Reassembler::joined_late)
    }

    /// Whether both directions have ended.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Bytes that it holds of the table's budget.
    #[must_use]
    pub fn held(&self) -> usize {
        self.a.iter().chain(&self.b).map(Reassembler::held).sum()
    }

    /// Since when a byte is missing that later ones wait for, in either direction.
    #[must_use]
    pub fn stalled(&self) -> Option<Timestamp> {
        self.a.iter().chain(&self.b).filter_map(Reassembler::stalled).min()
    }

    /// When it needs [`Flow::expire`], or to be forgotten if it's closed.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.closed {
            Some(closed) => Some(closed.plus(TIME_WAIT)),
            None => self.a.iter().chain(&self.b).filter_map(Reassembler::due).min(),
        }
    }

    /// Whether a segment belongs to this flow. A live flow gives way only to a SYN that the other
    /// end answered: a forged one is refused by its receiver (RFC 5961 §4.2), but would blind us.
    pub(super) fn fit(&mut self, segment: &Segment<'_>) -> Fit {
        let from = self.side_of(segment);
        let flags = segment.flags;
        let first = segment.data_seq();
        let birth = Birth::of(segment);
        if let (Some(Challenge { from: challenger, first }), Some(birth)) = (self.challenge, birth)
            && (flags.syn && flags.ack && challenger == from.other())
            && acknowledges_opening(first, segment.ack)
        {
            return Fit::Successor(Birth { first, ..birth });
        }
        let Some(stream) = self.stream(from) else {
            let other = self.stream(from.other());
            let unasked = other.is_some_and(|other| {
                !other.joined_late() && !acknowledges_opening(other.first(), segment.ack)
            });
            return if flags.syn && flags.ack && unasked { Fit::Odd } else { Fit::Same };
        };
        if flags.rst || (flags.syn && stream.first() == first) {
            return Fit::Same;
        }
        // Behind its FIN a sender has nothing to say: that is another connection, whose numbers the
        // kernel begins not far ahead if the ports are used again soon (RFC 6528 §3).
        let ahead = stream.ahead(first);
        let foreign =
            u64::from(ahead.unsigned_abs()) > WINDOW || (stream.has_finished() && ahead >= 0);
        if flags.syn && !flags.ack && !self.is_closed() {
            self.challenge = Some(Challenge { from, first });
            return Fit::Odd;
        }
        match birth {
            Some(birth) if self.is_closed() && (flags.syn || foreign) => Fit::Successor(birth),
            Some(birth) if foreign && self.is_elsewhere(from, segment) => Fit::Successor(birth),
            _ if flags.syn => Fit::Odd,
            _ => Fit::Same,
        }
    }

    /// Whether a segment was seen at another socket, and has nothing to do with what the other
    /// side sent, either. Who forges a segment of a live flow reaches the flow's own socket.
    fn is_elsewhere(&self, from: Side, segment: &Segment<'_>) -> bool {
        let far = |other: &Reassembler| u64::from(other.ahead(segment.ack).unsigned_abs()) > WINDOW;
        let known = self.sockets.get(from as usize).copied().unwrap_or(0);
        segment.flags.ack
            && self.stream(from.other()).is_some_and(far)
            && known != 0
            && known != segment.cookie
    }

    fn seen_at(&mut self, from: Side, cookie: u64) {
        if let Some(socket) = self.sockets.get_mut(from as usize) {
            *socket = cookie;
        }
    }

    /// Takes a segment that [`Flow::fit`] found to belong here.
    pub(super) fn push(&mut self, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        if self.is_closed() {
            sink.ledger.counters.after_end += u64::from(segment.wire_len > 0);
            return;
        }
        if self.protocol() == Protocol::Ignored {
            sink.ledger.counters.ignored_segments += 1;
            return;
        }
        let from = self.side_of(segment);
        self.seen_at(from, segment.cookie);
        if segment.flags.rst {
            return self.reset(from, segment, sink);
        }
        if segment.flags.ack {
            self.run(from.other(), sink, |stream, ledger, ready| {
                stream.acknowledge(segment.ack, segment.at, ledger, ready);
            });
        }
        self.begin(from, segment);
        self.run(from, sink, |stream, ledger, ready| stream.push(segment, ledger, ready));
        self.close_if_ended(sink);
    }

    /// Takes a segment that holds the very next bytes of an open stream, and nothing else of
    /// interest: who sent them, and their offset. `None` where [`Flow::fit`] and [`Flow::push`]
    /// have to look closer.
    pub(super) fn pass(&mut self, segment: &Segment<'_>) -> Option<(Side, u64)> {
        if self.is_closed() || self.challenge.is_some() {
            return None;
        }
        let from = self.side_of(segment);
        if !self.gate.is_open(from) {
            return None;
        }
        // An acknowledgement that was taken and then is looked at closer does no harm.
        if segment.flags.ack
            && let Some(other) = self.stream_mut(from.other())
            && !other.pass_acknowledgement(segment.ack)
        {
            return None;
        }
        let offset = self.stream_mut(from).as_mut()?.pass(segment)?;
        self.seen_at(from, segment.cookie);
        Some((from, offset))
    }

    /// Gives up holes that are too old.
    pub(super) fn expire(&mut self, now: Timestamp, sink: &mut Sink<'_>) {
        for side in [Side::A, Side::B] {
            self.run(side, sink, |stream, ledger, ready| stream.expire(now, ledger, ready));
        }
        self.close_if_ended(sink);
    }

    /// Ends both directions where they are.
    pub(super) fn close(&mut self, sink: &mut Sink<'_>) {
        if self.is_closed() {
            return;
        }
        for side in [Side::A, Side::B] {
            self.run(side, sink, Reassembler::finish);
            if self.stream(side).is_none() {
                // Nothing was seen of this direction, but readers wait for the end of both.
                self.offer(side, 0, Payload::End, sink);
            }
        }
        self.closed = Some(sink.at);
    }

    fn close_if_ended(&mut self, sink: &mut Sink<'_>) {
        let ended = |side: &Option<Reassembler>| side.as_ref().is_some_and(Reassembler::ended);
        if ended(&self.a) && ended(&self.b) {
            sink.ledger.counters.flows_closed += u64::from(!self.is_closed());
            self.close(sink);
        }
    }

    /// See [`FlowTable::sequence`](super::table::FlowTable::sequence).
    pub(super) fn sequence(&self, side: Side, ahead: i64) -> Option<u32> {
        self.stream(side)?.sequence(ahead)
    }

    /// Honours an RST only if its receiver would (RFC 5961 §3.2): with the very next sequence
    /// number, or that of a FIN before it, as Linux takes it when both cross; or in answer to a SYN
    /// with that SYN's acknowledgement (RFC 9293 §3.10.7.3).
    fn reset(&mut self, from: Side, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        let refusal = || {
            let other = self.stream(from.other());
            segment.flags.ack
                && other.is_some_and(|other| acknowledges_opening(other.first(), segment.ack))
        };
        let is_next = |stream: &Reassembler| {
            let ahead = stream.ahead(segment.seq);
            ahead == 0 || (ahead == -1 && stream.has_finished())
        };
        if self.stream(from).map_or_else(refusal, is_next) {
            sink.ledger.counters.flows_closed += 1;
            self.close(sink);
        } else {
            sink.ledger.counters.refused_resets += 1;
        }
    }

    /// Lets a side begin with its first segment that says where it is.
    fn begin(&mut self, from: Side, segment: &Segment<'_>) {
        let syn = segment.flags.syn;
        if syn || segment.wire_len > 0 || segment.flags.fin {
            let first = segment.data_seq();
            self.stream_mut(from).get_or_insert_with(|| Reassembler::new(first, !syn));
        }
    }

    /// Does something with one direction, and passes on what it yields.
    fn run(
        &mut self,
        side: Side,
        sink: &mut Sink<'_>,
        step: impl FnOnce(&mut Reassembler, &mut Ledger, &mut Vec<Payload>),
    ) {
        let stream = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        let Some(stream) = stream else { return };
        let mut position = stream.next();
        let mut ready = Vec::new();
        step(stream, sink.ledger, &mut ready);
        for payload in ready {
            let len = extent(&payload);
            self.offer(side, position, payload, sink);
            position = position.saturating_add(len);
        }
        if self.protocol() == Protocol::Ignored {
            for stream in self.a.iter_mut().chain(&mut self.b) {
                stream.discard(sink.ledger);
            }
        }
    }

    fn offer(&mut self, from: Side, offset: u64, payload: Payload, sink: &mut Sink<'_>) {
        let Sink { at, ledger, out } = sink;
        let (at, flow) = (*at, self.id);
        let mut emit = |offset, payload| out.push(WireChunk { at, flow, from, offset, payload });
        self.gate.pass(from, offset, payload, &mut ledger.counters, &mut emit);
    }

    fn side_of(&self, segment: &Segment<'_>) -> Side {
        if segment.key.source == self.key.source { Side::A } else { Side::B }
    }

    const fn stream(&self, side: Side) -> Option<&Reassembler> {
        match side {
            Side::A => self.a.as_ref(),
            Side::B => self.b.as_ref(),
        }
    }

    const fn stream_mut(&mut self, side: Side) -> &mut Option<Reassembler> {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

/// Whether `ack` is what a SYN whose first byte has the number `first` is answered with.
fn acknowledges_opening(first: u32, ack: u32) -> bool {
    (0..=MAX_OPENING_BYTES).contains(&distance(first, ack))
}

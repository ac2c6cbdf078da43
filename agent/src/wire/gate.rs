//! Which part of a flow's two streams is worth passing on: from the first byte of TLS or HTTP.
//!
//! In: payloads of both directions in stream order. Out: the same payloads from the byte on at
//! which the protocol begins, or none. Until that is known, at most [`SAMPLE_LEN`] bytes of each
//! direction are kept; a message that's passed over is read once and forgotten, but for the address
//! in a proxy's header.

use std::net::IpAddr;

use bytes::{Buf, Bytes};

use crate::{
    flow::chunk::Payload,
    wire::{
        Side,
        classify::{Extent, Protocol, SAMPLE_LEN, Shape, shape},
        ledger::Counters,
        proxy::Head,
    },
};

/// Bytes that a flow may send without showing what it carries. CONNECT with a Kerberos ticket and
/// its refusal are the longest dialogues before TLS, at some 20 KiB.
pub(super) const MAX_UNDECIDED: u64 = 64 * 1024;

/// What is known of a flow's beginning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Start {
    /// Its SYN was seen, or the answer to it: side A opened it.
    Syn,
    /// Side A sent the first payload that its peer received; so may do who did not open it.
    FirstPayload,
    /// Anything may have come before what was seen.
    Late,
}

/// Decides what a flow carries, and withholds what comes before it.
#[derive(Debug)]
pub(super) struct Gate {
    protocol: Protocol,
    /// A dialogue that may change to TLS has begun.
    upgradable: bool,
    start: Start,
    /// Bytes passed over so far.
    passed_over: u64,
    /// What a proxy that connected said first.
    header: Option<Box<Head>>,
    a: Probe,
    b: Probe,
}

/// How far one direction has got.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// At the start of a message.
    Sampling(Sample),
    /// This many bytes of a message are left.
    Skipping(u64),
    /// In a header that ends with a line feed.
    Line,
    /// In something that isn't understood: what follows a line feed, or comes in a segment of its
    /// own, may be the start of a message.
    Adrift,
    /// The protocol has begun.
    Open,
}

impl Probe {
    const START: Self = Self::Sampling(Sample { bytes: [0; SAMPLE_LEN], len: 0 });

    fn at_start_of_segment(self) -> Self {
        match self {
            Self::Adrift => Self::START,
            other => other,
        }
    }
}

/// The first bytes of a message.
#[derive(Clone, Copy, Debug)]
struct Sample {
    bytes: [u8; SAMPLE_LEN],
    len: u8,
}

impl Sample {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn extended(mut self, with: &[u8]) -> Self {
        let room = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default();
        for (slot, byte) in room.iter_mut().zip(with) {
            *slot = *byte;
            self.len += 1;
        }
        self
    }
}

impl Gate {
    /// The gate of a new flow.
    pub(super) const fn new(start: Start) -> Self {
        Self {
            protocol: Protocol::Undecided,
            upgradable: false,
            start,
            passed_over: 0,
            header: None,
            a: Probe::START,
            b: Probe::START,
        }
    }

    pub(super) const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The client that a proxy's header named; it is known when the protocol is.
    pub(super) fn proxied_for(&self) -> Option<IpAddr> {
        self.header.as_ref().and_then(|head| head.client())
    }

    /// Whether all that `from` sends is TLS, and handed on as it comes.
    pub(super) fn is_open(&self, from: Side) -> bool {
        let probe = match from {
            Side::A => &self.a,
            Side::B => &self.b,
        };
        self.protocol == Protocol::Tls && matches!(probe, Probe::Open)
    }

    /// Takes a payload at `offset`, and hands on what is worth it.
    pub(super) fn pass(
        &mut self,
        from: Side,
        offset: u64,
        payload: Payload,
        counters: &mut Counters,
        emit: &mut impl FnMut(u64, Payload),
    ) {
        match payload {
            Payload::Bytes(bytes) => self.pass_bytes(from, offset, bytes, emit),
            Payload::Gap(missing) => self.pass_gap(from, offset, missing, emit),
            Payload::End => self.pass_end(from, offset, emit),
        }
        if self.passed_over > MAX_UNDECIDED && self.protocol == Protocol::Undecided {
            self.protocol = Protocol::Ignored;
            counters.undecided_overflows += 1;
        }
    }

    fn pass_bytes(
        &mut self,
        from: Side,
        mut offset: u64,
        mut bytes: Bytes,
        emit: &mut impl FnMut(u64, Payload),
    ) {
        self.open_if_due(from, offset, emit);
        let mut probe = self.probe(from).at_start_of_segment();
        while !bytes.is_empty() && self.protocol != Protocol::Ignored {
            let step = match probe {
                Probe::Open => {
                    emit(offset, Payload::Bytes(bytes));
                    break;
                }
                Probe::Sampling(sample) => {
                    let longer = sample.extended(&bytes);
                    let step = self.decide(from, &mut probe, sample, longer);
                    if matches!(probe, Probe::Open) {
                        emit_sample(sample, offset, emit);
                    }
                    step
                }
                Probe::Skipping(left) => {
                    let step = usize::try_from(left).map_or(bytes.len(), |n| n.min(bytes.len()));
                    let left = left.saturating_sub(step as u64);
                    probe = if left == 0 { Probe::START } else { Probe::Skipping(left) };
                    step
                }
                Probe::Line | Probe::Adrift => match bytes.iter().position(|b| *b == b'\n') {
                    Some(end) => {
                        probe = Probe::START;
                        end + 1
                    }
                    None => bytes.len(),
                },
            };
            self.keep_header(from, bytes.get(..step).unwrap_or_default(), probe);
            bytes.advance(step);
            offset = offset.saturating_add(step as u64);
            self.passed_over = self.passed_over.saturating_add(step as u64);
        }
        *self.probe_mut(from) = probe;
    }

    /// Moves a probe on from the sample that it has by now, and returns how many bytes of the
    /// segment that used up: all that the sample took if it stays open, else none, because the
    /// message's extent is counted from there.
    fn decide(&mut self, from: Side, probe: &mut Probe, before: Sample, sample: Sample) -> usize {
        let extent = match shape(sample.bytes()) {
            Shape::Partial if usize::from(sample.len) < SAMPLE_LEN => {
                *probe = Probe::Sampling(sample);
                return usize::from(sample.len - before.len);
            }
            Shape::Tls => {
                self.protocol = Protocol::Tls;
                *probe = Probe::Open;
                return 0;
            }
            // Within a dialogue, lines that look like HTTP are part of it: CONNECT's answer.
            Shape::Plain if !self.upgradable => {
                self.protocol = Protocol::Plain;
                *probe = Probe::Open;
                return 0;
            }
            Shape::Header(extent) => {
                let is_first = !self.upgradable && self.start != Start::Late;
                if from == Side::A && is_first && self.header.is_none() {
                    let mut head = Box::<Head>::default();
                    head.extend(before.bytes());
                    self.header = Some(head);
                }
                Some(extent)
            }
            Shape::Upgradable(extent) => {
                self.upgradable = true;
                Some(extent)
            }
            Shape::Plain | Shape::Partial | Shape::Unknown => None,
        };
        *probe = match extent {
            Some(Extent::Bytes(len)) => Probe::Skipping(len.saturating_sub(before.len.into())),
            Some(Extent::Line) if !self.upgradable => Probe::Line,
            Some(Extent::Line) => Probe::Adrift,
            None => {
                // Where the first bytes weren't seen, what doesn't look like a start proves nothing.
                if !self.upgradable && self.start == Start::Syn {
                    self.protocol = Protocol::Ignored;
                }
                // What an earlier segment left open is settled; this one may be a start itself.
                if before.len > 0 { Probe::START } else { Probe::Adrift }
            }
        };
        0
    }

    /// Keeps what was passed over of a proxy's header, and ends it where `next` is behind it. A
    /// second one is not looked at.
    fn keep_header(&mut self, from: Side, passed: &[u8], next: Probe) {
        if let (Side::A, Some(head)) = (from, &mut self.header) {
            head.extend(passed);
            if matches!(next, Probe::Sampling(_)) {
                head.end();
            }
        }
    }

    fn pass_gap(
        &mut self,
        from: Side,
        offset: u64,
        missing: u64,
        emit: &mut impl FnMut(u64, Payload),
    ) {
        if let (Side::A, Some(head)) = (from, &mut self.header) {
            head.tear();
        }
        // The start may lie in the gap: the reader of the protocol must find it from there.
        if self.protocol == Protocol::Tls && !matches!(self.probe(from), Probe::Open) {
            self.open(from, offset, emit);
        }
        self.open_if_due(from, offset, emit);
        match self.probe(from) {
            Probe::Open => return emit(offset, Payload::Gap(missing)),
            Probe::Skipping(left) if left > missing => {
                *self.probe_mut(from) = Probe::Skipping(left - missing);
            }
            _ => {
                *self.probe_mut(from) = Probe::Adrift;
                self.start = Start::Late;
            }
        }
        self.passed_over = self.passed_over.saturating_add(missing);
    }

    fn pass_end(&mut self, from: Side, offset: u64, emit: &mut impl FnMut(u64, Payload)) {
        self.open_if_due(from, offset, emit);
        if matches!(self.protocol, Protocol::Tls | Protocol::Plain) {
            emit(offset, Payload::End);
        }
    }

    /// Opens a direction if the other one has decided for it: at once, unless a dialogue before
    /// TLS may still go on in this one, within the bound.
    fn open_if_due(&mut self, from: Side, offset: u64, emit: &mut impl FnMut(u64, Payload)) {
        let decided = matches!(self.protocol, Protocol::Tls | Protocol::Plain);
        let waits = self.upgradable && self.passed_over <= MAX_UNDECIDED;
        if decided && !waits {
            self.open(from, offset, emit);
        }
    }

    fn open(&mut self, from: Side, offset: u64, emit: &mut impl FnMut(u64, Payload)) {
        if let Probe::Sampling(sample) = self.probe(from) {
            emit_sample(sample, offset, emit);
        }
        *self.probe_mut(from) = Probe::Open;
    }

    const fn probe(&self, from: Side) -> Probe {
        match from {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    const fn probe_mut(&mut self, from: Side) -> &mut Probe {
        match from {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }
}

/// Hands on the sample that was withheld before `offset`.
fn emit_sample(sample: Sample, offset: u64, emit: &mut impl FnMut(u64, Payload)) {
    if sample.len > 0 {
        let bytes = Bytes::copy_from_slice(sample.bytes());
        emit(offset.saturating_sub(sample.len.into()), Payload::Bytes(bytes));
    }
}

#[cfg(test)]
mod tests;

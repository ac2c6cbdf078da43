//! One connection: both directions' bytes in, exchanges out.
//!
//! Each direction has its own framing and its own compression state; they meet in [`Streams`].
//! Which direction carries requests is told by the preface or, if the connection was joined later,
//! by the first thing that only one of the two ends says.

mod lasting;

use std::mem;

use super::{
    block::{Block, Side},
    deframe::{Deframer, HELD_MAX, Payload, Piece},
    frame::{ACK, END_HEADERS, END_STREAM, Frame, Head, Kind, Settings},
    hpack::{DecodeError, Decoder, SCRATCH_KEPT, TABLE_SIZE_MAX},
    stream::{Body, Headers},
    streams::{Outlet, STREAMS_SIZE_MAX, Streams},
};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{
        body::Wanted,
        message::{Exchange, Role},
        wiped::Wiped,
    },
};

/// Octets of one header block that are gathered from HEADERS and CONTINUATION. What exceeds them
/// is dropped, so that an endless chain of CONTINUATION costs nothing; the fields until there are
/// reported as incomplete.
pub const BLOCK_MAX: usize = 64 * 1024;

/// Most that [`Connection::buffered`] returns: for each direction what the framing holds, a
/// header block and compression state; and the streams, with one message before older ones yield.
pub const BUFFERED_MAX: usize =
    2 * (HELD_MAX + BLOCK_MAX + TABLE_SIZE_MAX + 2 * SCRATCH_KEPT) + STREAMS_SIZE_MAX;

/// What limits and malformed input cost, since the connection began.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Streams given up because too many were in flight, or they held too much.
    pub streams_evicted: u64,
    /// Losses of requests that were forgotten, because there were too many: responses to those
    /// are left out.
    pub losses_forgotten: u64,
    /// Header blocks longer than [`BLOCK_MAX`].
    pub blocks_cut: u64,
    /// Header blocks whose fields exceed [`LIST_SIZE_MAX`](super::hpack::LIST_SIZE_MAX).
    pub lists_cut: u64,
    /// Header blocks that are malformed.
    pub blocks_malformed: u64,
    /// Dynamic tables that an encoder made larger than [`TABLE_SIZE_MAX`].
    pub tables_capped: u64,
    /// Frames whose payload was lost in part, or too long to gather.
    pub frames_damaged: u64,
    /// How often frames stopped making sense without a gap.
    pub derailments: u64,
}

impl Counters {
    /// How often a limit was hit, in all.
    #[must_use]
    pub const fn limits_hit(&self) -> u64 {
        self.streams_evicted
            .saturating_add(self.losses_forgotten)
            .saturating_add(self.blocks_cut)
            .saturating_add(self.lists_cut)
            .saturating_add(self.tables_capped)
    }
}

/// Passive decoder of one HTTP/2 connection.
#[derive(Default)]
pub struct Connection {
    inbound: Half,
    outbound: Half,
    /// Which way requests go, once known.
    requests: Option<Direction>,
    /// Whether the preface told that.
    is_sure: bool,
    streams: Streams,
    counters: Counters,
    is_done: bool,
}

/// One direction.
#[derive(Default)]
struct Half {
    deframer: Deframer,
    decoder: Decoder,
    /// The header block that CONTINUATION frames will complete.
    open: Option<OpenBlock>,
    /// Whether frames were lost since the last request.
    is_lossy: bool,
    /// Whether SETTINGS may have been missed.
    is_partial: bool,
    has_ended: bool,
}

struct OpenBlock {
    stream: u32,
    is_promise: bool,
    is_end: bool,
    started: Timestamp,
    octets: Wiped,
    is_damaged: bool,
}

impl Connection {
    /// A connection of which nothing has been seen. It may have begun long ago.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As above; reads of bodies what is `wanted`.
    #[must_use]
    pub fn with(wanted: Wanted) -> Self {
        Self { streams: Streams::with(wanted), ..Self::default() }
    }

    /// Takes bytes of one direction, captured at `at`, and appends the exchanges that they
    /// complete to `out`.
    pub fn feed(
        &mut self,
        direction: Direction,
        at: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Exchange>,
    ) {
        let mut input = bytes;
        while let Some(piece) = self.half(direction).deframer.next(at, &mut input) {
            self.on_piece(direction, at, piece, out);
        }
    }

    /// Takes notice that `len` bytes of one direction are missing.
    pub fn gap(&mut self, direction: Direction, at: Timestamp, len: u64, out: &mut Vec<Exchange>) {
        if len > 0 && self.half(direction).deframer.gap(len) {
            self.on_loss(direction, at);
        }
        self.feed(direction, at, &[], out);
    }

    /// Takes what is held of one direction for frames, however few: the other end has answered it,
    /// or nothing will follow.
    pub fn settle(&mut self, direction: Direction, at: Timestamp, out: &mut Vec<Exchange>) {
        if self.half(direction).deframer.settle() {
            self.feed(direction, at, &[], out);
        }
    }

    /// Takes notice that one direction has ended.
    pub fn end(&mut self, direction: Direction, at: Timestamp, out: &mut Vec<Exchange>) {
        self.half(direction).has_ended = true;
        self.settle(direction, at, out);
        if self.inbound.has_ended && self.outbound.has_ended {
            self.finish(at, out);
        }
    }

    /// Gives up the connection: what is in flight is reported as it is.
    pub fn finish(&mut self, at: Timestamp, out: &mut Vec<Exchange>) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            self.settle(direction, at, out);
        }
        if let Some((streams, mut outlet)) = self.streams(out) {
            streams.finish(&mut outlet);
        }
        self.is_done = true;
    }

    /// Whether nothing more will come of this connection.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Octets that the connection holds, at most [`BUFFERED_MAX`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        let halves = [&self.inbound, &self.outbound].map(Half::buffered);
        halves.into_iter().fold(self.streams.size(), usize::saturating_add)
    }

    /// What limits and malformed input cost.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters {
            streams_evicted: self.counters.streams_evicted + self.streams.evicted(),
            losses_forgotten: self.counters.losses_forgotten + self.streams.losses_forgotten(),
            tables_capped: self.inbound.decoder.capped() + self.outbound.decoder.capped(),
            ..self.counters
        }
    }

    const fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }

    /// The streams and where their exchanges go, once the role is known: before, there are none.
    fn streams<'a>(
        &'a mut self,
        out: &'a mut Vec<Exchange>,
    ) -> Option<(&'a mut Streams, Outlet<'a>)> {
        let role = Role::of_requests(self.requests?);
        Some((&mut self.streams, Outlet { role, exchanges: out }))
    }

    /// Which message what goes in `direction` belongs to.
    fn side(&self, direction: Direction) -> Option<Side> {
        let requests = self.requests?;
        Some(if requests == direction { Side::Request } else { Side::Response })
    }

    /// Learns that what goes in `direction` is said by this end only, unless it is known better.
    fn learn(&mut self, direction: Direction, said_by: Side) {
        self.requests.get_or_insert(match said_by {
            Side::Request => direction,
            Side::Response => direction.reverse(),
        });
    }

    /// What was learnt was wrong: frames within a body, say, were taken for the connection's own.
    fn relearn(&mut self, direction: Direction, said_by: Side, out: &mut Vec<Exchange>) {
        if let Some((streams, mut outlet)) = self.streams(out) {
            streams.finish(&mut outlet);
        }
        self.counters = self.counters();
        self.streams = self.streams.renewed();
        self.requests = None;
        self.inbound.is_lossy = true;
        self.outbound.is_lossy = true;
        self.learn(direction, said_by);
    }

    fn on_piece(
        &mut self,
        direction: Direction,
        at: Timestamp,
        piece: Piece<'_>,
        out: &mut Vec<Exchange>,
    ) {
        match piece {
            Piece::Preface => {
                self.learn(direction, Side::Request);
                self.is_sure = true;
            }
            Piece::Late => self.on_missed(direction),
            Piece::Derailed => self.on_derailed(direction, at),
            Piece::Frame(head, payload) => self.on_frame(direction, at, &head, &payload, out),
            Piece::Damaged(head) => self.on_damaged(direction, at, &head, out),
            Piece::Data { head, content, lost, damaged, is_last } => {
                if self.half(direction).open.is_some() {
                    return self.derail(direction, at);
                }
                let is_end = is_last && head.has(END_STREAM);
                let (stream, is_damaged) = (head.stream, damaged);
                let octets = content.as_slice();
                let body = Body { stream, octets, lost, is_damaged, is_end, at };
                let side = self.side(direction);
                if let Some((side, (streams, mut outlet))) = side.zip(self.streams(out)) {
                    streams.on_body(side, &body, &mut outlet);
                }
            }
        }
    }

    fn on_frame(
        &mut self,
        direction: Direction,
        at: Timestamp,
        head: &Head,
        payload: &Payload<'_>,
        out: &mut Vec<Exchange>,
    ) {
        // §6.10: within a header block, nothing but its continuation may come.
        let half = self.half(direction);
        let continues = (head.kind == Kind::Continuation).then_some(head.stream);
        let is_due = half.open.as_ref().is_none_or(|block| Some(block.stream) == continues);
        let (Ok(frame), true) = (Frame::parse(head, payload.as_slice()), is_due) else {
            return self.derail(direction, at);
        };
        match frame {
            // Its beginning was lost, with what it may have inserted into the table.
            Frame::Continuation(_) if half.open.is_none() => half.decoder.forget(),
            Frame::Headers(fragment) => self.on_fragment(direction, at, head, fragment, out),
            Frame::Continuation(fragment) => self.on_fragment(direction, at, head, fragment, out),
            Frame::PushPromise { fragment, .. } => {
                self.learn(direction, Side::Response);
                self.on_fragment(direction, at, head, fragment, out);
            }
            Frame::Settings(settings) => self.on_settings(direction, head, &settings),
            Frame::RstStream(_) => self.on_reset(head.stream, out),
            Frame::GoAway { last_stream, .. } => {
                let is_server = self.side(direction) == Some(Side::Response);
                if let Some((streams, mut outlet)) = self.streams(out).filter(|_| is_server) {
                    streams.on_goaway(last_stream, &mut outlet);
                }
            }
            Frame::Priority | Frame::Ping | Frame::WindowUpdate | Frame::Other => {}
        }
    }

    fn on_reset(&mut self, stream: u32, out: &mut Vec<Exchange>) {
        if let Some((streams, mut outlet)) = self.streams(out) {
            streams.on_reset(stream, &mut outlet);
        }
    }

    fn on_settings(&mut self, direction: Direction, head: &Head, settings: &Settings) {
        if head.has(ACK) {
            return;
        }
        if settings.enable_connect_protocol.is_some() {
            self.learn(direction, Side::Response);
        } else if settings.enable_push == Some(1) {
            self.learn(direction, Side::Request);
        }
        if !self.half(direction).is_partial {
            self.half(direction.reverse()).deframer.permit(settings.max_frame_size);
        }
    }

    /// A piece of a header block. A block in one piece, which is the rule, is not copied.
    fn on_fragment(
        &mut self,
        direction: Direction,
        at: Timestamp,
        head: &Head,
        fragment: &[u8],
        out: &mut Vec<Exchange>,
    ) {
        let half = self.half(direction);
        let started = half.deframer.frame_at();
        let mut block = half.open.take().unwrap_or_else(|| OpenBlock::new(head, started));
        if head.has(END_HEADERS) && block.octets.is_empty() && !block.is_damaged {
            return self.on_block(direction, at, &block, fragment, out);
        }
        let was_damaged = block.is_damaged;
        block.push(fragment);
        let is_cut = block.is_damaged && !was_damaged;
        if head.has(END_HEADERS) {
            let octets = mem::take(&mut block.octets);
            self.on_block(direction, at, &block, &octets, out);
        } else {
            half.open = Some(block);
        }
        self.counters.blocks_cut += u64::from(is_cut);
    }

    fn on_block(
        &mut self,
        direction: Direction,
        at: Timestamp,
        open: &OpenBlock,
        octets: &[u8],
        out: &mut Vec<Exchange>,
    ) {
        let half = self.half(direction);
        let (mut block, outcome) = Block::decode(&mut half.decoder, octets);
        if open.is_damaged {
            half.decoder.forget();
            block.lose();
        }
        match outcome {
            Ok(()) => {}
            Err(DecodeError::ListSize) => self.counters.lists_cut += 1,
            Err(_) => self.counters.blocks_malformed += u64::from(!open.is_damaged),
        }
        // A promised request is the server's own, and its stream is not followed.
        if open.is_promise || open.stream.is_multiple_of(2) {
            return;
        }
        if block.is_mixed()
            && let Some(side) = self.side(direction)
        {
            block.heads = Some(side);
        }
        if let Some(heads) = block.heads {
            self.learn(direction, heads);
            if self.side(direction) != Some(heads) {
                self.counters.blocks_malformed += 1;
                if self.is_sure {
                    return;
                }
                self.relearn(direction, heads, out);
            }
        }
        let side = self.side(direction);
        let OpenBlock { stream, is_end, started, .. } = *open;
        let headers = Headers { stream, block, is_end, started, ended: at };
        let is_after_loss = self.half(direction).is_lossy;
        let Some((streams, mut outlet)) = self.streams(out) else { return };
        if side == Some(Side::Response) {
            streams.on_response(headers, &mut outlet);
        } else if streams.on_request(headers, is_after_loss, &mut outlet) {
            self.half(direction).is_lossy = false;
        }
    }

    /// A frame of which only the head is known.
    fn on_damaged(
        &mut self,
        direction: Direction,
        at: Timestamp,
        head: &Head,
        out: &mut Vec<Exchange>,
    ) {
        self.counters.frames_damaged += 1;
        match head.kind {
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                let half = self.half(direction);
                let started = half.deframer.frame_at();
                half.open.get_or_insert_with(|| OpenBlock::new(head, started)).is_damaged = true;
                if head.has(END_HEADERS) {
                    self.on_fragment(direction, at, head, &[], out);
                }
            }
            Kind::RstStream => self.on_reset(head.stream, out),
            Kind::Settings => self.on_settings_lost(direction),
            _ => {}
        }
    }

    fn derail(&mut self, direction: Direction, at: Timestamp) {
        self.half(direction).deframer.derail();
        self.on_derailed(direction, at);
    }

    fn on_derailed(&mut self, direction: Direction, at: Timestamp) {
        self.counters.derailments += 1;
        self.on_loss(direction, at);
    }

    /// Frames of one direction are missing, those of streams in flight among them.
    fn on_loss(&mut self, direction: Direction, at: Timestamp) {
        self.on_missed(direction);
        if let Some(side) = self.side(direction) {
            self.streams.on_loss(side, at);
        }
    }

    /// Frames of one direction are missing, and with them compression state and SETTINGS.
    fn on_missed(&mut self, direction: Direction) {
        let half = self.half(direction);
        half.decoder.forget();
        half.open = None;
        half.is_lossy = true;
        self.on_settings_lost(direction);
    }

    fn on_settings_lost(&mut self, direction: Direction) {
        self.half(direction).is_partial = true;
        self.half(direction.reverse()).deframer.permit_all();
    }
}

impl Half {
    fn buffered(&self) -> usize {
        let block = self.open.as_ref().map_or(0, |block| block.octets.len());
        self.deframer.buffered().saturating_add(self.decoder.buffered()).saturating_add(block)
    }
}

impl OpenBlock {
    fn new(head: &Head, started: Timestamp) -> Self {
        Self {
            stream: head.stream,
            is_promise: head.kind == Kind::PushPromise,
            is_end: head.kind == Kind::Headers && head.has(END_STREAM),
            started,
            octets: Wiped::default(),
            is_damaged: false,
        }
    }

    /// Appends a fragment. From where the block is damaged or too long, nothing is: fields can be
    /// read only up to there.
    fn push(&mut self, fragment: &[u8]) {
        self.is_damaged |= self.octets.len().saturating_add(fragment.len()) > BLOCK_MAX;
        if !self.is_damaged {
            self.octets.extend_from_slice(fragment);
        }
    }
}

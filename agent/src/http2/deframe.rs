//! One direction's bytes to frames, with losses.
//!
//! In: bytes as they were captured, and gaps. Out: [`Piece`]s, lent from the caller's bytes where
//! a frame lies whole in them. DATA is streamed, never gathered. A gap that ends within the frame
//! in which it began leaves the framing intact; after any other, the deframer looks for the next
//! [chain](detect::chain) of plausible frames. What comes out does not depend on how the bytes
//! were split.

use std::mem;

use zeroize::Zeroizing;

use super::{
    detect::{self, CHAIN_SPAN, PREFACE, Verdict},
    frame::{self, DEFAULT_MAX_FRAME, HEAD_LEN, Head, Kind, PADDED},
};
use crate::clock::Timestamp;

/// Longest payload that is gathered, in octets. Four times what peers send unless told otherwise;
/// a header block longer than that exceeds what servers accept.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// Most that a deframer holds, in octets: a payload, or what a chain of frames is sought in, behind
/// octets that were passed over and are not yet moved out of the way.
pub const HELD_MAX: usize =
    CHAIN_SPAN + if PAYLOAD_MAX > CHAIN_SPAN { PAYLOAD_MAX } else { CHAIN_SPAN };

/// What a direction's bytes consist of.
pub enum Piece<'a> {
    /// The client's preface: the connection is seen from its start.
    Preface,
    /// The first bytes begin no connection: it was joined in its middle.
    Late,
    /// Frames make no sense any more: bytes are missing that nobody told of.
    Derailed,
    /// A frame, but not DATA.
    Frame(Head, Payload<'a>),
    /// A frame whose payload was lost in part, or is longer than [`PAYLOAD_MAX`].
    Damaged(Head),
    /// Octets of a DATA frame.
    Data {
        /// Its head.
        head: Head,
        /// Content, without padding.
        content: Payload<'a>,
        /// Octets of content before it that were lost.
        lost: u32,
        /// Whether bytes of the frame were lost.
        damaged: bool,
        /// Whether they are the frame's last.
        is_last: bool,
    },
}

/// The payload of a frame.
pub enum Payload<'a> {
    /// As the caller gave it.
    Lent(&'a [u8]),
    /// Gathered from several calls; wiped on drop.
    Gathered(Zeroizing<Vec<u8>>),
}

impl Payload<'_> {
    /// The octets.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(octets) => octets,
            Self::Gathered(octets) => octets,
        }
    }
}

enum State {
    /// Nothing is known yet: the preface, the server's first SETTINGS, or something later.
    Opening,
    /// A frame head comes next.
    Head,
    /// The payload of this frame comes next, to be gathered.
    Payload(Head),
    /// The rest of a DATA frame comes next.
    Data(Data),
    /// The rest of a payload comes next that nobody wants, or that is incomplete.
    Skip { head: Head, left: u32, damaged: bool },
    /// The rest of a DATA frame comes next that stands where none may, and then frames are looked
    /// for. It is passed over whole, so that it does not matter in which pieces it came.
    Leave { left: u32 },
    /// Frames are being looked for.
    Lost,
}

#[derive(Clone, Copy)]
struct Data {
    head: Head,
    /// Octets to come, padding included.
    left: u32,
    /// Octets of content to come.
    content_left: u32,
    /// Octets of content that were lost and not yet told of.
    content_lost: u32,
    /// Whether the first octet to come is the padding's length.
    is_padded: bool,
    damaged: bool,
}

impl Data {
    /// Passes over `len` octets, of which there are as many, that were lost. If the length of the
    /// padding was among them there is taken to be none.
    fn lose(&mut self, len: u32) {
        let padding_len = u32::from(mem::take(&mut self.is_padded));
        self.left = self.left.saturating_sub(len);
        self.content_left = self.content_left.saturating_sub(padding_len);
        let content = len.saturating_sub(padding_len).min(self.content_left);
        self.content_left -= content;
        self.content_lost = self.content_lost.saturating_add(content);
        self.damaged = true;
    }
}

/// Splits one direction of a connection into frames.
pub struct Deframer {
    state: State,
    /// Bytes that are not enough for the next step; those before `done` have been dealt with.
    held: Zeroizing<Vec<u8>>,
    done: usize,
    /// When the first byte of the current frame was captured.
    frame_at: Timestamp,
    /// Largest payload that the receiver permits, once it is known.
    max_frame: Option<u32>,
}

impl Default for Deframer {
    fn default() -> Self {
        Self {
            state: State::Opening,
            held: Zeroizing::default(),
            done: 0,
            frame_at: Timestamp::default(),
            max_frame: None,
        }
    }
}

impl Deframer {
    /// The next piece of what is held and of `input`, from which it takes what it uses. `None`
    /// means that more input is needed, and that `input` is empty.
    pub fn next<'a>(&mut self, at: Timestamp, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        loop {
            match &mut self.state {
                State::Opening => return self.open(at, input),
                State::Head => {
                    if let Some(piece) = self.head(at, input)? {
                        return Some(piece);
                    }
                }
                State::Payload(head) => {
                    let head = *head;
                    let payload = self.take(head.len as usize, input)?;
                    self.state = State::Head;
                    return Some(Piece::Frame(head, payload));
                }
                State::Data(data) => {
                    let mut data = *data;
                    return self.data(&mut data, input);
                }
                State::Skip { head, left, damaged } => {
                    let (head, left, damaged) = (*head, *left, *damaged);
                    let left = left.saturating_sub(self.skip(left, input));
                    self.state = State::Skip { head, left, damaged };
                    if left > 0 {
                        return None;
                    }
                    self.state = State::Head;
                    if damaged {
                        return Some(Piece::Damaged(head));
                    }
                }
                State::Leave { left } => {
                    let left = *left;
                    let left = left.saturating_sub(self.skip(left, input));
                    self.state = State::Leave { left };
                    if left > 0 {
                        return None;
                    }
                    self.state = State::Lost;
                }
                State::Lost => self.find_frames(at, input)?,
            }
        }
    }

    /// Tells that `len` bytes are missing here. Returns whether the framing is lost; if not, the
    /// loss appears in the pieces to come.
    pub fn gap(&mut self, len: u64) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        match &mut self.state {
            State::Data(data) if len <= data.left => {
                data.lose(len);
                return false;
            }
            State::Skip { left, damaged, .. } if len <= *left => {
                *left -= len;
                *damaged = true;
                return false;
            }
            State::Leave { left } if len <= *left => {
                *left -= len;
                return false;
            }
            State::Payload(head) => {
                let held = self.held.len().saturating_sub(self.done);
                let left = head.len.saturating_sub(u32::try_from(held).unwrap_or(u32::MAX));
                if let Some(left) = left.checked_sub(len) {
                    self.state = State::Skip { head: *head, left, damaged: true };
                    self.drop_held();
                    return false;
                }
            }
            _ => {}
        }
        self.state = State::Lost;
        self.drop_held();
        true
    }

    /// Looks for frames anew in what is held and what comes, behind a DATA frame under way.
    pub const fn derail(&mut self) {
        self.state = match self.state {
            State::Data(Data { left: left @ 1.., .. }) => State::Leave { left },
            _ => State::Lost,
        };
    }

    /// Takes what is held for frames, although the chain is short: nothing will follow. Returns
    /// whether that makes a difference.
    pub fn settle(&mut self) -> bool {
        if !matches!(self.state, State::Lost) {
            return false;
        }
        let held = self.held.get(self.done..).unwrap_or_default();
        let Some(from) = detect::longest_chain_to_end(held) else { return false };
        self.done = self.done.saturating_add(from);
        self.state = State::Head;
        true
    }

    /// Follows what the receiver permits (RFC 9113 §6.5.2), if all its SETTINGS have been seen.
    /// Never less than before: frames may be on their way.
    pub fn permit(&mut self, max_frame: Option<u32>) {
        let before = self.max_frame.unwrap_or(DEFAULT_MAX_FRAME);
        self.max_frame = Some(before.max(max_frame.unwrap_or(0)));
    }

    /// Forgets what the receiver permits: it may have changed.
    pub const fn permit_all(&mut self) {
        self.max_frame = None;
    }

    /// When the first byte of the current frame was captured.
    #[must_use]
    pub const fn frame_at(&self) -> Timestamp {
        self.frame_at
    }

    /// Octets held, at most [`HELD_MAX`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.held.len()
    }

    fn open<'a>(&mut self, at: Timestamp, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        self.hold(PREFACE.len(), input);
        let is_settings = |head: &[u8; HEAD_LEN]| {
            let head = Head::parse(*head);
            head.kind == Kind::Settings && head.is_plausible() && !head.has(frame::ACK)
        };
        self.frame_at = at;
        if self.held.as_slice() == PREFACE {
            self.drop_held();
            self.state = State::Head;
            return Some(Piece::Preface);
        }
        if PREFACE.starts_with(&self.held) {
            return None;
        }
        if self.held.first_chunk().is_some_and(is_settings) {
            self.state = State::Head;
            return self.next(at, input);
        }
        if self.held.len() < HEAD_LEN {
            return None;
        }
        self.state = State::Lost;
        Some(Piece::Late)
    }

    /// Reads a head and prepares for its payload: `Some(None)` if that is all there is to do.
    fn head<'a>(&mut self, at: Timestamp, input: &mut &'a [u8]) -> Option<Option<Piece<'a>>> {
        if self.held.is_empty() {
            self.frame_at = at;
        }
        let octets = self.take(HEAD_LEN, input)?;
        let head = Head::parse(*octets.as_slice().first_chunk()?);
        if !head.is_valid() || self.max_frame.is_some_and(|max| head.len > max) {
            self.state = State::Lost;
            return Some(Some(Piece::Derailed));
        }
        let is_padded = head.has(PADDED);
        self.state = match head.kind {
            Kind::Data => State::Data(Data {
                head,
                left: head.len,
                content_left: head.len,
                content_lost: 0,
                is_padded: is_padded && head.len > 0,
                damaged: false,
            }),
            Kind::Unknown(_) => State::Skip { head, left: head.len, damaged: false },
            _ if head.len as usize > PAYLOAD_MAX => {
                State::Skip { head, left: head.len, damaged: true }
            }
            _ => State::Payload(head),
        };
        Some(None)
    }

    fn data<'a>(&mut self, data: &mut Data, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        if data.is_padded {
            let octet = self.take(1, input)?;
            let padding = octet.as_slice().first().copied().unwrap_or(0);
            data.content_left = frame::data(data.left, padding).unwrap_or(0);
            data.is_padded = false;
            data.left -= 1;
        }
        let (taken, content) = self.take_some(data.left, data.content_left, input);
        if taken == 0 && data.left > 0 {
            self.state = State::Data(*data);
            return None;
        }
        data.left -= taken;
        data.content_left -= taken.min(data.content_left);
        let lost = mem::take(&mut data.content_lost);
        let is_last = data.left == 0;
        self.state = if is_last { State::Head } else { State::Data(*data) };
        Some(Piece::Data { head: data.head, content, lost, damaged: data.damaged, is_last })
    }

    /// Passes over up to `len` octets: how many, and the first `wanted` of them. What is held comes
    /// by itself.
    fn take_some<'a>(&mut self, len: u32, wanted: u32, input: &mut &'a [u8]) -> (u32, Payload<'a>) {
        let held = self.held.get(self.done..).unwrap_or_default();
        if held.is_empty() {
            let len = input.len().min(len as usize);
            let (taken, rest) = input.split_at_checked(len).unwrap_or((input, &[]));
            *input = rest;
            let content = taken.get(..wanted as usize).unwrap_or(taken);
            return (u32::try_from(len).unwrap_or(u32::MAX), Payload::Lent(content));
        }
        let taken = held.get(..len as usize).unwrap_or(held);
        let content = taken.get(..wanted as usize).unwrap_or(taken).to_vec();
        let len = taken.len();
        self.passed(len);
        let content = Payload::Gathered(Zeroizing::new(content));
        (u32::try_from(len).unwrap_or(u32::MAX), content)
    }

    /// Goes on to the next chain of frames; `None` if more input is needed to tell.
    fn find_frames(&mut self, at: Timestamp, input: &mut &[u8]) -> Option<()> {
        loop {
            let rest = self.held.get(self.done..).unwrap_or_default();
            match detect::chain(rest) {
                Verdict::Yes => {
                    self.state = State::Head;
                    self.frame_at = at;
                    return Some(());
                }
                Verdict::No => self.done = self.done.saturating_add(1),
                Verdict::NeedMore if input.is_empty() => return None,
                Verdict::NeedMore => self.hold(CHAIN_SPAN, input),
            }
        }
    }

    /// Takes `len` octets, if they are there; else holds all there are.
    fn take<'a>(&mut self, len: usize, input: &mut &'a [u8]) -> Option<Payload<'a>> {
        if self.held.is_empty()
            && let Some((taken, rest)) = input.split_at_checked(len)
        {
            *input = rest;
            return Some(Payload::Lent(taken));
        }
        self.hold(len, input);
        let end = self.done.checked_add(len)?;
        let taken = Zeroizing::new(self.held.get(self.done..end)?.to_vec());
        self.passed(len);
        Some(Payload::Gathered(taken))
    }

    /// Passes over up to `len` octets and returns how many those were.
    fn skip(&mut self, len: u32, input: &mut &[u8]) -> u32 {
        let held = self.held.len().saturating_sub(self.done).min(len as usize);
        self.passed(held);
        let fresh = input.len().min((len as usize).saturating_sub(held));
        *input = input.get(fresh..).unwrap_or_default();
        u32::try_from(held.saturating_add(fresh)).unwrap_or(len)
    }

    /// Holds input until `len` octets are held that have not been dealt with.
    fn hold(&mut self, len: usize, input: &mut &[u8]) {
        if self.done > CHAIN_SPAN {
            self.held.drain(..self.done);
            self.done = 0;
        }
        let missing = len.saturating_sub(self.held.len().saturating_sub(self.done));
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        self.held.extend_from_slice(taken);
        *input = rest;
    }

    fn passed(&mut self, len: usize) {
        self.done = self.done.saturating_add(len);
        if self.done >= self.held.len() {
            self.drop_held();
        }
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.held.shrink_to(DEFAULT_MAX_FRAME as usize);
        self.done = 0;
    }
}

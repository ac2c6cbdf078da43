//! Frames (RFC 9113 §4.1 and §6): one parse function for each type; unknown kinds are values.
//!
//! In: a frame head and the payload of that frame. Out: borrowed fields. Nothing is kept here.

use thiserror::Error;

/// Octets of a frame head (RFC 9113 §4.1).
pub const HEAD_LEN: usize = 9;

/// Largest payload that an endpoint may send before its peer permits more (RFC 9113 §6.5.2,
/// `SETTINGS_MAX_FRAME_SIZE`).
pub const DEFAULT_MAX_FRAME: u32 = 16_384;

/// Frame types (RFC 9113 §6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// §6.1
    Data,
    /// §6.2
    Headers,
    /// §6.3
    Priority,
    /// §6.4
    RstStream,
    /// §6.5
    Settings,
    /// §6.6
    PushPromise,
    /// §6.7
    Ping,
    /// §6.8
    GoAway,
    /// §6.9
    WindowUpdate,
    /// §6.10
    Continuation,
    /// A type of an extension, to be ignored (§4.1).
    Unknown(u8),
}

impl Kind {
    const fn of(octet: u8) -> Self {
        match octet {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }
}

/// Flags of DATA and HEADERS: the last frame of its direction on the stream.
pub const END_STREAM: u8 = 0x1;
/// Flag of SETTINGS and PING: an acknowledgement.
pub const ACK: u8 = 0x1;
/// Flag of HEADERS, PUSH_PROMISE and CONTINUATION: the header block ends here.
pub const END_HEADERS: u8 = 0x4;
/// Flag of DATA, HEADERS and PUSH_PROMISE: padding is present.
pub const PADDED: u8 = 0x8;
/// Flag of HEADERS: priority fields are present.
pub const PRIORITY: u8 = 0x20;

/// A frame head (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Payload length in octets, below 2^24.
    pub len: u32,
    /// Type.
    pub kind: Kind,
    /// Flags, whose meaning depends on the type.
    pub flags: u8,
    /// Whether the reserved bit is set, which no sender should do.
    pub reserved: bool,
    /// Stream, 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// Reads a head. Every nine octets are one: whether it makes sense, [`Head::is_valid`] tells.
    #[must_use]
    pub fn parse(octets: [u8; HEAD_LEN]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = octets;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        Self {
            len: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::of(kind),
            flags,
            reserved: stream >> 31 != 0,
            stream: stream & STREAM_MASK,
        }
    }

    /// Whether flag `bit` is set.
    #[must_use]
    pub const fn has(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }

    /// Whether an endpoint would accept the frame's length and stream (RFC 9113 §6, per type).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            // A wrong length of PRIORITY is the stream's error, not the connection's (§6.3).
            Kind::Data | Kind::Headers | Kind::Priority | Kind::Continuation => on_stream,
            Kind::RstStream => on_stream && self.len == 4,
            Kind::Settings => {
                !on_stream && self.len.is_multiple_of(6) && (!self.has(ACK) || self.len == 0)
            }
            Kind::PushPromise => on_stream && self.len >= 4,
            Kind::Ping => !on_stream && self.len == 8,
            Kind::GoAway => !on_stream && self.len >= 8,
            Kind::WindowUpdate => self.len == 4,
            Kind::Unknown(_) => true,
        }
    }

    /// Whether the head is one that real peers send, for telling frames from other bytes: valid,
    /// of a known type and usual length, with no flag that its type does not define, and on a
    /// stream that a client opened: even ones are for pushes, which nobody sends any more.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Unknown(_) => return false,
        };
        let is_odd_length = match self.kind {
            Kind::Data => self.len == 0 && !self.has(END_STREAM),
            Kind::Headers => self.len == 0,
            Kind::Priority => self.len != 5,
            _ => false,
        };
        self.is_valid()
            && (self.stream == 0 || self.stream % 2 == 1)
            && !self.reserved
            && !is_odd_length
            && self.flags & !flags == 0
            && self.len <= DEFAULT_MAX_FRAME
    }
}

const STREAM_MASK: u32 = u32::MAX >> 1;

/// Why a payload is not what its head says.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum FrameError {
    /// The payload is shorter than the type's fields.
    #[error("{0:?} frame is too short")]
    Short(Kind),
    /// The padding is as long as the payload, or longer.
    #[error("{0:?} frame is all padding")]
    Padding(Kind),
}

/// A frame with its payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// A header block begins; the fragment is without padding and priority.
    Headers(&'a [u8]),
    /// Advice on priorities.
    Priority,
    /// The sender gives up the stream; with its error code.
    RstStream(u32),
    /// Parameters, or their acknowledgement, which has none.
    Settings(Settings),
    /// A header block begins: the request that the server answers unasked.
    PushPromise {
        /// The stream on which it answers.
        promised: u32,
        /// First fragment of the header block.
        fragment: &'a [u8],
    },
    /// Keep-alive, or its answer.
    Ping,
    /// The sender accepts no further streams.
    GoAway {
        /// The last stream that it may have acted upon.
        last_stream: u32,
        /// Error code.
        error: u32,
    },
    /// Flow control.
    WindowUpdate,
    /// A header block goes on.
    Continuation(&'a [u8]),
    /// DATA, which is streamed and never gathered, or a type of an extension.
    Other,
}

impl<'a> Frame<'a> {
    /// Reads the payload of any frame.
    ///
    /// # Errors
    /// If the payload is too short for what the head promises.
    pub fn parse(head: &Head, payload: &'a [u8]) -> Result<Self, FrameError> {
        Ok(match head.kind {
            Kind::Headers => Self::Headers(headers(head, payload)?),
            Kind::PushPromise => push_promise(head, payload)?,
            Kind::Continuation => Self::Continuation(payload),
            Kind::Settings => Self::Settings(settings(payload)),
            Kind::RstStream => Self::RstStream(rst_stream(payload)?),
            Kind::GoAway => goaway(payload)?,
            Kind::Priority => Self::Priority,
            Kind::Ping => Self::Ping,
            Kind::WindowUpdate => Self::WindowUpdate,
            Kind::Data | Kind::Unknown(_) => Self::Other,
        })
    }
}

/// Content octets of a DATA frame of `len` octets whose first, the padding length, is `padding`
/// (RFC 9113 §6.1).
///
/// # Errors
/// If the padding is as long as the payload.
pub fn data(len: u32, padding: u8) -> Result<u32, FrameError> {
    let content = len.checked_sub(1).and_then(|len| len.checked_sub(u32::from(padding)));
    content.ok_or(FrameError::Padding(Kind::Data))
}

/// RFC 9113 §6.2
fn headers<'a>(head: &Head, payload: &'a [u8]) -> Result<&'a [u8], FrameError> {
    let payload = unpad(head, payload)?;
    if head.has(PRIORITY) {
        return payload.get(5..).ok_or(FrameError::Short(Kind::Headers));
    }
    Ok(payload)
}

/// RFC 9113 §6.4
fn rst_stream(payload: &[u8]) -> Result<u32, FrameError> {
    Ok(first_u32(payload).ok_or(FrameError::Short(Kind::RstStream))?.0)
}

/// RFC 9113 §6.6
fn push_promise<'a>(head: &Head, payload: &'a [u8]) -> Result<Frame<'a>, FrameError> {
    let payload = unpad(head, payload)?;
    let (promised, fragment) = first_u32(payload).ok_or(FrameError::Short(Kind::PushPromise))?;
    Ok(Frame::PushPromise { promised: promised & STREAM_MASK, fragment })
}

/// RFC 9113 §6.8
fn goaway(payload: &[u8]) -> Result<Frame<'_>, FrameError> {
    let short = FrameError::Short(Kind::GoAway);
    let (last_stream, rest) = first_u32(payload).ok_or(short)?;
    let (error, _) = first_u32(rest).ok_or(short)?;
    Ok(Frame::GoAway { last_stream: last_stream & STREAM_MASK, error })
}

/// The parameters that matter to an observer (RFC 9113 §6.5.2), the last value of each.
/// `SETTINGS_HEADER_TABLE_SIZE` does not: what an encoder makes of it, its blocks tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// `SETTINGS_ENABLE_PUSH`; a server may only say no.
    pub enable_push: Option<u32>,
    /// `SETTINGS_MAX_FRAME_SIZE`, in octets.
    pub max_frame_size: Option<u32>,
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL` (RFC 8441 §3), which only servers send.
    pub enable_connect_protocol: Option<u32>,
}

/// RFC 9113 §6.5.1
fn settings(payload: &[u8]) -> Settings {
    let mut settings = Settings::default();
    let (parameters, _) = payload.as_chunks();
    for &[i0, i1, v0, v1, v2, v3] in parameters {
        let value = Some(u32::from_be_bytes([v0, v1, v2, v3]));
        match u16::from_be_bytes([i0, i1]) {
            0x2 => settings.enable_push = value,
            0x5 => settings.max_frame_size = value,
            0x8 => settings.enable_connect_protocol = value,
            _ => {}
        }
    }
    settings
}

fn unpad<'a>(head: &Head, payload: &'a [u8]) -> Result<&'a [u8], FrameError> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(FrameError::Short(head.kind))?;
    let len = rest.len().checked_sub(usize::from(*padding));
    len.and_then(|len| rest.get(..len)).ok_or(FrameError::Padding(head.kind))
}

fn first_u32(payload: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = payload.split_first_chunk()?;
    Some((u32::from_be_bytes(*first), rest))
}

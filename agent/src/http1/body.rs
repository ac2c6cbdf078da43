//! Where a body ends (RFC 9112 §6, §7), and how long it was once transfer coding is removed.
//!
//! In: what a head declares, then the bytes after it, or how many are missing. Out: when the
//! message ends. Content is skipped, not looked at: only the framing of chunks is read.

use crate::http::message::{Fields, Version};

/// Longest chunk-size line in bytes, extensions included. Recipients must limit extensions
/// (RFC 9112 §7.1.1); those in use are far shorter.
pub const MAX_CHUNK_LINE: u32 = 4 * 1024;

/// Most bytes of a trailer section (RFC 9112 §7.1.2): trailers are skipped, so that the limit only
/// keeps garbage from being read as one for ever.
pub const MAX_TRAILERS: u32 = 64 * 1024;

/// What a head's fields declare about the body (RFC 9112 §6.1, §6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    /// Nothing.
    Absent,
    /// A valid `Content-Length`.
    Length(u64),
    /// A transfer coding that ends in `chunked`.
    Chunked,
    /// A transfer coding that does not.
    NotChunked,
    /// A `Content-Length` that is none, or several that differ.
    Faulty,
}

impl Coding {
    /// The declaration, and whether recipients may read it differently.
    pub(super) fn declared(fields: &Fields, version: Version) -> (Self, bool) {
        let length = Self::declared_length(fields);
        let Some(coding) = Self::declared_coding(fields) else {
            let has_identity = fields.first("transfer-encoding").is_some();
            return (length, has_identity || length == Self::Faulty);
        };
        let chunked = elements(fields, "transfer-encoding").filter(|e| is_chunked(e)).count();
        let ambiguous = length != Self::Absent
            || version == Version::Http10
            || coding == Self::NotChunked
            || chunked > 1;
        (coding, ambiguous)
    }

    fn declared_coding(fields: &Fields) -> Option<Self> {
        let last = elements(fields, "transfer-encoding")
            .filter(|element| !element.eq_ignore_ascii_case(b"identity"))
            .last()?;
        Some(if is_chunked(last) { Self::Chunked } else { Self::NotChunked })
    }

    fn declared_length(fields: &Fields) -> Self {
        let join = |so_far, element: &[u8]| match (so_far, number(element)) {
            (Self::Absent, Some(length)) => Self::Length(length),
            (Self::Length(known), Some(length)) if known == length => so_far,
            _ => Self::Faulty,
        };
        fields
            .all("content-length")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(trim_blanks)
            .fold(Self::Absent, join)
    }
}

/// Elements of a list field (RFC 9110 §5.6.1), the empty ones left out.
fn elements<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .all(name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(trim_blanks)
        .filter(|element| !element.is_empty())
}

/// Without the whitespace that RFC 9110 §5.6.3 allows around an element, and no other: a coding
/// after a form feed is an attempt to be read in two ways.
fn trim_blanks(mut element: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = element {
        element = rest;
    }
    element
}

const fn is_chunked(element: &[u8]) -> bool {
    element.eq_ignore_ascii_case(b"chunked")
}

/// `1*DIGIT`, without the sign that `str::parse` would accept.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// How far a body has been read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// More bytes belong to it.
    More,
    /// The message is complete.
    End,
    /// Where it ends cannot be known.
    Broken,
}

/// A body on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    state: State,
    /// Bytes of content so far, known gaps included.
    len: u64,
    /// Bytes of the chunk-size line or trailer section so far.
    line: u32,
    ambiguous: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// This many bytes of content are left, at least one.
    Length(u64),
    /// Everything until the connection closes.
    UntilClose,
    Chunked(Chunk),
    End,
    Broken,
}

/// States within `chunked-body` of RFC 9112 §7.1, each named for what it waits for.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    /// First digit of a chunk size.
    Size,
    /// Further digits, or the end of the size.
    Digits { size: u64 },
    /// The end of chunk extensions.
    Extension { size: u64 },
    /// LF of a chunk-size line.
    SizeLf { size: u64 },
    /// This many bytes of content, at least one.
    Data { left: u64 },
    /// CR after content.
    DataCr,
    /// LF after content.
    DataLf,
    /// A line of the trailer section, or the empty line that ends it.
    Trailer,
    /// The end of a trailer field.
    TrailerField,
    /// LF of a trailer field.
    TrailerLf,
    /// LF of the last line.
    LastLf,
}

impl Body {
    /// Body of a request (RFC 9112 §6.3, rules 4 to 7).
    pub(super) const fn of_request(coding: Coding) -> Self {
        Self::new(match coding {
            Coding::Absent | Coding::Length(0) => State::End,
            Coding::Length(left) => State::Length(left),
            Coding::Chunked => State::Chunked(Chunk::Size),
            Coding::NotChunked | Coding::Faulty => State::Broken,
        })
    }

    /// Body of a final response with `status` to a request with `method`, `None` if that is not
    /// known (RFC 9112 §6.3, rules 1 to 8).
    pub(super) fn of_response(coding: Coding, status: u16, method: Option<&str>) -> Self {
        let has_none = matches!(status, 204 | 304) || method == Some("HEAD");
        Self::new(match coding {
            _ if has_none => State::End,
            Coding::Length(0) => State::End,
            Coding::Length(left) => State::Length(left),
            Coding::Chunked => State::Chunked(Chunk::Size),
            Coding::Absent | Coding::NotChunked => State::UntilClose,
            Coding::Faulty => State::Broken,
        })
    }

    const fn new(state: State) -> Self {
        Self { state, len: 0, line: 0, ambiguous: false }
    }

    /// Bytes of content so far.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the chunks seen so far may be read in different ways.
    pub(super) const fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether the close of the connection completes the body.
    pub(super) const fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    pub(super) const fn progress(&self) -> Progress {
        match self.state {
            State::Length(_) | State::UntilClose | State::Chunked(_) => Progress::More,
            State::End => Progress::End,
            State::Broken => Progress::Broken,
        }
    }

    /// Takes the bytes at the start of `bytes` that belong to the message: how many. Stops before
    /// a byte that breaks the framing.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0_usize;
        while let Some((byte, rest)) = bytes.get(used..).and_then(<[u8]>::split_first) {
            let available = rest.len().saturating_add(1);
            let step = match self.state {
                State::End | State::Broken => break,
                State::Chunked(chunk) if !matches!(chunk, Chunk::Data { .. }) => {
                    self.state = self.step(chunk, *byte);
                    usize::from(!matches!(self.state, State::Broken))
                }
                _ => self.take_content(available),
            };
            used = used.saturating_add(step);
        }
        used
    }

    /// Bytes from here on that are content, whatever they are.
    pub(super) const fn skippable(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunked(Chunk::Data { left }) => left,
            State::UntilClose => u64::MAX,
            State::Chunked(_) | State::End | State::Broken => 0,
        }
    }

    /// Passes over `len` bytes that are missing. False if the framing is unknown after them.
    pub(super) fn skip(&mut self, len: u64) -> bool {
        let fits = match self.state {
            State::Length(left) | State::Chunked(Chunk::Data { left }) => len <= left,
            State::UntilClose => true,
            State::Chunked(_) | State::End | State::Broken => false,
        };
        if fits {
            self.count_content(len);
        }
        fits
    }

    fn take_content(&mut self, available: usize) -> usize {
        let taken = match self.state {
            State::Length(left) | State::Chunked(Chunk::Data { left }) => {
                usize::try_from(left).map_or(available, |left| left.min(available))
            }
            _ => available,
        };
        self.count_content(taken as u64);
        taken
    }

    const fn count_content(&mut self, len: u64) {
        self.len = self.len.saturating_add(len);
        self.state = match self.state {
            State::Length(left) if left <= len => State::End,
            State::Length(left) => State::Length(left.saturating_sub(len)),
            State::Chunked(Chunk::Data { left }) if left <= len => State::Chunked(Chunk::DataCr),
            State::Chunked(Chunk::Data { left }) => {
                State::Chunked(Chunk::Data { left: left.saturating_sub(len) })
            }
            other => other,
        };
    }

    /// One byte of framing.
    fn step(&mut self, chunk: Chunk, byte: u8) -> State {
        let next = match (chunk, byte) {
            (Chunk::Size, _) => digit(0, byte),
            (Chunk::Digits { size }, b';' | b' ' | b'\t') => Some(Chunk::Extension { size }),
            (Chunk::Digits { size } | Chunk::Extension { size }, b'\r') => {
                Some(Chunk::SizeLf { size })
            }
            (Chunk::Digits { size } | Chunk::Extension { size }, b'\n') => {
                self.ambiguous = true;
                return self.start_of_data(size);
            }
            (Chunk::Digits { size }, _) => digit(size, byte),
            (Chunk::Extension { size }, _) => Some(Chunk::Extension { size }),
            (Chunk::SizeLf { size }, b'\n') => return self.start_of_data(size),
            (Chunk::DataCr, b'\r') => Some(Chunk::DataLf),
            (Chunk::DataCr, b'\n') => {
                self.ambiguous = true;
                return State::Chunked(Chunk::Size);
            }
            (Chunk::DataLf, b'\n') => return self.start_of_size(),
            (Chunk::Trailer, b'\r') => Some(Chunk::LastLf),
            (Chunk::TrailerField | Chunk::TrailerLf, b'\r') => Some(Chunk::TrailerLf),
            (Chunk::TrailerLf, b'\n') => Some(Chunk::Trailer),
            (Chunk::TrailerField, b'\n') => {
                self.ambiguous = true;
                Some(Chunk::Trailer)
            }
            (Chunk::LastLf, b'\n') => return State::End,
            (Chunk::Trailer, b'\n') => {
                self.ambiguous = true;
                return State::End;
            }
            (Chunk::Trailer | Chunk::TrailerField | Chunk::TrailerLf, _) => {
                Some(Chunk::TrailerField)
            }
            (Chunk::SizeLf { .. } | Chunk::DataCr | Chunk::DataLf | Chunk::LastLf, _) => None,
            (Chunk::Data { .. }, _) => Some(chunk),
        };
        next.filter(|next| self.is_within_limit(*next)).map_or(State::Broken, State::Chunked)
    }

    /// Counts a byte of the line that `next` is in.
    const fn is_within_limit(&mut self, next: Chunk) -> bool {
        let limit = match next {
            Chunk::Trailer | Chunk::TrailerField | Chunk::TrailerLf | Chunk::LastLf => MAX_TRAILERS,
            _ => MAX_CHUNK_LINE,
        };
        self.line = self.line.saturating_add(1);
        self.line <= limit
    }

    const fn start_of_size(&mut self) -> State {
        self.line = 0;
        State::Chunked(Chunk::Size)
    }

    const fn start_of_data(&mut self, size: u64) -> State {
        self.line = 0;
        State::Chunked(match size {
            0 => Chunk::Trailer,
            left => Chunk::Data { left },
        })
    }
}

/// A size with one more hexadecimal digit, unless it is none or the size outgrows 64 bits.
fn digit(size: u64, byte: u8) -> Option<Chunk> {
    let digit = char::from(byte).to_digit(16)?;
    let size = size.checked_mul(16)?.checked_add(u64::from(digit))?;
    Some(Chunk::Digits { size })
}

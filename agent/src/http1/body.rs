//! Where a body ends (RFC 9112 §6, §7), and how long it was once transfer coding is removed.
//!
//! In: what a head declares, then the bytes after it, or how many are missing. Out: when the
//! message ends. Only the framing of chunks is read; content and trailers are passed on.

use super::{framing::Coding, trailers::Trailers};
use crate::http::{
    anomaly::{Anomaly, AnomalySet},
    body::Content,
};

/// Longest chunk-size line in bytes, extensions included. Recipients must limit extensions
/// (RFC 9112 §7.1.1); those in use are far shorter.
pub const MAX_CHUNK_LINE: u32 = 4 * 1024;

/// Most bytes of a trailer section (RFC 9112 §7.1.2). Few of them are kept, so that the limit only
/// keeps garbage from being read as one for ever.
pub const MAX_TRAILERS: u32 = 64 * 1024;

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
    /// Bytes on the wire so far, known gaps and the framing of chunks included.
    wire_len: u64,
    /// Bytes of the chunk-size line or trailer section so far.
    line: u32,
    anomalies: AnomalySet,
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
    /// A chunk extension, or the end of the line, after whitespace.
    Blank { size: u64 },
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

impl Chunk {
    /// Whether the byte that it waits for belongs to the trailer section.
    const fn is_trailer(self) -> bool {
        matches!(self, Self::Trailer | Self::TrailerField | Self::TrailerLf)
    }

    /// What it is called if the body cannot be followed from here.
    const fn breach(self) -> AnomalySet {
        let mut anomalies = AnomalySet::NONE;
        anomalies.add(match self {
            Self::Size | Self::Digits { .. } => Anomaly::BadChunkSize,
            Self::Blank { .. } | Self::Extension { .. } | Self::SizeLf { .. } => {
                Anomaly::BadChunkExtension
            }
            Self::Data { .. } | Self::DataCr | Self::DataLf => Anomaly::BadChunkData,
            // A trailer section that is too long is not odd, only not read.
            Self::Trailer | Self::TrailerField => return anomalies,
            Self::TrailerLf | Self::LastLf => Anomaly::BareCr,
        });
        anomalies
    }
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
        Self { state, len: 0, wire_len: 0, line: 0, anomalies: AnomalySet::NONE }
    }

    /// Bytes of content so far.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Bytes on the wire so far: content, and the framing of chunks.
    pub(super) const fn wire_len(&self) -> u64 {
        self.wire_len
    }

    /// What is odd about the chunks seen so far.
    pub(super) const fn anomalies(&self) -> AnomalySet {
        self.anomalies
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

    /// Takes the bytes at the start of `bytes` that belong to the message: how many; what is
    /// content goes to `content`, and trailer fields go to `trailers`. Stops before a byte that breaks
    /// the framing.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        content: &mut Content,
        trailers: &mut Option<Box<Trailers>>,
    ) -> usize {
        let mut used = 0_usize;
        while let Some((byte, rest)) = bytes.get(used..).and_then(<[u8]>::split_first) {
            let available = rest.len().saturating_add(1);
            let step = match self.state {
                State::End | State::Broken => break,
                State::Chunked(chunk) if !matches!(chunk, Chunk::Data { .. }) => {
                    self.state = self.step(chunk, *byte);
                    if chunk.is_trailer() {
                        Trailers::take(trailers, *byte);
                    }
                    usize::from(!matches!(self.state, State::Broken))
                }
                _ => {
                    let taken = self.take_content(available);
                    let end = used.saturating_add(taken);
                    content.take(bytes.get(used..end).unwrap_or_default());
                    taken
                }
            };
            used = used.saturating_add(step);
        }
        self.wire_len = self.wire_len.saturating_add(used as u64);
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
            self.wire_len = self.wire_len.saturating_add(len);
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
            (Chunk::Digits { size }, b' ' | b'\t') => Some(Chunk::Blank { size }),
            (Chunk::Digits { size } | Chunk::Blank { size }, b';') => {
                self.anomalies.add(Anomaly::ChunkExtension);
                Some(Chunk::Extension { size })
            }
            (Chunk::Digits { size } | Chunk::Blank { size } | Chunk::Extension { size }, b'\r') => {
                Some(Chunk::SizeLf { size })
            }
            (Chunk::Digits { size } | Chunk::Blank { size } | Chunk::Extension { size }, b'\n') => {
                self.anomalies.add(Anomaly::ChunkBareLf);
                return self.start_of_data(size);
            }
            (Chunk::Digits { size }, _) => digit(size, byte),
            (Chunk::Blank { size }, b' ' | b'\t') => Some(Chunk::Blank { size }),
            (Chunk::Blank { size }, _) => {
                self.anomalies.add(Anomaly::BadChunkExtension);
                Some(Chunk::Extension { size })
            }
            (Chunk::Extension { size }, _) => Some(Chunk::Extension { size }),
            (Chunk::SizeLf { size }, b'\n') => return self.start_of_data(size),
            (Chunk::DataCr, b'\r') => Some(Chunk::DataLf),
            (Chunk::DataCr, b'\n') => {
                self.anomalies.add(Anomaly::ChunkBareLf);
                return State::Chunked(Chunk::Size);
            }
            (Chunk::DataLf, b'\n') => return self.start_of_size(),
            (Chunk::Trailer, b'\r') => Some(Chunk::LastLf),
            (Chunk::TrailerField | Chunk::TrailerLf, b'\r') => Some(Chunk::TrailerLf),
            (Chunk::TrailerLf, b'\n') => Some(Chunk::Trailer),
            (Chunk::TrailerField, b'\n') => {
                self.anomalies.add(Anomaly::ChunkBareLf);
                Some(Chunk::Trailer)
            }
            (Chunk::LastLf, b'\n') => return State::End,
            (Chunk::Trailer, b'\n') => {
                self.anomalies.add(Anomaly::ChunkBareLf);
                return State::End;
            }
            (Chunk::Trailer | Chunk::TrailerField | Chunk::TrailerLf, _) => {
                Some(Chunk::TrailerField)
            }
            (Chunk::SizeLf { .. } | Chunk::DataCr | Chunk::DataLf | Chunk::LastLf, _) => None,
            (Chunk::Data { .. }, _) => Some(chunk),
        };
        match next.filter(|next| self.is_within_limit(*next)) {
            Some(next) => State::Chunked(next),
            None => {
                self.anomalies.add_all(chunk.breach());
                State::Broken
            }
        }
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

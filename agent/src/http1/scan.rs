//! Where the heads are in one direction's bytes.
//!
//! In: bytes that stand outside bodies. Out: heads, or the statement that what should be one is
//! not. A scanner either *expects* a head at the very next byte, or *seeks* one: then it takes
//! only what is certain to be a start line and is followed by nothing but field lines. Such a
//! line may start anywhere, because few bodies end with a line end.
//!
//! Invariants: no byte is searched again because more bytes came, a head that lies in one feed is
//! not copied, and at most [`MAX_HEAD`] bytes are held.

use std::mem;

use memchr::memchr;

use super::head::{self, Head, Kind, Unreadable};
use crate::{clock::Timestamp, http::wiped::Wiped};

/// Longest head in bytes, from its first byte to the end of the empty line. Servers stop at 8 to
/// 32 KiB; tokens that carry group memberships, and several of them, stay below this.
pub const MAX_HEAD: usize = 64 * 1024;

/// A start line is sought in this many bytes at the end of a line: 8 KiB, the longest that RFC 9112
/// §3 asks recipients to support, and as much again.
const SOUGHT: usize = 16 * 1024;

/// Looks for heads in one direction; at first it expects one.
#[derive(Default)]
pub(super) struct Scanner {
    mode: Mode,
    /// Bytes fed earlier, from the start of the head or, while seeking, of the line.
    held: Wiped,
    /// Offset of the current line in the held bytes.
    line: usize,
    /// Offset up to which the held bytes have no further LF.
    scanned: usize,
    /// When the first byte of the current line came.
    line_at: Timestamp,
}

enum Mode {
    /// The next byte starts a head. `start` is what its first line, once whole, says.
    Expect { start: Option<Start>, bare_lf: bool },
    /// The current line may end with a start line, or belong to a head that has been certain so
    /// far.
    Seek { candidate: Option<Candidate> },
}

#[derive(Clone, Copy)]
struct Start {
    kind: Kind,
    at: Timestamp,
}

#[derive(Clone, Copy)]
struct Candidate {
    start: Start,
    begin: usize,
}

/// What a scanner found.
#[expect(
    clippy::large_enum_variant,
    reason = "passed up at once; a box would be one for each head"
)]
pub(super) enum Found {
    /// Nothing yet: every byte was taken.
    Nothing,
    /// A head that ends where the taken bytes end.
    Head(Head),
    /// No head where one was expected; the scanner now seeks. `kind` is what its start line said.
    Loss { flaw: Flaw, kind: Option<Kind> },
}

/// What is wrong with a head that was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flaw {
    /// It does not start as messages do, or not as those of this direction.
    NotAStart,
    /// It is longer than [`MAX_HEAD`].
    TooLong,
    /// It cannot be read.
    Unreadable(Unreadable),
}

/// What a look at a window of bytes ended in.
#[expect(
    clippy::large_enum_variant,
    reason = "passed up at once; a box would be one for each head"
)]
enum Look {
    /// At the window's end; its bytes from `keep` on are needed again.
    More { keep: usize },
    /// At `end`, with a result.
    At { end: usize, found: Found },
}

impl Default for Mode {
    fn default() -> Self {
        Self::Expect { start: None, bare_lf: false }
    }
}

impl Scanner {
    /// Forgets what is held and expects a head.
    pub(super) fn expect(&mut self) {
        *self = Self::default();
    }

    /// Forgets what is held and seeks a head.
    pub(super) fn seek(&mut self) {
        *self = Self { mode: Mode::Seek { candidate: None }, ..Self::default() };
    }

    pub(super) const fn is_seeking(&self) -> bool {
        matches!(self.mode, Mode::Seek { .. })
    }

    /// Which message the bytes held are certain to start.
    pub(super) fn started(&self) -> Option<Kind> {
        match self.mode {
            Mode::Expect { start, .. } => start.map(|start| start.kind),
            Mode::Seek { .. } => None,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes bytes from the start of `bytes`: how many, and what they completed. `wanted` is the
    /// kind of message that goes in this direction, once that is known.
    pub(super) fn advance(
        &mut self,
        wanted: Option<Kind>,
        at: Timestamp,
        bytes: &[u8],
    ) -> (usize, Found) {
        let blank = self.blank_lines(bytes);
        if blank > 0 {
            return (blank, Found::Nothing);
        }
        let mut held = mem::take(&mut self.held);
        let before = held.len();
        if self.line == before {
            self.line_at = at;
        }
        let room = MAX_HEAD.saturating_sub(before);
        let taken = bytes.get(..room).unwrap_or(bytes);
        let window = if before == 0 {
            taken
        } else {
            hold(&mut held, taken);
            &held
        };
        match self.look(wanted, at, window) {
            Look::More { keep: 0 } if window.len() >= MAX_HEAD => {
                (taken.len(), self.refuse_length())
            }
            Look::More { keep: 0 } if before > 0 => {
                self.held = held;
                (taken.len(), Found::Nothing)
            }
            Look::More { keep } => {
                hold(&mut self.held, window.get(keep..).unwrap_or_default());
                self.line = self.line.saturating_sub(keep);
                self.scanned = self.scanned.saturating_sub(keep);
                (taken.len(), Found::Nothing)
            }
            Look::At { end, found } => (end.saturating_sub(before), found),
        }
    }

    /// How many bytes of the line ends that may stand before a start line (RFC 9112 §2.2) are at
    /// the start of `bytes`.
    fn blank_lines(&self, bytes: &[u8]) -> usize {
        if self.is_seeking() || !self.held.is_empty() {
            return 0;
        }
        bytes.iter().take_while(|byte| head::is_line_end(**byte)).count()
    }

    fn refuse_length(&mut self) -> Found {
        let (was_seeking, kind) = (self.is_seeking(), self.started());
        self.seek();
        if was_seeking { Found::Nothing } else { Found::Loss { flaw: Flaw::TooLong, kind } }
    }

    fn look(&mut self, wanted: Option<Kind>, at: Timestamp, window: &[u8]) -> Look {
        match self.mode {
            Mode::Expect { start, bare_lf } => self.look_here(wanted, window, start, bare_lf),
            Mode::Seek { candidate } => self.look_around(wanted, at, window, candidate),
        }
    }

    /// Looks for the end of the head that starts with the window.
    fn look_here(
        &mut self,
        wanted: Option<Kind>,
        window: &[u8],
        mut start: Option<Start>,
        mut bare_lf: bool,
    ) -> Look {
        while let Some((line, end)) = self.next_line(window) {
            let content = line.strip_suffix(b"\r");
            bare_lf |= content.is_none();
            let content = content.unwrap_or(line);
            match start {
                None => start = self.start(head::start_line(content), wanted),
                Some(start) if content.is_empty() => {
                    return self.read(start, window.get(..end).unwrap_or_default(), bare_lf);
                }
                Some(_) => {}
            }
            if start.is_none() {
                let offence = head::offence(window).unwrap_or(end.saturating_sub(1));
                return self.lose(offence, Flaw::NotAStart, None);
            }
            self.line = end;
        }
        if start.is_none()
            && let Some(offence) = head::offence(window)
        {
            return self.lose(offence, Flaw::NotAStart, None);
        }
        self.mode = Mode::Expect { start, bare_lf };
        Look::More { keep: 0 }
    }

    /// Looks for what is certain to be a start line in the window, and for its head's end.
    fn look_around(
        &mut self,
        wanted: Option<Kind>,
        at: Timestamp,
        window: &[u8],
        mut candidate: Option<Candidate>,
    ) -> Look {
        while let Some((line, end)) = self.next_line(window) {
            candidate = match (candidate, line.strip_suffix(b"\r")) {
                (_, None) => None,
                (Some(Candidate { start, begin }), Some(b"")) => {
                    let head = window.get(begin..end).unwrap_or_default();
                    if let Some(head) = head::read_certain(start.kind, head, start.at) {
                        self.expect();
                        return Look::At { end, found: Found::Head(head) };
                    }
                    None
                }
                (Some(candidate), Some(line)) if head::is_field_line(line) => Some(candidate),
                (_, Some(line)) => self.candidate(wanted, at, line),
            };
            self.line = end;
            self.line_at = at;
        }
        let keep = match candidate {
            Some(candidate) => candidate.begin,
            // By half at a time, so that small feeds move each byte only once; one more for a CR.
            None if window.len().saturating_sub(self.line) > 2 * SOUGHT => {
                self.line = window.len().saturating_sub(SOUGHT.saturating_add(1));
                self.line
            }
            None => self.line,
        };
        let candidate = candidate.map(|candidate| Candidate { begin: 0, ..candidate });
        self.mode = Mode::Seek { candidate };
        Look::More { keep }
    }

    /// The head that starts at the end of `line`, which is the current one.
    fn candidate(&self, wanted: Option<Kind>, at: Timestamp, line: &[u8]) -> Option<Candidate> {
        let unsought = line.len().saturating_sub(SOUGHT);
        let (offset, kind) = head::certain_start(line.get(unsought..)?)?;
        let begin = self.line.saturating_add(unsought).saturating_add(offset);
        let mut start = self.start(Some(kind), wanted)?;
        if begin > self.line {
            // What stands before it in the line is older, by how much is not known.
            start.at = at;
        }
        Some(Candidate { start, begin })
    }

    /// The next line that ends in the window, without its LF, and where the line after it starts.
    fn next_line<'w>(&mut self, window: &'w [u8]) -> Option<(&'w [u8], usize)> {
        let Some(length) = memchr(b'\n', window.get(self.scanned..)?) else {
            self.scanned = window.len();
            return None;
        };
        let lf = self.scanned.saturating_add(length);
        self.scanned = lf.saturating_add(1);
        Some((window.get(self.line..lf)?, self.scanned))
    }

    fn start(&self, kind: Option<Kind>, wanted: Option<Kind>) -> Option<Start> {
        let kind = kind.filter(|kind| wanted.is_none_or(|wanted| wanted == *kind))?;
        Some(Start { kind, at: self.line_at })
    }

    fn read(&mut self, start: Start, head: &[u8], bare_lf: bool) -> Look {
        match head::read(start.kind, head, start.at, bare_lf) {
            Ok(read) => {
                self.expect();
                Look::At { end: head.len(), found: Found::Head(read) }
            }
            Err(why) => self.lose(head.len(), Flaw::Unreadable(why), Some(start.kind)),
        }
    }

    fn lose(&mut self, end: usize, flaw: Flaw, kind: Option<Kind>) -> Look {
        self.seek();
        Look::At { end, found: Found::Loss { flaw, kind } }
    }
}

/// Appends to a buffer that may hold credentials: outgrown memory is wiped.
fn hold(held: &mut Wiped, bytes: &[u8]) {
    let wanted = held.len().saturating_add(bytes.len());
    if wanted > held.capacity() {
        held.move_to(wanted.max(held.capacity().saturating_mul(2)).min(MAX_HEAD).max(wanted));
    }
    held.extend_from_slice(bytes);
}

//! Trailer fields of a chunked body (RFC 9112 §7.1.2): what a response says at its end, gRPC's status
//! for one.
//!
//! In: the bytes of the section, as they come. Out: its fields, as far as they fit into
//! [`TRAILERS_MAX`]. They may hold anything that a field may: they are wiped.

use zeroize::Zeroizing;

use super::head::is_token;
use crate::http::{length::trim_blanks, message::Fields};

/// Most bytes that are kept of one trailer section: statuses, checksums and timings are short, and
/// proxies cut what is longer than a few kilobytes.
pub const TRAILERS_MAX: usize = 4 * 1024;

/// A trailer section on its way.
#[derive(Default)]
pub(super) struct Trailers {
    octets: Zeroizing<Vec<u8>>,
    /// There was more than is kept.
    is_cut: bool,
}

impl Trailers {
    /// Takes the next byte of a section that is kept in `slot` once it has a field: most are nothing but
    /// an empty line.
    pub(super) fn take(slot: &mut Option<Box<Self>>, byte: u8) {
        if slot.is_some() || !matches!(byte, b'\r' | b'\n') {
            slot.get_or_insert_default().add(byte);
        }
    }

    fn add(&mut self, byte: u8) {
        if self.octets.len() >= TRAILERS_MAX {
            self.is_cut = true;
            return;
        }
        if self.octets.capacity() == 0 {
            // A buffer that need not grow leaves nothing behind that is not wiped.
            self.octets.reserve_exact(TRAILERS_MAX);
        }
        self.octets.push(byte);
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.octets.len()
    }

    /// Whether fields are missing.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The fields that are whole. A line that is none, or goes on one before (RFC 9112 §5.2 wants it
    /// rejected), is left out: nobody's verdict depends on it.
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        // What follows the last LF is no line yet: the empty line that ends the section, or a cut one.
        let end = memchr::memrchr(b'\n', &self.octets).unwrap_or(0);
        let (lines, _) = self.octets.split_at_checked(end).unwrap_or_default();
        for line in lines.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at_checked(colon).unwrap_or_default();
            if !name.is_empty() && name.iter().all(|byte| is_token(*byte)) {
                fields.push(name, trim_blanks(value.get(1..).unwrap_or_default()));
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(section: &[u8]) -> Trailers {
        let mut slot = None;
        section.iter().for_each(|byte| Trailers::take(&mut slot, *byte));
        slot.map(|it| *it).unwrap_or_default()
    }

    fn read(section: &[u8]) -> Vec<(String, String)> {
        let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        of(section).fields().iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn fields_are_read_and_what_is_none_is_left_out() {
        let section =
            b"Grpc-Status: 7 \r\nX:\nno field\r\n bad name: a\r\n: b\r\n folded\r\nY:1\r\n";
        let fields = [("grpc-status", "7"), ("x", ""), ("y", "1")];
        assert_eq!(read(section), fields.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(read(b""), []);
        let mut slot = None;
        b"\r\n".iter().for_each(|byte| Trailers::take(&mut slot, *byte));
        assert!(slot.is_none());
    }

    #[test]
    fn a_field_that_is_cut_is_not_read() {
        assert_eq!(read(b"a: 1\r\ngrpc-status: 1"), [("a".into(), "1".into())]);
        let long = [&b"a: 1\r\nb: "[..], &[b'x'; TRAILERS_MAX], b"\r\n"].concat();
        assert_eq!(read(&long), [("a".into(), "1".into())]);
        let cut = of(&long);
        assert!(cut.is_cut() && cut.size() == TRAILERS_MAX);
    }
}

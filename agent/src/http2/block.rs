//! Header blocks to the parts of a message (RFC 9113 §8.2 and §8.3).
//!
//! In: a whole header block. Out: pseudo-header fields apart, and [`Fields`] as the other protocol
//! versions have them:
//! - `:authority` stands in front as `host`. A `host` field with the same value is dropped, one
//!   with another value follows it; §8.3.1 says that the former counts.
//! - Crumbs of `cookie` are joined with `; ` (§8.2.3) and stand last.
//! - `:protocol` of an extended CONNECT (RFC 8441) becomes `upgrade`, which HTTP/2 does not have
//!   otherwise.

use zeroize::Zeroizing;

use super::{
    conduct::Conduct,
    hpack::{DecodeError, Decoder, Field},
};
use crate::http::{anomaly::AnomalySet, message::Fields};

/// Fields for which there is room from the start, at most. Messages of browsers and gateways have some
/// more, of services less.
const FIELDS_EXPECTED: usize = 16;

/// Octets for what a block of `len` octets says, from the start: Huffman's code makes up to 8 of 5, an
/// index some dozens of one. Room that suffices need not grow, and leaves no copy of a token behind.
const fn room(len: usize) -> usize {
    let expected = len.saturating_mul(8) / 5;
    expected.saturating_add(if len < ROOM_FOR_INDICES { 4 * len } else { 4 * ROOM_FOR_INDICES })
}

/// Octets of a block, at most, that are taken for indices.
const ROOM_FOR_INDICES: usize = 128;

/// What a header block says.
#[derive(Default)]
pub struct Block {
    /// `:method`
    pub method: Option<String>,
    /// `:path`
    pub path: Option<Zeroizing<String>>,
    /// `:status`; 0 if it is there but not known, or no number.
    pub status: Option<u16>,
    /// Fields other than pseudo-header fields.
    pub fields: Fields,
    /// Whether there are fields, or may be some, that are not known.
    pub is_incomplete: bool,
    /// Whether bytes were lost and nothing could be read.
    pub is_lost: bool,
    /// Which message it heads, if its pseudo-header fields tell.
    pub heads: Option<Side>,
    /// Length of the block in octets.
    pub octets: usize,
    conduct: Conduct,
    /// Position of the first `host` among the fields: a block may have it a thousand times.
    host: Option<usize>,
    cookie: Option<Zeroizing<Vec<u8>>>,
}

/// One of the two messages of an exchange, and the end that sends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The request, from the client.
    Request,
    /// The response, from the server.
    Response,
}

impl Block {
    /// Decodes a block. It holds what could be read even if there is an error.
    pub fn decode(decoder: &mut Decoder, octets: &[u8]) -> (Self, Result<(), DecodeError>) {
        let expected = (octets.len() / 4).clamp(4, FIELDS_EXPECTED);
        let fields = Fields::with_capacity(expected, room(octets.len()));
        let mut block = Self { octets: octets.len(), fields, ..Self::default() };
        let outcome = decoder.decode(octets, &mut |field| block.add(field));
        block.is_incomplete |= outcome.is_err();
        if let Some(cookie) = &block.cookie {
            block.fields.push(b"cookie", cookie);
        }
        // Size updates make a block long without a word.
        block.fields.fit();
        (block, outcome)
    }

    /// Notes that bytes of the block were lost, beyond those that it was decoded from.
    pub fn lose(&mut self) {
        self.is_incomplete = true;
        self.is_lost = self.heads.is_none() && self.fields.is_empty();
    }

    /// What is odd about it.
    #[must_use]
    pub fn anomalies(&self) -> AnomalySet {
        self.conduct.anomalies(self.heads, !self.is_incomplete)
    }

    /// Whether it has pseudo-header fields of both messages (RFC 9113 §8.3 forbids it): then only
    /// the way in which it goes tells which one it heads.
    #[must_use]
    pub const fn is_mixed(&self) -> bool {
        self.conduct.is_mixed()
    }

    /// Length of the body that it declares.
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        self.conduct.length()
    }

    fn add(&mut self, field: Field<'_>) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            self.is_incomplete = true;
            return;
        };
        if name.starts_with(b":") {
            self.conduct.add_pseudo(name, value);
            return self.add_pseudo(name, value);
        }
        self.conduct.add(name, value);
        if name == b"cookie" {
            self.add_cookie(value);
        } else if name == b"host" {
            self.add_host(value);
        } else {
            self.fields.push(name, value);
        }
    }

    fn add_cookie(&mut self, crumb: &[u8]) {
        let Some(cookie) = &mut self.cookie else {
            self.cookie = Some(Zeroizing::new(crumb.to_vec()));
            return;
        };
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(crumb);
    }

    fn add_host(&mut self, value: &[u8]) {
        match self.host.and_then(|at| self.fields.value(at)) {
            Some(known) if known == value => return,
            Some(_) => self.conduct.add_other_host(),
            None => {}
        }
        self.push_host(value);
    }

    fn push_host(&mut self, value: &[u8]) {
        self.host.get_or_insert(self.fields.len());
        self.fields.push(b"host", value);
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b":method" => self.method = Some(text()),
            b":path" => self.path = Some(Zeroizing::new(text())),
            b":authority" => self.push_host(value),
            b":protocol" => self.fields.push(b"upgrade", value),
            b":scheme" => {}
            b":status" => {
                let status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.status = Some(status.unwrap_or(0));
                self.heads = Some(Side::Response);
                return;
            }
            _ => return,
        }
        self.heads = Some(Side::Request);
    }
}

//! What a stream carries, told from its first bytes. Pure: bytes in, a [`Shape`] out.
//!
//! What comes before TLS on one connection (a PROXY header, CONNECT, the plaintext dialogue before
//! STARTTLS) has a shape of its own, so that the flow isn't given up before its TLS begins.

use crate::wire::proxy::SIGNATURE;

/// What a flow carries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// Not known yet, or still in the dialogue before TLS.
    #[default]
    Undecided,
    /// TLS records (RFC 8446 §5.1), from a hello on.
    Tls,
    /// HTTP without TLS.
    Plain,
    /// Nothing that carries tokens.
    Ignored,
}

/// Bytes that suffice for every decision: the longest token and the longest header below.
pub const SAMPLE_LEN: usize = 16;

/// What some bytes at the start of a message look like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// The beginning of something known; fewer than [`SAMPLE_LEN`] bytes leave it open.
    Partial,
    /// A TLS handshake record that begins with a ClientHello or a ServerHello.
    Tls,
    /// HTTP/1 (RFC 9112), the preface of HTTP/2 (RFC 9113 §3.4), or a message of HTTP/2, with which
    /// no connection begins that was seen from its start.
    Plain,
    /// A header of a proxy, after which the real protocol starts.
    Header(Extent),
    /// A message of a protocol that may change to TLS after any message.
    Upgradable(Extent),
    /// Nothing of the above.
    Unknown,
}

/// How far a message reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// Until after the next line feed.
    Line,
    /// This many bytes, from its first.
    Bytes(u64),
}

/// The shape of a message that begins with `sample`. Of more than [`SAMPLE_LEN`] bytes the rest
/// doesn't matter.
#[must_use]
pub fn shape(sample: &[u8]) -> Shape {
    let sample = sample.get(..SAMPLE_LEN).unwrap_or(sample);
    match sample {
        [] => Shape::Partial,
        [TLS_HANDSHAKE, ..] => tls(sample),
        [BER_SEQUENCE, ..] => ldap(sample),
        [b'\r', ..] => proxy_v2(sample),
        [HTTP2_LENGTH, ..] => http2(sample),
        _ => token(sample),
    }
}

/// Content type of TLS handshake records (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;
/// Longest payload of a plaintext record, in bytes (RFC 8446 §5.1).
const TLS_MAX_RECORD: u16 = 1 << 14;
/// Handshake types (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

fn tls(sample: &[u8]) -> Shape {
    match sample {
        [_, major, ..] if *major != 3 => Shape::Unknown,
        [_, _, minor, ..] if *minor > 4 => Shape::Unknown,
        [_, _, _, high, low, ..]
            if !(1..=TLS_MAX_RECORD).contains(&u16::from_be_bytes([*high, *low])) =>
        {
            Shape::Unknown
        }
        [_, _, _, _, _, CLIENT_HELLO | SERVER_HELLO, ..] => Shape::Tls,
        [_, _, _, _, _, ..] if sample.len() > 5 => Shape::Unknown,
        _ => Shape::Partial,
    }
}

/// Tag of a BER SEQUENCE, in which every LDAP message is wrapped (RFC 4511 §4.1.1).
const BER_SEQUENCE: u8 = 0x30;
const BER_INTEGER: u8 = 0x02;

/// An LDAP message: a sequence of a message id of up to four bytes and an operation.
fn ldap(sample: &[u8]) -> Shape {
    let Some((length, body)) = ber_length(sample.get(1..).unwrap_or_default()) else {
        return if sample.len() < 6 { Shape::Partial } else { Shape::Unknown };
    };
    match body {
        [] | [BER_INTEGER] => Shape::Partial,
        [BER_INTEGER, id_len @ 1..=4, rest @ ..] => match rest.get(usize::from(*id_len)) {
            None => Shape::Partial,
            // Operations are application tags.
            Some(0x40..=0x7f) => {
                let header = sample.len() - body.len();
                Shape::Upgradable(Extent::Bytes(header as u64 + u64::from(length)))
            }
            Some(_) => Shape::Unknown,
        },
        _ => Shape::Unknown,
    }
}

/// A definite BER length and what follows it.
fn ber_length(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match bytes {
        [short @ 0..=0x7f, rest @ ..] => Some((u32::from(*short), rest)),
        [0x81, a, rest @ ..] => Some((u32::from(*a), rest)),
        [0x82, a, b, rest @ ..] => Some((u32::from_be_bytes([0, 0, *a, *b]), rest)),
        [0x83, a, b, c, rest @ ..] => Some((u32::from_be_bytes([0, *a, *b, *c]), rest)),
        [0x84, a, b, c, d, rest @ ..] => Some((u32::from_be_bytes([*a, *b, *c, *d]), rest)),
        _ => None,
    }
}

/// First octet of the length of a frame of HTTP/2 (RFC 9113 §4.1), which is short by default.
pub const HTTP2_LENGTH: u8 = 0;
const HEADERS: u8 = 1;
/// Flags of HEADERS (RFC 9113 §6.2).
const HEADERS_FLAGS: u8 = 0x2d;

/// A HEADERS frame on a client's stream of which there are fewer than 2^24.
fn http2(sample: &[u8]) -> Shape {
    match sample {
        [_, _, _, HEADERS, flags, 0, _, _, stream, ..]
            if flags & !HEADERS_FLAGS == 0 && stream % 2 == 1 =>
        {
            Shape::Plain
        }
        [_, _, _, HEADERS, flags, 0, ..] if sample.len() < 9 && flags & !HEADERS_FLAGS == 0 => {
            Shape::Partial
        }
        [_, _, _, HEADERS, flags] if flags & !HEADERS_FLAGS == 0 => Shape::Partial,
        [_] | [_, _] | [_, _, _] | [_, _, _, HEADERS] => Shape::Partial,
        _ => Shape::Unknown,
    }
}

/// The binary header (§2.2): its length is that of what follows the first 16 bytes.
fn proxy_v2(sample: &[u8]) -> Shape {
    let known = sample.len().min(SIGNATURE.len());
    if sample.get(..known) != SIGNATURE.get(..known) {
        return Shape::Unknown;
    }
    match sample.get(SIGNATURE.len()..) {
        Some([_version, _family, high, low]) => {
            let addresses = u16::from_be_bytes([*high, *low]);
            Shape::Header(Extent::Bytes(SAMPLE_LEN as u64 + u64::from(addresses)))
        }
        _ => Shape::Partial,
    }
}

/// How messages of text protocols begin. HTTP's methods are those of RFC 9110, PATCH (RFC 5789),
/// QUERY, and WebDAV's (RFC 4918, RFC 3253), in which cloud storage is accessed with tokens.
const TOKENS: [(&[u8], Shape); 31] = [
    (b"GET ", Shape::Plain),
    (b"POST ", Shape::Plain),
    (b"PUT ", Shape::Plain),
    (b"PATCH ", Shape::Plain),
    (b"DELETE ", Shape::Plain),
    (b"HEAD ", Shape::Plain),
    (b"OPTIONS ", Shape::Plain),
    (b"TRACE ", Shape::Plain),
    (b"QUERY ", Shape::Plain),
    (b"PROPFIND ", Shape::Plain),
    (b"PROPPATCH ", Shape::Plain),
    (b"MKCOL ", Shape::Plain),
    (b"COPY ", Shape::Plain),
    (b"MOVE ", Shape::Plain),
    (b"LOCK ", Shape::Plain),
    (b"UNLOCK ", Shape::Plain),
    (b"REPORT ", Shape::Plain),
    (b"HTTP/1.", Shape::Plain),
    (b"PRI * HTTP/2.0\r\n", Shape::Plain),
    (b"PROXY ", Shape::Header(Extent::Line)),
    (b"CONNECT ", Shape::Upgradable(Extent::Line)),
    // SMTP, LMTP and FTP: greeting and first commands (RFC 3207, RFC 4217).
    (b"220 ", Shape::Upgradable(Extent::Line)),
    (b"220-", Shape::Upgradable(Extent::Line)),
    (b"EHLO ", Shape::Upgradable(Extent::Line)),
    (b"HELO ", Shape::Upgradable(Extent::Line)),
    (b"LHLO ", Shape::Upgradable(Extent::Line)),
    // IMAP: greetings (RFC 9051 §7.1). POP3: greeting and first commands (RFC 2595 §4).
    (b"* OK ", Shape::Upgradable(Extent::Line)),
    (b"* PREAUTH ", Shape::Upgradable(Extent::Line)),
    (b"+OK", Shape::Upgradable(Extent::Line)),
    (b"CAPA\r\n", Shape::Upgradable(Extent::Line)),
    (b"STLS\r\n", Shape::Upgradable(Extent::Line)),
];

fn token(sample: &[u8]) -> Shape {
    let mut found = Shape::Unknown;
    for (token, shape) in TOKENS {
        let known = sample.len().min(token.len());
        if sample.get(..known) == token.get(..known) {
            if known == token.len() {
                return shape;
            }
            found = Shape::Partial;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, proptest},
    };

    use super::{Extent, SAMPLE_LEN, Shape, TOKENS, shape};

    #[test]
    fn shapes() {
        let line = Shape::Upgradable(Extent::Line);
        let table: [(&[u8], Shape); 33] = [
            (b"", Shape::Partial),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Shape::Tls),
            (b"\x16\x03\x03\x00\x7a\x02", Shape::Tls),
            (b"\x16\x03\x01\x02\x00", Shape::Partial),
            (b"\x16\x03\x01\x02\x00\x0b", Shape::Unknown),
            (b"\x16\x02\x01\x02\x00\x01", Shape::Unknown),
            (b"\x16\x03\x09\x02\x00\x01", Shape::Unknown),
            (b"\x16\x03\x01\xff\x00\x01", Shape::Unknown),
            (b"\x17\x03\x03\x00\x20abcdef", Shape::Unknown),
            (b"GET / HTTP/1.1\r\n", Shape::Plain),
            (b"GETAWAY", Shape::Unknown),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Shape::Plain),
            (b"P", Shape::Partial),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Shape::Header(Extent::Line)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", Shape::Header(Extent::Bytes(28))),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", Shape::Partial),
            (b"\r\nGET", Shape::Unknown),
            (b"CONNECT api.example:443 HTTP/1.1\r\n", line),
            (b"220 mail.example ESMTP\r\n", line),
            (b"* OK IMAP4rev2\r\n", line),
            (b"+OK POP3\r\n", line),
            (b"\x30\x1d\x02\x01\x01\x77\x18", Shape::Upgradable(Extent::Bytes(31))),
            (b"\x30\x84\0\0\0\x28\x02\x01\x01\x78", Shape::Upgradable(Extent::Bytes(46))),
            (b"\x30\x84\0\0", Shape::Partial),
            (b"\x30\x80\x02\x01\x01\x77\0", Shape::Unknown),
            (b"SSH-2.0-OpenSSH_9.9", Shape::Unknown),
            (b"\0\0\x04\x01\x05\0\0\0\x0f\xbe\x82", Shape::Plain),
            (b"\0\x01\x04\x01\x04\0\0\x01", Shape::Partial),
            (b"\0\0\x04\x01", Shape::Partial),
            (b"\0\0\x04\x01\x05\0\0\0\x02", Shape::Unknown),
            (b"\0\0\x04\x01\x15\0\0\0\x01", Shape::Unknown),
            (b"\0\0\x04\x01\x05\x80\0\0\x01", Shape::Unknown),
            (b"\0\0\x04\0\x01\0\0\0\x01", Shape::Unknown),
        ];
        for (sample, expected) in table {
            assert_eq!(shape(sample), expected, "{:?}", sample.escape_ascii().to_string());
        }
    }

    #[test]
    fn tokens_fit_a_sample() {
        assert!(TOKENS.iter().all(|(token, _)| token.len() <= SAMPLE_LEN));
    }

    proptest! {
        #[test]
        fn a_whole_sample_decides(mut sample in vec(any::<u8>(), SAMPLE_LEN), known in 0..31_usize) {
            assert_ne!(shape(&sample), Shape::Partial);
            let (token, _) = TOKENS[known];
            sample.splice(..token.len() - 1, token[..token.len() - 1].iter().copied());
            assert_ne!(shape(&sample), Shape::Partial);
        }

        #[test]
        fn more_bytes_never_change_a_decision(sample in vec(any::<u8>(), SAMPLE_LEN)) {
            let decided: Vec<Shape> = (0..=SAMPLE_LEN)
                .map(|len| shape(&sample[..len]))
                .filter(|shape| *shape != Shape::Partial)
                .collect();
            assert!(decided.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
}

//! The leaf of a Certificate message (RFC 8446 §4.4.2, RFC 5246 §7.4.2) and the two names in it.
//!
//! Two names are all that is wanted of X.509, so this walks DER down to them (RFC 5280 §4.1) and
//! no further; nothing is verified. A certificate that cannot be walked keeps its thumbprint.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

use super::reader::{Malformed, Reader};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
const BMP_STRING: u8 = 0x1e;
const UTF8_STRINGS: [u8; 4] = [0x0c, 0x12, 0x13, 0x16];
const LATIN_STRING: u8 = 0x14;

/// Longest name kept, in bytes of text; what is longer is no name that someone chose in earnest.
const MAX_NAME: usize = 1024;

/// Short names of attribute types (RFC 4514 §3, RFC 4519), by DER content.
const SHORT_NAMES: &[(&[u8], &str)] = &[
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

/// What is told of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// SHA-256 over the DER: the `x5t#S256` of RFC 8705 §3.1 before its encoding.
    pub thumbprint: [u8; 32],
    /// Subject as RFC 4514 writes it, last attribute first; empty if it cannot be read.
    pub subject: String,
    /// Issuer, likewise.
    pub issuer: String,
}

impl Certificate {
    /// The leaf of a TLS 1.2 Certificate message; none if the message holds none.
    ///
    /// # Errors
    /// [`Malformed`], naming what is short.
    pub fn leaf_tls12(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let list = Reader::new(body).vector24("certificate list")?;
        Self::first(list)
    }

    /// The leaf of a TLS 1.3 Certificate message; none if the message holds none.
    ///
    /// # Errors
    /// [`Malformed`], naming what is short.
    pub fn leaf_tls13(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut reader = Reader::new(body);
        reader.vector8("certificate request context")?;
        Self::first(reader.vector24("certificate list")?)
    }

    fn first(list: &[u8]) -> Result<Option<Self>, Malformed> {
        if list.is_empty() {
            return Ok(None);
        }
        Reader::new(list).vector24("certificate").map(|der| Some(Self::of_der(der)))
    }

    /// What is told of the certificate with this DER.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        let mut thumbprint = [0; 32];
        let hash = digest(&SHA256, der);
        thumbprint.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        let (subject, issuer) = names(der).unwrap_or_default();
        Self { thumbprint, subject, issuer }
    }
}

fn names(der: &[u8]) -> Result<(String, String), Malformed> {
    let mut certificate = Reader::new(element(&mut Reader::new(der), SEQUENCE)?);
    let mut tbs = Reader::new(element(&mut certificate, SEQUENCE)?);
    if tbs.rest().first() == Some(&VERSION) {
        element(&mut tbs, VERSION)?;
    }
    element(&mut tbs, INTEGER)?;
    element(&mut tbs, SEQUENCE)?;
    let issuer = name(element(&mut tbs, SEQUENCE)?)?;
    element(&mut tbs, SEQUENCE)?;
    let subject = name(element(&mut tbs, SEQUENCE)?)?;
    Ok((subject, issuer))
}

/// A distinguished name as RFC 4514 §2 writes it.
fn name(sequence: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader::new(sequence);
    let mut parts = Vec::new();
    let mut length = 0_usize;
    while !reader.is_empty() {
        let part = relative_name(element(&mut reader, SET)?)?;
        length = length.saturating_add(part.len());
        if length > MAX_NAME {
            return Err(Malformed::Bounds("distinguished name"));
        }
        parts.push(part);
    }
    parts.reverse();
    Ok(parts.join(","))
}

fn relative_name(set: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader::new(set);
    let mut parts = Vec::new();
    while !reader.is_empty() {
        let mut pair = Reader::new(element(&mut reader, SEQUENCE)?);
        let kind = element(&mut pair, OBJECT_IDENTIFIER)?;
        let (tag, value) = any_element(&mut pair)?;
        let known = SHORT_NAMES.iter().find(|(oid, _)| *oid == kind);
        let kind = known.map_or_else(|| dotted(kind), |(_, short)| (*short).into());
        parts.push(format!("{kind}={}", text(tag, value)));
    }
    Ok(parts.join("+"))
}

/// An object identifier in dotted form (X.690 §8.19).
fn dotted(content: &[u8]) -> String {
    let mut out = String::new();
    let mut arc = 0_u64;
    for byte in content {
        arc = arc.saturating_mul(128).saturating_add(u64::from(byte & 0x7f));
        if byte & 0x80 != 0 {
            continue;
        }
        // The first two arcs share a number: 40 times the first, which is at most 2.
        let _ = if out.is_empty() {
            let first = (arc / 40).min(2);
            write!(out, "{first}.{}", arc.saturating_sub(first.saturating_mul(40)))
        } else {
            write!(out, ".{arc}")
        };
        arc = 0;
    }
    out
}

/// An attribute value: text, escaped (RFC 4514 §2.4), or `#` and hexadecimal.
fn text(tag: u8, value: &[u8]) -> String {
    let decoded = match tag {
        tag if UTF8_STRINGS.contains(&tag) => str::from_utf8(value).ok().map(str::to_owned),
        LATIN_STRING => Some(value.iter().copied().map(char::from).collect()),
        BMP_STRING => {
            let units = value.chunks_exact(2).filter_map(|pair| <[u8; 2]>::try_from(pair).ok());
            String::from_utf16(&units.map(u16::from_be_bytes).collect::<Vec<_>>()).ok()
        }
        _ => None,
    };
    decoded.map_or_else(|| hexadecimal(tag, value), |text| escaped(&text))
}

fn escaped(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', character]),
            '#' if index == 0 => out.push_str("\\#"),
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            // Whoever prints a name must not print a terminal's escape sequence.
            control if control.is_control() => {
                for byte in control.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
            plain => out.push(plain),
        }
    }
    out
}

fn hexadecimal(tag: u8, value: &[u8]) -> String {
    let mut out = format!("#{tag:02x}");
    let length = value.len().min(MAX_NAME);
    let _ = match length {
        0..=127 => write!(out, "{length:02x}"),
        128..=255 => write!(out, "81{length:02x}"),
        _ => write!(out, "82{length:04x}"),
    };
    for byte in value.iter().take(length) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn element<'a>(reader: &mut Reader<'a>, expected: u8) -> Result<&'a [u8], Malformed> {
    let (tag, content) = any_element(reader)?;
    if tag == expected { Ok(content) } else { Err(Malformed::Bounds("DER tag")) }
}

/// Tag and content of the next element: tags of one byte, definite lengths below 2^24, which is
/// all that a certificate in a TLS message can have.
fn any_element<'a>(reader: &mut Reader<'a>) -> Result<(u8, &'a [u8]), Malformed> {
    let tag = reader.u8("DER tag")?;
    let length = match reader.u8("DER length")? {
        short @ 0..=0x7f => u32::from(short),
        0x81 => u32::from(reader.u8("DER length")?),
        0x82 => u32::from(reader.u16("DER length")?),
        0x83 => reader.u24("DER length")?,
        _ => return Err(Malformed::Bounds("DER length")),
    };
    let length = usize::try_from(length).map_err(|_| Malformed::Bounds("DER length"))?;
    Ok((tag, reader.take(length, "DER element")?))
}

#[cfg(test)]
mod tests {
    use super::{dotted, name};

    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
        };
        let pair = [wrap(0x06, oid), wrap(tag, value)].concat();
        wrap(0x31, &wrap(0x30, &pair))
    }

    fn check(attributes: &[Vec<u8>], expected: &str) {
        assert_eq!(name(&attributes.concat()).unwrap(), expected);
    }

    #[test]
    fn names_are_written_last_attribute_first_and_escaped() {
        let country = attribute(&[0x55, 4, 6], 0x13, b"FR");
        let odd = attribute(&[0x55, 4, 3], 0x0c, b" #a,b\x1b ");
        check(&[country, odd], "CN=\\ #a\\,b\\1B\\ ,C=FR");
        let unknown = attribute(&[0x2a, 0x03, 0x04], 0x04, &[1, 2]);
        check(&[unknown], "1.2.3.4=#04020102");
    }

    #[test]
    fn wide_strings_and_long_arcs_are_read() {
        check(&[attribute(&[0x55, 4, 3], 0x1e, &[0, b'h', 0x20, 0xac])], "CN=h\u{20ac}");
        assert_eq!(dotted(&[0x88, 0x37, 0x01]), "2.999.1");
    }
}

//! Client certificates that a proxy tells. In: a request's fields, from a proxy that the policy
//! trusts. Out: the SHA-256 thumbprint of the certificate.

use base64::{Engine, prelude::BASE64_STANDARD};

use sha2::{Digest, Sha256};

use super::parameters::decoded;
use crate::http::message::Fields;

/// What a proxy told.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::token) enum Forwarded {
    /// Nothing.
    None,
    /// The thumbprint of a certificate.
    One([u8; 32]),
    /// More than one thing, or nothing that can be read.
    Several,
}

/// The certificate in `Client-Cert` (RFC 9440 §2.2) or `X-Forwarded-Client-Cert` (Envoy).
pub(in crate::token) fn forwarded(fields: &Fields) -> Forwarded {
    let standard = fields.all("client-cert").map(byte_sequence);
    let envoy = fields.all("x-forwarded-client-cert").map(last_element);
    let mut told = standard.chain(envoy);
    match (told.next(), told.next()) {
        (None, _) => Forwarded::None,
        (Some(Some(thumbprint)), None) => Forwarded::One(thumbprint),
        (Some(_), _) => Forwarded::Several,
    }
}

/// Thumbprint of the certificate in `:base64:` (RFC 8941 §3.3.5).
fn byte_sequence(field: &[u8]) -> Option<[u8; 32]> {
    let inner = field.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
    Some(Sha256::digest(BASE64_STANDARD.decode(inner).ok()?).into())
}

/// Thumbprint in the last element, the one that the proxy itself wrote: those before came with the
/// request.
fn last_element(field: &[u8]) -> Option<[u8; 32]> {
    let element = unquoted(field, b',').last()?;
    let mut pairs = unquoted(element, b';').filter_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = pair.split_at_checked(equals)?;
        Some((name.trim_ascii().to_ascii_lowercase(), value.get(1..)?))
    });
    pairs.find_map(|(name, value)| match name.as_slice() {
        b"hash" => thumbprint_of_hex(value),
        b"cert" => thumbprint_of_pem(value),
        _ => None,
    })
}

/// The parts of `text` between separators that stand outside of quotes.
fn unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let separates = *byte == separator && !quoted;
        quoted ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        separates
    })
}

fn thumbprint_of_hex(digits: &[u8]) -> Option<[u8; 32]> {
    let digits = std::str::from_utf8(digits).ok()?;
    let valid = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes = (0..32).map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok());
    valid.then(|| bytes.collect::<Option<Vec<_>>>()?.try_into().ok())?
}

/// `"` and a percent-encoded PEM certificate.
fn thumbprint_of_pem(value: &[u8]) -> Option<[u8; 32]> {
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    // A plus is a digit of base64 in here, and stays one.
    let plain = value?.split(|byte| *byte == b'+').collect::<Vec<_>>().join(&b"%2B"[..]);
    let pem = decoded(&plain);
    let pem = std::str::from_utf8(pem.bytes()).ok()?;
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_ascii_whitespace().collect();
    Some(Sha256::digest(BASE64_STANDARD.decode(body).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `der`.
    const DER: &[u8] = b"der";

    #[track_caller]
    fn check(sent: &[(&str, &str)], expected: &Forwarded) {
        let mut fields = Fields::default();
        sent.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
        assert_eq!(&forwarded(&fields), expected, "{sent:?}");
    }

    #[test]
    fn certificates_are_read_as_proxies_write_them() {
        let thumbprint: [u8; 32] = Sha256::digest(DER).into();
        let one = Forwarded::One(thumbprint);
        let hex: String = thumbprint.iter().map(|byte| format!("{byte:02x}")).collect();
        let standard = format!(":{}:", BASE64_STANDARD.encode(DER));
        check(&[("Client-Cert", &standard)], &one);
        let envoy = "x-forwarded-client-cert";
        check(&[(envoy, &format!("By=x;Hash={hex};Subject=\"/C=US, ; O=x\""))], &one);
        let spoofed = format!("Hash={},By=y;Hash={hex}", "0".repeat(64));
        check(&[(envoy, &spoofed)], &one);
        let pem = "%22-----BEGIN%20CERTIFICATE-----%0AZGVy%0A-----END%20CERTIFICATE-----%0A";
        let pem = format!("Cert=\"{}\"", pem.trim_start_matches("%22"));
        check(&[(envoy, &pem)], &one);
    }

    #[test]
    fn what_cannot_be_told_is_not() {
        let standard = format!(":{}:", BASE64_STANDARD.encode(DER));
        check(&[], &Forwarded::None);
        check(&[("client-cert", &standard), ("client-cert", &standard)], &Forwarded::Several);
        check(&[("client-cert", "ZGVy")], &Forwarded::Several);
        check(&[("x-forwarded-client-cert", "Hash=zz")], &Forwarded::Several);
        check(&[("x-forwarded-client-cert", "")], &Forwarded::Several);
    }
}

//! JA4, the fingerprint of a TLS client over TCP, by FoxIO's public specification of JA4 (the TLS
//! client method only; BSD licensed).

use aws_lc_rs::digest::{SHA256, digest};

use super::hello::{ClientHello, EXT_ALPN, EXT_SERVER_NAME, is_grease};

/// Hash of an empty list.
const EMPTY: &str = "000000000000";

/// The fingerprint: `JA4_a_b_c`, 36 ASCII characters.
#[must_use]
pub fn ja4(hello: &ClientHello) -> String {
    let suites = without_grease(&hello.suites);
    let extensions = without_grease(&hello.extensions);
    let name = if hello.extensions.contains(&EXT_SERVER_NAME) { 'd' } else { 'i' };
    format!(
        "t{version}{name}{suites:02}{extensions:02}{alpn}_{b}_{c}",
        version = version(hello),
        suites = suites.len().min(99),
        extensions = extensions.len().min(99),
        alpn = alpn(hello),
        b = cipher_hash(suites),
        c = extension_hash(extensions, &hello.signature_algorithms),
    )
}

fn version(hello: &ClientHello) -> &'static str {
    let offered = without_grease(&hello.versions).into_iter().max().unwrap_or(hello.version);
    match offered {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of the first protocol offered, in hexadecimal where they are not
/// alphanumeric.
fn alpn(hello: &ClientHello) -> String {
    let Some(name) = hello.alpn.first() else { return "00".into() };
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return "00".into() };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [char::from(*first), char::from(*last)].iter().collect()
    } else {
        format!("{:x}{:x}", first >> 4, last & 0x0f)
    }
}

fn cipher_hash(mut suites: Vec<u16>) -> String {
    suites.sort_unstable();
    if suites.is_empty() { EMPTY.into() } else { short_hash(&joined(&suites)) }
}

fn extension_hash(mut extensions: Vec<u16>, signature_algorithms: &[u16]) -> String {
    extensions.retain(|kind| !matches!(*kind, EXT_SERVER_NAME | EXT_ALPN));
    extensions.sort_unstable();
    let algorithms = without_grease(signature_algorithms);
    match (extensions.is_empty(), algorithms.is_empty()) {
        (true, true) => EMPTY.into(),
        (_, true) => short_hash(&joined(&extensions)),
        (_, false) => short_hash(&format!("{}_{}", joined(&extensions), joined(&algorithms))),
    }
}

fn joined(numbers: &[u16]) -> String {
    let mut text = String::with_capacity(numbers.len() * 5);
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push_hex(&number.to_be_bytes(), &mut text);
    }
    text
}

fn short_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let mut text = String::with_capacity(EMPTY.len());
    push_hex(hash.as_ref().get(..EMPTY.len() / 2).unwrap_or_default(), &mut text);
    text
}

/// Appends bytes in hexadecimal. By hand, as each connection takes a hundred of them.
fn push_hex(bytes: &[u8], text: &mut String) {
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]) {
        text.extend(char::from_digit(nibble.into(), 16));
    }
}

fn without_grease(numbers: &[u16]) -> Vec<u16> {
    numbers.iter().copied().filter(|number| !is_grease(*number)).collect()
}

#[cfg(test)]
mod tests {
    use super::{ClientHello, ja4};

    fn check(hello: &ClientHello, expected: &str) {
        assert_eq!(ja4(hello), expected);
    }

    #[test]
    fn the_specification_s_own_example() {
        let hello = ClientHello {
            version: 0x0303,
            suites: vec![
                0x0a0a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x1a1a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0xdada,
            ],
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            versions: vec![0x3a3a, 0x0304, 0x0303],
            signature_algorithms: vec![
                0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
            ],
            ..ClientHello::default()
        };
        check(&hello, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn a_bare_hello_has_a_fingerprint_too() {
        check(&ClientHello::default(), "t00i000000_000000000000_000000000000");
        let hello = ClientHello { alpn: vec![vec![0xab]], ..ClientHello::default() };
        check(&hello, "t00i0000ab_000000000000_000000000000");
    }
}

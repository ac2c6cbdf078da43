//! The header by which a proxy tells whom it speaks for: HAProxy's `proxy-protocol.txt`, both
//! versions. In: a connection's first bytes, in pieces. Out: the address of the client that it
//! names. It proves nothing: whoever connects can send one.
//!
//! At most [`HEAD_LEN`] bytes are kept. Extensions (§2.2's TLVs) lie behind the addresses, and are
//! not read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes in which the addresses lie: the longest line of version 1 (§2.1), its end included.
/// Version 2 has them in the first 52.
pub const HEAD_LEN: usize = 107;

/// Signature of version 2 (§2.2).
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header as it comes.
#[derive(Clone, Debug)]
pub(super) struct Head {
    bytes: [u8; HEAD_LEN],
    len: u8,
    /// It is longer than what is kept, which version 1 may not be.
    is_longer: bool,
    extent: Extent,
}

/// How much of a header was seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Extent {
    /// Its beginning.
    Part,
    /// All of it.
    Whole,
    /// Not all of it, and no more will be.
    Torn,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; HEAD_LEN], len: 0, is_longer: false, extent: Extent::Part }
    }
}

impl Head {
    /// Takes the next bytes of the header; of those behind its end, none.
    pub(super) fn extend(&mut self, with: &[u8]) {
        if self.extent != Extent::Part {
            return;
        }
        let room = self.bytes.get_mut(usize::from(self.len)..).unwrap_or_default();
        self.is_longer |= with.len() > room.len();
        for (slot, byte) in room.iter_mut().zip(with) {
            *slot = *byte;
            self.len += 1;
        }
    }

    /// Its last byte was taken.
    pub(super) fn end(&mut self) {
        if self.extent == Extent::Part {
            self.extent = Extent::Whole;
        }
    }

    /// Bytes of it are missing, unless it was over.
    pub(super) fn tear(&mut self) {
        if self.extent == Extent::Part {
            self.extent = Extent::Torn;
        }
    }

    /// Whom it names; `None` if nobody, if it is not in order, or not seen whole.
    pub(super) fn client(&self) -> Option<IpAddr> {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        let is_kept = !self.is_longer || bytes.starts_with(SIGNATURE);
        (self.extent == Extent::Whole && is_kept).then(|| client(bytes)).flatten()
    }
}

/// Whom a header names that `head` begins with: the source of the connection that the proxy took.
/// `None` if it is not in order, or names nobody, as those of health checks (`LOCAL`, `UNKNOWN`).
#[must_use]
pub fn client(head: &[u8]) -> Option<IpAddr> {
    let named = match head.strip_prefix(SIGNATURE) {
        Some(rest) => binary(rest),
        None => text(head),
    };
    named.map(|address| address.to_canonical())
}

/// Version 2 and the command `PROXY`; the other is `LOCAL`.
const PROXIED: u8 = 0x21;
/// Families of addresses, over TCP.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

fn binary(rest: &[u8]) -> Option<IpAddr> {
    let (&[command, family, high, low], rest) = rest.split_first_chunk()?;
    let len = usize::from(u16::from_be_bytes([high, low]));
    // Of two addresses and two ports, the first address is the source.
    let addresses = rest.get(..len.min(rest.len()))?;
    match (command, family) {
        (PROXIED, TCP4) if addresses.len() >= 12 => {
            addresses.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into())
        }
        (PROXIED, TCP6) if addresses.len() >= 36 => {
            addresses.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into())
        }
        _ => None,
    }
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT CRLF`, with one space each.
fn text(line: &[u8]) -> Option<IpAddr> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (proxy, family) = (next()?, next()?);
    let (source, destination) = (next()?.parse::<IpAddr>(), next()?.parse::<IpAddr>());
    let (source, destination) = (source.ok()?, destination.ok()?);
    let ports = [next()?, next()?].iter().all(|port| port.parse::<u16>().is_ok());
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (proxy == "PROXY" && fits && ports && next().is_none()).then_some(source)
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{any, prop_assert, prop_assert_eq, proptest},
    };

    use super::*;

    #[track_caller]
    fn check(head: &[u8], expected: Option<&str>) {
        let found = client(head).map(|address| address.to_string());
        assert_eq!(found.as_deref(), expected, "{:?}", head.escape_ascii().to_string());
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let len = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &len, addresses].concat()
    }

    #[test]
    fn lines_name_their_source() {
        check(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", Some("192.0.2.7"));
        check(b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", Some("2001:db8::7"));
        check(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Some("192.0.2.7"));
        for odd in [
            "PROXY UNKNOWN\r\n",
            "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443",
            "PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 5\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 65536\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 56324 443\r\n",
            "PROXY TCP4 2001:db8::7 10.0.0.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 56324 443\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.1 56324 443\r\n",
            "",
        ] {
            check(odd.as_bytes(), None);
        }
    }

    #[test]
    fn binary_headers_name_their_source() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0, 1, 0, 2];
        let six: Vec<u8> =
            [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7].as_slice(), &[0; 20]]
                .concat();
        check(&binary(0x21, 0x11, &four), Some("192.0.2.7"));
        check(&binary(0x21, 0x21, &six), Some("2001:db8::7"));
        // Extensions follow.
        check(
            &binary(0x21, 0x11, &[four.as_slice(), &[3, 0, 4, 1, 2, 3, 4]].concat()),
            Some("192.0.2.7"),
        );
        for (command, family, addresses) in [
            (0x20, 0x11, four.as_slice()),
            (0x11, 0x11, &four),
            (0x21, 0x12, &four),
            (0x21, 0x31, &four),
            (0x21, 0x00, &four),
            (0x21, 0x11, &four[..11]),
            (0x21, 0x21, &six[..35]),
            (0x21, 0x11, &[]),
        ] {
            check(&binary(command, family, addresses), None);
        }
        let mut short = binary(0x21, 0x11, &four);
        short[15] = 4;
        check(&short, None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(head in vec(any::<u8>(), 0..160), signed: bool) {
            let head = if signed { [SIGNATURE.as_slice(), &head].concat() } else { head };
            let _ = client(&head);
        }

        #[test]
        fn pieces_make_what_the_whole_makes(
            source: IpAddr, ports: (u16, u16), tail in vec(any::<u8>(), 0..200), cut in 0..300_usize,
        ) {
            let (family, octets) = match source {
                IpAddr::V4(four) => (TCP4, [four.octets().as_slice(), &[0; 8]].concat()),
                IpAddr::V6(six) => (TCP6, [six.octets().as_slice(), &[0; 20]].concat()),
            };
            let word = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {word} {source} {source} {} {}\r\n", ports.0, ports.1);
            let header = binary(PROXIED, family, &[octets, tail].concat());
            for whole in [line.into_bytes(), header] {
                let mut head = Head::default();
                let (one, two) = whole.split_at(cut.min(whole.len()));
                head.extend(one);
                head.extend(two);
                prop_assert_eq!(head.client(), None);
                head.end();
                prop_assert_eq!(head.client(), Some(source.to_canonical()));
            }
        }

        #[test]
        fn a_line_that_is_too_long_names_nobody(zeros in 70..200_usize) {
            let mut head = Head::default();
            let line = format!("PROXY TCP4 192.0.2.7 10.0.0.1 1 {}2\r\n", "0".repeat(zeros));
            head.extend(line.as_bytes());
            head.end();
            prop_assert!(line.len() <= HEAD_LEN || head.client().is_none());
        }
    }
}

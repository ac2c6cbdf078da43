//! Packets to segments: addresses, options, extension headers, and packets that lie.

use proptest::{
    collection::vec,
    prelude::{any, prop_oneof, proptest},
    strategy::{Just, Strategy},
};

use super::{Endpoint, Flags, Layer, PacketError, ParsedPacket, parse};

const PAYLOAD: &[u8] = b"hello";

/// A TCP header with `options` words of options, then the payload.
fn tcp(options: u8) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x90, 0x01, 0xbb, 0, 0, 0, 7, 0, 0, 0, 9, (5 + options) << 4, 0x18];
    bytes.extend([0; 6]);
    bytes.extend(vec![1; usize::from(options) * 4]);
    bytes.extend(PAYLOAD);
    bytes
}

/// An IPv4 packet with `options` words of options around `body`.
fn ipv4(options: u8, body: &[u8]) -> Vec<u8> {
    let header_len = 20 + usize::from(options) * 4;
    let total = u16::try_from(header_len + body.len()).unwrap();
    let mut bytes = vec![0x45 + options, 0];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(vec![1; usize::from(options) * 4]);
    bytes.extend(body);
    bytes
}

/// An IPv6 packet with the given extension headers (type, length in units) around `body`.
fn ipv6(extensions: &[(u8, u8)], body: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    let types = extensions.iter().map(|(kind, _)| *kind).chain([6]);
    for ((_, units), next) in extensions.iter().zip(types.clone().skip(1)) {
        chain.extend([next, *units]);
        chain.extend(vec![0; usize::from(*units) * 8 + 6]);
    }
    chain.extend(body);
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend(u16::try_from(chain.len()).unwrap().to_be_bytes());
    bytes.extend([types.clone().next().unwrap(), 64]);
    bytes.extend([0xfd; 16]);
    bytes.extend([0xfe; 16]);
    bytes.extend(chain);
    bytes
}

fn patched(mut packet: Vec<u8>, patches: &[(usize, u8)]) -> Vec<u8> {
    for (at, value) in patches {
        packet[*at] = *value;
    }
    packet
}

fn check_segment(name: &str, packet: &[u8]) {
    let parsed = parse(packet).unwrap_or_else(|error| panic!("{name}: {error}"));
    let ParsedPacket { key, seq, ack, flags, payload, wire_len } = parsed;
    assert_eq!((key.source.port, key.destination.port), (8080, 443), "{name}");
    assert_eq!((seq, ack), (7, 9), "{name}");
    assert_eq!(flags, Flags { ack: true, ..Flags::default() }, "{name}");
    assert_eq!((payload, wire_len), (PAYLOAD, 5), "{name}");
}

#[test]
fn headers_with_and_without_options() {
    check_segment("IPv4", &ipv4(0, &tcp(0)));
    check_segment("IPv4 with options", &ipv4(10, &tcp(0)));
    check_segment("TCP with options", &ipv4(0, &tcp(10)));
    check_segment("IPv6", &ipv6(&[], &tcp(3)));
    check_segment("padding behind the packet", &[ipv4(0, &tcp(0)), vec![0; 6]].concat());
}

#[test]
fn ipv6_with_extension_headers() {
    check_segment("hop-by-hop", &ipv6(&[(0, 0)], &tcp(0)));
    check_segment("all three", &ipv6(&[(0, 0), (43, 2), (60, 1)], &tcp(0)));
    check_segment("as many as allowed", &ipv6(&[(60, 0); 8], &tcp(0)));
    let packet = ipv6(&[(60, 0); 9], &tcp(0));
    assert_eq!(parse(&packet), Err(PacketError::TooManyExtensions));
}

#[test]
fn super_packets_of_64_kib_and_more() {
    let big = |len: usize| [tcp(0), vec![b'x'; len]].concat();
    let fits = ipv4(0, &big(65_000));
    assert_eq!(parse(&fits).unwrap().wire_len, 65_005);

    let unsaid = patched([ipv4(0, &tcp(0)), vec![b'x'; 200_000]].concat(), &[(2, 0), (3, 0)]);
    assert_eq!(parse(&unsaid).unwrap().wire_len, 200_005);
    let unsaid = patched([ipv6(&[], &tcp(0)), vec![b'x'; 200_000]].concat(), &[(4, 0), (5, 0)]);
    assert_eq!(parse(&unsaid).unwrap().payload.len(), 200_005);
}

#[test]
fn a_cut_capture_still_tells_the_length_on_the_wire() {
    let packet = ipv4(0, &tcp(0));
    let parsed = parse(&packet[..packet.len() - 3]).unwrap();
    assert_eq!((parsed.payload, parsed.wire_len), (&b"he"[..], 5));
}

#[test]
fn mapped_addresses_are_the_same_endpoint() {
    let plain = Endpoint::from("10.0.0.1:443".parse::<std::net::SocketAddr>().unwrap());
    let mapped = Endpoint::from("[::ffff:10.0.0.1]:443".parse::<std::net::SocketAddr>().unwrap());
    assert_eq!(plain, mapped);
    assert_eq!(mapped.socket_addr().to_string(), "10.0.0.1:443");
}

#[test]
fn errors_name_the_header() {
    let good = ipv4(0, &tcp(0));
    let table: [(&str, Vec<u8>, PacketError); 13] = [
        ("empty", vec![], PacketError::Empty),
        ("version", vec![0x50; 60], PacketError::Version(5)),
        ("too long", vec![0x45; super::MAX_PACKET + 1], PacketError::TooLong(524_289)),
        ("short IPv4", good[..19].to_vec(), PacketError::Short(Layer::Ipv4)),
        ("short IPv6", ipv6(&[], &tcp(0))[..39].to_vec(), PacketError::Short(Layer::Ipv6)),
        ("short TCP", good[..39].to_vec(), PacketError::Short(Layer::Tcp)),
        ("tiny IHL", patched(good.clone(), &[(0, 0x44)]), PacketError::Length(Layer::Ipv4)),
        ("tiny total", patched(good.clone(), &[(3, 19)]), PacketError::Length(Layer::Ipv4)),
        ("tiny offset", patched(good.clone(), &[(32, 0x40)]), PacketError::Length(Layer::Tcp)),
        ("UDP", patched(good.clone(), &[(9, 17)]), PacketError::NotTcp(17)),
        ("fragment", patched(good, &[(6, 0x20)]), PacketError::Fragment),
        ("IPv6 fragment", ipv6(&[(44, 0)], &tcp(0)), PacketError::Fragment),
        (
            "extension beyond the packet",
            patched(ipv6(&[(0, 0)], &tcp(0)), &[(41, 255)]),
            PacketError::Length(Layer::Ipv6Extension),
        ),
    ];
    for (name, packet, expected) in table {
        assert_eq!(parse(&packet), Err(expected), "{name}");
    }
}

fn near_packets() -> impl Strategy<Value = Vec<u8>> {
    let base = prop_oneof![
        Just(ipv4(2, &tcp(3))),
        Just(ipv6(&[(0, 0), (60, 1)], &tcp(1))),
        vec(any::<u8>(), 0..100),
    ];
    (base, vec((any::<usize>(), any::<u8>()), 0..6), any::<usize>()).prop_map(
        |(mut packet, patches, cut)| {
            for (at, value) in patches {
                let len = packet.len().max(1);
                if let Some(byte) = packet.get_mut(at % len) {
                    *byte = value;
                }
            }
            packet.truncate(cut % (packet.len() * 2 + 1));
            packet
        },
    )
}

proptest! {
    #[test]
    fn arbitrary_packets_never_panic_and_never_gain_bytes(packet in near_packets()) {
        if let Ok(parsed) = parse(&packet) {
            assert!(parsed.payload.len() <= packet.len());
            assert!(parsed.payload.len() <= usize::try_from(parsed.wire_len).unwrap());
        }
    }
}

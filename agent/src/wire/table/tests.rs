//! Each test is named after what breaks naive readers.

use super::{FLOW_COST, FlowTable, Limits, Seen};
use crate::{
    clock::Timestamp,
    flow::chunk::Payload,
    wire::{
        FlowId, WireChunk,
        classify::Protocol,
        flow::{Flow, TIME_WAIT},
        ledger::Counters,
        reassembly::HOLE_TIMEOUT,
        segment::{Flags, FlowKey, Segment},
        testing::{client_to_server, endpoint, segment},
    },
};

const REQUEST: &str = "GET / HTTP/1.1\r\n\r\n";
const REQUEST_LEN: u32 = 18;
const ANSWER: &str = "HTTP/1.1 204 Nothing\r\n\r\n";
const ANSWER_LEN: u32 = 24;

/// A table and what it has yielded.
struct Rig {
    table: FlowTable,
    out: Vec<WireChunk>,
    now: u64,
}

impl Rig {
    fn new() -> Self {
        Self::with(Limits { flows: 8, held_bytes: 1 << 20 })
    }

    fn with(limits: Limits) -> Self {
        Self { table: FlowTable::new(limits), out: Vec::new(), now: 1 }
    }

    fn push(&mut self, segment: Segment<'_>) -> Option<Seen> {
        self.table.push(&Segment { at: Timestamp(self.now), ..segment }, &mut self.out)
    }

    /// A segment from the client, its flags written as in packet dumps: `S`, `F`, `R` and `.`.
    fn client(&mut self, flags: &str, seq: u32, ack: u32, payload: &str) -> Option<Seen> {
        let flags = parse_flags(flags);
        self.push(Segment { flags, ack, ..segment(seq, payload.as_bytes()) })
    }

    fn server(&mut self, flags: &str, seq: u32, ack: u32, payload: &str) -> Option<Seen> {
        let key = client_to_server().reversed();
        let flags = parse_flags(flags);
        self.push(Segment { key, flags, ack, ..segment(seq, payload.as_bytes()) })
    }

    /// Opens a connection with the given initial sequence numbers.
    fn handshake(&mut self, client: u32, server: u32) -> Option<Seen> {
        self.client("S", client, 0, "");
        self.server("S.", server, client.wrapping_add(1), "");
        self.client(".", client.wrapping_add(1), server.wrapping_add(1), "")
    }

    fn expire(&mut self, now: u64) {
        self.now = now;
        self.table.expire(Timestamp(now), &mut self.out);
    }

    /// What came out since the last call, as `1A:bytes`, `1B:<gap>`, `2A:$`.
    #[track_caller]
    fn gives(&mut self, expected: &[&str]) -> Counters {
        let out: Vec<String> = self.out.drain(..).map(show).collect();
        assert_eq!(out, expected);
        *self.table.counters()
    }
}

fn parse_flags(flags: &str) -> Flags {
    Flags {
        syn: flags.contains('S'),
        ack: flags.contains('.'),
        fin: flags.contains('F'),
        rst: flags.contains('R'),
        first: flags.contains('1'),
    }
}

fn show(chunk: WireChunk) -> String {
    let WireChunk { flow: FlowId(flow), from, payload, .. } = chunk;
    let payload = match payload {
        Payload::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Payload::Gap(missing) => format!("<{missing}>"),
        Payload::End => "$".to_owned(),
    };
    format!("{flow}{from:?}:{payload}")
}

fn a(flow: u64) -> String {
    format!("{flow}A:{REQUEST}")
}

fn b(flow: u64) -> String {
    format!("{flow}B:{ANSWER}")
}

#[test]
fn a_connection_from_syn_to_fin() {
    let mut rig = Rig::new();
    let seen = rig.handshake(100, 500).unwrap();
    assert_eq!(seen, Seen { flow: FlowId(1), protocol: Protocol::Undecided });
    let seen = rig.client(".", 101, 501, REQUEST).unwrap();
    assert_eq!(seen.protocol, Protocol::Plain);
    rig.server(".", 501, 101 + REQUEST_LEN, ANSWER);
    rig.client("F.", 101 + REQUEST_LEN, 501 + ANSWER_LEN, "");
    rig.server("F.", 501 + ANSWER_LEN, 102 + REQUEST_LEN, "");
    let counters = rig.gives(&[&a(1), &b(1), "1A:$", "1B:$"]);
    assert_eq!((counters.flows_opened, counters.flows_closed), (1, 1));
    let flow = rig.table.flow(FlowId(1)).unwrap();
    assert_eq!((flow.joined_late(), flow.key()), (false, client_to_server()));
}

#[test]
fn joined_late() {
    let mut rig = Rig::new();
    assert_eq!(rig.client(".", 77, 99, ""), None, "a bare acknowledgement tells nothing");
    rig.client(".", 77, 99, REQUEST);
    rig.server(".", 99, 95, ANSWER);
    let counters = rig.gives(&[&a(1), &b(1)]);
    assert_eq!((counters.flows_joined_late, counters.stray_segments), (1, 1));
    assert!(rig.table.flow(FlowId(1)).unwrap().joined_late());
}

#[test]
fn without_the_syn_the_answer_to_it_tells_who_began() {
    let mut rig = Rig::new();
    rig.server("S.", 500, 101, "");
    rig.client(".", 101, 501, REQUEST);
    rig.gives(&[&a(1)]);
    assert!(!rig.table.flow(FlowId(1)).unwrap().joined_late());
}

#[test]
fn sequence_numbers_wrap_in_mid_connection() {
    let mut rig = Rig::new();
    rig.handshake(u32::MAX - 5, u32::MAX);
    rig.client(".", u32::MAX - 4, 0, REQUEST);
    rig.server(".", 0, 0, ANSWER);
    rig.gives(&[&a(1), &b(1)]);
}

#[test]
fn one_packet_on_both_ends_of_a_virtual_pair_counts_once() {
    let mut rig = Rig::new();
    for (flags, seq, payload) in [("S", 100, ""), (".", 101, REQUEST)] {
        for cookie in [1, 2] {
            let flags = parse_flags(flags);
            rig.push(Segment { cookie, flags, ..segment(seq, payload.as_bytes()) });
        }
    }
    assert_eq!(rig.gives(&[&a(1)]).duplicate_bytes, u64::from(REQUEST_LEN));
    assert_eq!(rig.table.len(), 1);
}

#[test]
fn mapped_addresses_are_one_flow() {
    let mut rig = Rig::new();
    rig.client("S", 100, 0, "");
    let source = endpoint("[::ffff:10.0.0.1]:40000");
    let destination = endpoint("[::ffff:10.0.0.2]:443");
    let key = FlowKey { netns: 0, source, destination };
    rig.push(Segment { key, ..segment(101, REQUEST.as_bytes()) });
    rig.gives(&[&a(1)]);
}

#[test]
fn both_sides_of_a_nat_are_two_flows_with_the_same_bytes() {
    let mut rig = Rig::new();
    let outside = FlowKey { source: endpoint("192.0.2.1:61000"), ..client_to_server() };
    for key in [client_to_server(), outside] {
        rig.push(Segment { key, ..segment(101, REQUEST.as_bytes()) });
    }
    rig.gives(&[&a(1), &a(2)]);
}

#[test]
fn equal_addresses_in_two_namespaces_are_two_flows_by_the_short_way_too() {
    // A `ClientHello` of RFC 8446 §4.1.2, as far as it matters here.
    let hello = [&[22, 3, 1, 0, 64, 1, 0, 0, 60, 3, 3][..], &[7; 58]].concat();
    let more = [23, 3, 3, 0, 1, 0];
    let mut rig = Rig::new();
    let [here, there] = [1, 2].map(|netns| FlowKey { netns, ..client_to_server() });
    let seen = rig.push(Segment { key: here, ..segment(101, &hello) }).unwrap();
    assert_eq!(seen.protocol, Protocol::Tls);
    let next = 101 + u32::try_from(hello.len()).unwrap();
    assert_eq!(rig.table.pass(&Segment { key: there, ..segment(next, &more) }), None);
    let passed = rig.table.pass(&Segment { key: here, ..segment(next, &more) }).unwrap();
    assert_eq!((passed.flow, passed.offset), (seen.flow, u64::from(next - 101)));
    let other = rig.push(Segment { key: there, ..segment(next, &more) }).unwrap();
    assert_ne!(other.flow, seen.flow);
}

#[test]
fn a_thousand_handshakes_at_once() {
    let mut rig = Rig::with(Limits { flows: 1000, held_bytes: 0 });
    for (flags, seq, payload) in [("S", 100, ""), (".", 101, REQUEST), ("F", 119, "")] {
        for port in 1..=1000 {
            let flags = parse_flags(flags);
            rig.push(Segment { key: key_of(port), flags, ..segment(seq, payload.as_bytes()) });
        }
    }
    let requests: Vec<String> = (1..=1000).map(a).collect();
    let ends = (1..=1000).map(|flow| format!("{flow}A:$"));
    let expected: Vec<String> = requests.into_iter().chain(ends).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(rig.gives(&expected).flows_evicted, 0);
}

#[test]
fn port_reuse_within_a_second_of_the_end() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client("F.", 101, 501, REQUEST);
    rig.server("F.", 501, 102 + REQUEST_LEN, ANSWER);
    rig.gives(&[&a(1), "1A:$", &b(1), "1B:$"]);
    // Copies of the old connection's segments are still under way.
    rig.server("F.", 501, 102 + REQUEST_LEN, ANSWER);
    rig.client("S", 100, 0, "");
    assert_eq!(rig.gives(&[]).ports_reused, 0);
    rig.handshake(90_000, 80_000);
    rig.client(".", 90_001, 80_001, REQUEST);
    assert_eq!(rig.gives(&[&a(2)]).ports_reused, 1);
}

#[test]
fn port_reuse_while_the_old_end_was_missed() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client(".", 101, 501, REQUEST);
    rig.handshake(90_000, 80_000);
    rig.client(".", 90_001, 80_001, REQUEST);
    rig.gives(&[&a(1), "1A:$", "1B:$", &a(2)]);
}

#[test]
fn port_reuse_whose_handshake_was_missed() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client("F.", 101, 501, REQUEST);
    rig.server("F.", 501, 102 + REQUEST_LEN, "");
    rig.client(".", 2_000_000_000, 7, REQUEST);
    rig.gives(&[&a(1), "1A:$", "1B:$", &a(2)]);
}

#[test]
fn port_reuse_so_soon_that_the_numbers_are_near() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client("F.", 101, 501, REQUEST);
    rig.server("F.", 501, 102 + REQUEST_LEN, ANSWER);
    rig.gives(&[&a(1), "1A:$", &b(1), "1B:$"]);
    // A copy of the last segment is none of the next connection, whose handshake was not told.
    rig.client("F.", 101, 501, REQUEST);
    assert_eq!(rig.gives(&[]).ports_reused, 0);
    rig.client(".", 500_101, 700_501, REQUEST);
    assert_eq!(rig.gives(&[&a(2)]).ports_reused, 1);
}

#[test]
fn port_reuse_whose_handshake_and_the_end_before_it_were_missed() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client(".", 101, 501, REQUEST);
    rig.server(".", 501, 101 + REQUEST_LEN, ANSWER);
    rig.gives(&[&a(1), &b(1)]);
    // Who forges numbers reaches the same socket.
    rig.client(".", 2_000_000_000, 3_000_000_000, REQUEST);
    assert_eq!(rig.gives(&[]).ports_reused, 0);
    let next = segment(2_000_000_000, REQUEST.as_bytes());
    rig.push(Segment { ack: 3_000_000_000, flags: parse_flags("."), cookie: 2, ..next });
    assert_eq!(rig.gives(&["1A:$", "1B:$", &a(2)]).ports_reused, 1);
}

#[test]
fn a_reset_that_crosses_its_own_fin_ends_a_connection() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client(".", 101, 501, REQUEST);
    rig.server("F.", 501, 101 + REQUEST_LEN, "");
    rig.server("R", 501, 0, "");
    assert_eq!(rig.gives(&[&a(1), "1B:$", "1A:$"]).flows_closed, 1);
}

#[test]
fn a_forged_syn_does_not_end_a_connection() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client("S", 90_000, 0, "");
    // The server answers with the acknowledgement that it owes anyway (RFC 5961 §4.2).
    rig.server(".", 501, 101, "");
    rig.server("S.", 7, 8, "");
    rig.client(".", 101, 501, REQUEST);
    assert_eq!(rig.gives(&[&a(1)]).odd_handshakes, 2);
}

#[test]
fn a_forged_reset_does_not_end_a_connection() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client("R", 105, 0, "");
    rig.client(".", 101, 501, REQUEST);
    assert_eq!(rig.gives(&[&a(1)]).refused_resets, 1);
    rig.client("R", 101 + REQUEST_LEN, 0, "");
    assert_eq!(rig.gives(&["1A:$", "1B:$"]).flows_closed, 1);
    rig.client(".", 101 + REQUEST_LEN, 501, "more");
    assert_eq!(rig.gives(&[]).after_end, 1);
}

#[test]
fn a_refused_connection_is_over() {
    let mut rig = Rig::new();
    rig.client("S", 100, 0, "");
    rig.server("R.", 0, 101, "");
    assert_eq!(rig.gives(&[]).flows_closed, 1);
    rig.handshake(200, 500);
    rig.client(".", 201, 501, REQUEST);
    rig.gives(&[&a(2)]);
}

#[test]
fn simultaneous_open_has_one_initiator() {
    let mut rig = Rig::new();
    rig.client("S", 100, 0, "");
    rig.server("S", 500, 0, "");
    rig.client("S.", 100, 501, "");
    rig.server("S.", 500, 101, "");
    rig.client(".", 101, 501, REQUEST);
    rig.server(".", 501, 101 + REQUEST_LEN, ANSWER);
    assert_eq!(rig.gives(&[&a(1), &b(1)]).odd_handshakes, 0);
}

#[test]
fn data_in_the_syn_counts_once() {
    let mut rig = Rig::new();
    rig.client("S", 100, 0, REQUEST);
    rig.server("S.", 500, 101 + REQUEST_LEN, "");
    rig.client(".", 101, 501, REQUEST);
    rig.gives(&[&a(1)]);
}

#[test]
fn an_acknowledgement_on_the_way_back_decides_a_gap() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client(".", 101, 501, REQUEST);
    rig.client(".", 101 + REQUEST_LEN + 7, 501, "tail");
    rig.server(".", 501, 101 + REQUEST_LEN + 11, ANSWER);
    rig.gives(&[&a(1), "1A:<7>", "1A:tail", &b(1)]);
}

#[test]
fn a_hole_expires_and_a_closed_flow_is_forgotten() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client(".", 101, 501, REQUEST);
    rig.server("F.", 501, 101, "");
    rig.client("F.", 101 + REQUEST_LEN + 7, 0, "");
    rig.expire(HOLE_TIMEOUT);
    rig.gives(&[&a(1), "1B:$"]);
    rig.expire(HOLE_TIMEOUT + 1);
    assert_eq!(rig.gives(&["1A:<7>", "1A:$"]).gap_expired_bytes, 7);
    rig.expire(HOLE_TIMEOUT + TIME_WAIT);
    assert_eq!(rig.table.len(), 1);
    rig.expire(HOLE_TIMEOUT + TIME_WAIT + 1);
    assert!(rig.table.is_empty() && rig.table.keys.is_empty() && rig.table.agenda.is_empty());
    rig.gives(&[]);
}

#[test]
fn ignored_flows_hold_nothing() {
    let mut rig = Rig::new();
    rig.handshake(100, 500);
    rig.client(".", 201, 501, "behind a hole");
    assert_ne!(rig.table.held(), 0);
    let seen = rig.server(".", 501, 101, "SSH-2.0-OpenSSH\r\n").unwrap();
    assert_eq!((seen.protocol, rig.table.held()), (Protocol::Ignored, 0));
    rig.client(".", 101, 501, REQUEST);
    assert_eq!(rig.gives(&[]).ignored_segments, 1);
    // Its ports may have a better successor.
    rig.handshake(90_000, 80_000);
    rig.client(".", 90_001, 80_001, REQUEST);
    rig.gives(&[&a(2)]);
}

#[test]
fn a_socket_connected_to_itself_is_left_alone() {
    let mut rig = Rig::new();
    let source = endpoint("127.0.0.1:4000");
    let key = FlowKey { netns: 0, source, destination: source };
    assert_eq!(rig.push(Segment { key, ..segment(1, b"GET ") }), None);
    assert_eq!(rig.gives(&[]).malformed_segments, 1);
}

/// The key of the client with the number `port`.
fn key_of(port: u16) -> FlowKey {
    FlowKey { source: endpoint(&format!("10.9.0.1:{port}")), ..client_to_server() }
}

#[test]
fn a_full_table_evicts_the_longest_silent_flow() {
    let mut rig = Rig::with(Limits { flows: 2, held_bytes: 1000 });
    for port in [1, 2, 3, 2, 4] {
        rig.push(Segment { key: key_of(port), ..segment(0, REQUEST.as_bytes()) });
    }
    let counters = rig.gives(&[&a(1), &a(2), "1A:$", "1B:$", &a(3), "3A:$", "3B:$", &a(4)]);
    assert_eq!((counters.flows_evicted, rig.table.len(), rig.table.keys.len()), (2, 2, 2));
}

#[test]
fn a_flood_of_syns_drives_out_none_that_has_spoken() {
    let mut rig = Rig::with(Limits { flows: 4, held_bytes: 1000 });
    for port in [1, 2, 3] {
        rig.push(Segment { key: key_of(port), ..segment(0, REQUEST.as_bytes()) });
    }
    rig.out.clear();
    for port in 100..200 {
        let key = key_of(port);
        rig.push(Segment { key, flags: parse_flags("S"), ..segment(0, b"") });
        let answer = Segment { ack: 1, flags: parse_flags("S."), ..segment(0, b"") };
        rig.push(Segment { key: key.reversed(), ..answer });
    }
    assert_eq!(rig.gives(&[]).flows_evicted, 99);
    assert!((1..=3).all(|id| rig.table.flow(FlowId(id)).is_some()));
}

#[test]
fn a_hundred_thousand_idle_flows_fit_their_bound() {
    // As `lru` keeps it: key, value and two links in a box, which the allocator rounds up.
    let entry = size_of::<(FlowKey, Flow, [usize; 2])>() + 16;
    // Hash tables are at least 7/16 full, and have a byte of their own per slot.
    let indexes = (size_of::<[usize; 2]>() + 1 + size_of::<(FlowId, FlowKey)>() + 1) * 16 / 7;
    let agenda = size_of::<(Timestamp, FlowId)>() * 2;
    let total = entry + indexes + agenda;
    assert!(total <= FLOW_COST, "{total} bytes: entry {entry}, indexes {indexes}");
    assert!(Limits::default().flows * FLOW_COST <= 64_000_000);
}

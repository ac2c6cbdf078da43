//! Segments in any order.

use std::collections::HashMap;

use scopewatch::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Payload,
    wire::{
        FlowId, Side, WireChunk,
        ledger::Ledger,
        reassembly::Reassembler,
        segment::{Endpoint, Flags, FlowKey, Segment},
        table::{FlowTable, Limits},
    },
};
use scopewatch_harness::talks::Dice;

/// The stream that is sent: a byte is told by its offset.
fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn stream(start: u64, len: usize) -> Vec<u8> {
    (start..).take(len).map(byte_at).collect()
}

fn segment<'a>(key: FlowKey, seq: u32, payload: &'a [u8], lost: u32) -> Segment<'a> {
    let (flags, at) = (Flags::default(), Timestamp(0));
    let wire_len = payload.len() as u32 + lost;
    Segment { at, cookie: 1, key, seq, ack: 0, flags, payload, wire_len }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::new(std::net::Ipv4Addr::LOCALHOST.into(), port)
}

/// One stream in any order, twice, in part, with holes: its own bytes or gaps, in order.
pub fn reassembly(input: &[u8]) {
    let mut dice = Dice::of(input);
    let first = dice.below(usize::MAX) as u32;
    let limit = dice.below(60_000);
    let (mut ledger, mut out) = (Ledger::new(limit), Vec::new());
    let mut reassembler = Reassembler::new(first, dice.below(2) == 0);
    let key = FlowKey { source: endpoint(1), destination: endpoint(2), netns: 0 };
    let (mut base, mut now, mut position) = (0_u64, 0_u64, 0_u64);
    while !dice.is_exhausted() {
        let start = base.saturating_add(dice.below(6_000) as u64).saturating_sub(1_000);
        let seq = first.wrapping_add(start as u32);
        match dice.below(10) {
            0 => reassembler.acknowledge(seq, Timestamp(now), &mut ledger, &mut out),
            1 => {
                now += dice.below(20) as u64 * NANOS_PER_SEC;
                reassembler.expire(Timestamp(now), &mut ledger, &mut out);
            }
            kind => {
                let payload = stream(start, dice.below(1_500));
                let lost = if kind == 3 { dice.below(900) as u32 } else { 0 };
                let arrival = Segment { at: Timestamp(now), ..segment(key, seq, &payload, lost) };
                reassembler.push(&arrival, &mut ledger, &mut out);
                base = base.max(start);
            }
        }
        assert!(ledger.held() <= limit && ledger.held() == reassembler.held());
        told(&mut position, &mut out);
        assert_eq!(position, reassembler.next());
    }
    reassembler.finish(&mut ledger, &mut out);
    assert_eq!(out.last(), Some(&Payload::End));
    told(&mut position, &mut out);
    assert_eq!((ledger.held(), position), (0, reassembler.next()));
}

/// Holds what came out against the stream.
fn told(position: &mut u64, out: &mut Vec<Payload>) {
    for payload in out.drain(..) {
        match payload {
            Payload::Bytes(bytes) => {
                assert!(!bytes.is_empty());
                assert!(bytes == stream(*position, bytes.len()), "a wrong byte");
                *position += bytes.len() as u64;
            }
            Payload::Gap(missing) => *position += missing,
            Payload::End => {}
        }
    }
}

/// Segments of few connections with any flags: chunks follow each other, ends come once, and the
/// table keeps to its limits.
pub fn flows(input: &[u8]) {
    let mut dice = Dice::of(input);
    let limits = Limits { flows: dice.below(4) + 1, held_bytes: dice.below(20_000) };
    let (mut table, mut out, mut now) = (FlowTable::new(limits), Vec::new(), 0);
    let mut ends: HashMap<(FlowId, bool), Option<u64>> = HashMap::new();
    while !dice.is_exhausted() {
        let (from, to) = (dice.below(4) as u16, dice.below(4) as u16 + 4);
        let (mut source, mut destination) = (endpoint(from), endpoint(to));
        if dice.below(2) == 0 {
            std::mem::swap(&mut source, &mut destination);
        }
        let key = FlowKey { source, destination, netns: 0 };
        let content: &[&[u8]] =
            &[b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"GET / HTTP/1.1\r\n", b"PROXY TCP4 "];
        let payload = match dice.below(6) {
            nth @ 0..=2 => content[nth].to_vec(),
            3 => Vec::new(),
            _ => {
                let len = dice.below(300);
                dice.bytes(len)
            }
        };
        let mut arrival = segment(key, dice.below(5_000) as u32, &payload, dice.below(3) as u32);
        arrival.ack = dice.below(5_000) as u32;
        arrival.flags = Flags::from(dice.byte());
        now += dice.below(256) as u64 * NANOS_PER_SEC / 64;
        arrival.at = Timestamp(now);
        table.push(&arrival, &mut out);
        if dice.below(8) == 7 {
            table.expire(Timestamp(now), &mut out);
        }
        assert!(table.len() <= limits.flows && table.held() <= limits.held_bytes);
        for WireChunk { flow, from, offset, payload, .. } in out.drain(..) {
            let end = ends.entry((flow, from == Side::A)).or_insert(Some(offset));
            assert_eq!(*end, Some(offset), "chunks do not follow each other");
            *end = match payload {
                Payload::Bytes(bytes) => Some(offset + bytes.len() as u64),
                Payload::Gap(missing) => Some(offset.saturating_add(missing)),
                Payload::End => None,
            };
        }
    }
}

//! What holds for every stream, however it was cut, shuffled, repeated and lost.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, any, prop_oneof, proptest},
    strategy::Strategy,
};

use super::Reassembler;
use crate::{
    clock::Timestamp,
    flow::chunk::Payload,
    wire::{
        ledger::Ledger,
        segment::Segment,
        testing::{FIN, segment},
    },
};

/// One segment of a stream: a range of it, and its place among the arrivals.
#[derive(Clone, Debug)]
struct Piece {
    start: usize,
    end: usize,
    order: usize,
}

#[derive(Debug)]
struct Case {
    stream: Vec<u8>,
    arrivals: Vec<Piece>,
}

/// Cuts a stream into pieces; each is lost, delivered, or delivered twice, reaches a little into
/// its neighbours, and comes up to some places early or late.
fn case() -> impl Strategy<Value = Case> {
    let cut = (1_usize..120, 0_u8..8, 0_usize..60, 0_usize..60, 0_usize..12, 0_usize..12);
    vec(cut, 1..40).prop_flat_map(|cuts| {
        let len: usize = cuts.iter().map(|cut| cut.0).sum();
        vec(any::<u8>(), len)
            .prop_map(move |stream| Case { arrivals: arrivals(&cuts, len), stream })
    })
}

fn arrivals(cuts: &[(usize, u8, usize, usize, usize, usize)], len: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for (index, (size, fate, before, after, late, later)) in cuts.iter().enumerate() {
        let exact = Piece { start: at, end: at + size, order: index + late };
        let wide = Piece {
            start: at.saturating_sub(*before),
            end: (at + size + after).min(len),
            order: index + later,
        };
        match fate {
            0 | 1 => {}
            2 => pieces.push(wide),
            3 => pieces.extend([exact, wide]),
            4 => pieces.extend([exact.clone(), exact]),
            _ => pieces.push(exact),
        }
        at += size;
    }
    pieces.sort_by_key(|piece| piece.order);
    pieces
}

/// Any start, and often one whose stream wraps.
fn first_seq() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), u32::MAX - 4000..=u32::MAX]
}

fn seq_at(first: u32, offset: usize) -> u32 {
    first.wrapping_add(u32::try_from(offset).unwrap())
}

fn length(payload: &Payload) -> u64 {
    match payload {
        Payload::Bytes(bytes) => u64::try_from(bytes.len()).unwrap(),
        Payload::Gap(missing) => *missing,
        Payload::End => 0,
    }
}

/// The stream as options: `None` where a byte is missing.
fn flatten(out: &[Payload]) -> Vec<Option<u8>> {
    let mut bytes = Vec::new();
    for payload in out {
        match payload {
            Payload::Bytes(chunk) => {
                assert!(!chunk.is_empty());
                bytes.extend(chunk.iter().copied().map(Some));
            }
            Payload::Gap(missing) => {
                bytes.extend(vec![None; usize::try_from(*missing).unwrap()]);
            }
            Payload::End => {}
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn output_is_the_stream_with_gaps_exactly_where_bytes_never_came(
        case in case(),
        first in first_seq(),
    ) {
        let Case { stream, arrivals } = case;
        let mut ledger = Ledger::new(1 << 20);
        let mut reassembler = Reassembler::new(first, false);
        let mut out = Vec::new();
        let mut expected = vec![None; stream.len()];
        for Piece { start, end, .. } in arrivals {
            let arrival = segment(seq_at(first, start), &stream[start..end]);
            reassembler.push(&arrival, &mut ledger, &mut out);
            for offset in start..end {
                expected[offset] = Some(stream[offset]);
            }
        }
        let end = seq_at(first, stream.len());
        reassembler.push(&Segment { flags: FIN, ..segment(end, b"") }, &mut ledger, &mut out);
        reassembler.acknowledge(end.wrapping_add(1), Timestamp(0), &mut ledger, &mut out);

        assert_eq!(flatten(&out), expected);
        assert_eq!(out.last(), Some(&Payload::End));
        assert!(out.windows(2).all(|pair| !matches!(pair, [Payload::Gap(_), Payload::Gap(_)])));
        assert_eq!(ledger.held(), 0);
        assert_eq!(ledger.counters.conflicting_overlaps, 0);
    }

    #[test]
    fn conflicting_overlaps_never_yield_the_later_bytes(
        case in case(),
        first in first_seq(),
        tags in vec(any::<u8>(), 1..80),
    ) {
        let Case { stream, arrivals } = case;
        let mut ledger = Ledger::new(1 << 20);
        let mut reassembler = Reassembler::new(first, false);
        let mut out = Vec::new();
        let mut expected = vec![None; stream.len()];
        for (Piece { start, end, .. }, tag) in arrivals.iter().zip(tags.iter().cycle()) {
            // Every arrival claims bytes of its own.
            let payload = vec![*tag; end - start];
            reassembler.push(&segment(seq_at(first, *start), &payload), &mut ledger, &mut out);
            for byte in &mut expected[*start..*end] {
                byte.get_or_insert(*tag);
            }
        }
        reassembler.finish(&mut ledger, &mut out);
        let out = flatten(&out);
        assert_eq!(&expected[..out.len()], &out[..]);
        assert!(expected[out.len()..].iter().all(Option::is_none));
    }

    #[test]
    fn memory_stays_bounded_whatever_a_peer_sends(
        segments in vec((0_u32..1 << 24, 0_usize..3000, 0_u32..3000, any::<u8>()), 0..300),
        limit in 0_usize..100_000,
    ) {
        let mut ledger = Ledger::new(limit);
        let mut reassembler = Reassembler::new(0, true);
        let mut out = Vec::new();
        let payload = [7; 3000];
        for (seq, captured, beyond, bits) in segments {
            let wire_len = u32::try_from(captured).unwrap() + beyond;
            let arrival = Segment {
                wire_len,
                flags: (bits & 0x01 & (bits >> 1) & (bits >> 2)).into(),
                ..segment(seq, &payload[..captured])
            };
            reassembler.push(&arrival, &mut ledger, &mut out);
            if bits & 0xe0 == 0 {
                reassembler.acknowledge(seq, Timestamp(0), &mut ledger, &mut out);
            }
            assert!(ledger.held() <= limit);
            assert_eq!(ledger.held(), reassembler.held());
        }
        reassembler.finish(&mut ledger, &mut out);
        assert_eq!(ledger.held(), 0);
        let ends = out.iter().filter(|payload| **payload == Payload::End).count();
        assert_eq!((ends, out.last()), (1, Some(&Payload::End)));
        let total: u64 = out.iter().map(length).sum();
        assert_eq!(reassembler.next(), total);
    }
}

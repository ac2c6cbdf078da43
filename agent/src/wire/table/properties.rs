//! What holds for every table, whatever the hosts around it send.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, any, prop_oneof, proptest},
    strategy::Strategy,
};

use super::{FlowTable, Limits, Passed};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Payload,
    wire::{
        FlowId, Side, WireChunk, extent,
        segment::{FlowKey, Segment},
        testing::{client_to_server, endpoint, segment},
    },
};

#[derive(Clone, Debug)]
struct Event {
    port: u16,
    back: bool,
    seq: u32,
    ack: u32,
    flags: u8,
    payload: Vec<u8>,
    beyond: u32,
    pause: u64,
}

fn seqs() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0_u32..4000, 2 => u32::MAX - 2000..=u32::MAX, 1 => any::<u32>()]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let flags = prop_oneof![8 => Just(0x10_u8), 2 => Just(0x02), 1 => Just(0x12), 2 => any::<u8>()];
    let payload = prop_oneof![
        vec(any::<u8>(), 0..600),
        Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"\x16\x03\x01\x00\x80\x01".to_vec()),
        Just(b"220 mail\r\n".to_vec()),
    ];
    let beyond = prop_oneof![4 => Just(0_u32), 1 => 0_u32..5000];
    let pause = prop_oneof![6 => Just(0_u64), 1 => 0_u64..20];
    let event = (1_u16..6, any::<bool>(), seqs(), seqs(), flags, payload, beyond, pause).prop_map(
        |(port, back, seq, ack, flags, payload, beyond, pause)| Event {
            port,
            back,
            seq,
            ack,
            flags,
            payload,
            beyond,
            pause,
        },
    );
    vec(event, 0..250)
}

/// Every direction of every flow in order, without overlap, and ended at most once.
fn check_order(out: &[WireChunk]) {
    let mut positions = HashMap::new();
    for chunk in out {
        let WireChunk { flow, from, offset, payload, .. } = chunk;
        let position = positions.entry((flow, from)).or_insert(Some(*offset));
        assert_eq!(*position, Some(*offset), "{chunk:?}");
        *position = match payload {
            Payload::End => None,
            other => Some(offset + extent(other)),
        };
    }
}

/// Takes a segment by the short way where that is open, as the capture stage does.
fn take(table: &mut FlowTable, segment: &Segment<'_>, out: &mut Vec<WireChunk>) -> Option<FlowId> {
    if let Some(Passed { flow, from, offset }) = table.pass(segment) {
        let payload = Payload::Bytes(Bytes::copy_from_slice(segment.payload));
        out.push(WireChunk { at: segment.at, flow, from, offset, payload });
        return Some(flow);
    }
    table.push(segment, out).map(|seen| seen.flow)
}

/// The streams, however they were cut into pieces.
fn joined(out: &[WireChunk]) -> HashMap<(FlowId, Side), Vec<Payload<Vec<u8>>>> {
    let mut streams: HashMap<_, Vec<Payload<Vec<u8>>>> = HashMap::new();
    for WireChunk { flow, from, payload, .. } in out {
        let stream = streams.entry((*flow, *from)).or_default();
        match (stream.last_mut(), payload) {
            (Some(Payload::Bytes(before)), Payload::Bytes(bytes)) => before.extend(bytes),
            (_, Payload::Bytes(bytes)) => stream.push(Payload::Bytes(bytes.to_vec())),
            (Some(Payload::Gap(before)), Payload::Gap(missing)) => *before += missing,
            (_, Payload::Gap(missing)) => stream.push(Payload::Gap(*missing)),
            (_, Payload::End) => stream.push(Payload::End),
        }
    }
    streams
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn memory_and_order_hold_whatever_is_sent(
        events in events(),
        flows in 1_usize..5,
        held_bytes in 0_usize..8000,
    ) {
        let limits = Limits { flows, held_bytes };
        let mut table = FlowTable::new(limits);
        let mut out = Vec::new();
        // Looks at every segment closely, and must find the same.
        let mut thorough = FlowTable::new(limits);
        let mut closely = Vec::new();
        let mut now = 0;
        for event in events {
            let source = endpoint(&format!("10.0.0.9:{}", event.port));
            let key = FlowKey { source, ..client_to_server() };
            now += event.pause * NANOS_PER_SEC;
            let arrival = Segment {
                at: Timestamp(now),
                key: if event.back { key.reversed() } else { key },
                ack: event.ack,
                flags: event.flags.into(),
                wire_len: u32::try_from(event.payload.len()).unwrap() + event.beyond,
                ..segment(event.seq, &event.payload)
            };
            let flow = take(&mut table, &arrival, &mut out);
            let slow = thorough.push(&arrival, &mut closely).map(|seen| seen.flow);
            assert_eq!(flow, slow);
            if event.pause > 0 {
                table.expire(Timestamp(now), &mut out);
                thorough.expire(Timestamp(now), &mut closely);
            }
            let held: usize = table.flows.iter().map(|(_, flow)| flow.held()).sum();
            assert_eq!(table.held(), held);
            assert!(held <= limits.held_bytes);
            assert!(table.len() <= limits.flows);
            assert_eq!(table.keys.len(), table.len());
            assert!(table.agenda.len() <= table.len());
        }
        check_order(&out);
        assert_eq!(joined(&out), joined(&closely));
        table.expire(Timestamp(now + 1000 * NANOS_PER_SEC), &mut out);
        assert_eq!(table.held(), 0);
    }
}

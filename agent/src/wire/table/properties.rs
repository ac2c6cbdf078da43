//! What holds for every table, whatever the hosts around it send.

use std::collections::HashMap;

use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, any, prop_oneof, proptest},
    strategy::Strategy,
};

use super::{FlowTable, Limits};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Payload,
    wire::{
        WireChunk, extent,
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
    skip: Option<u64>,
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
    let skip = prop_oneof![6 => Just(None), 1 => any::<u64>().prop_map(Some)];
    let event = (1_u16..6, any::<bool>(), seqs(), seqs(), flags, payload, beyond, pause, skip)
        .prop_map(|(port, back, seq, ack, flags, payload, beyond, pause, skip)| Event {
            port,
            back,
            seq,
            ack,
            flags,
            payload,
            beyond,
            pause,
            skip,
        });
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
            let seen = table.push(&arrival, &mut out);
            if let (Some(seen), Some(offset)) = (seen, event.skip) {
                table.skip_until(seen.flow, super::Side::A, offset);
            }
            if event.pause > 0 {
                table.expire(Timestamp(now), &mut out);
            }
            let held: usize = table.flows.iter().map(|(_, flow)| flow.held()).sum();
            assert_eq!(table.held(), held);
            assert!(held <= limits.held_bytes);
            assert!(table.len() <= limits.flows);
            assert_eq!(table.keys.len(), table.len());
            assert!(table.agenda.len() <= table.len());
        }
        check_order(&out);
        table.expire(Timestamp(now + 1000 * NANOS_PER_SEC), &mut out);
        assert_eq!(table.held(), 0);
    }
}

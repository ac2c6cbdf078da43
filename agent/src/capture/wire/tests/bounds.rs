//! What input can make grow, and when it stops.

use super::{CLIENT, Line, Local, MILLISECOND, Rig, SERVER, Told, talk, talk_of};
use crate::{
    capture::wire::{
        MAX_HELD,
        attribution::MAX_OWNERS,
        flow::MAX_COOKIES,
        waiting::{MAX_WAITING, PATIENCE},
    },
    flow::chunk::Direction,
    wire::segment::{Flags, FlowKey, Segment},
};

#[test]
fn a_connection_without_a_secret_is_given_up_when_patience_ends() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.send(&mut line, &session.flow);
    rig.pass(PATIENCE - 100 * MILLISECOND);
    rig.tick();
    assert_eq!((rig.wire.counts.uncovered, rig.ignored()), (0, vec![]));
    rig.pass(101 * MILLISECOND);
    rig.tick();
    assert_eq!(rig.wire.counts.uncovered, 1);
    assert_eq!(rig.ignored(), [line.cookie + 1, line.cookie]);
    assert_eq!(rig.wire.uncovered().strangers().len(), 2, "both ends are on this host");
    rig.is_empty();
    rig.derive(&session, SERVER);
    rig.finish(&mut line);
    assert_eq!(rig.told(), Told::default());
}

#[test]
fn patience_begins_when_a_connection_begins_to_wait() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.send(&mut line, &session.flow[..1]);
    rig.pass(2 * PATIENCE);
    rig.tick();
    rig.send(&mut line, &session.flow[1..]);
    rig.tick();
    assert_eq!(rig.wire.counts.uncovered, 0);
    rig.derive(&session, SERVER);
    assert_eq!(rig.told().inbound, session.client);
}

#[test]
fn the_longest_waiting_make_room_when_too_many_wait() {
    let (mut rig, session) = (Rig::with(2 * MAX_WAITING), talk());
    let total = u32::try_from(MAX_WAITING).unwrap() + 3;
    for number in 1..=total {
        rig.send(&mut Line::new(number, Local::Both), &session.flow[..2]);
    }
    assert_eq!((rig.wire.waiting.len(), rig.wire.counts.crowded_out), (MAX_WAITING, 3));
    assert_eq!(rig.ignored(), [3, 2, 5, 4, 7, 6], "the first three");
    rig.pass(2 * PATIENCE);
    rig.tick();
    rig.is_empty();
    assert_eq!(rig.wire.counts.uncovered, u64::from(total));
}

#[test]
fn the_longest_waiting_make_room_when_they_hold_too_much() {
    let large = vec![b'x'; 60_000];
    let turns: [(&[u8], &[u8]); 9] = [(b"a", &large); 9];
    let (mut rig, session) = (Rig::new(), talk_of(&rustls::version::TLS13, &turns));
    let each = 9 * large.len();
    for number in 1..=u32::try_from(MAX_HELD / each).unwrap() + 4 {
        rig.send(&mut Line::new(number, Local::Both), &session.flow);
        assert!(rig.wire.held <= MAX_HELD);
    }
    assert!(rig.wire.counts.crowded_out >= 4, "{:?}", rig.wire.counts);
    let held: usize = rig.wire.flows.values().map(|flow| flow.tls.held()).sum();
    assert_eq!(rig.wire.held, held);
}

#[test]
fn holders_of_sockets_are_bounded() {
    let mut rig = Rig::new();
    for number in 1..=u32::try_from(MAX_OWNERS.get()).unwrap() + 5 {
        rig.own(&Line::new(number, Local::Both), Direction::Outbound, CLIENT);
    }
    rig.own(&Line::new(70_000, Local::Both), Direction::Outbound, CLIENT);
    rig.own(&Line::new(70_000, Local::Both), Direction::Outbound, SERVER);
    assert_eq!((rig.wire.owners.len(), rig.wire.counts.owners_evicted), (MAX_OWNERS.get(), 6));
}

#[test]
fn sockets_of_one_connection_are_bounded() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.derive(&session, SERVER);
    let (talk, goodbye) = session.flow.split_at(session.flow.len() - 2);
    rig.send(&mut line, talk);
    for cookie in 1000..1000 + 3 * MAX_COOKIES as u64 {
        let key = FlowKey { netns: 0, source: line.client.into(), destination: line.server.into() };
        let flags = Flags { ack: true, ..Flags::default() };
        let segment = Segment {
            at: rig.now,
            cookie,
            key,
            seq: line.client_seq,
            ack: line.server_seq,
            flags,
            payload: b"",
            wire_len: 0,
        };
        rig.wire.segment(&super::Captured { segment, received: true, cgroup: 0 }, &mut rig.out);
    }
    assert_eq!(rig.wire.open_sockets.len(), MAX_COOKIES);
    assert_eq!(rig.wire.counts.sockets_evicted, 2 * MAX_COOKIES as u64 + 2);
    assert!(!rig.wire.tells_of(line.cookie));
    rig.send(&mut line, goodbye);
    rig.finish(&mut line);
    rig.is_empty();
}

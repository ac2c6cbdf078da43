//! Ciphertext that was not captured, or that nobody wants opened.

use super::{
    Seen, Session, check,
    corpus::{CBC, KEY_UPDATE, SIMPLE},
    derivation, end, hit,
    pairs::{Ends, suite},
    play, session, show, unhex,
};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    tls::{
        open::Connection,
        output::{Reason, State},
        pool::SecretPool,
        record::{HEADER, MAX_HELD},
        schedule::master_secret,
        secret::Secret,
        suite::Hash,
    },
};

/// A body whose every four bytes are different.
pub(super) fn body(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(u32::to_be_bytes).take(length).collect()
}

fn bulk(version: &'static rustls::SupportedProtocolVersion) -> Session {
    let large = body(60_000);
    let turns: [(&[u8], &[u8]); 2] = [(b"GET", &large), (b"again", b"done")];
    Ends::new(suite(version), false).talk(b"", &turns)
}

/// Feeds a session without the bytes `lost` of one direction.
pub(super) fn play_without(
    session: &Session,
    direction: Direction,
    lost: &std::ops::Range<usize>,
) -> (Connection, Seen) {
    let mut pool = SecretPool::new();
    session.hits.iter().for_each(|hit| pool.insert(hit.clone()));
    let (mut connection, mut seen) = (Connection::new(), Seen::default());
    let mut position = 0;
    for (way, bytes) in &session.flow {
        if *way != direction {
            connection.feed(*way, Timestamp(1), bytes);
        } else {
            let cut = |at: usize| at.clamp(position, position + bytes.len()) - position;
            let (start, end) = (cut(lost.start), cut(lost.end));
            connection.feed(*way, Timestamp(1), &bytes[..start]);
            if start < end {
                connection.gap(*way, Timestamp(1), (end - start) as u64);
            }
            connection.feed(*way, Timestamp(1), &bytes[end..]);
            position += bytes.len();
        }
        connection.resolve(&pool);
        seen.drain(&mut connection);
    }
    end(&mut connection);
    seen.drain(&mut connection);
    (connection, seen)
}

/// Where the records of a direction begin, and the length of their fragments.
fn records(session: &Session, direction: Direction) -> Vec<(usize, usize)> {
    let ways = session.flow.iter().filter(|(way, _)| *way == direction);
    let stream: Vec<u8> = ways.flat_map(|(_, bytes)| bytes.clone()).collect();
    let (mut records, mut at) = (Vec::new(), 0);
    while let Some(header) = stream.get(at..at + HEADER) {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        records.push((at, length));
        at += HEADER + length;
    }
    records
}

#[test]
fn a_record_lost_in_part_costs_no_other_record() {
    for version in rustls::ALL_VERSIONS {
        let session = bulk(version);
        let records = records(&session, Direction::Inbound);
        let (at, length) = *records.iter().find(|(_, length)| *length > 16_000).unwrap();
        let lost = at + 100..at + 9000;
        let (connection, seen) = play_without(&session, Direction::Inbound, &lost);
        assert_eq!(connection.state(), State::Open);
        assert_eq!(seen.gaps, [(Direction::Inbound, Some((length + HEADER) as u64))]);
        let rest = session.server.len() - seen.server.len();
        assert_eq!(rest, 1 << 14);
        assert!(session.server.ends_with(&seen.server[1..]));
    }
}

#[test]
fn after_a_loss_of_many_records_their_number_is_found() {
    for version in rustls::ALL_VERSIONS {
        let session = bulk(version);
        let (at, _) = *records(&session, Direction::Inbound)
            .iter()
            .find(|(_, length)| *length > 16_000)
            .unwrap();
        // From within one record to within the next but one.
        let lost = at + 3..at + 35_000;
        let (_, seen) = play_without(&session, Direction::Inbound, &lost);
        assert!(seen.server.len() < session.server.len());
        assert!(session.server.ends_with(&seen.server));
        let bound: u64 = seen.gaps.iter().map(|(_, at_most)| at_most.unwrap()).sum();
        assert!(bound >= (session.server.len() - seen.server.len()) as u64);
    }
}

#[test]
fn a_loss_of_unknown_length_has_no_bound_and_is_overcome() {
    let session = bulk(&rustls::version::TLS13);
    let (last, first) = session.flow.split_last().unwrap();
    let (body, before) = first.split_last().unwrap();
    assert_eq!((body.0, last.0), (Direction::Outbound, Direction::Inbound));
    let mut pool = SecretPool::new();
    session.hits.iter().for_each(|hit| pool.insert(hit.clone()));
    let (mut connection, mut seen) = (Connection::new(), Seen::default());
    for (direction, bytes) in before {
        let lost = *direction == Direction::Inbound && bytes.len() > 60_000;
        if lost {
            connection.gap(*direction, Timestamp(1), u64::MAX);
        } else {
            connection.feed(*direction, Timestamp(1), bytes);
        }
        connection.resolve(&pool);
        seen.drain(&mut connection);
    }
    assert_eq!(seen.gaps, [(Direction::Inbound, None)]);
    assert_eq!((show(&seen.server), show(&seen.client)), (show(b"done"), show(b"GETagain")));
}

#[test]
fn a_lost_key_update_is_made_up_for() {
    let recorded = session(KEY_UPDATE);
    let (at, length) = *records(&recorded, Direction::Outbound)
        .iter()
        // Type, length and value of a KeyUpdate, the content type, the tag.
        .find(|(_, length)| *length == 4 + 1 + 1 + 16)
        .unwrap();
    let lost = at..at + HEADER + length;
    let (_, seen) = play_without(&recorded, Direction::Outbound, &lost);
    assert_eq!(show(&seen.client), show(&recorded.client));
    assert_eq!(seen.gaps.len(), 1);
}

#[test]
fn a_flight_with_a_hole_opens_by_the_master_secret_s_own_hit() {
    let mut recorded = session(SIMPLE);
    let text = SIMPLE.lines().find(|line| line.starts_with("derive")).unwrap();
    let handshake = Secret::new(&unhex(text.split(' ').nth(2).unwrap())).unwrap();
    let master = master_secret(Hash::Sha256, &handshake).unwrap();
    // RFC 8448 §3: the hash of ClientHello to server Finished.
    let finished = "9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13";
    let shown = derivation("s ap traffic", master.bytes(), &unhex(finished));
    recorded.hits.push(hit(shown));
    let lost = 300..320;
    let (connection, seen) = play_without(&recorded, Direction::Inbound, &lost);
    assert_eq!(show(&seen.client), show(&recorded.client));
    assert_eq!(show(&seen.server), show(&recorded.server));
    assert_eq!((seen.gaps.len(), connection.state()), (1, State::Open));
}

#[test]
fn a_flight_with_a_hole_opens_by_a_key_log() {
    let session = bulk(&rustls::version::TLS13);
    let (_, seen) = play_without(&session, Direction::Inbound, &(400..500));
    assert_eq!(show(&seen.server), show(&session.server));
    assert_eq!(show(&seen.client), show(&session.client));
}

#[test]
fn a_flight_lost_in_clear_costs_nothing_but_itself() {
    let recorded = session(CBC);
    // In part, as a whole, and with all up to the Finished but its last byte.
    let change = records(&recorded, Direction::Inbound);
    let change = change.iter().position(|(_, length)| *length == 1).unwrap();
    let finished = records(&recorded, Direction::Inbound)[change + 1];
    for lost in [400..500, 400..1000, 400..finished.0 + finished.1] {
        let (_, seen) = play_without(&recorded, Direction::Inbound, &lost);
        assert_eq!(show(&seen.server), show(&recorded.server));
        assert!(!seen.gaps.is_empty() && seen.certificates.is_empty());
    }
}

#[test]
fn a_lost_hello_is_the_end() {
    let (connection, seen) = play_without(&session(SIMPLE), Direction::Inbound, &(3..40));
    assert_eq!(connection.state(), State::Failed(Reason::HelloLost));
    assert!(seen.server.is_empty());
    assert_eq!(seen.closed, [(Direction::Outbound, false), (Direction::Inbound, false)]);
}

#[test]
fn what_is_not_tls_is_told_at_once() {
    let mut connection = Connection::new();
    connection.feed(Direction::Outbound, Timestamp(1), b"GET / HTTP/1.1\r\n");
    assert_eq!(connection.state(), State::Failed(Reason::NotTls));
}

#[test]
fn a_declared_body_is_counted_and_not_opened() {
    for version in rustls::ALL_VERSIONS {
        let session = bulk(version);
        let mut pool = SecretPool::new();
        session.hits.iter().for_each(|hit| pool.insert(hit.clone()));
        let (mut connection, mut seen) = (Connection::new(), Seen::default());
        for (direction, bytes) in &session.flow {
            connection.feed(*direction, Timestamp(1), bytes);
            connection.resolve(&pool);
            seen.drain(&mut connection);
            if !seen.client.is_empty() && seen.skipped == 0 {
                connection.skip(Direction::Inbound, 60_000);
            }
        }
        // Three whole records; the last one is smaller, and whole too.
        assert_eq!(seen.skipped, 60_000);
        assert_eq!((show(&seen.server), seen.gaps.len()), (show(b"done"), 0));
    }
}

#[test]
fn a_body_of_which_only_headers_were_captured_is_skipped_too() {
    let session = bulk(&rustls::version::TLS13);
    let (at, length) =
        *records(&session, Direction::Inbound).iter().find(|(_, length)| *length > 16_000).unwrap();
    let start = at + HEADER;
    let mut connection = Connection::new();
    let mut pool = SecretPool::new();
    session.hits.iter().for_each(|hit| pool.insert(hit.clone()));
    let mut seen = Seen::default();
    let mut position = 0;
    for (direction, bytes) in &session.flow {
        let holds = *direction == Direction::Inbound && position + bytes.len() > start;
        if holds && position < start {
            connection.skip(Direction::Inbound, 1 << 14);
            connection.feed(*direction, Timestamp(1), &bytes[..start - position]);
            connection.gap(*direction, Timestamp(1), length as u64);
            connection.feed(*direction, Timestamp(1), &bytes[start - position + length..]);
        } else {
            connection.feed(*direction, Timestamp(1), bytes);
        }
        if *direction == Direction::Inbound {
            position += bytes.len();
        }
        connection.resolve(&pool);
        seen.drain(&mut connection);
    }
    assert_eq!((seen.skipped, seen.gaps.len()), (1 << 14, 0));
    assert_eq!(show(&seen.server), show(&session.server[1 << 14..]));
}

#[test]
fn ciphertext_that_waits_is_bounded_and_goes_on_behind_the_hole() {
    let session = bulk(&rustls::version::TLS12);
    let (mut connection, mut seen) = (Connection::new(), Seen::default());
    let (last, first) = session.flow.split_last().unwrap();
    for (direction, bytes) in first {
        connection.feed(*direction, Timestamp(1), bytes);
    }
    let filler = [[23, 3, 3, 0, 32].as_slice(), &[0; 32]].concat();
    for _ in 0..=MAX_HELD / filler.len() {
        connection.feed(Direction::Inbound, Timestamp(1), &filler);
    }
    connection.feed(last.0, Timestamp(1), &last.1);
    assert!(connection.held() <= 2 * MAX_HELD);
    let hits = &session.hits;
    assert!(hits.iter().any(|hit| connection.offer(hit)));
    seen.drain(&mut connection);
    assert!(session.server.starts_with(&seen.server) && seen.server.len() > 60_000);
}

#[test]
fn a_session_that_lost_nothing_has_no_gap() {
    for version in rustls::ALL_VERSIONS {
        check(&bulk(version));
        let (connection, _) = play(&bulk(version));
        assert_eq!(connection.origins().len(), 1);
    }
}

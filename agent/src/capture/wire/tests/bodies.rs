//! Bodies that nobody needs to see.

use std::ops::Range;

use scopewatch_common::{MIN_SKIPPED, Way};

use super::{Line, Local, REQUEST, Rig, SERVER, talk_of};
use crate::{
    capture::{CaptureEvent, Skip, wire::Unwanted},
    flow::chunk::Direction,
    tls::{record::HEADER, tests::Session},
};

/// Bytes of an answer: three whole records and a part of one. rustls buffers little more.
const LONG: usize = 60_000;

/// Last bytes of it that are asked for again.
const TAIL: usize = 10;

/// What a reader that has seen the first piece of the answer does not need, seen from the server.
fn skip(rig: &Rig) -> Option<Skip> {
    rig.out.iter().find_map(|event| match event {
        &CaptureEvent::Data { session, direction: Direction::Outbound, .. } => {
            let until = (LONG - TAIL) as u64;
            Some(Skip { session, direction: Direction::Outbound, from: 0, until })
        }
        _ => None,
    })
}

#[test]
fn records_within_a_body_are_neither_opened_nor_held() {
    for version in rustls::ALL_VERSIONS {
        let long: Vec<u8> = (0..LONG).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let session = talk_of(version, &[(REQUEST, &long), (b"again", b"short")]);
        for segment in [1, 700, 16_384, 64_000] {
            let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Server));
            rig.connect(&mut line);
            rig.derive(&session, SERVER);
            let mut asked = None;
            for (way, bytes) in &session.flow {
                for piece in bytes.chunks(segment) {
                    rig.push(&mut line, *way, ".", piece);
                    if asked.is_none() {
                        asked = skip(&rig);
                    } else {
                        assert!(rig.wire.held < 17_000, "{} bytes held", rig.wire.held);
                    }
                    // It may be said late, and again.
                    if let Some(skip) = asked {
                        rig.wire.skip(skip);
                    }
                }
            }
            let told = rig.told();
            let opened = told.outbound.len();
            assert_eq!(told.inbound, [REQUEST, b"again"].concat());
            assert_eq!((opened as u64 + told.skipped, told.lost), (LONG as u64 + 5, 0));
            // What comes with the first piece is opened before anybody can say that it need not be.
            assert!(segment > LONG || told.skipped >= 32_000, "{} skipped", told.skipped);
            let end = [&long[long.len() - TAIL..], b"short"].concat();
            assert!(told.outbound.ends_with(&end));
            assert!(told.outbound.starts_with(&long[..16_000]));
        }
    }
}

/// Sequence number of the server's first byte.
const FIRST: u32 = 9001;

/// Where the server's stream has fragments that the kernel half passes over: of records of data that
/// end before `end`.
fn passed_over(session: &Session, end: u32) -> Vec<Range<usize>> {
    let sent = session.flow.iter().filter(|(way, _)| *way == Direction::Inbound);
    let stream: Vec<u8> = sent.flat_map(|(_, bytes)| bytes.clone()).collect();
    let end = usize::try_from(end.wrapping_sub(FIRST)).unwrap();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Some([kind, _, _, high, low]) = stream.get(at..at + HEADER) {
        let fragment = at + HEADER..at + HEADER + usize::from(u16::from_be_bytes([*high, *low]));
        at = fragment.end;
        if *kind == 23 && fragment.len() >= MIN_SKIPPED as usize && at <= end {
            ranges.push(fragment);
        }
    }
    ranges
}

/// Pushes a piece of the server's as the kernel half tells of it, and then as a copy that was sent
/// again. How many bytes were passed over.
fn push_headers(rig: &mut Rig, line: &mut Line, piece: &[u8], passed: &[Range<usize>]) -> usize {
    let start = usize::try_from(line.server_seq - FIRST).unwrap();
    let is_lost = |at: usize| passed.iter().any(|range| range.contains(&(start + at)));
    let (mut at, mut lost_bytes) = (0, 0);
    while at < piece.len() {
        let kept = (at..piece.len()).take_while(|at| !is_lost(*at)).count();
        let lost = (at + kept..piece.len()).take_while(|at| is_lost(*at)).count();
        for _ in 0..2 {
            line.server_seq = FIRST + u32::try_from(start + at).unwrap();
            rig.push_part(line, Direction::Inbound, ".", &piece[at..at + kept], lost);
        }
        at += kept + lost;
        lost_bytes += lost;
    }
    lost_bytes
}

#[test]
fn the_kernel_half_is_told_of_a_body_and_tells_of_its_records_by_their_headers() {
    for version in rustls::ALL_VERSIONS {
        let long: Vec<u8> = (0..LONG).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let session = talk_of(version, &[(REQUEST, &long), (b"again", b"short")]);
        for segment in [3, 700, 16_384, 40_000] {
            let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Server));
            rig.connect(&mut line);
            rig.derive(&session, SERVER);
            let (mut asked, mut passed, mut lost) = (None, Vec::new(), 0);
            for (way, bytes) in &session.flow {
                for piece in bytes.chunks(segment) {
                    if *way == Direction::Inbound {
                        lost += push_headers(&mut rig, &mut line, piece, &passed);
                    } else {
                        rig.push(&mut line, *way, ".", piece);
                    }
                    asked = asked.or_else(|| skip(&rig));
                    // It may be said late, and again.
                    if let Some(skip) = asked {
                        rig.wire.skip(skip);
                    }
                    let told: Vec<Unwanted> = rig.wire.unwanted().collect();
                    if let [Unwanted { cookie, way, end }] = told[..] {
                        let stream = (line.cookie_of(Direction::Inbound), Way::Out);
                        assert_eq!((cookie, way), stream);
                        passed = passed_over(&session, end);
                    }
                }
            }
            let told = rig.told();
            let opened = told.outbound.len() as u64;
            assert_eq!(told.inbound, [REQUEST, b"again"].concat());
            assert_eq!((opened + told.skipped, told.lost), (LONG as u64 + 5, 0));
            let end = [&long[long.len() - TAIL..], b"short"].concat();
            assert!(told.outbound.ends_with(&end));
            assert!(segment > 16_384 || lost > 16_384, "{lost} passed over by {segment}");
        }
    }
}

#[test]
fn what_is_left_of_a_short_body_is_not_worth_telling() {
    let session = talk_of(&rustls::version::TLS13, &[(REQUEST, &[b'x'; 40_000])]);
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Server));
    rig.connect(&mut line);
    rig.derive(&session, SERVER);
    for (way, bytes) in &session.flow {
        for piece in bytes.chunks(700) {
            rig.push(&mut line, *way, ".", piece);
            let skip = skip(&rig).map(|skip| Skip { until: 40_000, ..skip });
            if let Some(skip) = skip {
                rig.wire.skip(skip);
            }
            assert_eq!(rig.wire.unwanted().next(), None);
        }
    }
}

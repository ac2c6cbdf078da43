//! Bodies that nobody needs to see.

use super::{Line, Local, REQUEST, Rig, SERVER, talk_of};
use crate::{
    capture::{CaptureEvent, Skip},
    flow::chunk::Direction,
};

/// Bytes of an answer: three whole records and a part of one. rustls buffers little more.
const LONG: usize = 60_000;

/// Last bytes of it that are asked for again.
const TAIL: usize = 10;

/// What a reader that has seen the first piece of the answer does not need, seen from the server.
fn skip(rig: &Rig) -> Option<Skip> {
    rig.out.iter().find_map(|event| match event {
        &CaptureEvent::Data { session, direction: Direction::Outbound, .. } => {
            Some(Skip { session, direction: Direction::Outbound, until: (LONG - TAIL) as u64 })
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
                        asked.into_iter().for_each(|skip| rig.wire.skip(skip));
                    } else {
                        assert!(rig.wire.held < 17_000, "{} bytes held", rig.wire.held);
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

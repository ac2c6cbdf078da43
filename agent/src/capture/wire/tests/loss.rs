//! Segments that were not captured.

use super::{ANSWER, Line, Local, MILLISECOND, REQUEST, Rig, SERVER, talk_of};
use crate::{capture::wire::telling::UNKNOWN_LOSS, flow::chunk::Direction};

const TURNS: [(&[u8], &[u8]); 4] =
    [(REQUEST, ANSWER), (b"second", b"zwei"), (b"third", b"drei"), (b"fourth", b"vier")];

#[test]
fn a_lost_segment_is_a_gap_behind_which_plaintext_goes_on() {
    let session = talk_of(&rustls::version::TLS12, &TURNS);
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Server));
    rig.connect(&mut line);
    rig.derive(&session, SERVER);
    // The second request is the third from the end of the client's flights with data.
    let requests: Vec<usize> =
        (0..session.flow.len()).filter(|&at| session.flow[at].0 == Direction::Outbound).collect();
    let lost = requests[requests.len() - 4];
    rig.send(&mut line, &session.flow[..lost]);
    line.client_seq += u32::try_from(session.flow[lost].1.len()).unwrap();
    rig.send(&mut line, &session.flow[lost + 1..]);
    rig.pass(10_000 * MILLISECOND);
    rig.tick();
    let told = rig.told();
    assert_eq!(told.inbound, [REQUEST, b"third", b"fourth"].concat());
    assert_eq!(told.outbound, session.server);
    assert_eq!(told.lost, UNKNOWN_LOSS);
}

#[test]
fn a_connection_whose_hello_was_missed_is_given_up() {
    let session = talk_of(&rustls::version::TLS12, &TURNS);
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Both));
    rig.derive(&session, SERVER);
    rig.send(&mut line, &session.flow[1..]);
    let told = rig.told();
    assert!(told.inbound.is_empty() && told.outbound.is_empty());
    rig.pass(10_000 * MILLISECOND);
    rig.tick();
    assert_eq!((rig.wire.counts.opened, rig.wire.counts.uncovered), (0, 1));
    rig.is_empty();
}

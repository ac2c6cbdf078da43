//! Whose the ends are.

use super::{ANSWER, CLIENT, Line, Local, Pair, REQUEST, Rig, SERVER, suite, talk};
use crate::{
    flow::chunk::{
        Attribution::{KeyOnly, SameCgroup, SocketCall},
        Direction::{Inbound, Outbound},
    },
    tls::{secret::Origin, tests::Session},
};

/// A process that was given the keys of an end.
const CONFIDANT: u32 = 33;

/// Who derived, and who was seen at which socket; the observed process, its end, and its peer.
#[track_caller]
fn check(
    local: Local,
    derived: &[u32],
    owned: &[(crate::flow::chunk::Direction, u32)],
    expected: (u32, crate::flow::chunk::Direction, Option<u32>),
) {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, local), talk());
    rig.connect(&mut line);
    owned.iter().for_each(|(end, pid)| rig.own(&line, *end, *pid));
    derived.iter().for_each(|pid| rig.derive(&session, *pid));
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    let (pid, end, peer) = expected;
    assert_eq!(told.sessions[0].pid, pid);
    let (socket, told_peer) = told.sockets[0];
    assert_eq!((socket.local, told_peer), (line.socket(end).local, peer));
    assert_eq!(told.sockets.len(), 1);
}

#[test]
fn a_connection_is_told_from_its_server_where_that_is_known() {
    let both = [(Inbound, SERVER), (Outbound, CLIENT)];
    check(Local::Both, &[SERVER, CLIENT], &both, (SERVER, Inbound, Some(CLIENT)));
    check(Local::Both, &[CLIENT, SERVER], &both, (SERVER, Inbound, Some(CLIENT)));
}

#[test]
fn a_lone_end_on_this_host_belongs_to_who_derived_the_keys() {
    check(Local::Client, &[CLIENT], &[], (CLIENT, Outbound, None));
    check(Local::Server, &[SERVER], &[], (SERVER, Inbound, None));
}

#[test]
fn who_was_seen_at_one_socket_does_not_hold_the_other() {
    let client = [(Outbound, CLIENT)];
    check(Local::Both, &[CLIENT], &client, (CLIENT, Outbound, None));
    check(Local::Both, &[CLIENT, SERVER], &client, (SERVER, Inbound, Some(CLIENT)));
}

#[test]
fn a_process_that_only_pretends_to_derive_is_no_end() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    let other = talk();
    rig.connect(&mut line);
    rig.derive(&other, 99);
    rig.derive(&session, SERVER);
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    assert_eq!((told.sessions[0].pid, told.sockets[0].1), (SERVER, None));
}

/// A confidant of the server derives what it does, before it; who was seen at which socket; who is
/// told to hold the server's end, and how that is known.
#[track_caller]
fn check_confidant(local: Local, owned: &[u32], expected: (u32, crate::flow::chunk::Attribution)) {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, local), talk());
    rig.connect(&mut line);
    rig.derive(&session, CONFIDANT);
    rig.derive(&session, SERVER);
    owned.iter().for_each(|pid| rig.own(&line, Inbound, *pid));
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    assert_eq!((told.sessions[0].pid, told.attributions[0].0), expected);
}

#[test]
fn who_was_given_a_key_does_not_pass_for_who_uses_the_socket() {
    check_confidant(Local::Server, &[SERVER], (SERVER, SocketCall));
    check_confidant(Local::Both, &[SERVER], (SERVER, SocketCall));
    // Nobody was seen at the socket: the grade says that it may not be the one.
    check_confidant(Local::Server, &[], (CONFIDANT, KeyOnly));
}

/// A confidant and then the server derive, in cgroups and network namespaces of theirs; the server's
/// socket is in a cgroup of the usual namespace, and nobody was seen at it. Who is told to hold it.
#[track_caller]
fn check_place(
    socket: u32,
    confidant: (u32, u32),
    server: (u32, u32),
    expected: (u32, crate::flow::chunk::Attribution),
) {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Server), talk());
    line.cgroup = socket;
    rig.connect(&mut line);
    for (pid, (cgroup, netns)) in [(CONFIDANT, confidant), (SERVER, server)] {
        rig.derive_as(&session, Origin { pid, tid: pid, cgroup, netns });
    }
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    assert_eq!((told.sessions[0].pid, told.attributions[0].0), expected);
}

#[test]
fn who_is_in_the_cgroup_of_the_socket_is_its_holder_before_who_is_not() {
    check_place(70, (80, 0), (70, 0), (SERVER, SameCgroup));
    check_place(70, (70, 0), (80, 0), (CONFIDANT, SameCgroup));
    check_place(70, (80, 0), (90, 0), (CONFIDANT, KeyOnly));
    // What is not known, and what everybody has, says nothing.
    check_place(0, (0, 0), (0, 0), (CONFIDANT, KeyOnly));
    check_place(1, (1, 0), (1, 0), (CONFIDANT, KeyOnly));
    // A call at the socket says more.
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Server), talk());
    line.cgroup = 70;
    rig.connect(&mut line);
    rig.own(&line, Inbound, SERVER);
    rig.derive_as(&session, Origin { pid: CONFIDANT, tid: CONFIDANT, cgroup: 70, netns: 0 });
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    assert_eq!((told.sessions[0].pid, told.attributions[0].0), (SERVER, SocketCall));
}

#[test]
fn who_is_in_the_network_namespace_of_the_socket_is_its_holder_before_who_is_not() {
    check_place(0, (0, 5), (0, 0), (SERVER, KeyOnly));
    // A socket may have been handed over.
    check_place(0, (0, 5), (0, 6), (CONFIDANT, KeyOnly));
}

#[test]
fn both_ends_have_grades_of_their_own() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.own(&line, Outbound, CLIENT);
    rig.derive(&session, SERVER);
    rig.derive(&session, CLIENT);
    rig.send(&mut line, &session.flow);
    assert_eq!(rig.told().attributions, [(KeyOnly, Some(SocketCall))]);
}

/// Clients send a first request in one segment with the end of their handshake: the segment is
/// seen before they are, in the call that sends it.
#[test]
fn who_is_seen_at_a_socket_after_its_first_data_is_known_from_then_on() {
    let (mut rig, mut line, session) = (Rig::new(), Line::new(1, Local::Both), talk());
    rig.connect(&mut line);
    rig.derive(&session, SERVER);
    rig.derive(&session, CLIENT);
    // Both ends have yet to say that they close.
    let open = session.flow.split_last_chunk::<2>().unwrap().0;
    rig.send(&mut line, open);
    rig.own(&line, Outbound, CLIENT);
    rig.own(&line, Outbound, CLIENT);
    rig.own(&line, Inbound, SERVER);
    let told = rig.told();
    let client = Some(SocketCall);
    assert_eq!(
        told.attributions,
        [(KeyOnly, Some(KeyOnly)), (KeyOnly, client), (SocketCall, client)]
    );
    assert_eq!(told.sockets.iter().map(|it| it.1).collect::<Vec<_>>(), [Some(CLIENT); 3]);
    // Who pretends to be an end that was told of changes nothing.
    rig.own(&line, Inbound, CONFIDANT);
    assert!(rig.told().attributions.is_empty());
}

/// Nobody was seen at a socket: `first` derived the keys first.
#[track_caller]
fn check_order(session: &Session, first: u32, then: u32) {
    let (mut rig, mut line) = (Rig::new(), Line::new(1, Local::Both));
    rig.connect(&mut line);
    rig.derive(session, first);
    rig.derive(session, then);
    rig.send(&mut line, &session.flow);
    let told = rig.told();
    assert_eq!((told.sessions[0].pid, told.sockets[0].1), (SERVER, Some(CLIENT)));
}

#[test]
fn who_derives_first_holds_the_end_that_seals_first() {
    let turn: &[(&[u8], &[u8])] = &[(REQUEST, ANSWER)];
    let new = Pair::new(suite(&rustls::version::TLS13), false);
    check_order(&new.talk(b"", turn), SERVER, CLIENT);
    let old = Pair::new(suite(&rustls::version::TLS12), false);
    check_order(&old.talk(b"", turn), CLIENT, SERVER);
    // Resumed, the server finishes first.
    check_order(&old.talk(b"", turn), SERVER, CLIENT);
}

//! Whose the ends are.

use super::{CLIENT, Line, Local, Rig, SERVER, talk};
use crate::flow::chunk::Direction::{Inbound, Outbound};

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

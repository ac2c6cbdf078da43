//! Keys and flags.

use super::{Endpoint, Flags, FlowKey};
use crate::wire::testing::{client_to_server, endpoint};

#[test]
fn mapped_addresses_are_the_same_endpoint() {
    let mapped = endpoint("[::ffff:192.0.2.1]:443");
    assert_eq!(mapped, endpoint("192.0.2.1:443"));
    assert_eq!(mapped.socket_addr(), "192.0.2.1:443".parse().unwrap());
    assert_eq!(mapped, Endpoint::new("192.0.2.1".parse().unwrap(), 443));
}

#[test]
fn both_directions_have_one_key_in_one_namespace_and_another_in_another() {
    let key = client_to_server();
    assert_eq!(key.undirected(), key.reversed().undirected());
    let elsewhere = FlowKey { netns: 7, ..key };
    assert_eq!(elsewhere.reversed().netns, 7);
    assert_ne!(key.undirected(), elsewhere.undirected());
}

#[test]
fn flags_are_where_the_header_has_them() {
    let flags = Flags { ack: true, fin: true, ..Flags::default() };
    assert_eq!(Flags::from(0x11), flags);
    assert_eq!(Flags::from(0xe8), Flags::default());
}

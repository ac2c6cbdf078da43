//! Recorded sessions: the traces of RFC 8448, and OpenSSL's client with its server.

use super::{Session, check, play, session};
use crate::tls::{output::Side, suite::Version};

pub(super) const SIMPLE: &str = include_str!("../../../../tests/corpora/tls/rfc8448/simple.txt");
pub(super) const RESUMED: &str =
    include_str!("../../../../tests/corpora/tls/rfc8448/resumed_early_data.txt");
pub(super) const RETRY: &str =
    include_str!("../../../../tests/corpora/tls/rfc8448/hello_retry.txt");
pub(super) const CLIENT_AUTHENTICATION: &str =
    include_str!("../../../../tests/corpora/tls/rfc8448/client_authentication.txt");

#[test]
fn rfc8448_simple_handshake_opens_by_its_handshake_secret_alone() {
    let seen = check(&session(SIMPLE));
    assert_eq!(seen.offers[0].server_name.as_deref(), Some("server"));
    let negotiated = &seen.negotiated[0];
    assert_eq!((negotiated.version, negotiated.resumed), (Version::Tls13, false));
    assert_eq!(seen.certificates[0].0, Side::Server);
    assert_eq!(seen.certificates[0].1.subject, "CN=rsa");
    assert!(seen.closed.iter().all(|(_, clean)| *clean));
}

#[test]
fn rfc8448_resumption_with_early_data() {
    let seen = check(&session(RESUMED));
    assert!(seen.offers[0].early_data && seen.negotiated[0].resumed);
    assert!(seen.certificates.is_empty());
}

#[test]
fn early_data_without_its_secret_is_a_gap_and_nothing_more() {
    let mut recorded = session(RESUMED);
    recorded.hits.remove(0);
    let (mut connection, mut seen) = play(&recorded);
    assert_eq!((seen.client.len(), seen.server), (0, recorded.server.clone()));
    let later = crate::clock::Timestamp(2 * crate::clock::NANOS_PER_SEC);
    connection.feed(crate::flow::chunk::Direction::Inbound, later, &[]);
    seen.server = Vec::new();
    seen.drain(&mut connection);
    assert_eq!(seen.client, recorded.client[6..]);
    assert_eq!(seen.gaps.len(), 2);
}

#[test]
fn rfc8448_hello_retry_request() {
    let seen = check(&session(RETRY));
    assert_eq!((seen.offers.len(), seen.negotiated.len()), (1, 1));
    assert_eq!(seen.closed.len(), 2);
}

#[test]
fn rfc8448_client_authentication() {
    let seen = check(&session(CLIENT_AUTHENTICATION));
    let subjects: Vec<_> =
        seen.certificates.iter().map(|(side, leaf)| (*side, leaf.subject.as_str())).collect();
    assert_eq!(subjects, [(Side::Server, "CN=ecdsa256"), (Side::Client, "CN=client")]);
}

#[test]
fn without_its_secret_nothing_opens_and_the_need_is_told() {
    let recorded = Session { hits: Vec::new(), ..session(SIMPLE) };
    let (connection, seen) = play(&recorded);
    assert!(seen.client.is_empty() && seen.server.is_empty());
    assert_eq!(connection.needs().count(), 2);
    assert_eq!(connection.needs().next().unwrap().indexes.len(), 2);
}

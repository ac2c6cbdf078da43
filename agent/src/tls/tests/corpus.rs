//! Recorded sessions: the traces of RFC 8448, and OpenSSL's client with its server.

use super::{Seen, Session, check, play, session};
use crate::tls::{output::Side, suite::Version};

pub(crate) const SIMPLE: &str = include_str!("../../../../tests/corpora/tls/rfc8448/simple.txt");
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
    // This server only closes, so that nobody can tell whether it took the client's.
    assert_eq!(subjects, [(Side::Server, "CN=ecdsa256")]);
}

#[test]
fn without_its_secret_nothing_opens_and_the_need_is_told() {
    let recorded = Session { hits: Vec::new(), ..session(SIMPLE) };
    let (connection, seen) = play(&recorded);
    assert!(seen.client.is_empty() && seen.server.is_empty());
    assert_eq!(connection.needs().count(), 2);
    assert_eq!(connection.needs().next().unwrap().indexes.len(), 2);
}

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/corpora/tls/openssl/", $name, ".txt"))
    };
}

pub(crate) const RENEGOTIATION: &str = recorded!("tls12_renegotiation");
pub(super) const CBC: &str = recorded!("tls12_cbc_sha_etm");
pub(super) const KEY_UPDATE: &str = recorded!("tls13_key_update");
pub(super) const EARLY_DATA: &str = recorded!("tls13_early_data");
pub(super) const EARLY_DATA_REFUSED: &str = recorded!("tls13_early_data_refused");
pub(super) const EARLY_DATA_RETRY: &str = recorded!("tls13_early_data_retry");

/// Checks a recording and the suite that it was made for.
fn check_recorded(text: &str, suite: &str) -> Seen {
    let seen = check(&session(text));
    assert!(!seen.client.is_empty() && !seen.server.is_empty());
    assert_eq!(seen.negotiated.last().unwrap().suite.name, suite);
    seen
}

#[test]
fn openssl_ccm_suites() {
    check_recorded(recorded!("tls12_aes128_ccm"), "TLS_RSA_WITH_AES_128_CCM");
    check_recorded(recorded!("tls12_aes256_ccm8"), "TLS_DHE_RSA_WITH_AES_256_CCM_8");
    check_recorded(recorded!("tls13_aes128_ccm"), "TLS_AES_128_CCM_SHA256");
    check_recorded(recorded!("tls13_aes128_ccm8"), "TLS_AES_128_CCM_8_SHA256");
}

#[test]
fn openssl_rsa_and_dhe_key_exchange() {
    check_recorded(recorded!("tls12_rsa_aes256_gcm"), "TLS_RSA_WITH_AES_256_GCM_SHA384");
    let suite = "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256";
    check_recorded(recorded!("tls12_dhe_chacha20"), suite);
}

#[test]
fn openssl_cbc_with_both_orders_of_the_mac() {
    let table = [
        (CBC, "TLS_RSA_WITH_AES_128_CBC_SHA"),
        (recorded!("tls12_cbc_sha_mte"), "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
        (recorded!("tls12_cbc_sha256_etm"), "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"),
        (recorded!("tls12_cbc_sha256_mte"), "TLS_RSA_WITH_AES_128_CBC_SHA256"),
        (recorded!("tls12_cbc_sha384_etm"), "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
        (recorded!("tls12_cbc_sha384_mte"), "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
    ];
    for (text, suite) in table {
        check_recorded(text, suite);
    }
}

#[test]
fn openssl_renegotiation_by_the_client() {
    let seen = check(&session(RENEGOTIATION));
    assert_eq!(seen.negotiated.len(), 2);
    assert_eq!(seen.offers.len(), 1);
}

#[test]
fn openssl_renegotiation_for_a_client_certificate() {
    let seen = check(&session(recorded!("tls12_renegotiation_client_certificate")));
    assert_eq!(seen.negotiated.len(), 2);
    let client = seen.certificates.iter().find(|(side, _)| *side == Side::Client).unwrap();
    assert_eq!(client.1.subject, "CN=client.test,O=Example\\, Inc.,C=FR");
    assert_eq!(client.1.issuer, "CN=scopewatch test CA");
}

#[test]
fn openssl_client_certificate_in_tls13() {
    let seen = check(&session(recorded!("tls13_client_certificate")));
    let sides: Vec<_> = seen.certificates.iter().map(|(side, _)| *side).collect();
    assert_eq!(sides, [Side::Server, Side::Client]);
    assert_eq!(seen.negotiated[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
}

#[test]
fn openssl_key_updates() {
    check_recorded(KEY_UPDATE, "TLS_AES_256_GCM_SHA384");
}

#[test]
fn openssl_resumption() {
    let table = [
        recorded!("tls12_resumed_ticket"),
        recorded!("tls12_resumed_id"),
        recorded!("tls13_resumed"),
    ];
    for text in table {
        let seen = check(&session(text));
        assert!(seen.negotiated[0].resumed && seen.certificates.is_empty());
    }
}

#[test]
fn openssl_early_data_taken_and_refused() {
    let taken = check(&session(EARLY_DATA));
    assert!(taken.client.starts_with(b"GET /early"));
    let refused = check(&session(EARLY_DATA_REFUSED));
    assert!(refused.offers[0].early_data && refused.client.starts_with(b"GET /client"));
    let retried = check(&session(EARLY_DATA_RETRY));
    assert!(retried.offers[0].early_data && retried.client.starts_with(b"GET /client"));
}

//! Sessions of rustls with itself, made on the spot.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::{
    ClientConfig, ClientConnection, KeyLog, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::{Session, Shown, check, hit, key_log, play};
use crate::{
    flow::chunk::Direction,
    tls::{
        output::Side,
        suite::{Suite, Version},
    },
};

const CA: &[u8] = include_bytes!("../../../../tests/corpora/tls/pki/ca.pem");
const SERVER: &[u8] = include_bytes!("../../../../tests/corpora/tls/pki/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("../../../../tests/corpora/tls/pki/server.key");
pub(super) const CLIENT: &[u8] = include_bytes!("../../../../tests/corpora/tls/pki/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("../../../../tests/corpora/tls/pki/client.key");

#[derive(Debug, Default)]
struct Log(Mutex<Vec<Line>>);

/// A key log line as it came.
type Line = (String, Vec<u8>, Vec<u8>);

impl KeyLog for Log {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = (label.to_owned(), client_random.to_vec(), secret.to_vec());
        self.0.lock().unwrap().push(line);
    }
}

/// Two ends that can make sessions.
pub(crate) struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    log: Arc<Log>,
}

impl Ends {
    pub(crate) fn new(suite: SupportedCipherSuite, client_certificate: bool) -> Self {
        let crypto = CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
        let (crypto, log) = (Arc::new(crypto), Arc::new(Log::default()));
        let roots = Arc::new(roots());
        let versions = [suite.version()];
        let client = ClientConfig::builder_with_provider(Arc::clone(&crypto))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&roots));
        let mut client = if client_certificate {
            client.with_client_auth_cert(chain(CLIENT), key(CLIENT_KEY)).unwrap()
        } else {
            client.with_no_client_auth()
        };
        let server = ServerConfig::builder_with_provider(Arc::clone(&crypto))
            .with_protocol_versions(&versions)
            .unwrap();
        let server = if client_certificate {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto);
            server.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            server.with_no_client_auth()
        };
        let mut server = server.with_single_cert(chain(SERVER), key(SERVER_KEY)).unwrap();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.enable_early_data = true;
        server.max_early_data_size = 4096;
        server.key_log = Arc::clone(&log) as Arc<dyn KeyLog>;
        Self { client: Arc::new(client), server: Arc::new(server), log }
    }

    /// A session in which both ends say these things in turn, and update keys after each turn if
    /// the version lets them.
    pub(crate) fn talk(&self, early: &[u8], turns: &[(&[u8], &[u8])]) -> Session {
        self.log.0.lock().unwrap().clear();
        let name = ServerName::try_from("server.test").unwrap();
        let mut wire = Wire {
            client: ClientConnection::new(Arc::clone(&self.client), name).unwrap(),
            server: ServerConnection::new(Arc::clone(&self.server)).unwrap(),
            session: Session::default(),
        };
        wire.early(early);
        wire.settle();
        for (request, response) in turns {
            wire.turn(request, response);
        }
        wire.client.send_close_notify();
        wire.server.send_close_notify();
        wire.settle();
        let mut session = wire.session;
        for (label, random, secret) in self.log.0.lock().unwrap().iter() {
            session.hits.extend(key_log(label, random, secret).map(hit));
        }
        session
    }
}

struct Wire {
    client: ClientConnection,
    server: ServerConnection,
    session: Session,
}

impl Wire {
    fn early(&mut self, bytes: &[u8]) {
        if let (false, Some(mut writer)) = (bytes.is_empty(), self.client.early_data()) {
            writer.write_all(bytes).unwrap();
            self.session.client.extend_from_slice(bytes);
        }
    }

    fn turn(&mut self, request: &[u8], response: &[u8]) {
        self.client.writer().write_all(request).unwrap();
        self.session.client.extend_from_slice(request);
        self.settle();
        self.server.writer().write_all(response).unwrap();
        self.session.server.extend_from_slice(response);
        self.settle();
        if self.client.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
            self.client.refresh_traffic_keys().unwrap();
            self.server.refresh_traffic_keys().unwrap();
        }
    }

    /// Passes on what both ends have to say until they are silent.
    fn settle(&mut self) {
        loop {
            let mut out = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut out).unwrap();
            }
            let mut back = Vec::new();
            let mut input = out.as_slice();
            while !input.is_empty() {
                self.server.read_tls(&mut input).unwrap();
                self.server.process_new_packets().unwrap();
                discard(&mut self.server.reader());
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut back).unwrap();
            }
            let mut input = back.as_slice();
            while !input.is_empty() {
                self.client.read_tls(&mut input).unwrap();
                self.client.process_new_packets().unwrap();
                discard(&mut self.client.reader());
            }
            if out.is_empty() && back.is_empty() {
                return;
            }
            for (direction, bytes) in [(Direction::Outbound, out), (Direction::Inbound, back)] {
                if !bytes.is_empty() {
                    self.session.flow.push((direction, bytes));
                }
            }
        }
    }
}

fn discard(reader: &mut impl Read) {
    let mut scrap = [0; 4096];
    while matches!(reader.read(&mut scrap), Ok(1..)) {}
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA).unwrap()).unwrap();
    roots
}

fn chain(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_slice(pem).unwrap()]
}

fn key(pem: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem).unwrap()
}

/// The suites that a server with an RSA certificate can choose.
pub(super) fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    let all = provider::ALL_CIPHER_SUITES.iter().copied();
    all.filter(|suite| !format!("{:?}", suite.suite()).contains("ECDSA"))
}

pub(crate) fn suite(version: &rustls::SupportedProtocolVersion) -> SupportedCipherSuite {
    suites().find(|suite| suite.version() == version).unwrap()
}

#[test]
fn every_suite_of_rustls_opens() {
    for suite in suites() {
        let large = vec![b'x'; 60_000];
        let turns: [(&[u8], &[u8]); 3] = [(b"one", b"eins"), (&large, b"zwei"), (b"three", &large)];
        let seen = check(&Ends::new(suite, false).talk(b"", &turns));
        let negotiated = &seen.negotiated[0];
        assert_eq!(Some(negotiated.suite), Suite::find(suite.suite().into()));
        assert_eq!(negotiated.alpn.as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(seen.offers[0].server_name.as_deref(), Some("server.test"));
        assert!(seen.closed.iter().all(|(_, clean)| *clean) && seen.closed.len() == 2);
    }
}

#[test]
fn client_certificates_are_told_in_both_versions() {
    for version in rustls::ALL_VERSIONS {
        let seen = check(&Ends::new(suite(version), true).talk(b"", &[(b"a", b"b")]));
        let (side, leaf) = &seen.certificates[1];
        assert_eq!(
            (*side, leaf.subject.as_str()),
            (Side::Client, "CN=client.test,O=Example\\, Inc.,C=FR")
        );
        let der = CertificateDer::from_pem_slice(CLIENT).unwrap();
        assert_eq!(leaf.thumbprint.as_slice(), digest(&SHA256, &der).as_ref());
    }
}

#[test]
fn that_a_client_has_no_certificate_is_told_of_whole_handshakes_only() {
    let told = |session: &Session| play(session).1.uncertified;
    for version in rustls::ALL_VERSIONS {
        let session = Ends::new(suite(version), false).talk(b"", &[(b"a", b"b")]);
        assert_eq!(told(&session), [true], "{version:?}");
        let shown = Ends::new(suite(version), true).talk(b"", &[(b"a", b"b")]);
        assert!(told(&shown).is_empty(), "{version:?}");
        // One byte of what the client says after its hello is missing, any of the first hundred.
        let hello =
            session.flow.iter().find(|(way, _)| *way == Direction::Outbound).unwrap().1.len();
        for at in hello..hello + 100 {
            let (_, seen) = super::loss::play_without(&session, Direction::Outbound, &(at..at + 1));
            assert!(seen.uncertified.is_empty() || at > hello + 70, "{version:?} {at}");
        }
    }
}

#[test]
fn a_client_certificate_that_no_server_was_seen_to_take_is_not_told() {
    for version in rustls::ALL_VERSIONS {
        let mut session = Ends::new(suite(version), true).talk(b"", &[]);
        // The client's second flight proves its certificate; the server's after it takes it.
        let second =
            session.flow.iter().enumerate().filter(|(_, (way, _))| *way == Direction::Outbound);
        let (proof, _) = second.take(2).last().unwrap();
        session.flow.truncate(proof + 1);
        let (_, seen) = play(&session);
        assert!(seen.certificates.iter().all(|(side, _)| *side == Side::Server), "{version:?}");
        assert_eq!(seen.certificates.len(), 1);
    }
}

#[test]
fn resumption_opens_in_both_versions() {
    for version in rustls::ALL_VERSIONS {
        let ends = Ends::new(suite(version), false);
        check(&ends.talk(b"", &[(b"a", b"b")]));
        let seen = check(&ends.talk(b"early", &[(b"c", b"d")]));
        assert!(seen.negotiated[0].resumed);
        let early = seen.negotiated[0].version == Version::Tls13;
        assert_eq!(seen.client.starts_with(b"early"), early);
    }
}

#[test]
fn a_session_is_resumed_by_a_name_that_it_had_before() {
    for version in rustls::ALL_VERSIONS {
        let ends = Ends::new(suite(version), true);
        let first = check(&ends.talk(b"", &[(b"a", b"b")]));
        assert!(!first.resumable.is_empty() && first.resumed.is_empty(), "{version:?}");
        let mut names = first.resumable;
        for _ in 0..2 {
            let again = check(&ends.talk(b"", &[(b"c", b"d")]));
            assert_eq!(again.certificates.len(), 0, "nothing is shown again");
            let [name] = again.resumed[..] else { panic!("{:?}", again.resumed) };
            assert!(names.contains(&name), "{version:?}");
            names.extend(again.resumable);
        }
        // Who proved nothing has nothing to be known again by.
        let ends = Ends::new(suite(version), false);
        assert_eq!(check(&ends.talk(b"", &[(b"a", b"b")])).resumable, []);
    }
}

#[test]
fn a_master_secret_with_both_randoms_opens() {
    let mut session = Ends::new(suite(&rustls::version::TLS12), false).talk(b"", &[(b"a", b"b")]);
    // The ServerHello is the first record of the server's first flight; its random follows the
    // headers of record and message, and the version.
    let flight = session.flow.iter().find(|(way, _)| *way == Direction::Inbound).unwrap();
    let random = flight.1[11..43].try_into().unwrap();
    for hit in &mut session.hits {
        if let Shown::Master { server_random, .. } = &mut hit.shown {
            *server_random = Some(random);
        }
    }
    check(&session);
}

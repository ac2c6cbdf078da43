//! Receivers that take what they get: everything arrives once, in order, whole.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use scopewatch::{outbound, sinks::otlp::Protocol};
use scopewatch_harness::certs::Certificates;
use tokio_rustls::TlsAcceptor;

use crate::{
    run::{ALL, events, options, start},
    server::{Server, text},
};

#[test]
fn everything_arrives_once_and_in_order() {
    let (events, uids) = events(3000);
    for protocol in ALL {
        for gzip in [true, false] {
            let server = Server::start(protocol, Vec::new());
            let options =
                scopewatch::sinks::otlp::Options { gzip, ..options(protocol, server.port) };
            let (delivered, dead, pending, _) = start(options, &events).finish();
            assert_eq!((delivered, dead, pending), (3000, 0, 0), "{protocol:?}");
            assert!(server.taken() == uids, "{protocol:?}: in order, and each once");
            assert!(server.requests() > 5, "{protocol:?}: in parts");
            assert_eq!(server.connections(), 1, "{protocol:?}: over one connection");
        }
    }
}

#[test]
fn fields_of_the_file_are_sent_along() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("headers");
    fs::write(&path, "authorization: Bearer canary-of-the-siem\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (events, _) = events(3);
    for protocol in ALL {
        let server = Server::start(protocol, Vec::new());
        let mut options = options(protocol, server.port);
        options.headers_file = Some(path.clone());
        options.resource.insert("deployment.environment.name".to_owned(), "prod".to_owned());
        assert_eq!(start(options, &events).finish().0, 3);
        server.seen(|seen| {
            assert_eq!(seen[0].fields["authorization"], "Bearer canary-of-the-siem");
            assert!(seen[0].fields["user-agent"].to_str().unwrap().starts_with("scopewatch/"));
            let record = &seen[0].records[0];
            assert_eq!(record.event_name, "scopewatch.access");
            assert_eq!(text(record, "user.id").as_deref(), Some("f1c4"));
        });
    }
}

/// A server's side of TLS that wants a client's certificate.
fn acceptor(certificates: &Certificates, protocol: Protocol) -> TlsAcceptor {
    let chain =
        |path| CertificateDer::pem_file_iter(path).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(chain(&certificates.authority).remove(0)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            chain(&certificates.server),
            PrivateKeyDer::from_pem_file(&certificates.server_key).unwrap(),
        )
        .unwrap();
    let name: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![name.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[test]
fn by_tls_only_the_right_ends_speak_to_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path()).unwrap();
    let (events, uids) = events(100);
    for protocol in ALL {
        let acceptor = acceptor(&certificates, protocol);
        let server = Server::start_with(protocol, Vec::new(), Some(acceptor));
        let mut options = options(protocol, server.port);
        options.endpoint.is_tls = true;
        let identity = Some((certificates.client.clone(), certificates.client_key.clone()));
        let known = outbound::Options {
            ca_file: Some(certificates.authority.clone()),
            identity,
            server_name: None,
        };
        let wrong = [
            outbound::Options { ca_file: None, ..known.clone() },
            outbound::Options { identity: None, ..known.clone() },
            outbound::Options { server_name: Some("other.example".to_owned()), ..known.clone() },
        ];
        for tls in wrong {
            let run = start(scopewatch::sinks::otlp::Options { tls, ..options.clone() }, &events);
            std::thread::sleep(std::time::Duration::from_millis(400));
            let (delivered, dead, pending, _) = run.end();
            assert_eq!((delivered, dead, pending), (0, 0, 100), "{protocol:?}");
        }
        assert_eq!(server.requests(), 0);
        options.tls = known;
        assert_eq!(start(options, &events).finish().0, 100);
        let taken: BTreeSet<_> = server.taken().into_iter().collect();
        assert_eq!(taken.into_iter().collect::<Vec<_>>(), uids);
    }
}

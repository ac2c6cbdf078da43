//! TLS to others: receivers of events, servers of keys. In: whom to trust and what to show, as
//! files. Out: a configuration for one connection, made anew for each, so that files that are
//! renewed count from the next one on.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use thiserror::Error;

/// A host as it stands in an address of the web, without the brackets around IPv6 (RFC 3986 §3.2.2).
#[must_use]
pub fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether such a host is this one: what is said to it leaves no machine.
#[must_use]
pub fn is_this_host(host: &str) -> bool {
    let bare = bare(host);
    bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whom to trust, and what to show.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// PEM file of certificate authorities; none for those of the host.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a certificate chain and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Name that the other's certificate must have; none for the host that is connected to.
    pub server_name: Option<String>,
}

/// Why there can be no connection.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path} cannot be used: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The name can be in no certificate.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// The library refuses.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::other(error)
    }
}

impl Options {
    /// The configuration of a connection that speaks one of `protocols` (ALPN, RFC 7301).
    ///
    /// # Errors
    /// A file cannot be read, or nothing of use is in it.
    pub fn client(&self, protocols: &[&str]) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.authorities()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                builder.with_client_auth_cert(certificates(chain)?, secret(key)?)?
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The name that the certificate of `host` must have: an address, or a name of DNS.
    ///
    /// # Errors
    /// It is no such.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(bare(name).to_owned()).map_err(|_| TlsError::Name(name.to_owned()))
    }

    fn authorities(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                let (added, ignored) = roots.add_parsable_certificates(found.certs);
                tracing::debug!(added, ignored, "certificate authorities");
            }
        }
        // A host without any trusts nobody: that is for the handshake to say.
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unusable(path, &error))?;
    if found.is_empty() { Err(unusable(path, &"no certificate is in it")) } else { Ok(found) }
}

fn secret(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, why: &dyn ToString) -> TlsError {
    TlsError::File { path: path.to_owned(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(options: &Options) -> String {
        options.client(&[]).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let of =
            |ca_file: &Path| Options { ca_file: Some(ca_file.to_owned()), ..Options::default() };
        assert!(why(&of(&empty)).ends_with("empty.pem cannot be used: no certificate is in it"));
        let missing = why(&of(&directory.path().join("none.pem")));
        assert!(missing.contains("none.pem cannot be used"), "{missing}");
    }

    #[test]
    fn this_host_has_several_names_and_no_other() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_this_host(host), "{host}");
        }
        for host in ["", "localhost.example", "192.0.2.1", "0.0.0.0", "[::]", "127.1"] {
            assert!(!is_this_host(host), "{host}");
        }
    }

    #[test]
    fn names_are_those_of_dns_and_addresses() {
        let name =
            |text: &str| Options::default().name(text).map(|name| name.to_str().into_owned());
        assert_eq!(name("siem.example").unwrap(), "siem.example");
        assert_eq!(name("[::1]").unwrap(), "::1");
        assert!(matches!(name("not a name"), Err(TlsError::Name(_))));
        let other = Options { server_name: Some("logs.example".to_owned()), ..Options::default() };
        assert_eq!(other.name("192.0.2.1").unwrap().to_str(), "logs.example");
    }
}

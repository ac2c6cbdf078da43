//! What events tell of a TLS handshake. In: what of it may be kept. Out: the group `tls`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{event::group::group, flow::chunk::Handshake};

group! {
    /// The TLS handshake of the connection, as far as it was seen.
    #[derive(Default)]
    pub struct Tls {
        required {}
        optional {
            /// Protocol version.
            version: String ["`1.2` or `1.3`", "RFC 5246, RFC 8446"],
            /// Cipher suite.
            suite: String ["IANA name", "RFC 8446 §B.4"],
            /// Application protocol that the server chose.
            alpn: String ["ALPN name", "RFC 7301 §3.2"],
            /// Whether an earlier session was resumed: certificates are not shown again then.
            resumed: bool ["true or false", "RFC 8446 §2.2, RFC 5077"],
            /// The certificate that the client proved to hold, where `tls.resumed` is true in the session
            /// that it resumes. Not there does not mean that there was none, unless the server asks
            /// for none.
            client_cert: ClientCert ["group", ""],
        }
        list {}
    }
}

group! {
    /// The certificate that the client proved to hold: it signed the handshake, and the server
    /// went on. Whether it is valid is the server's to judge.
    pub struct ClientCert {
        required {
            /// SHA-256 over the certificate, as tokens are bound to it.
            x5t_s256: String ["43 base64url digits", "RFC 8705 §3.1"],
        }
        optional {
            /// Subject, or its pseudonym.
            subject: String ["distinguished name, up to 512 bytes", "RFC 4514"],
            /// Issuer.
            issuer: String ["distinguished name, up to 512 bytes", "RFC 4514"],
        }
        list {}
    }
}

impl Tls {
    /// What is told of `handshake` besides the two names that stand with the ends.
    #[must_use]
    pub fn of(handshake: &Handshake) -> Self {
        let Handshake { server_name: _, alpn, version, suite, ja4: _, resumed, client_certificate } =
            handshake;
        let named = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
        Self {
            version: version.clone(),
            suite: suite.clone(),
            alpn: alpn.clone(),
            // Known by the server's answer, as the version is.
            resumed: version.is_some().then_some(*resumed),
            client_cert: client_certificate.certificate().map(|certificate| ClientCert {
                x5t_s256: BASE64_URL_SAFE_NO_PAD.encode(certificate.thumbprint),
                subject: named(&certificate.subject),
                issuer: named(&certificate.issuer),
            }),
        }
    }
}

//! The one type in which both capture paths end: bytes of one direction of one connection, or the
//! statement that bytes are missing. Downstream of it nobody can tell which path they came by.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, identity::process::Process, names::named_enum};

/// Stands for a loss of unknown length in a stream's offsets: more than any message is long.
pub const UNKNOWN_LOSS: u64 = 1 << 40;

/// Which way bytes went, as the observed process saw it. Whether that makes the process a client
/// or a server is for the HTTP stage to find out.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Direction {
    /// The process received the bytes.
    Inbound,
    /// The process sent the bytes.
    Outbound,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Inbound => Self::Outbound,
            Self::Outbound => Self::Inbound,
        }
    }
}

/// A piece of one direction of a connection, in stream order. `B` is how its bytes are held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chunk<B> {
    /// When the process had the bytes (inbound) or handed them over (outbound).
    pub at: Timestamp,
    /// Which way they went.
    pub direction: Direction,
    /// The bytes, or their absence.
    pub payload: Payload<B>,
}

/// What a [`Chunk`] carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Payload<B = Bytes> {
    /// Consecutive bytes of the stream; never empty.
    Bytes(B),
    /// This many bytes of the stream were not captured. Loss is data, never an error.
    Gap(u64),
    /// The stream has ended in this direction.
    End,
}

named_enum! {
    /// What carried the connection's bytes.
    pub enum Transport {
        /// TLS, which the agent opened or whose library it listened to.
        Tls = "tls",
        /// Nothing that hides them: HTTP in the clear, on a port that is listed.
        Plain = "plain",
    }
}

named_enum! {
    /// How it is known whose an end of a connection is.
    pub enum Attribution {
        /// The process made the TLS calls whose bytes are told.
        TlsCall = "tls_call",
        /// The process was seen using the socket, or found to hold it.
        SocketCall = "socket_call",
        /// The process derived the key that opens the connection, and is in the cgroup that the socket
        /// was made in: the same service or container. Where all are in the root cgroup, that
        /// says nothing, and is not told.
        SameCgroup = "same_cgroup",
        /// The process derived the key that opens the connection. So can whoever was given that
        /// key by an end: it may be a confidant of the end rather than the end.
        KeyOnly = "key_only",
    }
}

/// Everything known about the connection that chunks belong to; it grows while the connection
/// lives, and is shared by the exchanges seen on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Stable name of the connection within this boot.
    pub id: u64,
    /// The process that holds the observed end.
    pub process: Arc<Process>,
    /// How it is known that it does.
    pub attribution: Attribution,
    /// Addresses, once a socket was found beneath the session.
    pub socket: Option<Socket>,
    /// The process at the other end, where that is on this host and known.
    pub peer: Option<Arc<Process>>,
    /// How it is known that it is; there if `peer` is.
    pub peer_attribution: Option<Attribution>,
    /// What carried its bytes.
    pub transport: Transport,
    /// What its TLS handshake told; `None` if it was not seen.
    pub handshake: Option<Arc<Handshake>>,
    /// The client for which its client, a proxy, said by a PROXY header that it connects.
    pub proxied_for: Option<IpAddr>,
}

/// What a TLS handshake told, as far as it was seen. Names are the peers' words.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Handshake {
    /// Host name asked for, in lower case (RFC 6066 §3).
    pub server_name: Option<String>,
    /// Application protocol that the server chose (RFC 7301).
    pub alpn: Option<String>,
    /// Protocol version: `1.2` or `1.3`.
    pub version: Option<String>,
    /// Cipher suite, by IANA's name.
    pub suite: Option<String>,
    /// JA4 fingerprint of the client's hello.
    pub ja4: Option<String>,
    /// Whether an earlier session is resumed: certificates are not shown again then.
    pub resumed: bool,
    /// The certificate that the client proved to hold, in this handshake or in the one of the session
    /// that it resumes.
    pub client_certificate: ShownCertificate,
}

impl Handshake {
    /// Whether it is known that the client showed no certificate: the handshake was full and seen
    /// whole. Who resumes a session shows none again, whoever it showed one to before.
    #[must_use]
    pub const fn is_uncertified(&self) -> bool {
        matches!(self.client_certificate, ShownCertificate::Nothing)
            && self.version.is_some()
            && !self.resumed
    }
}

/// What a client showed of itself. Recordings have these by their number; the first two are as
/// those of an [`Option`], which older recordings have here.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum ShownCertificate {
    /// That is not known.
    #[default]
    Unknown,
    /// This certificate.
    Certificate(ClientCertificate),
    /// No certificate.
    Nothing,
}

impl ShownCertificate {
    /// The certificate.
    #[must_use]
    pub const fn certificate(&self) -> Option<&ClientCertificate> {
        match self {
            Self::Certificate(certificate) => Some(certificate),
            Self::Unknown | Self::Nothing => None,
        }
    }
}

/// A client's certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClientCertificate {
    /// SHA-256 over its DER: the `x5t#S256` of RFC 8705 §3.1 before its encoding.
    pub thumbprint: [u8; 32],
    /// Subject, as RFC 4514 writes it; empty if it cannot be read.
    pub subject: String,
    /// Issuer, likewise.
    pub issuer: String,
}

impl Connection {
    /// A connection called `id`, of which nothing but its process is known.
    #[must_use]
    pub const fn new(id: u64, process: Arc<Process>) -> Self {
        Self {
            id,
            process,
            attribution: Attribution::TlsCall,
            socket: None,
            peer: None,
            peer_attribution: None,
            transport: Transport::Tls,
            handshake: None,
            proxied_for: None,
        }
    }
}

/// A TCP socket's addresses, seen from the observed process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Socket {
    /// Kernel's socket cookie: unique for this boot.
    pub cookie: u64,
    /// Address and port of the observed process. IPv4-mapped IPv6 addresses are given as IPv4.
    pub local: std::net::SocketAddr,
    /// Address and port of its peer.
    pub remote: std::net::SocketAddr,
    /// Inode of the network namespace, 0 if unknown.
    pub netns: u32,
}

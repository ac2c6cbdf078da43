//! What a [`Connection`](super::open::Connection) yields.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use thiserror::Error;

use super::{
    certificate::Certificate,
    reader::Malformed,
    secret::Digest,
    suite::{Suite, Version},
};
use crate::{clock::Timestamp, flow::chunk::Direction};

/// One thing learnt. The items of one direction are in stream order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// What the client offered; once.
    Offered(Box<Offer>),
    /// What the server chose: at its ServerHello in TLS 1.2, when its extensions could be read in
    /// 1.3. Again after a renegotiation.
    Negotiated(Negotiated),
    /// The leaf that a side authenticates itself with: the server's when it is shown, the client's
    /// once it has proved to hold the key and the server went on.
    Certificate {
        /// Who sent it.
        sender: Side,
        /// What is told of it.
        certificate: Box<Certificate>,
    },
    /// Whether it is known that the client finished its handshake and showed no certificate; if the
    /// handshake resumed a session, that says nothing.
    Uncertified(bool),
    /// The server will know the client of this session again, as who it proved to be: its certificate
    /// was told before, or that it resumed a session.
    Resumable {
        /// How the session is known.
        name: SessionName,
        /// Until when the server will.
        until: Timestamp,
    },
    /// The client proved that it is the one of an earlier session, and so has that one's certificate.
    Resumed(SessionName),
    /// Application data.
    Data {
        /// Which way it went.
        direction: Direction,
        /// When its record was complete.
        at: Timestamp,
        /// Bytes of this direction that came before, as far as they were opened or skipped; lost
        /// bytes, whose number is not known, do not count.
        offset: u64,
        /// The plaintext, never empty.
        bytes: Bytes,
    },
    /// Application data that nobody wanted opened.
    Skipped {
        /// Which way it went.
        direction: Direction,
        /// When its record was complete.
        at: Timestamp,
        /// As of [`Output::Data`].
        offset: u64,
        /// Bytes of plaintext.
        bytes: u64,
    },
    /// Application data may be missing here.
    Gap {
        /// Which way it went.
        direction: Direction,
        /// When the loss was noticed.
        at: Timestamp,
        /// Most bytes of plaintext that can be missing; none if there is no bound.
        at_most: Option<u64>,
    },
    /// An alert (RFC 8446 §6).
    Alert {
        /// Which way it went.
        direction: Direction,
        /// When.
        at: Timestamp,
        /// Whether its level is fatal.
        fatal: bool,
        /// Its description: 0 is close_notify.
        description: u8,
    },
    /// Nothing more comes in this direction; once, and not while ciphertext waits for a secret.
    Closed {
        /// Which.
        direction: Direction,
        /// When.
        at: Timestamp,
        /// Whether by close_notify, so that nothing was cut off.
        clean: bool,
    },
}

/// Names a session for its resumption.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SessionName {
    /// TLS 1.2: SHA-256 of its master secret, which resumption keeps, by ticket or by id.
    Master(Digest),
    /// TLS 1.3: SHA-256 of a ticket. Whoever listened to its use could issue it again at a server of
    /// his own, so it names a session of one server only.
    Ticket(Digest),
}

impl SessionName {
    /// The name that a ticket gives a session.
    pub(super) fn of_ticket(ticket: &[u8]) -> Option<Self> {
        Digest::new(digest(&SHA256, ticket).as_ref()).map(Self::Ticket)
    }
}

/// Which end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

/// What a client offers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Offer {
    /// Host name asked for, in lower case.
    pub server_name: Option<String>,
    /// Protocols offered, in order.
    pub alpn: Vec<Vec<u8>>,
    /// JA4 fingerprint of the client.
    pub ja4: String,
    /// Whether early data is offered.
    pub early_data: bool,
}

/// What a server chose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Negotiated {
    /// Protocol version.
    pub version: Version,
    /// Cipher suite.
    pub suite: &'static Suite,
    /// Application protocol.
    pub alpn: Option<Vec<u8>>,
    /// Whether an earlier session is resumed: certificates are not shown again then.
    pub resumed: bool,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The hellos are not complete, or nothing encrypted has come yet.
    Handshake,
    /// A record lies ready that no secret opens yet.
    WaitingForSecret,
    /// Records are opened.
    Open,
    /// Nothing more will be opened.
    Failed(Reason),
}

/// Why a connection cannot be opened.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Reason {
    /// The bytes are not TLS.
    #[error("not a TLS stream")]
    NotTls,
    /// A hello was lost, or came before the capture began.
    #[error("the start of the handshake was not seen")]
    HelloLost,
    /// A version that is not opened.
    #[error("TLS version {0:#06x} is not supported")]
    Version(u16),
    /// A cipher suite that is not opened.
    #[error("cipher suite {0:#06x} is not supported")]
    Suite(u16),
    /// A message that cannot be read.
    #[error("malformed handshake: {0}")]
    Malformed(#[from] Malformed),
    /// A message that cannot come here.
    #[error("a handshake message out of order")]
    Unexpected,
    /// More renegotiations than anyone needs.
    #[error("too many renegotiations")]
    Renegotiations,
    /// Records that were to open do not, and no more are tried.
    #[error("records do not open any more")]
    Desynchronised,
}

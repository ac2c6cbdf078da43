//! A call, as far as judging it needs to know. In: an observed exchange, its connection, and its
//! examined credentials, all borrowed. Out: what [`super::evaluate::Engine`] judges.
//!
//! Absence is claimed on positive evidence only: the two `…_complete` flags say where there is any.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    clock::Timestamp,
    flow::chunk::{Handshake, Transport},
    http::message::{Fields, Role},
    identity::process::Process,
    token::{
        Credential,
        examination::{Binding, Examination},
        extract::Location,
    },
};

/// Where a call was seen. It decides which service of the policy the call is made to.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// Which end the process is.
    pub role: Role,
    /// Host that was asked for, in lower case, without port. The caller chose it.
    pub host: Option<&'a str>,
    /// Address of the process.
    pub local: Option<SocketAddr>,
    /// Address of its peer.
    pub remote: Option<SocketAddr>,
    /// Address that a PROXY protocol header named as the client's, if one was seen.
    pub proxied_for: Option<IpAddr>,
    /// What carried the connection.
    pub transport: Transport,
    /// The process that held the observed end.
    pub process: &'a Process,
    /// What the TLS handshake told; `None` if it was not seen.
    pub handshake: Option<&'a Handshake>,
}

impl Endpoint<'_> {
    /// Address and port of the server's end.
    #[must_use]
    pub const fn server(&self) -> Option<SocketAddr> {
        match self.role {
            Role::Server => self.local,
            Role::Client => self.remote,
        }
    }

    /// Address and port of the client's end.
    #[must_use]
    pub const fn client(&self) -> Option<SocketAddr> {
        match self.role {
            Role::Server => self.remote,
            Role::Client => self.local,
        }
    }
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// When it began.
    pub time: Timestamp,
    /// Where it was seen.
    pub endpoint: Endpoint<'a>,
    /// Method, byte for byte; empty if its head was not captured.
    pub method: &'a str,
    /// Request target as sent (RFC 9112 §3.2); empty if its head was not captured.
    pub target: &'a str,
    /// Header fields.
    pub fields: &'a Fields,
    /// Whether all header fields were captured and decoded.
    pub fields_complete: bool,
    /// Whether a body that may carry a credential was captured whole.
    pub content_complete: bool,
    /// Credentials, in wire order.
    pub credentials: &'a [Shown<'a>],
    /// Operations of a protocol within HTTP, as `operation` of a route names them; `None` if they
    /// are not known.
    pub operations: Option<&'a [String]>,
}

/// A credential that was shown, and what is known of it.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// Where it stood.
    pub source: Source,
    /// The credential, without its secret.
    pub credential: &'a Credential,
    /// What it is worth.
    pub examination: &'a Examination,
    /// Whether this call proved its possession.
    pub binding: Binding,
}

/// A place in a request for a credential. Names of fields are in lower case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// The `Authorization` field (RFC 6750 §2.1).
    Authorization,
    /// `access_token` in a form (RFC 6750 §2.2).
    Form,
    /// `access_token` in the query (RFC 6750 §2.3).
    Query,
    /// The subprotocol `base64url.bearer.authorization.k8s.io.…` of a WebSocket.
    Websocket,
    /// A cookie.
    Cookie(Arc<str>),
    /// Another field.
    Header(Arc<str>),
}

impl Source {
    /// Where `credential` stood.
    #[must_use]
    pub fn of(credential: &Credential) -> Self {
        let name = || credential.name.clone().unwrap_or_default();
        match credential.location {
            Location::Authorization => Self::Authorization,
            Location::Form => Self::Form,
            Location::Query => Self::Query,
            Location::Subprotocol => Self::Websocket,
            Location::Cookie => Self::Cookie(name()),
            Location::Field => Self::Header(name()),
        }
    }

    /// Whether RFC 6750 §2 names it, so that two of such are one too many.
    #[must_use]
    pub const fn is_standard(&self) -> bool {
        matches!(self, Self::Authorization | Self::Form | Self::Query)
    }
}

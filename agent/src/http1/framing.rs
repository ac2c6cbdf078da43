//! What a head declares about the body after it, and about the host that it is for (RFC 9112
//! §3.2, §6), and what is odd about that.
//!
//! In: the fields of one head. Out: how the body will be read, and [`AnomalySet`]s. All fields are
//! looked at once, and by their length first: this runs for every message.

use crate::http::{
    anomaly::{Anomaly, AnomalySet},
    length::{Length, trim_blanks},
    message::{Fields, Version},
};

/// How a body is framed (RFC 9112 §6.1, §6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    /// Not at all.
    Absent,
    /// By a valid `Content-Length`.
    Length(u64),
    /// By a transfer coding that ends in `chunked`.
    Chunked,
    /// By a transfer coding that does not.
    NotChunked,
    /// By a `Content-Length` that is none, or several that differ.
    Faulty,
}

/// What a head declares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Framing {
    pub(super) coding: Coding,
    /// `Content-Length` beside a transfer coding: where a recipient that goes by it sees the end.
    pub(super) rival: Option<u64>,
    pub(super) anomalies: AnomalySet,
}

/// Codings that `Transfer-Encoding` may name (RFC 9112 §7, RFC 9110 §8.4.1), `chunked` excepted.
const CODINGS: [&[u8]; 5] = [b"gzip", b"deflate", b"compress", b"x-gzip", b"x-compress"];

/// Fields that no proxy may drop because `Connection` names them: what authenticates, routes or
/// frames a request, and what proxies add about the caller.
const KEPT: [&[u8]; 11] = [
    b"authorization",
    b"cookie",
    b"dpop",
    b"host",
    b"content-length",
    b"content-type",
    b"cache-control",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-real-ip",
];

impl Framing {
    /// What `fields` declare in a request for `target`, or (`None`) in a response.
    pub(super) fn declared(fields: &Fields, version: Version, target: Option<&str>) -> Self {
        let mut anomalies = AnomalySet::NONE;
        let mut length = Length::default();
        let mut transfer = Transfer::default();
        let mut host = None;
        for (name, value) in fields.iter() {
            match (name.len(), name) {
                (4, b"host") if target.is_some() => {
                    anomalies.add_if(host.is_some(), Anomaly::MultipleHost);
                    anomalies.add_if(!is_host(value), Anomaly::BadHost);
                    host.get_or_insert(value);
                }
                (10, b"connection") => {
                    anomalies.add_if(drops_kept(value), Anomaly::ConnectionDropsField);
                }
                (14, b"content-length") => length.add(value),
                (17, b"transfer-encoding") => transfer.add(value),
                _ => {}
            }
        }
        if let Some(target) = target {
            check_host(host, version, target, &mut anomalies);
        }
        length.judge(&mut anomalies);
        transfer.judge(version, &mut anomalies);
        let by_length = match length.value() {
            Ok(Some(len)) => Coding::Length(len),
            Ok(None) => Coding::Absent,
            Err(_) => Coding::Faulty,
        };
        let coding = match transfer.last {
            Last::None => by_length,
            Last::Chunked => Coding::Chunked,
            Last::Other => Coding::NotChunked,
        };
        let has_both = transfer.last != Last::None && by_length != Coding::Absent;
        anomalies.add_if(has_both, Anomaly::TeWithCl);
        let rival = match by_length {
            Coding::Length(len) if has_both => Some(len),
            _ => None,
        };
        Self { coding, rival, anomalies }
    }

    /// Makes the framing unusable.
    pub(super) const fn spoil(&mut self) {
        self.coding = Coding::Faulty;
    }
}

/// All `Transfer-Encoding`s of a head.
#[derive(Default)]
struct Transfer {
    is_present: bool,
    chunked: u32,
    has_identity: bool,
    has_unknown: bool,
    /// An empty element: to be passed over (RFC 9110 §5.6.1), and by many taken for a coding.
    has_empty: bool,
    last: Last,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Last {
    #[default]
    None,
    Chunked,
    Other,
}

impl Transfer {
    fn add(&mut self, value: &[u8]) {
        self.is_present = true;
        for element in value.split(|byte| *byte == b',').map(trim_blanks) {
            let is = |coding: &[u8]| element.eq_ignore_ascii_case(coding);
            if element.is_empty() {
                self.has_empty = true;
            } else if is(b"identity") {
                self.has_identity = true;
            } else if is(b"chunked") {
                self.chunked = self.chunked.saturating_add(1);
                self.last = Last::Chunked;
            } else {
                // Codings may have parameters (RFC 9112 §7).
                let name = element.split(|byte| *byte == b';').next().unwrap_or_default();
                let name = trim_blanks(name);
                self.has_unknown |= !CODINGS.iter().any(|known| name.eq_ignore_ascii_case(known));
                self.last = Last::Other;
            }
        }
    }

    fn judge(&self, version: Version, anomalies: &mut AnomalySet) {
        if !self.is_present {
            return;
        }
        let is_obscured = self.chunked > 1 || self.has_unknown || self.has_empty;
        anomalies.add_if(is_obscured, Anomaly::TeTe);
        anomalies.add_if(self.has_identity, Anomaly::TeIdentity);
        anomalies.add_if(self.last == Last::Other, Anomaly::TeNotFinal);
        anomalies.add_if(version == Version::Http10, Anomaly::TeInHttp10);
    }
}

/// RFC 9112 §3.2, §3.2.2
fn check_host(host: Option<&[u8]>, version: Version, target: &str, anomalies: &mut AnomalySet) {
    let is_missing = host.is_none() && version == Version::Http11;
    anomalies.add_if(is_missing, Anomaly::MissingHost);
    if let (Some(host), Some(authority)) = (host, authority_of(target)) {
        let differs = !host.eq_ignore_ascii_case(authority.as_bytes());
        anomalies.add_if(differs, Anomaly::AbsoluteFormHostMismatch);
    }
}

/// The authority of a target in absolute form, without user information.
fn authority_of(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return None;
    }
    let (_, rest) = target.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// Whether `value` has only what hosts and ports are made of (RFC 3986 §3.2.2); it may be empty
/// (RFC 9112 §3.2).
fn is_host(value: &[u8]) -> bool {
    let may_stand = |byte: &u8| {
        byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-._~%!$&'()*+;=:[]".contains(byte)
    };
    value.iter().all(may_stand)
}

fn drops_kept(connection: &[u8]) -> bool {
    let mut options = connection.split(|byte| *byte == b',').map(trim_blanks);
    options.any(|option| KEPT.iter().any(|kept| option.eq_ignore_ascii_case(kept)))
}

//! The form in which messages are compared, made of hyper's and of the codec's.
//!
//! Where the two differ on purpose:
//! - **Targets**: hyper keeps no fragment, which no request may have; both targets are read by the
//!   same parser of URIs before they are compared.
//! - **Framing fields**: hyper's server drops a repeated `Content-Length`, and the one beside a
//!   `Transfer-Encoding`; the codec keeps all that was sent, since it is evidence. In requests
//!   `content-length` is compared without repetitions, and not at all beside a coding.
//! - **HTTP/2**: the codec tells `:authority` as `host` and joins cookie crumbs (RFC 9113 §8.2.3,
//!   §8.3.1), as a gateway would. Hyper's are joined before they are compared.
//! - **Malformed messages of HTTP/2** are refused by hyper, but it forgets what it objected to when
//!   a CONTINUATION follows, and then leaves the field out. The codec keeps it and names what is
//!   odd. That there is such a message is compared, not what it says.
//!   Nor does it index a field then whose name or value it refuses, so that later messages say
//!   something else to it than RFC 7541 has it. Those are not compared.
//! - **A server that does not begin with SETTINGS**, as RFC 9113 §3.4 demands, is one whose
//!   connection was joined late, for the codec. Hyper does not mind. Not compared.
//! - **Order**: hyper tells fields by name; the order among equal names is compared.
//! - **LF alone in trailers** ends a line for the codec, as for nginx and Go, and is content for
//!   hyper: they may part over the end of that message. The codec names it, `chunk_bare_lf`, and
//!   what comes after such a message is not compared.
//! - **CONNECT answered by 204** is the start of a tunnel for the codec, as any 2xx is (RFC 9110
//!   §9.3.6); hyper goes on with HTTP. What comes after it is not compared.
//! - **Line folds** are one space for hyper, and blanks as many as octets for the codec; RFC 9112
//!   §5.2 wants one space or more. Blanks in a row are compared as one.
//! - **`Transfer-Encoding: identity`**, which is obsolete (RFC 9112 §7), counts for nothing with the
//!   codec, as with curl; with hyper's client it is one more coding, so that the body lasts until
//!   the close. The codec names it, `te_identity`, as ambiguous. Only the head is compared.
//! - **A comma too many** in `Transfer-Encoding` is passed over by the codec, as RFC 9110 §5.6.1
//!   demands, and named, `te_te`: hyper's client does not find `chunked` then, nor beside an octet
//!   beyond ASCII. As above.
//! - **Malformed framing fields** are passed over by hyper's client if it is told to ignore invalid
//!   fields, which is not its default. The codec names them, `te_te` or `bad_content_length`, and
//!   says that the body's end is unknown, since others do read them. Only the head is compared.

use http::{HeaderMap, Method, Uri, header, request, response};
use scopewatch::http::{
    anomaly::{Anomalies, Anomaly, AnomalySet},
    message::{Exchange, Fields, Note, Version},
};

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: String,
    pub target: Uri,
    pub host: Option<String>,
    pub version: &'static str,
    pub fields: Vec<(String, Vec<u8>)>,
    /// Octets of its body, `None` if that broke off.
    pub body: Option<u64>,
}

/// A final response.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub status: u16,
    pub version: &'static str,
    pub fields: Vec<(String, Vec<u8>)>,
    /// As above; `None` also after an upgrade.
    pub body: Option<u64>,
    /// Of HTTP/2.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Asked {
    /// What hyper's server was given, without a body so far.
    pub fn given(head: &request::Parts) -> Self {
        let is_http2 = head.version == http::Version::HTTP_2;
        let (target, host) = if is_http2 { split(head) } else { (head.uri.clone(), None) };
        let mut fields = list(&head.headers);
        if is_http2 {
            join_cookies(&mut fields);
        } else {
            simplify_framing(&mut fields);
        }
        let host = host.or_else(|| {
            let host = head.headers.get(header::HOST)?;
            Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
        });
        let (method, version) = (head.method.to_string(), version(head.version));
        Self { method, target, host, version, fields: without_host(fields), body: None }
    }

    /// What the codec told, `None` if it told no request.
    pub fn seen(exchange: &Exchange) -> Option<Self> {
        let request = exchange.request.as_ref()?;
        let mut fields = owned(&request.fields);
        if request.version != Version::Http2 {
            simplify_framing(&mut fields);
        }
        let host = request.fields.first("host");
        Some(Self {
            method: request.method.clone(),
            target: request.target.parse().ok()?,
            host: host.map(|host| String::from_utf8_lossy(host).into_owned()),
            version: request.version.as_str(),
            fields: without_host(fields),
            body: Some(request.body_bytes),
        })
    }

    /// Whether this, of hyper, is what the codec told.
    pub fn is(&self, seen: &Self) -> bool {
        let body = self.body.and(seen.body);
        Self { body, ..seen.clone() } == *self
    }
}

impl Answered {
    /// What hyper's client was given, without a body so far.
    pub fn given(head: &response::Parts) -> Self {
        Self {
            status: head.status.as_u16(),
            version: version(head.version),
            fields: list(&head.headers),
            body: None,
            trailers: Vec::new(),
        }
    }

    /// Adds the trailers that hyper was given.
    pub fn add_trailers(&mut self, trailers: &HeaderMap) {
        self.trailers = list(trailers);
    }

    /// What the codec told, `None` if it told no response.
    pub fn seen(exchange: &Exchange) -> Option<Self> {
        let response = exchange.response.as_ref()?;
        Some(Self {
            status: response.status,
            version: response.version.as_str(),
            fields: sorted(owned(&response.fields)),
            body: (!is_tunnel(exchange)).then_some(response.body_bytes),
            trailers: sorted(owned(&response.trailers)),
        })
    }

    /// Makes one space of several blanks in a row, in every field.
    pub fn narrow(&mut self) {
        for (_, value) in &mut self.fields {
            value.iter_mut().filter(|byte| **byte == b'\t').for_each(|byte| *byte = b' ');
            value.dedup_by(|next, byte| (*next, *byte) == (b' ', b' '));
        }
    }

    /// Whether this, of hyper, is what the codec told.
    pub fn is(&self, seen: &Self) -> bool {
        let mut seen = seen.clone();
        if self.body.is_none() {
            (seen.body, seen.trailers) = (None, Vec::new());
        }
        let mut this = self.clone();
        if seen.body.is_none() {
            this.body = None;
        }
        if this.body.is_none() {
            this.trailers = Vec::new();
        }
        seen == this
    }
}

/// Whether recipients part over where a message of this exchange ends, as said above.
pub fn is_parting(exchange: &Exchange) -> bool {
    let Anomalies { request, response } = exchange.anomalies;
    request.has(Anomaly::ChunkBareLf) || response.has(Anomaly::ChunkBareLf)
}

/// Whether the response's framing fields are such as hyper's client, told to ignore invalid ones
/// or not, and others do not agree about.
pub fn is_framing_unsure(exchange: &Exchange, is_lenient: bool) -> bool {
    let odd = exchange.anomalies.response;
    let is_malformed = odd.has(Anomaly::TeTe) || odd.has(Anomaly::BadContentLength);
    let fields = exchange.response.as_ref().map(|response| &response.fields);
    let mut codings = fields.into_iter().flat_map(|fields| fields.all("transfer-encoding"));
    let is_empty = |element: &[u8]| element.trim_ascii().is_empty();
    let has_odd =
        codings.any(|value| !value.is_ascii() || value.split(|byte| *byte == b',').any(is_empty));
    odd.has(Anomaly::TeIdentity) || has_odd || is_lenient && is_malformed
}

/// Whether a message has a field that is none for hyper, which then may forget to index it.
pub fn is_table_unsure(odd: AnomalySet) -> bool {
    [Anomaly::BadFieldName, Anomaly::UppercaseName, Anomaly::LineBreakInField, Anomaly::NulInField]
        .into_iter()
        .any(|anomaly| odd.has(anomaly))
}

/// Whether something else than HTTP follows.
pub fn is_tunnel(exchange: &Exchange) -> bool {
    exchange.notes.contains(&Note::Upgraded)
}

/// Target and host of a request of HTTP/2, whose URI holds both.
fn split(head: &request::Parts) -> (Uri, Option<String>) {
    let host = head.uri.authority().map(ToString::to_string);
    let target = match head.uri.path_and_query() {
        Some(path) if head.method != Method::CONNECT || head.uri.scheme().is_some() => {
            path.as_str().parse().unwrap()
        }
        _ => host.as_deref().unwrap_or_default().parse().unwrap_or_default(),
    };
    (target, host)
}

const fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        _ => "another",
    }
}

fn list(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let fields = headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    sorted(fields.collect())
}

fn owned(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    let text = |name| String::from_utf8_lossy(name).into_owned();
    fields.iter().map(|(name, value)| (text(name), value.to_vec())).collect()
}

/// By name; the sort is stable.
fn sorted(mut fields: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn without_host(mut fields: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    fields.retain(|(name, _)| name != "host");
    sorted(fields)
}

fn simplify_framing(fields: &mut Vec<(String, Vec<u8>)>) {
    let is_coded = fields.iter().any(|(name, _)| name == "transfer-encoding");
    let mut has_length = is_coded;
    fields
        .retain(|(name, _)| name != "content-length" || !std::mem::replace(&mut has_length, true));
}

fn join_cookies(fields: &mut Vec<(String, Vec<u8>)>) {
    let crumbs: Vec<_> =
        fields.extract_if(.., |(name, _)| name == "cookie").map(|(_, value)| value).collect();
    if !crumbs.is_empty() {
        fields.push(("cookie".to_owned(), crumbs.join(&b"; "[..])));
    }
}

//! Where a request carries credentials. In: a request, and the [`Sources`] of a policy. Out:
//! [`Presented`] credentials, not yet decoded: those in the places of RFC 6750 first, then the
//! others in wire order. Beside them, [`Exposure`]s: tokens where tokens must not be.
//!
//! Bound: [`MAX_CREDENTIALS`] of a request; what exceeds it is recorded as cut.

use std::sync::Arc;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64URL},
};
use zeroize::Zeroizing;

pub use super::scheme::Scheme;
use super::{
    Kind,
    parameters::{Value, decoded, parameters},
    scheme::{self, Authorization, is_token68},
    shape,
    sources::Sources,
};
use crate::{
    http::{
        body::{Content, coding},
        message::{Fields, Request, Response},
    },
    names::named_enum,
    text::Cuts,
};

/// Most credentials that are read of a request. More than a few are an attack, or a cookie jar.
pub const MAX_CREDENTIALS: usize = 16;

/// What Kubernetes has clients put before a token in a subprotocol of WebSocket.
const KUBERNETES_PROTOCOL: &[u8] = b"base64url.bearer.authorization.k8s.io.";

named_enum! {
    /// Where in a request a credential stood.
    pub enum Location {
        /// The `Authorization` field (RFC 9110 §11.6.2)
        Authorization = "authorization",
        /// The form in a body (RFC 6750 §2.2)
        Form = "form",
        /// The query (RFC 6750 §2.3, which OAuth 2.1 forbids)
        Query = "query",
        /// Another field, by a vendor's convention or the policy
        Field = "field",
        /// A cookie that the policy names
        Cookie = "cookie",
        /// A subprotocol of WebSocket (RFC 6455 §11.3.4), as Kubernetes takes it
        Subprotocol = "subprotocol",
    }
}

impl Location {
    /// Whether the place is one of RFC 6750's, of which a client may use one at a time (§2).
    #[must_use]
    pub const fn is_standard(self) -> bool {
        matches!(self, Self::Authorization | Self::Form | Self::Query)
    }
}

/// A credential as it stands in the request. Not to be printed: it is the secret.
pub(in crate::token) struct Presented<'a> {
    pub location: Location,
    /// Which field, cookie or parameter: a name out of our own lists or the policy's.
    pub name: Option<Arc<str>>,
    pub scheme: Scheme,
    /// The token, or what else followed the scheme; `None` if nothing did.
    pub value: Option<Value<'a>>,
    /// Whether the place and the scheme allow what was sent.
    pub well_formed: bool,
    /// What it is for, unless its content says otherwise.
    pub kind: Kind,
}

impl<'a> Presented<'a> {
    fn token(location: Location, value: Value<'a>, kind: Kind) -> Self {
        let well_formed = is_token68(value.bytes());
        let value = Some(value).filter(|value| !value.bytes().is_empty());
        Self { location, name: None, scheme: Scheme::Implied, value, well_formed, kind }
    }

    fn named(self, name: &str) -> Self {
        Self { name: Some(Arc::from(name)), ..self }
    }
}

/// The credentials that `request` carries.
pub(in crate::token) fn presented<'a>(
    request: &'a Request,
    sources: &Sources,
    cuts: &mut Cuts,
) -> Vec<Presented<'a>> {
    let mut found = Vec::new();
    for (name, value) in request.fields.iter() {
        match name {
            b"authorization" => found.push(authorization(value)),
            b"cookie" if !sources.cookies().is_empty() => cookies(value, sources, &mut found),
            b"sec-websocket-protocol" => found.extend(subprotocol(value)),
            _ => {
                if let Some((name, kind)) = sources.field(name) {
                    found.push(field(value, name, *kind));
                }
            }
        }
    }
    form(request, &mut found, cuts);
    let target = request.target.as_bytes();
    if let Some(question) = memchr::memchr(b'?', target) {
        query(target.get(question + 1..).unwrap_or_default(), &mut found);
    }
    if found.len() > 1 {
        found.sort_by_key(|each| (!each.location.is_standard(), each.location.as_rank()));
        if found.len() > MAX_CREDENTIALS {
            found.truncate(MAX_CREDENTIALS);
            cuts.record("credentials");
        }
    }
    found
}

impl Location {
    /// Standard places in the order of RFC 6750 §2; others keep the order of the wire.
    const fn as_rank(self) -> u8 {
        match self {
            Self::Authorization => 0,
            Self::Form => 1,
            Self::Query => 2,
            Self::Field | Self::Cookie | Self::Subprotocol => 3,
        }
    }
}

fn authorization(field: &[u8]) -> Presented<'_> {
    let Authorization { scheme, value, well_formed } = scheme::authorization(field);
    let location = Location::Authorization;
    if let (Scheme::Basic, true, Some(pair)) = (scheme, well_formed, value)
        && let Some((token, kind)) = token_in_basic(pair)
    {
        let value = Some(Value::Decoded(token));
        return Presented { location, name: None, scheme, value, well_formed, kind };
    }
    // Passwords are no tokens, and stay out of what is recognised.
    let value = value.filter(|_| scheme != Scheme::Basic).map(Value::Sent);
    Presented { location, name: None, scheme, value, well_formed, kind: scheme.kind() }
}

/// User names that say that the password is an access token: GitHub's, GitLab's and Google's.
const TOKEN_USERS: &[&str] =
    &["oauth2", "oauth2accesstoken", "x-access-token", "x-oauth-basic", "x-token-auth"];

/// The token that stands in `user-id ":" password` (RFC 7617 §2) as either of them, by its shape
/// or by the user's name.
fn token_in_basic(pair: &[u8]) -> Option<(Zeroizing<Vec<u8>>, Kind)> {
    let pair = Zeroizing::new(BASE64_STANDARD.decode(pair).ok()?);
    let text = std::str::from_utf8(&pair).ok()?;
    let (user, password) = text.split_once(':')?;
    let is_announced = TOKEN_USERS.contains(&user) && !password.is_empty();
    let token = if shape::is_token(password) || is_announced {
        password
    } else if shape::is_token(user) {
        user
    } else {
        return None;
    };
    Some((Zeroizing::new(token.as_bytes().to_vec()), Kind::Access))
}

/// A field of a vendor's or the policy's; some put `Bearer` before the token.
fn field<'a>(value: &'a [u8], name: &Arc<str>, kind: Kind) -> Presented<'a> {
    let value = value.trim_ascii();
    let bare = match value.split_at_checked(7) {
        Some((word, rest)) if word.eq_ignore_ascii_case(b"bearer ") => rest.trim_ascii_start(),
        _ => value,
    };
    let token = Presented::token(Location::Field, Value::Sent(bare), kind);
    Presented { name: Some(Arc::clone(name)), ..token }
}

/// `cookie-string = cookie-pair *( ";" SP cookie-pair )` (RFC 6265 §4.2.1).
fn cookies<'a>(field: &'a [u8], sources: &Sources, found: &mut Vec<Presented<'a>>) {
    for pair in field.split(|byte| *byte == b';') {
        let pair = pair.trim_ascii();
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(equals).unwrap_or((pair, &[]));
        let listed = sources.cookies().iter().find(|each| each.as_bytes() == name);
        if let (Some(name), Some(value)) = (listed, value.get(1..)) {
            let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            let value = decoded(quoted.unwrap_or(value));
            let token = Presented::token(Location::Cookie, value, Kind::Access);
            found.push(Presented { name: Some(Arc::clone(name)), ..token });
        }
    }
}

/// One of the comma-separated subprotocols, if it holds a token.
fn subprotocol(field: &[u8]) -> Option<Presented<'_>> {
    let mut protocols = field.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let encoded = protocols.find_map(|each| each.strip_prefix(KUBERNETES_PROTOCOL))?;
    let token = BASE64URL.decode(encoded).map(Zeroizing::new).ok();
    let well_formed = token.as_ref().is_some_and(|token| is_token68(token));
    let value = token.map(Value::Decoded);
    let (location, kind) = (Location::Subprotocol, Kind::Access);
    Some(Presented { location, name: None, scheme: Scheme::Bearer, value, well_formed, kind })
}

/// `access_token` in a form (RFC 6750 §2.2): a body of one part, and a method that gives bodies a
/// meaning.
fn form<'a>(request: &'a Request, found: &mut Vec<Presented<'a>>, cuts: &mut Cuts) {
    let Content::Sampled(sample) = &request.content else { return };
    if !request.fields.is_form() || request.method == "GET" {
        return;
    }
    let push = |value| {
        let token = Presented::token(Location::Form, value, Kind::Access);
        found.push(Presented { scheme: Scheme::Bearer, ..token });
    };
    if request.fields.first("content-encoding").is_none() {
        access_tokens(sample.bytes(), sample.is_whole()).map(decoded).for_each(push);
        return;
    }
    let body = coding::decode(sample, &request.fields, cuts);
    let is_whole = sample.is_whole() && body.is_whole();
    access_tokens(body.octets(), is_whole).map(|it| decoded(it).into_owned()).for_each(push);
}

/// The values of `access_token` in a form, encoded.
fn access_tokens(body: &[u8], is_whole: bool) -> impl Iterator<Item = &[u8]> {
    // The last parameter of a body that goes on may go on as well.
    let whole = if is_whole { body.len() } else { memchr::memrchr(b'&', body).unwrap_or(0) };
    let (body, _) = body.split_at_checked(whole).unwrap_or_default();
    parameters(body).filter(|(name, _)| **name == *b"access_token").map(|(_, value)| value)
}

/// Parameters that hold a token if they hold anything of that shape. Others of these names are
/// words of applications.
const TOKEN_PARAMETERS: &[(&str, Kind)] = &[
    ("auth_token", Kind::Access),
    ("id_token", Kind::Id),
    ("jwt", Kind::Access),
    ("private_token", Kind::ApiKey),
    ("token", Kind::Access),
];

fn query<'a>(query: &'a [u8], found: &mut Vec<Presented<'a>>) {
    let (mut sas_version, mut sas_signature) = (false, false);
    for (name, value) in parameters(query) {
        match &*name {
            b"access_token" => {
                let token = Presented::token(Location::Query, decoded(value), Kind::Access);
                found.push(Presented { scheme: Scheme::Bearer, ..token }.named("access_token"));
            }
            b"X-Amz-Signature" => found.push(signature(Scheme::AwsSigV4, "X-Amz-Signature")),
            b"sv" => sas_version = true,
            b"sig" => sas_signature = true,
            name => {
                let listed = TOKEN_PARAMETERS.iter().find(|(each, _)| each.as_bytes() == name);
                let Some((name, kind)) = listed else { continue };
                let value = decoded(value);
                if std::str::from_utf8(value.bytes()).is_ok_and(shape::is_token) {
                    found.push(Presented::token(Location::Query, value, *kind).named(name));
                }
            }
        }
    }
    if sas_version && sas_signature {
        found.push(signature(Scheme::SharedAccess, "sig"));
    }
}

/// A signature over the request in its query: not a token, but what the request is allowed by.
fn signature(scheme: Scheme, name: &str) -> Presented<'static> {
    let (location, kind) = (Location::Query, scheme.kind());
    Presented { location, name: None, scheme, value: None, well_formed: true, kind }.named(name)
}

named_enum! {
    /// Where a token stood that must not stand there: in addresses, which logs, caches and other
    /// sites get to see (RFC 9700 §4.3).
    pub enum ExposedIn {
        /// The query of the request
        Query = "query",
        /// The address of the page before, which the request tells (RFC 9110 §10.1.3)
        Referer = "referer",
        /// The address that the response sends the browser to (RFC 9110 §10.2.2)
        Redirect = "location",
    }
}

/// A parameter that holds a token, in an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exposure {
    /// Where it stood.
    pub place: ExposedIn,
    /// The parameter.
    pub parameter: &'static str,
}

/// Parameters that are secret wherever they stand.
const SECRETS: &[&str] = &[
    "access_token",
    "assertion",
    "client_assertion",
    "client_secret",
    "id_token",
    "refresh_token",
];
/// A code is meant to stand in the address that it redirects to, and nowhere else.
const CODE: &str = "code";

/// Tokens in the addresses that a request and its response tell, each parameter once a place.
#[must_use]
pub fn exposures(request: &Request, response: Option<&Response>) -> Vec<Exposure> {
    let mut found = Vec::new();
    let query = |fields: &Fields, name, place, extra, found: &mut Vec<_>| {
        fields.all(name).for_each(|address| expose(address, place, extra, found));
    };
    expose(request.target.as_bytes(), ExposedIn::Query, None, &mut found);
    query(&request.fields, "referer", ExposedIn::Referer, Some(CODE), &mut found);
    if let Some(response) = response {
        query(&response.fields, "location", ExposedIn::Redirect, None, &mut found);
    }
    found
}

fn expose(
    address: &[u8],
    place: ExposedIn,
    extra: Option<&'static str>,
    found: &mut Vec<Exposure>,
) {
    // Fragments hold what the implicit grant issues (RFC 6749 §4.2.2).
    let Some(start) = memchr::memchr2(b'?', b'#', address) else { return };
    let rest = address.get(start + 1..).unwrap_or_default();
    for part in rest.split(|byte| matches!(byte, b'?' | b'#')) {
        for (name, _) in parameters(part).filter(|(_, value)| !value.is_empty()) {
            let listed =
                SECRETS.iter().copied().chain(extra).find(|each| each.as_bytes() == &*name);
            let exposure = listed.map(|parameter| Exposure { place, parameter });
            found.extend(exposure.filter(|each| !found.contains(each)));
        }
    }
}

#[cfg(test)]
mod tests;

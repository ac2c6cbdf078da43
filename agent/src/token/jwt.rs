//! JSON Web Tokens, decoded without verification. In: a token. Out: [`Content`]: its header, its
//! claims in one vocabulary for all issuers, its kind.
//!
//! Bounds: [`MAX_TOKEN`] bytes of token, serde_json's 128 levels of nesting, and the limits below
//! for what is kept. Values with the shape of a token are not kept: claims end up in events.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Map, Number, Value};
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    text::Cuts,
    token::{Content, Kind, MAX_TOKEN, TokenState, shape},
};

/// Longest text kept of a claim or header parameter, in bytes.
pub const MAX_CLAIM: usize = 512;
/// Longest text kept of one scope, in bytes.
pub const MAX_SCOPE: usize = 128;
/// Most scopes kept of a token.
pub const MAX_SCOPES: usize = 64;
/// Most items kept of other lists: audiences, authentication methods, actors.
pub const MAX_ITEMS: usize = 16;

/// How every base64url-encoded JSON object without leading space begins: `{"`.
const JSON_OBJECT: &str = "eyJ";

/// A decoded JWS.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt {
    /// Its JOSE header.
    pub header: Header,
    /// Its claims.
    pub claims: Claims,
    /// What header and claims say it is for.
    pub kind: Option<Kind>,
}

/// The parameters kept of a JOSE header (RFC 7515 §4.1, RFC 7516 §4.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Header {
    /// `alg`: signature or key encryption algorithm.
    pub algorithm: Option<String>,
    /// `typ`: media type of the token.
    pub typ: Option<String>,
    /// `kid`: names the key.
    pub key_id: Option<String>,
    /// `enc`: content encryption algorithm of a JWE.
    pub encryption: Option<String>,
    /// `cty`: media type of what is signed or encrypted.
    pub content_type: Option<String>,
}

/// Claims in one vocabulary. Text is what the issuer, or a forger, wrote, cut to [`MAX_CLAIM`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// `iss` (RFC 7519 §4.1.1)
    pub issuer: Option<String>,
    /// `sub` (RFC 7519 §4.1.2); Entra's `oid`, as its `sub` differs from client to client
    pub subject: Option<String>,
    /// `client_id` (RFC 8693 §4.3), `azp` (OpenID Connect Core §2), Entra's `appid`, Okta's `cid`
    pub client_id: Option<String>,
    /// `aud` (RFC 7519 §4.1.3)
    pub audience: Vec<String>,
    /// `scope` (RFC 8693 §4.2) or `scp`, each as a string or an array
    pub scopes: Vec<String>,
    /// `iat` (RFC 7519 §4.1.6), in seconds since the Unix epoch
    pub issued_at: Option<u64>,
    /// `nbf` (RFC 7519 §4.1.5), in seconds since the Unix epoch
    pub not_before: Option<u64>,
    /// `exp` (RFC 7519 §4.1.4), in seconds since the Unix epoch
    pub expires_at: Option<u64>,
    /// `jti` (RFC 7519 §4.1.7); Entra's `uti`
    pub id: Option<String>,
    /// `sid` (OpenID Connect Front-Channel Logout §3), Keycloak's `session_state`, Cognito's
    /// `origin_jti`
    pub session: Option<String>,
    /// `acr` (OpenID Connect Core §2)
    pub acr: Option<String>,
    /// `amr` (RFC 8176)
    pub amr: Vec<String>,
    /// `auth_time` (OpenID Connect Core §2), in seconds since the Unix epoch
    pub auth_time: Option<u64>,
    /// Who acts for the subject, the current actor first: `act` (RFC 8693 §4.1)
    pub actors: Vec<String>,
    /// Whether a time is there that is no number (RFC 7519 §2, `NumericDate`).
    pub broken_dates: bool,
}

impl Claims {
    /// What the claims say of the token's validity at `at`.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> TokenState {
        let now = at.as_secs();
        match (self.not_before, self.expires_at) {
            _ if self.broken_dates => TokenState::Malformed,
            (_, Some(end)) if now >= end => TokenState::Expired,
            (Some(start), _) if now < start => TokenState::NotYetValid,
            (_, Some(_)) => TokenState::Active,
            (_, None) => TokenState::NoExpiry,
        }
    }
}

/// A token taken apart, before anything of it is read.
pub(in crate::token) enum Parsed<'a> {
    Jws(Jws<'a>),
    /// Its header.
    Jwe(Map<String, Value>),
    Opaque,
    Malformed,
}

/// The parts of a JWS.
pub(in crate::token) struct Jws<'a> {
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    /// What is signed, as sent (RFC 7515 §5.1).
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
}

/// Takes `token` apart: three parts with a JSON header are a JWS, five a JWE, and anything else is
/// opaque, unless it sets out to be a JWT and fails.
pub(in crate::token) fn parse(token: &str) -> Parsed<'_> {
    if token.len() > MAX_TOKEN {
        return Parsed::Malformed;
    }
    // Five parts are the most that mean anything; a sixth tells that there are too many.
    let parts: Vec<&str> = token.splitn(6, '.').collect();
    let parsed = match parts.as_slice() {
        [header, claims, signature] => jws(token, header, claims, signature),
        [header, _, _, _, _] => object(header).map(Parsed::Jwe),
        _ => return Parsed::Opaque,
    };
    parsed.unwrap_or(if token.starts_with(JSON_OBJECT) {
        Parsed::Malformed
    } else {
        Parsed::Opaque
    })
}

fn jws<'a>(token: &'a str, header: &str, claims: &str, signature: &str) -> Option<Parsed<'a>> {
    let header = object(header)?;
    let (Some(claims), Ok(signature)) = (object(claims), BASE64URL.decode(signature)) else {
        return Some(Parsed::Malformed);
    };
    let (signed, _) = token.rsplit_once('.')?;
    Some(Parsed::Jws(Jws { header, claims, signed: signed.as_bytes(), signature }))
}

impl Parsed<'_> {
    /// What is kept of it.
    pub(in crate::token) fn content(&self, cuts: &mut Cuts) -> Content {
        match self {
            Self::Jws(Jws { header, claims, .. }) => {
                let kind = kind(header, claims);
                let header = Header::read(header, cuts);
                let claims = Claims::read(claims, cuts);
                Content::Jws(Box::new(Jwt { header, claims, kind }))
            }
            Self::Jwe(header) => Content::Jwe(Header::read(header, cuts)),
            Self::Opaque => Content::Opaque,
            Self::Malformed => Content::Malformed,
        }
    }
}

/// What header and claims say that a token is for.
pub(in crate::token) fn kind(
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
) -> Option<Kind> {
    Header::read(header, &mut Cuts::default()).kind().or_else(|| kind_by_claims(claims))
}

/// The JSON object in a part. Base64url is taken strictly, as RFC 7515 §2 has it: no padding.
fn object(part: &str) -> Option<Map<String, Value>> {
    let json = Zeroizing::new(BASE64URL.decode(part).ok()?);
    serde_json::from_slice(&json).ok()
}

impl Header {
    pub(in crate::token) fn read(header: &Map<String, Value>, cuts: &mut Cuts) -> Self {
        let mut reader = Reader { object: header, cuts, broken_dates: false };
        Self {
            algorithm: reader.text("alg", &["alg"]),
            typ: reader.text("typ", &["typ"]),
            key_id: reader.text("kid", &["kid"]),
            encryption: reader.text("enc", &["enc"]),
            content_type: reader.text("cty", &["cty"]),
        }
    }

    /// What `typ` says the token is for: explicit typing (RFC 8725 §3.11), with or without the
    /// `application/` that RFC 7515 §4.1.9 lets senders omit.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        let typ = self.typ.as_ref()?.to_ascii_lowercase();
        Some(match typ.strip_prefix("application/").unwrap_or(&typ) {
            "at+jwt" => Kind::Access,
            "logout+jwt" => Kind::Logout,
            "dpop+jwt" => Kind::DpopProof,
            "secevent+jwt" => Kind::SecurityEvent,
            "oauth-authz-req+jwt" => Kind::RequestObject,
            "client-authentication+jwt" => Kind::ClientAssertion,
            _ => return None,
        })
    }
}

/// What untyped tokens are for: vendors' own markers first, then claims that only one kind has.
fn kind_by_claims(claims: &Map<String, Value>) -> Option<Kind> {
    const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let has = |names: &[&str]| names.iter().any(|name| claims.contains_key(*name));
    let text = |name| claims.get(name).and_then(Value::as_str);

    // Keycloak, then Cognito.
    match text("typ").or_else(|| text("token_use")) {
        Some("Bearer" | "access") => return Some(Kind::Access),
        Some("ID" | "id") => return Some(Kind::Id),
        Some("Refresh" | "Offline") => return Some(Kind::Refresh),
        Some("Logout") => return Some(Kind::Logout),
        _ => {}
    }
    if let Some(events) = claims.get("events").and_then(Value::as_object) {
        let logout = events.contains_key(LOGOUT);
        return Some(if logout { Kind::Logout } else { Kind::SecurityEvent });
    }
    if has(&["htm"]) && has(&["htu"]) {
        return Some(Kind::DpopProof);
    }
    if has(&["scope", "scp", "roles", "permissions", "kubernetes.io"]) {
        return Some(Kind::Access);
    }
    if has(&["nonce", "at_hash", "c_hash"]) {
        return Some(Kind::Id);
    }
    // Kubernetes' tokens that never expire, of before 1.24.
    if text("iss") == Some("kubernetes/serviceaccount") {
        return Some(Kind::Access);
    }
    // RFC 7523 §3: the client is issuer and subject at once.
    let client = text("iss").is_some() && text("iss") == text("sub");
    (client && has(&["aud"]) && has(&["jti"])).then_some(Kind::ClientAssertion)
}

impl Claims {
    fn read(claims: &Map<String, Value>, cuts: &mut Cuts) -> Self {
        // `oid` means Entra's object id only beside its tenant.
        let subject: &[&str] = if claims.contains_key("tid") { &["oid", "sub"] } else { &["sub"] };
        let mut reader = Reader { object: claims, cuts, broken_dates: false };
        Self {
            issuer: reader.text("iss", &["iss"]),
            subject: reader.text("subject", subject),
            client_id: reader.text("client_id", &["client_id", "azp", "appid", "cid"]),
            audience: reader.items("aud", "aud"),
            scopes: reader.scopes(&["scope", "scp"]),
            issued_at: reader.date("iat"),
            not_before: reader.date("nbf"),
            expires_at: reader.date("exp"),
            id: reader.text("jti", &["jti", "uti"]),
            session: reader.text("session", &["sid", "session_state", "origin_jti"]),
            acr: reader.text("acr", &["acr"]),
            amr: reader.items("amr", "amr"),
            auth_time: reader.date("auth_time"),
            actors: reader.actors(),
            broken_dates: reader.broken_dates,
        }
    }
}

/// Reads members of one JSON object, within limits.
struct Reader<'a> {
    object: &'a Map<String, Value>,
    cuts: &'a mut Cuts,
    broken_dates: bool,
}

impl Reader<'_> {
    /// The first of `names` that holds text or, as some issuers have it, a number.
    fn text(&mut self, field: &'static str, names: &[&str]) -> Option<String> {
        let text = names.iter().find_map(|name| as_text(self.object.get(*name)?))?;
        Some(keep(self.cuts, field, &text, MAX_CLAIM))
    }

    /// A string, or the strings of an array.
    fn items(&mut self, field: &'static str, name: &str) -> Vec<String> {
        let items = as_slice(self.object.get(name)).iter().filter_map(as_text);
        let items = self.cuts.list(field, items, MAX_ITEMS);
        items.iter().map(|item| keep(self.cuts, field, item, MAX_CLAIM)).collect()
    }

    /// Scopes are separated by spaces (RFC 6749 §3.3); arrays of them are split all the same.
    fn scopes(&mut self, names: &[&str]) -> Vec<String> {
        let scopes = as_slice(names.iter().find_map(|name| self.object.get(*name)));
        let words = scopes.iter().filter_map(Value::as_str).flat_map(str::split_ascii_whitespace);
        let words = self.cuts.list("scopes", words, MAX_SCOPES);
        words.iter().map(|word| keep(self.cuts, "scopes", word, MAX_SCOPE)).collect()
    }

    fn date(&mut self, name: &str) -> Option<u64> {
        match self.object.get(name)? {
            Value::Null => None,
            date => as_date(date).or_else(|| {
                self.broken_dates = true;
                None
            }),
        }
    }

    /// The chain of nested `act` claims; an actor without `sub` goes by its client.
    fn actors(&mut self) -> Vec<String> {
        let chain = std::iter::successors(actor(self.object), |each| actor(each));
        let names = chain.filter_map(|each| {
            ["sub", "client_id", "azp"].iter().find_map(|name| as_text(each.get(*name)?))
        });
        let names = self.cuts.list("actor_chain", names, MAX_ITEMS);
        names.iter().map(|name| keep(self.cuts, "actor_chain", name, MAX_CLAIM)).collect()
    }
}

fn actor(claims: &Map<String, Value>) -> Option<&Map<String, Value>> {
    claims.get("act")?.as_object()
}

/// A value that may be an array or stand for an array of one.
pub(in crate::token) fn as_slice(value: Option<&Value>) -> &[Value] {
    match value {
        Some(Value::Array(items)) => items,
        Some(item) => std::slice::from_ref(item),
        None => &[],
    }
}

pub(in crate::token) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(in crate::token) fn keep(
    cuts: &mut Cuts,
    field: &'static str,
    text: &str,
    max: usize,
) -> String {
    cuts.text(field, if shape::is_token(text) { shape::TOKEN } else { text }, max)
}

/// The seconds of a `NumericDate`, if `value` is one.
pub(in crate::token) fn as_date(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => Some(seconds(number)),
        _ => None,
    }
}

/// A `NumericDate` in whole seconds (RFC 7519 §2). What lies before 1970 counts as 1970, and what
/// is beyond `u64` as its end.
fn seconds(date: &Number) -> u64 {
    date.as_u64().unwrap_or_else(|| match date.as_f64() {
        Some(secs) if secs > 0.0 => {
            Duration::try_from_secs_f64(secs).map_or(u64::MAX, |span| span.as_secs())
        }
        _ => 0,
    })
}

#[cfg(test)]
mod tests;

//! Why a server refused. In: a response's fields. Out: its [`Challenge`]s (RFC 9110 §11.6.1,
//! RFC 6750 §3) and what it says of the token's scopes ([`ScopesTold`]).
//!
//! Text is the server's, cut to limits and scrubbed of what looks like a secret. Bounds:
//! [`MAX_CHALLENGES`], [`MAX_PARAMETERS`] of each, [`MAX_FIELD`] bytes of each field.

use std::borrow::Cow;

use super::{
    jwt::{MAX_SCOPE, MAX_SCOPES, keep},
    scheme::Scheme,
    shape,
};
use crate::{clock::Timestamp, http::message::Fields, names::named_enum, text::Cuts};

/// Most challenges read of a response.
pub const MAX_CHALLENGES: usize = 16;
/// Most parameters read of a challenge.
pub const MAX_PARAMETERS: usize = 32;
/// Most bytes read of a field.
pub const MAX_FIELD: usize = 8 * 1024;
/// Longest text kept of a parameter, in bytes.
pub const MAX_TEXT: usize = 120;
/// Most items kept of a list in a parameter.
pub const MAX_ITEMS: usize = 16;

named_enum! {
    /// Error codes of challenges.
    pub enum ChallengeError {
        /// RFC 6750 §3.1: malformed, or more than one credential
        InvalidRequest = "invalid_request",
        /// RFC 6750 §3.1: expired, revoked, malformed, or invalid for other reasons
        InvalidToken = "invalid_token",
        /// RFC 6750 §3.1: the token grants less than is needed
        InsufficientScope = "insufficient_scope",
        /// RFC 9449 §7.1: the DPoP proof is not in order
        InvalidDpopProof = "invalid_dpop_proof",
        /// RFC 9449 §9: try again with this nonce; no failure
        UseDpopNonce = "use_dpop_nonce",
        /// RFC 9470 §3: authenticate anew, or better
        InsufficientUserAuthentication = "insufficient_user_authentication",
        /// Another: the word is not kept
        Other = "other",
    }
}

named_enum! {
    /// What an `error_description` hints at: words of implementations, no standard.
    pub enum Hint {
        /// The token's time is over
        Expired = "expired",
        /// The token was revoked
        Revoked = "revoked",
        /// The token is for others
        Audience = "audience",
        /// The token's signature or key
        Signature = "signature",
        /// The token's issuer
        Issuer = "issuer",
        /// The token's times have not begun
        NotYetValid = "not_yet_valid",
        /// The token's syntax
        Malformed = "malformed",
    }
}

/// Words of descriptions, in lower case; the first that is found decides.
const HINTS: &[(&str, Hint)] = &[
    ("expired", Hint::Expired),
    ("expiration", Hint::Expired),
    ("revoked", Hint::Revoked),
    ("not active", Hint::Revoked),
    ("inactive", Hint::Revoked),
    ("audience", Hint::Audience),
    ("\"aud\"", Hint::Audience),
    ("signature", Hint::Signature),
    ("jwks", Hint::Signature),
    ("signing key", Hint::Signature),
    ("issuer", Hint::Issuer),
    ("\"iss\"", Hint::Issuer),
    ("not yet valid", Hint::NotYetValid),
    ("not before", Hint::NotYetValid),
    ("used before", Hint::NotYetValid),
    ("malformed", Hint::Malformed),
    ("decode", Hint::Malformed),
    ("parse", Hint::Malformed),
    ("format", Hint::Malformed),
];

/// One challenge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// Authentication scheme that is wanted.
    pub scheme: Scheme,
    /// `error`; none is expected where no credential was sent (RFC 6750 §3.1).
    pub error: Option<ChallengeError>,
    /// What `error_description` hints at.
    pub hint: Option<Hint>,
    /// `error_description`
    pub description: Option<String>,
    /// `error_uri`
    pub error_uri: Option<String>,
    /// `realm` (RFC 9110 §11.5)
    pub realm: Option<String>,
    /// `scope`: what is needed
    pub scopes: Vec<String>,
    /// `algs` (RFC 9449 §7.1)
    pub algorithms: Vec<String>,
    /// `acr_values` (RFC 9470 §3)
    pub acr_values: Vec<String>,
    /// `max_age`, in seconds (RFC 9470 §3)
    pub max_age: Option<u64>,
    /// `resource_metadata` (RFC 9728 §5.1)
    pub resource_metadata: Option<String>,
}

/// The challenges of a response, in order. What had to be cut is recorded in `cuts`.
#[must_use]
pub fn challenges(fields: &Fields, cuts: &mut Cuts) -> Vec<Challenge> {
    let mut found = Vec::new();
    for field in fields.all("www-authenticate") {
        let text = String::from_utf8_lossy(field.get(..MAX_FIELD).unwrap_or(field));
        if field.len() > MAX_FIELD {
            cuts.record("challenges");
        }
        for (scheme, parameters) in parse(&text) {
            if found.len() == MAX_CHALLENGES {
                cuts.record("challenges");
                return found;
            }
            found.push(Challenge::read(scheme, &parameters, cuts));
        }
    }
    found
}

impl Challenge {
    fn read(scheme: &str, parameters: &[(&str, Cow<'_, str>)], cuts: &mut Cuts) -> Self {
        // The first counts: a second is against RFC 9110 §11.2.
        let value = |name: &str| {
            let named = parameters.iter().find(|(each, _)| each.eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.as_ref())
        };
        let mut shown = |name| value(name).map(|text| show(text, cuts));
        let (description, realm) = (shown("error_description"), shown("realm"));
        let (error_uri, resource_metadata) = (shown("error_uri"), shown("resource_metadata"));
        let mut words = |name, most| {
            let words = value(name).unwrap_or_default().split_ascii_whitespace();
            let words = cuts.list("challenges", words, most);
            words.iter().map(|word| keep(cuts, "challenges", word, MAX_SCOPE)).collect::<Vec<_>>()
        };
        Self {
            scheme: Scheme::from_name(scheme)
                .filter(|scheme| *scheme != Scheme::Implied)
                .unwrap_or(Scheme::Other),
            error: value("error")
                .map(|code| ChallengeError::from_name(code).unwrap_or(ChallengeError::Other)),
            hint: value("error_description").and_then(hint),
            description,
            error_uri,
            realm,
            scopes: words("scope", MAX_SCOPES),
            algorithms: words("algs", MAX_ITEMS),
            acr_values: words("acr_values", MAX_ITEMS),
            max_age: value("max_age").and_then(|age| age.parse().ok()),
            resource_metadata,
        }
    }
}

fn show(text: &str, cuts: &mut Cuts) -> String {
    // An address keeps no query: it may tell what the page is about, and more.
    let text =
        if text.contains("://") { text.split(['?', '#']).next().unwrap_or_default() } else { text };
    cuts.text("challenges", &shape::without_secrets(text), MAX_TEXT)
}

fn hint(description: &str) -> Option<Hint> {
    let description = description.to_ascii_lowercase();
    HINTS.iter().find(|(word, _)| description.contains(word)).map(|(_, hint)| *hint)
}

type Parsed<'a> = (&'a str, Vec<(&'a str, Cow<'a, str>)>);

/// Reads `#challenge` (RFC 9110 §11.6.1), where a comma separates challenges as well as the
/// parameters of one: a word that `=` follows is a parameter, and any other a scheme.
fn parse(mut rest: &str) -> Vec<Parsed<'_>> {
    let mut challenges: Vec<Parsed<'_>> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return challenges;
        }
        let (word, after) = split_token(rest);
        if word.is_empty() {
            // Not of the grammar: on with what follows the next comma.
            rest = after_comma(rest);
            continue;
        }
        let Some((value, after)) = parameter_value(after) else {
            if challenges.len() > MAX_CHALLENGES {
                return challenges;
            }
            challenges.push((word, Vec::new()));
            rest = without_token68(after);
            continue;
        };
        if let Some((_, parameters)) = challenges.last_mut()
            && parameters.len() < MAX_PARAMETERS
        {
            parameters.push((word, value));
        }
        rest = after;
    }
}

/// `token` (RFC 9110 §5.6.2), and what follows.
fn split_token(text: &str) -> (&str, &str) {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `BWS "=" BWS ( token / quoted-string )` (RFC 9110 §11.2), and what follows.
fn parameter_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let value = text.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    let value = value.trim_start_matches([' ', '\t']);
    if let Some(quoted) = value.strip_prefix('"') {
        return Some(unquote(quoted));
    }
    // Some servers send addresses and lists of words without quotes.
    let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
    let (value, rest) = value.split_at_checked(end)?;
    Some((Cow::Borrowed(value), rest))
}

/// The text up to the closing quote, without escapes (RFC 9110 §5.6.4), and what follows.
fn unquote(text: &str) -> (Cow<'_, str>, &str) {
    let mut plain = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                let rest = text.get(at..).and_then(|rest| rest.strip_prefix('"'));
                return (Cow::Owned(plain), rest.unwrap_or_default());
            }
            '\\' => plain.extend(characters.next().map(|(_, escaped)| escaped)),
            c => plain.push(c),
        }
    }
    (Cow::Owned(plain), "")
}

/// What follows the `token68` after a scheme, if one is there.
fn without_token68(text: &str) -> &str {
    let value = text.trim_start_matches(' ');
    let is_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let rest = value.trim_start_matches(is_token68).trim_start_matches('=');
    let ends = rest.trim_start_matches([' ', '\t']);
    let is_one = rest.len() < value.len() && value.len() < text.len();
    if is_one && (ends.is_empty() || ends.starts_with(',')) { ends } else { text }
}

fn after_comma(text: &str) -> &str {
    text.split_once(',').map_or("", |(_, rest)| rest)
}

/// What a server tells of the scopes of the token that it was called with: GitHub, Slack and others
/// like them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScopesTold {
    /// `X-OAuth-Scopes`: what the token grants; `None` if it was not said.
    pub granted: Option<Vec<String>>,
    /// `X-Accepted-OAuth-Scopes`: any of which the route takes.
    pub accepted: Option<Vec<String>>,
    /// `GitHub-Authentication-Token-Expiration`
    pub expires_at: Option<Timestamp>,
}

/// Reads what a response tells of scopes. What had to be cut is recorded in `cuts`.
#[must_use]
pub fn scopes_told(fields: &Fields, cuts: &mut Cuts) -> ScopesTold {
    let mut list = |name| {
        let text = std::str::from_utf8(fields.first(name)?).ok()?;
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let words = cuts.list("scopes_told", words, MAX_SCOPES);
        let kept = words
            .iter()
            .map(|word| cuts.text("scopes_told", &shape::without_secrets(word), MAX_SCOPE));
        Some(kept.collect())
    };
    let granted = list("x-oauth-scopes");
    let accepted = list("x-accepted-oauth-scopes");
    let expires_at = fields.first("github-authentication-token-expiration").and_then(expiration);
    ScopesTold { granted, accepted, expires_at }
}

/// `2026-11-22 10:04:31 UTC`, or with an offset such as `+0100`.
fn expiration(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let text = match text.strip_suffix("UTC") {
        Some(time) => Cow::Owned(format!("{time}+0000")),
        None => Cow::Borrowed(text),
    };
    let stamp = jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S %z", text.as_ref()).ok()?;
    let nanos = stamp.to_timestamp().ok()?.as_nanosecond();
    u64::try_from(nanos).ok().map(Timestamp)
}

#[cfg(test)]
mod tests;

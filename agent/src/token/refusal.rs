//! Why a server refused, in its own words. In: `WWW-Authenticate` fields (RFC 9110 §11.6.1). Out:
//! a [`Refusal`]: the error code, what would have been enough, and a hint from the description.
//!
//! A field may hold several challenges, and quoted commas. At most [`MAX_PARAMETERS`] parameters
//! are read of all of them; free text is never kept.

use crate::{
    http::message::Fields,
    names::named_enum,
    text::Cuts,
    token::{
        jwt::{MAX_SCOPE, MAX_SCOPES},
        shape::{TOKEN, holds_secret},
    },
};

/// Most parameters that are read of the challenges of a response; real ones have under ten.
pub const MAX_PARAMETERS: usize = 64;
/// Most authentication context classes that are kept.
pub const MAX_CLASSES: usize = 16;

named_enum! {
    /// Error code of a challenge.
    pub enum ServerError {
        /// RFC 6750 §3.1: the request itself is wrong
        InvalidRequest = "invalid_request",
        /// RFC 6750 §3.1: expired, revoked, malformed, or otherwise not to be used
        InvalidToken = "invalid_token",
        /// RFC 6750 §3.1: the token grants too little
        InsufficientScope = "insufficient_scope",
        /// RFC 9449 §7.1: the proof is wrong
        InvalidDpopProof = "invalid_dpop_proof",
        /// RFC 9449 §9: the proof needs the server's nonce, which a client then uses
        UseDpopNonce = "use_dpop_nonce",
        /// RFC 9470 §3: the subject must authenticate better, or again
        InsufficientUserAuthentication = "insufficient_user_authentication",
        /// None of these: the word that was sent is not kept
        Other = "other",
    }
}

named_enum! {
    /// What the description of an error is about, by its words: a hint, no more.
    pub enum Hint {
        /// The token expired
        Expired = "expired",
        /// The token was revoked
        Revoked = "revoked",
        /// The token is for another audience
        Audience = "audience",
        /// The signature is wrong
        Signature = "signature",
    }
}

/// Words of descriptions, in lower case, by what they tell.
const HINTS: [(&str, Hint); 8] = [
    ("revoke", Hint::Revoked),
    ("expire", Hint::Expired),
    ("expiration", Hint::Expired),
    ("\"exp\"", Hint::Expired),
    ("audience", Hint::Audience),
    ("\"aud\"", Hint::Audience),
    ("signature", Hint::Signature),
    ("jws", Hint::Signature),
];

/// What all challenges of a response say together; the first that says something is believed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refusal {
    /// The error; `None` if none is named, as where no credential was sent.
    pub error: Option<ServerError>,
    /// What the error's description is about.
    pub hint: Option<Hint>,
    /// Scopes that would have been enough.
    pub scopes: Vec<String>,
    /// Classes of authentication, one of which would have been enough.
    pub classes: Vec<String>,
    /// Longest time since authentication, in seconds.
    pub max_age: Option<u64>,
}

impl Refusal {
    /// What the challenges in `fields` say; `None` if there are none.
    #[must_use]
    pub fn read(fields: &Fields, cuts: &mut Cuts) -> Option<Self> {
        let mut refusal = None;
        let mut budget = MAX_PARAMETERS;
        for field in fields.all("www-authenticate") {
            let refusal = refusal.get_or_insert_with(Self::default);
            let mut rest = Challenges(field);
            while let Some((name, value)) = rest.parameter() {
                let Some(left) = budget.checked_sub(1) else {
                    cuts.record("challenges");
                    break;
                };
                budget = left;
                refusal.take(name, &value, cuts);
            }
        }
        refusal
    }

    fn take(&mut self, name: &[u8], value: &[u8], cuts: &mut Cuts) {
        let text = String::from_utf8_lossy(value);
        let mut words = |field, most| {
            let kept = cuts.list(field, text.split_ascii_whitespace(), most);
            let shown = kept.into_iter().map(|word| if holds_secret(word) { TOKEN } else { word });
            shown.map(|word| cuts.text(field, word, MAX_SCOPE)).collect()
        };
        match name.to_ascii_lowercase().as_slice() {
            b"error" if self.error.is_none() => {
                self.error = Some(ServerError::from_name(&text).unwrap_or(ServerError::Other));
            }
            b"error_description" if self.hint.is_none() => {
                let text = text.to_ascii_lowercase();
                let told = HINTS.iter().find(|(word, _)| text.contains(word));
                self.hint = told.map(|(_, hint)| *hint);
            }
            b"scope" if self.scopes.is_empty() => {
                self.scopes = words("server_required_scope", MAX_SCOPES);
            }
            b"acr_values" if self.classes.is_empty() => {
                self.classes = words("server_required_acr", MAX_CLASSES);
            }
            b"max_age" if self.max_age.is_none() => self.max_age = text.trim().parse().ok(),
            _ => {}
        }
    }
}

/// The challenges of one field, not yet read.
struct Challenges<'a>(&'a [u8]);

impl<'a> Challenges<'a> {
    /// The next `auth-param` of whatever challenge. Schemes and token68s are passed over, as is
    /// what no challenge has.
    fn parameter(&mut self) -> Option<(&'a [u8], Vec<u8>)> {
        while !self.0.is_empty() {
            let name = self.take_while(is_tchar);
            if name.is_empty() {
                self.0 = self.0.split_first()?.1;
                continue;
            }
            let after_name = self.0;
            self.take_while(is_blank);
            let Some((b'=', rest)) = self.0.split_first() else { continue };
            self.0 = rest;
            self.take_while(is_blank);
            if let Some((b'"', rest)) = self.0.split_first() {
                self.0 = rest;
                return Some((name, self.quoted()));
            }
            let value = self.take_while(is_tchar);
            if !value.is_empty() {
                return Some((name, value.to_vec()));
            }
            // The padding of a token68.
            self.0 = after_name;
            self.take_while(|byte| byte != b',');
        }
        None
    }

    /// What is left of a quoted string (RFC 9110 §5.6.4), without its escapes.
    fn quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let Some((escaped, rest)) = rest.split_first() else { break };
                    text.push(*escaped);
                    self.0 = rest;
                }
                byte => text.push(*byte),
            }
        }
        text
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|byte| !wanted(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }
}

/// RFC 9110 §5.6.2, and what token68 has beyond it.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/:".contains(&byte)
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn read(values: &[&[u8]]) -> (Option<Refusal>, Cuts) {
        let (mut fields, mut cuts) = (Fields::default(), Cuts::default());
        values.iter().for_each(|value| fields.push(b"WWW-Authenticate", value));
        (Refusal::read(&fields, &mut cuts), cuts)
    }

    /// `expected` is the error, the hint, and the scopes.
    #[track_caller]
    fn check(value: &str, expected: (Option<ServerError>, Option<Hint>, &[&str])) {
        let refusal = read(&[value.as_bytes()]).0.unwrap();
        let scopes: Vec<_> = refusal.scopes.iter().map(String::as_str).collect();
        assert_eq!((refusal.error, refusal.hint, scopes.as_slice()), expected, "{value}");
    }

    #[test]
    fn challenges_of_rfc_6750_are_read() {
        check("Bearer realm=\"example\"", (None, None, &[]));
        check(
            "Bearer realm=\"example\", error=\"invalid_token\", \
             error_description=\"The access token expired\"",
            (Some(ServerError::InvalidToken), Some(Hint::Expired), &[]),
        );
        check(
            "bearer error = insufficient_scope,scope=\"orders:read orders:write\"",
            (Some(ServerError::InsufficientScope), None, &["orders:read", "orders:write"]),
        );
    }

    #[test]
    fn several_challenges_and_quoted_commas_are_told_apart() {
        check(
            "Basic realm=\"a, error=\\\"x\\\"\", Bearer error=\"invalid_token\", DPoP algs=\"ES256\"",
            (Some(ServerError::InvalidToken), None, &[]),
        );
        check(
            "Negotiate YII=, Bearer error=\"use_dpop_nonce\"",
            (Some(ServerError::UseDpopNonce), None, &[]),
        );
        check("DPoP, Bearer scope=\"a\"", (None, None, &["a"]));
        let (refusal, _) = read(&[b"DPoP algs=\"ES256\"", b"Bearer error=\"invalid_request\""]);
        assert_eq!(refusal.unwrap().error, Some(ServerError::InvalidRequest));
    }

    #[test]
    fn stepping_up_is_asked_for_as_rfc_9470_says() {
        let field = b"Bearer error=\"insufficient_user_authentication\", \
                      acr_values=\"phr phrh\", max_age=\"600\"";
        let refusal = read(&[field]).0.unwrap();
        assert_eq!(refusal.error, Some(ServerError::InsufficientUserAuthentication));
        assert_eq!((refusal.classes.len(), refusal.max_age), (2, Some(600)));
    }

    #[test]
    fn words_of_the_servers_own_are_not_kept() {
        check("Bearer error=\"hunter2\"", (Some(ServerError::Other), None, &[]));
        check("Bearer scope=\"eyJhbGciOiJub25lIn0.e30.\"", (None, None, &[TOKEN]));
    }

    #[test]
    fn no_challenge_is_no_refusal() {
        assert_eq!(read(&[]).0, None);
    }

    #[test]
    fn parameters_beyond_the_limit_are_cut() {
        let many = "a=b, ".repeat(MAX_PARAMETERS) + "error=x";
        let (refusal, cuts) = read(&[many.as_bytes()]);
        assert_eq!(refusal.unwrap().error, None);
        assert_eq!(cuts.iter().collect::<Vec<_>>(), ["challenges"]);
    }

    proptest! {
        #[test]
        fn no_field_makes_reading_panic(
            values in prop::collection::vec(any::<Vec<u8>>(), 0..4),
        ) {
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let (refusal, _) = read(&values);
            assert_eq!(refusal.is_some(), !values.is_empty());
        }

        #[test]
        fn a_quoted_value_is_read_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let field = format!("X a=\"{quoted}\", Bearer error=\"invalid_token\"");
            let refusal = read(&[field.as_bytes()]).0.unwrap();
            assert_eq!(refusal.error, Some(ServerError::InvalidToken));
        }
    }
}

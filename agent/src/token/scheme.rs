//! Authentication schemes of RFC 9110 §11. In: the value of an `Authorization` field. Out: its
//! [`Scheme`] and what follows. Knows the syntax, nothing about tokens.
//!
//! Only schemes that are registered or well known are named: a client that forgot the scheme puts
//! the token in its place, and an unknown word there may be that token.

use crate::{names::named_enum, token::Kind};

named_enum! {
    /// Authentication scheme (RFC 9110 §11.1), compared without case: IANA's registry and schemes
    /// in wide use.
    pub enum Scheme {
        /// RFC 6750 §2.1
        Bearer = "bearer",
        /// RFC 9449 §7.1
        Dpop = "dpop",
        /// RFC 7617
        Basic = "basic",
        /// GitHub, Gitea and others
        Token = "token",
        /// Okta's API tokens
        Ssws = "ssws",
        /// Salesforce's name for `Bearer`; OAuth 1.0 (RFC 5849 §3.5.1)
        OAuth = "oauth",
        /// RFC 9635 §7.2
        Gnap = "gnap",
        /// RFC 9577
        PrivateToken = "privatetoken",
        /// RFC 7616
        Digest = "digest",
        /// RFC 4559
        Negotiate = "negotiate",
        /// Microsoft's predecessor of `Negotiate`
        Ntlm = "ntlm",
        /// AWS Signature Version 4
        AwsSigV4 = "aws4-hmac-sha256",
        /// Azure shared access signatures
        SharedAccess = "sharedaccesssignature",
        /// OAuth 2.0 MAC tokens (expired draft)
        Mac = "mac",
        /// OAuth 2.0 proof of possession (expired draft; Entra)
        Pop = "pop",
        /// Mozilla's Hawk
        Hawk = "hawk",
        /// RFC 8292
        Vapid = "vapid",
        /// None was written: the place says what it is.
        Implied = "implied",
        /// None of these: the word that was sent is not kept.
        Other = "other",
    }
}

impl Scheme {
    /// What a well-formed value of the scheme is for, unless its content says otherwise.
    pub(in crate::token) const fn kind(self) -> Kind {
        match self {
            Self::Bearer | Self::Dpop | Self::Token | Self::Gnap | Self::Pop => Kind::Access,
            Self::Ssws => Kind::ApiKey,
            Self::Basic => Kind::Password,
            Self::Digest | Self::Negotiate | Self::Ntlm | Self::AwsSigV4 | Self::Mac => Kind::Proof,
            Self::Hawk | Self::Vapid | Self::SharedAccess => Kind::Proof,
            Self::OAuth | Self::PrivateToken | Self::Implied | Self::Other => Kind::Unknown,
        }
    }

    /// Whether its value is one token68 (RFC 9110 §11.2) that is a token: it can be decoded, and
    /// recognised by fingerprint. Passwords are too easily guessed for one, proofs never recur.
    pub(in crate::token) const fn carries_token(self) -> bool {
        matches!(self, Self::Bearer | Self::Dpop | Self::Token | Self::Ssws | Self::Implied)
    }
}

/// An `Authorization` field, read.
pub(in crate::token) struct Authorization<'a> {
    pub scheme: Scheme,
    /// What followed the scheme; `None` if nothing did.
    pub value: Option<&'a [u8]>,
    /// Whether the scheme allows what was sent.
    pub well_formed: bool,
}

/// `credentials = auth-scheme [ 1*SP ( token68 / #auth-param ) ]` (RFC 9110 §11.4), and of it the
/// narrower `1*SP token68` that bearer tokens use (RFC 6750 §2.1).
pub(in crate::token) fn authorization(field: &[u8]) -> Authorization<'_> {
    let field = field.trim_ascii();
    let end = field.iter().position(u8::is_ascii_whitespace).unwrap_or(field.len());
    let (word, rest) = field.split_at_checked(end).unwrap_or((field, &[]));
    let scheme = std::str::from_utf8(word).ok().and_then(Scheme::from_name);
    // No client writes a scheme that means that none is written.
    let scheme = scheme.filter(|scheme| *scheme != Scheme::Implied).unwrap_or(Scheme::Other);

    let value = rest.trim_ascii_start();
    let spaces = rest.iter().take(rest.len().saturating_sub(value.len()));
    let spaced = spaces.copied().all(|b| b == b' ');
    let expects_token68 = scheme.carries_token() || scheme == Scheme::Basic;
    Authorization {
        scheme,
        well_formed: spaced && !value.is_empty() && (!expects_token68 || is_token68(value)),
        value: (!value.is_empty()).then_some(value),
    }
}

/// `token68 = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 9110 §11.2).
pub(in crate::token) fn is_token68(value: &[u8]) -> bool {
    let body = value.iter().rposition(|b| *b != b'=').and_then(|last| value.get(..=last));
    body.is_some_and(|body| body.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected` is the scheme, whether it is well-formed, and the value.
    #[track_caller]
    fn check(field: &[u8], expected: (Scheme, bool, Option<&str>)) {
        let Authorization { scheme, value, well_formed } = authorization(field);
        let value = value.map(String::from_utf8_lossy);
        assert_eq!((scheme, well_formed, value.as_deref()), expected);
    }

    #[test]
    fn bearer_fields_are_read_as_rfc_6750_writes_them() {
        check(b"Bearer mF_9.B5f-4.1JqM", (Scheme::Bearer, true, Some("mF_9.B5f-4.1JqM")));
        check(b"bEARER x", (Scheme::Bearer, true, Some("x")));
        check(b"Bearer    x==", (Scheme::Bearer, true, Some("x==")));
        check(b" Bearer x \t", (Scheme::Bearer, true, Some("x")));
        check(b"Bearer AZaz09-._~+/=", (Scheme::Bearer, true, Some("AZaz09-._~+/=")));
    }

    #[test]
    fn what_no_bearer_field_may_be_is_malformed() {
        check(b"Bearer", (Scheme::Bearer, false, None));
        check(b"Bearer ", (Scheme::Bearer, false, None));
        check(b"Bearer\tx", (Scheme::Bearer, false, Some("x")));
        check(b"Bearer a b", (Scheme::Bearer, false, Some("a b")));
        check(b"Bearer a, Bearer b", (Scheme::Bearer, false, Some("a, Bearer b")));
        check(b"Bearer \"x\"", (Scheme::Bearer, false, Some("\"x\"")));
        check(b"Bearer a=b", (Scheme::Bearer, false, Some("a=b")));
        check(b"Bearer =", (Scheme::Bearer, false, Some("=")));
        check("Bearer ä".as_bytes(), (Scheme::Bearer, false, Some("ä")));
        check(b"Bearer \xff", (Scheme::Bearer, false, Some("\u{fffd}")));
    }

    #[test]
    fn other_schemes_are_named_if_they_are_known() {
        check(b"DPoP Kz~8mXK1", (Scheme::Dpop, true, Some("Kz~8mXK1")));
        check(b"Basic dTpw", (Scheme::Basic, true, Some("dTpw")));
        check(b"Basic u:p", (Scheme::Basic, false, Some("u:p")));
        check(b"token ghp_x", (Scheme::Token, true, Some("ghp_x")));
        check(b"Digest username=\"u\"", (Scheme::Digest, true, Some("username=\"u\"")));
        check(b"AWS4-HMAC-SHA256 Credential=x", (Scheme::AwsSigV4, true, Some("Credential=x")));
    }

    #[test]
    fn a_token_in_place_of_the_scheme_names_no_scheme() {
        check(b"eyJhbGciOiJub25lIn0.e30.", (Scheme::Other, false, None));
        check(b"s3cr3t and more", (Scheme::Other, true, Some("and more")));
        check(b"Implied x", (Scheme::Other, true, Some("x")));
        check(b"", (Scheme::Other, false, None));
        check(b"\xff\xfe x", (Scheme::Other, true, Some("x")));
    }
}

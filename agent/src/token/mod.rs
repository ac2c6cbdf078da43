//! Stage 5: the credentials of a request. In: header fields. Out: [`Credential`]s: where each
//! stood, what it is, its decoded claims and its fingerprint.
//!
//! Token bytes are borrowed from the request's fields and end here. Claims are decoded, not verified: they are what
//! the bearer asserts. Nothing in here reads a clock or a file, and no input makes it panic.

pub mod examination;
pub mod extract;
pub mod fingerprint;
pub mod guard;
pub mod issuer;
pub mod jwt;
pub mod opaque;
pub mod profile;
pub mod reader;
pub mod secret;
pub mod shape;

use crate::{
    clock::Timestamp,
    names::named_enum,
    text::Cuts,
    token::{
        extract::{Location, Presented, Scheme},
        fingerprint::{Fingerprint, FingerprintKey},
        jwt::{Header, Jwt},
        opaque::{PrefixClass, prefix_class},
        secret::Secret,
    },
};

/// Longest token that is decoded, in bytes; servers refuse heads far shorter. Longer ones are
/// malformed.
pub const MAX_TOKEN: usize = 64 * 1024;

named_enum! {
    /// What a credential is for. Part of the fingerprint's input: names never change, and none
    /// starts with another.
    pub enum Kind {
        /// Access token (RFC 6749 §1.4)
        Access = "access",
        /// ID token (OpenID Connect Core §2)
        Id = "id",
        /// Refresh token (RFC 6749 §1.5)
        Refresh = "refresh",
        /// Logout token (OpenID Connect Back-Channel Logout §2.4)
        Logout = "logout",
        /// Client assertion (RFC 7523 §2.2)
        ClientAssertion = "client_assertion",
        /// DPoP proof (RFC 9449 §4.2)
        DpopProof = "dpop_proof",
        /// Security event token (RFC 8417)
        SecurityEvent = "security_event",
        /// Request object (RFC 9101)
        RequestObject = "request_object",
        /// API key or personal access token: issued to be kept, not by an OAuth grant
        ApiKey = "api_key",
        /// User name and password, or client id and secret
        Password = "password",
        /// Proves a key or password without carrying it: digests, signatures, tickets
        Proof = "proof",
        /// Could not be told
        Unknown = "unknown",
    }
}

named_enum! {
    /// Encoding of a credential.
    pub enum Format {
        /// Signed JWT (RFC 7515 §3.1)
        Jws = "jws",
        /// Encrypted JWT (RFC 7516 §3.1)
        Jwe = "jwe",
        /// Known to its issuer only
        Opaque = "opaque",
        /// Against the syntax of its place, scheme or encoding
        Malformed = "malformed",
    }
}

named_enum! {
    /// What a token says of its own validity at some moment. No leeway is granted here.
    pub enum TokenState {
        /// Within its times
        Active = "active",
        /// At or past `exp` (RFC 7519 §4.1.4)
        Expired = "expired",
        /// Before `nbf` (RFC 7519 §4.1.5)
        NotYetValid = "not_yet_valid",
        /// Never expires: it has no `exp`
        NoExpiry = "no_expiry",
        /// Opaque: only its issuer knows
        Opaque = "opaque",
        /// Encrypted: only its audience knows
        Encrypted = "encrypted",
        /// Cannot be decoded, or its times are no times
        Malformed = "malformed",
    }
}

named_enum! {
    /// How well an identity is proven, weakest first, so that grades compare.
    pub enum Evidence {
        /// Nothing is known
        Unknown = "unknown",
        /// Read from a token that nobody checked: text that its bearer chose
        Asserted = "asserted",
        /// A protected route answered 2xx
        Accepted = "accepted",
        /// A token response that issued it was observed
        IssuedObserved = "issued_observed",
        /// Its signature fits a key that was observed
        VerifiedObservedKey = "verified_observed_key",
        /// An introspection response described it (RFC 7662)
        Introspected = "introspected",
        /// Its signature fits a configured key
        Verified = "verified",
    }
}

#[expect(clippy::derivable_impls, reason = "`named_enum` derives for all enums alike")]
impl Default for Evidence {
    fn default() -> Self {
        Self::Unknown
    }
}

/// A credential without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// Where it stood.
    pub location: Location,
    /// Authentication scheme.
    pub scheme: Scheme,
    /// What it is for: its content decides, else its place.
    pub kind: Kind,
    /// What could be read of it.
    pub content: Content,
    /// Recognises it; `None` if it is empty or of a scheme that carries no token.
    pub fingerprint: Option<Fingerprint>,
    /// Issuer's prefix, for opaque tokens.
    pub prefix_class: Option<&'static PrefixClass>,
}

/// What could be read of a credential, without any key.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A signed JWT, signature not checked.
    Jws(Box<Jwt>),
    /// An encrypted JWT: its header alone is readable.
    Jwe(Header),
    /// Nothing is readable.
    Opaque,
    /// Something is wrong with it.
    Malformed,
}

impl Credential {
    fn read(presented: &Presented<'_>, key: &FingerprintKey, cuts: &mut Cuts) -> Self {
        let Presented { location, scheme, value, well_formed } = *presented;
        let token = value.filter(|_| scheme.carries_token());
        let text = token.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let content = match text {
            _ if !well_formed => Content::Malformed,
            Some(text) => jwt::decode(text, cuts),
            None => Content::Opaque,
        };
        let prefix_class = match content {
            Content::Opaque => text.and_then(prefix_class),
            Content::Jws(_) | Content::Jwe(_) | Content::Malformed => None,
        };
        let kind = match &content {
            Content::Jws(jwt) => jwt.kind.unwrap_or(scheme.kind()),
            Content::Jwe(header) => header.kind().unwrap_or(scheme.kind()),
            Content::Opaque => prefix_class.map_or(scheme.kind(), |class| class.kind),
            Content::Malformed => Kind::Unknown,
        };
        let fingerprint = token.map(|bytes| key.fingerprint(kind, bytes));
        Self { location, scheme, kind, content, fingerprint, prefix_class }
    }

    /// Encoding of the credential.
    #[must_use]
    pub const fn format(&self) -> Format {
        match self.content {
            Content::Jws(_) => Format::Jws,
            Content::Jwe(_) => Format::Jwe,
            Content::Opaque => Format::Opaque,
            Content::Malformed => Format::Malformed,
        }
    }

    /// What the token says of its validity at `at`; `None` if the scheme carries no token.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> Option<TokenState> {
        self.scheme.carries_token().then(|| match &self.content {
            Content::Jws(jwt) => jwt.claims.state(at),
            Content::Jwe(_) => TokenState::Encrypted,
            Content::Opaque => TokenState::Opaque,
            Content::Malformed => TokenState::Malformed,
        })
    }

    /// How well the identity in it is proven.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        match self.content {
            Content::Jws(_) => Evidence::Asserted,
            Content::Jwe(_) | Content::Opaque | Content::Malformed => Evidence::Unknown,
        }
    }

    /// The claims, where they are readable.
    #[must_use]
    pub const fn claims(&self) -> Option<&jwt::Claims> {
        match &self.content {
            Content::Jws(jwt) => Some(&jwt.claims),
            Content::Jwe(_) | Content::Opaque | Content::Malformed => None,
        }
    }

    /// The JOSE header, where there is one.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        match &self.content {
            Content::Jws(jwt) => Some(&jwt.header),
            Content::Jwe(header) => Some(header),
            Content::Opaque | Content::Malformed => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};
    use zeroize::Zeroizing;

    use super::*;
    use crate::http::message::Fields;

    fn read(value: &[u8]) -> Credential {
        let mut fields = Fields::default();
        fields.push(b"authorization", value);
        let key = FingerprintKey::new(Zeroizing::new([1; 32]));
        let presented = extract::presented(&fields).next().unwrap();
        Credential::read(&presented, &key, &mut Cuts::default())
    }

    #[track_caller]
    fn check(value: &str, expected: (Kind, Format, Option<TokenState>, bool)) {
        let found = read(value.as_bytes());
        let state = found.state(Timestamp::default());
        assert_eq!((found.kind, found.format(), state, found.fingerprint.is_some()), expected);
    }

    #[test]
    fn credentials_are_classified_by_content_then_by_place() {
        let (opaque, bad) = (Some(TokenState::Opaque), Some(TokenState::Malformed));
        check("Bearer mF_9.B5f-4.1JqM", (Kind::Access, Format::Opaque, opaque, true));
        check("Bearer ghr_x", (Kind::Refresh, Format::Opaque, opaque, true));
        check("token ghp_x", (Kind::ApiKey, Format::Opaque, opaque, true));
        check("SSWS 00x", (Kind::ApiKey, Format::Opaque, opaque, true));
        check("Bearer", (Kind::Unknown, Format::Malformed, bad, false));
        check("Bearer a b", (Kind::Unknown, Format::Malformed, bad, true));
        check("Basic dTpw", (Kind::Password, Format::Opaque, None, false));
        check("Digest username=\"u\"", (Kind::Proof, Format::Opaque, None, false));
        check("s3cr3t", (Kind::Unknown, Format::Malformed, None, false));
    }

    #[test]
    fn the_same_token_is_recognised_under_any_scheme() {
        let [bearer, dpop] = [read(b"Bearer abc"), read(b"DPoP abc")];
        assert_eq!(bearer.fingerprint, dpop.fingerprint);
    }

    proptest! {
        #[test]
        fn no_field_makes_reading_panic(value in any::<Vec<u8>>()) {
            read(&value);
        }

        #[test]
        fn no_token_makes_reading_panic(
            header in "\\PC{0,40}",
            claims in prop::collection::vec(any::<u8>(), 0..80),
            parts in 1_usize..7,
        ) {
            use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
            let header = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{header}\"}}"));
            let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
            let token = [header, claims].into_iter().cycle().take(parts).collect::<Vec<_>>();
            let token = token.join(".");
            read(format!("Bearer {token}").as_bytes());
        }
    }
}

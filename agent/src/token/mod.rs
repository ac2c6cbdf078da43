//! Stage 5: the credentials of a request. In: requests, and the issuers of a policy with their
//! keys. Out: [`Credential`]s: where each stood, what it is, its claims, its fingerprint, and what
//! an examination says of it.
//!
//! Token bytes are borrowed from the request and end here. Nothing in here reads a clock or a file,
//! and no input makes it panic. `reader.rs` is the way in; `extract.rs` finds, `jwt.rs` decodes,
//! `verify.rs` examines with `keys.rs` and `jwk.rs`, `grant.rs` tells what is granted by the table
//! in `profile.rs`. Per call, `binding.rs` says whether the sender proved the token to be theirs,
//! and `challenge.rs` why a server refused.

mod address;
pub mod binding;
mod certificate;
pub mod challenge;
pub mod dpop;
pub mod examination;
pub mod extract;
pub mod fingerprint;
pub mod grant;
pub mod guard;
pub mod inspect;
pub mod issuer;
pub mod jwk;
pub mod jwt;
pub mod keys;
pub mod opaque;
mod parameters;
pub mod profile;
pub mod pseudonym;
pub mod reader;
pub mod scheme;
pub mod secret;
pub mod shape;
pub mod sources;
pub mod subject;
#[cfg(test)]
pub(crate) mod testing;
mod verify;

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

use crate::{
    clock::Timestamp,
    names::named_enum,
    text::Cuts,
    token::{
        examination::Examination,
        extract::{Location, Presented},
        fingerprint::{Fingerprint, FingerprintKey},
        jwt::{Header, Jwt},
        keys::Trust,
        opaque::{PrefixClass, prefix_class},
        parameters::Value,
        scheme::Scheme,
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
    /// Which field, cookie or parameter, where the place has several: a name that we or the policy
    /// list.
    pub name: Option<Arc<str>>,
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
    /// What is known of it beyond its text.
    pub examination: Examination,
    /// Ties proofs to it.
    digest: Option<TokenDigest>,
}

/// SHA-256 of a token: the `ath` of RFC 9449 §4.2 before its encoding. Whoever has the token can
/// tell it by this, so it is not printed.
#[derive(Clone, Copy, Eq, PartialEq)]
struct TokenDigest([u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
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
    /// Reads what was `presented`; `first_seen` is when it was first.
    fn read(
        presented: &Presented<'_>,
        key: &FingerprintKey,
        trust: &Trust,
        first_seen: Timestamp,
        cuts: &mut Cuts,
    ) -> Self {
        let Presented { location, name, scheme, value, well_formed, kind } = presented;
        let is_token = scheme.carries_token() || *scheme == Scheme::Basic;
        let token = value.as_ref().filter(|_| is_token).map(Value::bytes);
        let text = token.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let (content, examination) = match text {
            _ if !well_formed => (Content::Malformed, verify::malformed()),
            Some(text) => {
                let parsed = jwt::parse(text);
                let content = parsed.content(cuts);
                let examination = verify::examine(text, &parsed, &content, trust, first_seen);
                (content, examination)
            }
            None => (Content::Opaque, Examination::default()),
        };
        let prefix_class = match content {
            Content::Opaque => text.and_then(prefix_class),
            Content::Jws(_) | Content::Jwe(_) | Content::Malformed => None,
        };
        let kind = match &content {
            Content::Jws(jwt) => jwt.kind.unwrap_or(*kind),
            Content::Jwe(header) => header.kind().unwrap_or(*kind),
            Content::Opaque => prefix_class.map_or(*kind, |class| class.kind),
            Content::Malformed => Kind::Unknown,
        };
        let fingerprint = token.map(|bytes| key.fingerprint(kind, bytes));
        let digest = token.map(|bytes| TokenDigest(Sha256::digest(bytes).into()));
        Self {
            location: *location,
            name: name.clone(),
            scheme: *scheme,
            kind,
            content,
            fingerprint,
            prefix_class,
            examination,
            digest,
        }
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
        (self.scheme.carries_token() || self.digest.is_some()).then(|| match &self.content {
            Content::Jws(jwt) => jwt.claims.state(at),
            Content::Jwe(_) => TokenState::Encrypted,
            Content::Opaque => TokenState::Opaque,
            Content::Malformed => TokenState::Malformed,
        })
    }

    /// How well the identity in it is proven.
    #[must_use]
    pub const fn evidence(&self) -> Evidence {
        self.examination.evidence
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

    use super::{
        sources::Sources,
        testing::{at, fingerprint_key, request},
        *,
    };

    fn read(value: &[u8]) -> Credential {
        let mut sent = request("/", &[]);
        sent.fields.push(b"authorization", value);
        let (key, mut cuts) = (fingerprint_key(), Cuts::default());
        let presented = extract::presented(&sent, &Sources::default(), &mut cuts);
        Credential::read(&presented[0], &key, &Trust::default(), at(0), &mut cuts)
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

//! An issuer of tokens, as the operator describes it. In: the compiled policy. Out: what
//! verification needs to know of an issuer. Holds public keys only, except where `HS*` is allowed.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::profile::Profile;
use crate::names::named_enum;

/// Position of an issuer among those of a policy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IssuerIndex(pub u16);

/// One issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer {
    /// Name in the policy, and in events.
    pub id: String,
    /// Values of `iss` that are this issuer's: exact, or with `{tenant}` where `tenants` lists
    /// what may stand there.
    pub matches: Vec<String>,
    /// What `{tenant}` may be.
    pub tenants: Vec<String>,
    /// How its tokens are read.
    pub profile: Profile,
    /// Algorithms that its tokens may be signed with (RFC 8725 §3.1); never empty.
    pub algorithms: BTreeSet<Algorithm>,
    /// Where its keys come from; nothing for an issuer whose tokens are not verified.
    pub keys: Vec<KeyOrigin>,
    /// How far its clock and this one may differ.
    pub leeway: Duration,
    /// Longest time from `iat` to `exp` that is in order.
    pub max_lifetime: Option<Duration>,
    /// Claims that every access token of it must have, beside those of its profile.
    pub required_claims: Vec<String>,
}

named_enum! {
    /// JWS algorithms that are verified (RFC 7518 §3.1, RFC 8037 §3.1).
    pub enum Algorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384
        Es384 = "ES384",
        /// ECDSA on P-521 with SHA-512
        Es512 = "ES512",
        /// EdDSA on edwards25519
        EdDsa = "EdDSA",
        /// HMAC with SHA-256
        Hs256 = "HS256",
        /// HMAC with SHA-384
        Hs384 = "HS384",
        /// HMAC with SHA-512
        Hs512 = "HS512",
    }
}

/// Where keys come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyOrigin {
    /// A JWK set (RFC 7517 §5) or a PEM file, read again when it changes.
    File(PathBuf),
    /// A JWK set in the policy itself.
    Inline(String),
    /// A JWK set to fetch, only because the policy names it.
    Url(String),
    /// Key sets that processes on this host were answered.
    Observed(ObservedFrom),
}

/// Whose answers are believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObservedFrom {
    /// Path of the executable.
    pub exe: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// cgroup path, or a prefix of it.
    pub cgroup: Option<String>,
    /// Container id.
    pub container: Option<String>,
}

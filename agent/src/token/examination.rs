//! What is known of a credential beyond its text: who issued it, whether it is genuine, what it
//! grants, and what it is bound to. In: a credential, the issuers, their keys. Out: an
//! [`Examination`], which policy judges calls by.
//!
//! What holds for the token whatever the call is made once per token. What depends on the moment
//! or the call ([`Binding`]) is made per request.

use serde_json::{Map, Value};

use super::{Evidence, issuer::IssuerIndex};
use crate::{clock::Timestamp, names::named_enum};

/// A credential, examined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examination {
    /// The issuer in the policy that it names; `None` if it names none of them, or none at all.
    pub issuer: Option<IssuerIndex>,
    /// What became of its signature.
    pub signature: SignatureState,
    /// How well its claims are proven.
    pub evidence: Evidence,
    /// What it grants to whom, as its issuer's dialect says it.
    pub grant: Grant,
    /// What is wrong with it at any time and for any call; see [`Examination::fault_at`] for the
    /// rest.
    pub faults: Vec<Fault>,
    /// What in its header is odd.
    pub notes: Vec<HeaderNote>,
    /// `nbf` and `exp`, in seconds since the Unix epoch.
    pub not_before: Option<u64>,
    /// See `not_before`.
    pub expires_at: Option<u64>,
    /// Leeway of its issuer, in seconds.
    pub leeway: u64,
}

impl Examination {
    /// Whether its times are against it at `at`, with its issuer's leeway: [`Fault::Expired`] or
    /// [`Fault::NotYetValid`].
    #[must_use]
    pub fn fault_at(&self, at: Timestamp) -> Option<Fault> {
        let now = at.as_secs();
        // RFC 7519 §4.1.4: the current time must be before it.
        if self.expires_at.is_some_and(|end| now >= end.saturating_add(self.leeway)) {
            return Some(Fault::Expired);
        }
        let early = self.not_before.is_some_and(|start| now.saturating_add(self.leeway) < start);
        early.then_some(Fault::NotYetValid)
    }
}

named_enum! {
    /// What in a header is odd: how tokens are forged where verifiers believe headers (RFC 8725
    /// §2.1, §2.6 and §3.10). Signatures are never checked by them.
    pub enum HeaderNote {
        /// `jku`: where to fetch keys
        Jku = "jku",
        /// `x5u`: where to fetch certificates
        X5u = "x5u",
        /// `jwk`: a key
        Jwk = "jwk",
        /// `x5c`: certificates; some issuers send them
        X5c = "x5c",
        /// `crit` names what is not understood (RFC 7515 §4.1.11)
        Crit = "crit",
        /// `kid` has characters of paths, queries, markup or commands
        OddKid = "odd_kid",
    }
}

named_enum! {
    /// What became of a signature.
    pub enum SignatureState {
        /// A key of its issuer made it
        Ok = "ok",
        /// No key of its issuer made it, and the right one was there
        Bad = "bad",
        /// The key that it names is not there
        KeyUnknown = "key_unknown",
        /// Its algorithm is not one that its issuer may use
        AlgForbidden = "alg_forbidden",
        /// There was nothing to check it with, or no signature to check
        NotChecked = "not_checked",
        /// Only its audience can check it, as of tokens for Microsoft Graph
        UnverifiableByDesign = "unverifiable_by_design",
    }
}

/// What is wrong with a token. Each is a reason of a verdict by the same name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// Against its own syntax, a `crit` that is not understood included (RFC 7515 §4.1.11), or a
    /// checksum that does not fit.
    Malformed,
    /// `iss` is none of the policy's issuers.
    IssuerUnknown,
    /// See [`SignatureState::AlgForbidden`].
    AlgForbidden,
    /// See [`SignatureState::KeyUnknown`].
    KeyUnknown,
    /// See [`SignatureState::Bad`].
    SignatureBad,
    /// `exp` is past (RFC 7519 §4.1.4).
    Expired,
    /// `nbf` is to come (RFC 7519 §4.1.5).
    NotYetValid,
    /// It lives longer than its issuer may let it, or for ever.
    LifetimeExceeded,
    /// It is no access token (RFC 8725 §3.12).
    KindMismatch,
    /// A claim that the profile or the policy wants is absent.
    ClaimMissing(String),
}

/// What a token grants, in one vocabulary for all issuers. Text is bounded as in `jwt.rs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// Who it speaks for.
    pub subject: Option<String>,
    /// A name of theirs that people use.
    pub username: Option<String>,
    /// The client that it was issued to.
    pub client_id: Option<String>,
    /// The tenant of its issuer.
    pub tenant: Option<String>,
    /// Who may take it (RFC 7519 §4.1.3).
    pub audience: Vec<String>,
    /// Scopes (RFC 6749 §3.3).
    pub scopes: Vec<String>,
    /// Roles, groups and entitlements (RFC 9068 §2.2.3.1), and what vendors have for them.
    pub roles: Vec<String>,
    /// How the subject authenticated: class, methods, time in seconds since the Unix epoch.
    pub acr: Option<String>,
    /// See `acr`.
    pub amr: Vec<String>,
    /// See `acr`.
    pub auth_time: Option<u64>,
    /// Whether it speaks for a client by itself, and for no person.
    pub is_service: bool,
    /// What it is bound to (RFC 7800 §3.1).
    pub confirmation: Confirmation,
    /// All claims, for a policy's conditions; values with the shape of a secret are not in it.
    pub claims: Map<String, Value>,
    /// Something exceeded a limit and is not in here: nothing may be said to be absent.
    pub is_cut: bool,
}

/// The `cnf` claim.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Confirmation {
    /// Thumbprint of a DPoP key: `jkt` (RFC 9449 §6.1).
    pub jkt: Option<String>,
    /// Thumbprint of a client certificate: `x5t#S256` (RFC 8705 §3.1).
    pub x5t_s256: Option<String>,
    /// Another method, or more than one.
    pub other: bool,
}

/// Whether the sender proved, with this call, that the token is theirs.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Binding {
    /// The token is a bearer token, and nothing else was sent.
    #[default]
    None,
    /// A DPoP proof that is in order (RFC 9449 §4.3).
    Dpop,
    /// The client certificate that the token names (RFC 8705 §3).
    Mtls,
    /// The token is bound, and the call has no proof of it: `binding_missing`.
    Missing,
    /// The proof is another's: `binding_mismatch`.
    Mismatch,
    /// A proof that is not in order: `proof_invalid:` and the check that failed.
    ProofInvalid(ProofCheck),
    /// A proof that was there before: `proof_replayed`.
    ProofReplayed,
    /// It cannot be told: `binding_unverifiable`.
    Unverifiable,
}

named_enum! {
    /// Checks of a DPoP proof (RFC 9449 §4.3), in its order.
    pub enum ProofCheck {
        /// Exactly one `DPoP` field
        OneField = "one_field",
        /// A well-formed JWT
        WellFormed = "well_formed",
        /// All required claims
        Claims = "claims",
        /// `typ` is `dpop+jwt`
        Typ = "typ",
        /// An asymmetric algorithm that is supported
        Alg = "alg",
        /// The signature verifies with `jwk`
        Signature = "signature",
        /// `jwk` has no private key
        PublicKey = "public_key",
        /// `htm` is the request's method
        Htm = "htm",
        /// `htu` is the request's address
        Htu = "htu",
        /// `nonce` is the one that the server gave last
        Nonce = "nonce",
        /// `iat` is recent
        Iat = "iat",
        /// `ath` is the hash of the token
        Ath = "ath",
    }
}

#[expect(clippy::derivable_impls, reason = "`named_enum` derives for all enums alike")]
impl Default for SignatureState {
    fn default() -> Self {
        Self::NotChecked
    }
}

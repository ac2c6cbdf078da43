//! Why a call is not allowed, or why that cannot be told: the codes that verdicts carry. In: what
//! examination and evaluation found. Out: text such as `scope_missing:refunds:write`, in events,
//! in explanations, and in the cases of `policy test`.

use std::fmt;

use crate::token::examination::{Binding, Fault, ProofCheck};

/// One reason. What follows a colon is the policy's own word, or a claim's name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// A complete request had no credential where one is needed.
    CredentialMissing,
    /// More than one credential, of which a server must take none (RFC 6750 §3.1).
    MultipleCredentials,
    /// A credential of a scheme that the service does not take.
    SchemeUnsupported,
    /// See [`Fault::Malformed`].
    Malformed,
    /// See [`Fault::Expired`].
    Expired,
    /// See [`Fault::NotYetValid`].
    NotYetValid,
    /// See [`Fault::LifetimeExceeded`].
    LifetimeExceeded,
    /// No issuer of the policy, or none that the service accepts.
    IssuerUnknown,
    /// None of the audiences of the service (RFC 9068 §4).
    AudienceMismatch,
    /// See [`Fault::AlgForbidden`].
    AlgForbidden,
    /// See [`Fault::KeyUnknown`]: it cannot be told whether the token is genuine.
    KeyUnknown,
    /// See [`Fault::SignatureBad`].
    SignatureBad,
    /// See [`Fault::KindMismatch`].
    KindMismatch,
    /// See [`Fault::ClaimMissing`].
    ClaimMissing(String),
    /// Scopes that the route needs and the token lacks: each of them, or one of them.
    ScopeMissing(Vec<String>),
    /// A role that the route needs.
    RoleMissing,
    /// A condition on a claim does not hold.
    ClaimCondition(String),
    /// The client is none of those that may use the service.
    ClientNotAllowed,
    /// The route, or the token itself, wants a proof of possession, and there is none.
    BindingMissing,
    /// The proof is another's.
    BindingMismatch,
    /// The proof cannot be checked by what was seen.
    BindingUnverifiable,
    /// The proof is not in order.
    ProofInvalid(ProofCheck),
    /// The proof was used before.
    ProofReplayed,
    /// The subject authenticated less well than the route needs (RFC 9470 §3).
    AcrInsufficient,
    /// The subject authenticated too long ago (RFC 9470 §3), or it is not said when.
    AuthTooOld,
    /// The token was revoked before (RFC 7009).
    Revoked,
    /// Its issuer said that it is not active (RFC 7662 §2.2).
    Inactive,
    /// The session that it belongs to has ended.
    SessionEnded,
    /// No route of the service matches.
    RouteUnmatched,
    /// What the token grants is known to its issuer only, and was not seen.
    OpaqueUnlearned,
    /// What would decide was not captured.
    CaptureIncomplete,
}

impl Reason {
    /// The code, without what follows it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CredentialMissing => "credential_missing",
            Self::MultipleCredentials => "multiple_credentials",
            Self::SchemeUnsupported => "scheme_unsupported",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::LifetimeExceeded => "lifetime_exceeded",
            Self::IssuerUnknown => "issuer_unknown",
            Self::AudienceMismatch => "audience_mismatch",
            Self::AlgForbidden => "alg_forbidden",
            Self::KeyUnknown => "key_unknown",
            Self::SignatureBad => "signature_bad",
            Self::KindMismatch => "kind_mismatch",
            Self::ClaimMissing(_) => "claim_missing",
            Self::ScopeMissing(_) => "scope_missing",
            Self::RoleMissing => "role_missing",
            Self::ClaimCondition(_) => "claim_condition",
            Self::ClientNotAllowed => "client_not_allowed",
            Self::BindingMissing => "binding_missing",
            Self::BindingMismatch => "binding_mismatch",
            Self::BindingUnverifiable => "binding_unverifiable",
            Self::ProofInvalid(_) => "proof_invalid",
            Self::ProofReplayed => "proof_replayed",
            Self::AcrInsufficient => "acr_insufficient",
            Self::AuthTooOld => "auth_too_old",
            Self::Revoked => "revoked",
            Self::Inactive => "inactive",
            Self::SessionEnded => "session_ended",
            Self::RouteUnmatched => "route_unmatched",
            Self::OpaqueUnlearned => "opaque_unlearned",
            Self::CaptureIncomplete => "capture_incomplete",
        }
    }
}

/// As in events: the code, and after a colon what it is about.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())?;
        match self {
            Self::ClaimMissing(name) | Self::ClaimCondition(name) => write!(f, ":{name}"),
            Self::ScopeMissing(scopes) => write!(f, ":{}", scopes.join(",")),
            Self::ProofInvalid(check) => write!(f, ":{check}"),
            _ => Ok(()),
        }
    }
}

impl From<&Fault> for Reason {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Malformed => Self::Malformed,
            Fault::IssuerUnknown => Self::IssuerUnknown,
            Fault::AlgForbidden => Self::AlgForbidden,
            Fault::KeyUnknown => Self::KeyUnknown,
            Fault::SignatureBad => Self::SignatureBad,
            Fault::Expired => Self::Expired,
            Fault::NotYetValid => Self::NotYetValid,
            Fault::LifetimeExceeded => Self::LifetimeExceeded,
            Fault::KindMismatch => Self::KindMismatch,
            Fault::ClaimMissing(name) => Self::ClaimMissing(name.clone()),
        }
    }
}

impl Reason {
    /// What is wrong with a binding; `None` if nothing is.
    #[must_use]
    pub const fn of_binding(binding: &Binding) -> Option<Self> {
        match binding {
            Binding::None | Binding::Dpop | Binding::Mtls => None,
            Binding::Missing => Some(Self::BindingMissing),
            Binding::Mismatch => Some(Self::BindingMismatch),
            Binding::ProofInvalid(check) => Some(Self::ProofInvalid(*check)),
            Binding::ProofReplayed => Some(Self::ProofReplayed),
            Binding::Unverifiable => Some(Self::BindingUnverifiable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_print_as_events_name_them() {
        let missing = vec!["refunds:write".to_owned(), "x".to_owned()];
        assert_eq!(Reason::ScopeMissing(missing).to_string(), "scope_missing:refunds:write,x");
        assert_eq!(Reason::ProofInvalid(ProofCheck::Htu).to_string(), "proof_invalid:htu");
        let fault = Fault::ClaimMissing("jti".to_owned());
        assert_eq!(Reason::from(&fault).to_string(), "claim_missing:jti");
        assert_eq!(Reason::Expired.to_string(), "expired");
    }

    #[test]
    fn a_binding_in_order_is_no_reason() {
        assert_eq!(Reason::of_binding(&Binding::Dpop), None);
        assert_eq!(Reason::of_binding(&Binding::Missing), Some(Reason::BindingMissing));
    }
}

//! What a verdict means beside what the server did. In: a judgement, and the status of the answer.
//! Out: an [`Assessment`], with the severity of what deserves attention.

use crate::{
    event::model::Severity,
    names::named_enum,
    policy::{
        judgement::{Judgement, Verdict},
        raw::Sensitivity,
        reason::Reason,
    },
};

named_enum! {
    /// What a call and its answer are, together.
    pub enum Finding {
        /// Allowed, and answered
        Normal = "normal",
        /// Allowed, and refused: the server is stricter than the policy, or the policy is old
        PolicyDrift = "policy_drift",
        /// Denied, and answered all the same
        EnforcementGap = "enforcement_gap",
        /// Denied, and refused
        DeniedAsExpected = "denied_as_expected",
        /// Denied, and neither refused nor answered: sent elsewhere, failed, or not answered at all
        DeniedElsewhere = "denied_elsewhere",
        /// Allowed, and failed for other reasons
        FailedElsewhere = "failed_elsewhere",
        /// It could not be told what the policy says
        Unassessed = "unassessed",
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Assessment {
    /// What it is.
    pub finding: Finding,
    /// How much attention it deserves.
    pub severity: Severity,
}

/// Assesses a call. `status` is that of the answer, as HTTP has it; `None` if none was seen.
#[must_use]
pub fn assess(judgement: &Judgement, status: Option<u16>) -> Assessment {
    let finding = match (judgement.verdict, status) {
        (Verdict::Indeterminate, _) => Finding::Unassessed,
        (Verdict::Allow, Some(401 | 403 | 407)) => Finding::PolicyDrift,
        (Verdict::Deny, Some(401 | 403 | 407)) => Finding::DeniedAsExpected,
        (Verdict::Allow, Some(100..=399)) => Finding::Normal,
        // 101 hands over the connection. 304 says that the client's copy is good: a server looks at
        // conditions after it has found that it would answer by 2xx (RFC 9110 §13.2.1). Other
        // redirects lead to a login as often as to what was asked for.
        (Verdict::Deny, Some(101 | 200..=299 | 304)) => Finding::EnforcementGap,
        (Verdict::Allow, _) => Finding::FailedElsewhere,
        (Verdict::Deny, _) => Finding::DeniedElsewhere,
    };
    let severity = match finding {
        Finding::EnforcementGap if judgement.advisory => Severity::Info,
        Finding::EnforcementGap => gap_severity(judgement),
        _ => Severity::Info,
    };
    Assessment { finding, severity }
}

/// That of the worst reason, moved by what the data is.
fn gap_severity(judgement: &Judgement) -> Severity {
    let base = judgement.reasons.iter().map(severity).max().unwrap_or(Severity::Medium);
    let class = judgement.route.as_ref().and_then(|route| route.sensitivity);
    let shift = match class {
        Some(Sensitivity::Public) => -1,
        None | Some(Sensitivity::Internal | Sensitivity::Confidential) => 0,
        Some(
            Sensitivity::Pii | Sensitivity::Financial | Sensitivity::Phi | Sensitivity::Secret,
        ) => 1,
    };
    let place = Severity::ALL.iter().position(|it| *it == base).unwrap_or_default();
    // Info would hide it.
    let moved = place.saturating_add_signed(shift).clamp(1, Severity::ALL.len().saturating_sub(1));
    Severity::ALL.get(moved).copied().unwrap_or(base)
}

/// How bad it is that a server answers although this is so, for data of no class.
const fn severity(reason: &Reason) -> Severity {
    match reason {
        Reason::SignatureBad => Severity::Critical,
        Reason::CredentialMissing
        | Reason::Malformed
        | Reason::Expired
        | Reason::IssuerUnknown
        | Reason::AudienceMismatch
        | Reason::AlgForbidden
        | Reason::KindMismatch
        | Reason::ScopeMissing(_)
        | Reason::RoleMissing
        | Reason::ClaimCondition(_)
        | Reason::ClientNotAllowed
        | Reason::BindingMissing
        | Reason::BindingMismatch
        | Reason::ProofInvalid(_)
        | Reason::ProofReplayed
        | Reason::Revoked
        | Reason::Inactive
        | Reason::SessionEnded => Severity::High,
        Reason::MultipleCredentials
        | Reason::SchemeUnsupported
        | Reason::NotYetValid
        | Reason::KeyUnknown
        | Reason::BindingUnverifiable
        | Reason::AcrInsufficient
        | Reason::AuthTooOld
        | Reason::RouteUnmatched => Severity::Medium,
        Reason::LifetimeExceeded
        | Reason::ClaimMissing(_)
        | Reason::OpaqueUnlearned
        | Reason::CaptureIncomplete => Severity::Low,
    }
}

#[cfg(test)]
mod tests;

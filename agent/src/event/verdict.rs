//! What of a judgement events tell: the groups `authz` and `route`. In: an [`Observation`]. Out:
//! values of those groups, and whether a call deserves an event of its own.

use crate::{
    event::{
        group::group,
        model::{Authz, ServerOutcome},
    },
    observation::{Judged, Observation},
    policy::{
        judgement::{Judgement, Verdict},
        outcome::Finding,
        raw::{Amount, Sensitivity},
    },
    text::Cuts,
    token::{Credential, jwt::MAX_SCOPE},
};

/// Most scopes or roles of each kind that are kept.
pub const MAX_NAMES: usize = 64;
/// Most reasons that are kept; a call has rarely more than three.
pub const MAX_REASONS: usize = 16;
/// Longest text kept of a reason, in bytes: scopes may be many.
pub const MAX_REASON: usize = 512;
/// Longest value kept of a parameter in a path, in bytes.
pub const MAX_PARAMETER: usize = 128;

group! {
    /// Scopes that the policy asks for.
    #[derive(Default)]
    pub struct Required {
        required {}
        optional {}
        list {
            /// All of these, up to 64.
            all: String ["text, up to 128 bytes", "OpenAPI §Security Requirement"],
            /// One of these, up to 64.
            any: String ["text, up to 128 bytes", "RFC 6749 §3.3"],
        }
    }
}

group! {
    /// What the policy has the call for.
    pub struct Route {
        required {
            /// The service, by its id in the policy.
            service: String ["name", ""],
        }
        optional {
            /// The route, by its id in the policy.
            id: String ["name", ""],
            /// What its data is.
            sensitivity: Sensitivity ["one of", ""],
            /// `operationId` in the OpenAPI document.
            operation_id: String ["name", "OpenAPI §Operation Object"],
            /// The operation within HTTP that the policy judged.
            operation: String ["text, up to 128 bytes", ""],
        }
        list {
            /// Parameters of the path, where the policy keeps them: `name=value`.
            params: String ["text, up to 128 bytes", ""],
            /// What is odd: `path_ambiguous`, if the path may be read in several ways, of which the
            /// strictest is judged; `host_unexpected`, if the caller named a host that is none of
            /// the service's; `preflight`, for a CORS preflight, which is not judged further;
            /// `advisory`, if the rule is a suggestion and raises no alarm.
            notes: String ["name", ""],
        }
    }
}

/// What was decided, by the policy and by the server.
pub(super) fn authz(seen: &Observation, server_outcome: ServerOutcome, cuts: &mut Cuts) -> Authz {
    let credential = seen.credential();
    // As its issuer's dialect has it, where the policy names the issuer.
    let known = credential.filter(|credential| credential.examination.issuer.is_some());
    let grant = known.map(|credential| &credential.examination.grant);
    let granted = grant.filter(|grant| !grant.scopes.is_empty()).map(|grant| &grant.scopes);
    let claimed = credential.and_then(Credential::claims).map(|claims| &claims.scopes);
    let refused = seen.challenges.iter().find(|challenge| challenge.error.is_some());
    let wanted = seen.challenges.iter().find(|challenge| !challenge.scopes.is_empty());
    let mut authz = Authz {
        server_outcome,
        verdict: None,
        assessment: None,
        required: None,
        server_error: refused.and_then(|challenge| challenge.error),
        server_hint: refused.and_then(|challenge| challenge.hint),
        policy_id: None,
        policy_hash: None,
        policy_rule: None,
        scopes: granted.or(claimed).cloned().unwrap_or_default(),
        roles: grant.map_or_else(Vec::new, |grant| names("roles", &grant.roles, cuts)),
        missing: Vec::new(),
        reasons: Vec::new(),
        server_required_scope: wanted.map_or_else(Vec::new, |challenge| challenge.scopes.clone()),
    };
    let Some(Judged { judgement, assessment, is_told: _ }) = &seen.judged else { return authz };
    let Judgement { verdict, reasons, required: Amount { all, any }, missing, .. } = judgement;
    authz.verdict = Some(*verdict);
    authz.assessment = Some(assessment.finding);
    if !all.is_empty() || !any.is_empty() {
        let [all, any] = [all, any].map(|scopes| names("required", scopes, cuts));
        authz.required = Some(Required { all, any });
    }
    authz.missing = names("missing", missing, cuts);
    let reasons = cuts.list("reasons", reasons, MAX_REASONS);
    let reasons =
        reasons.iter().map(|reason| cuts.text("reasons", &reason.to_string(), MAX_REASON));
    authz.reasons = reasons.collect();
    authz.policy_id = Some(match &judgement.route {
        Some(route) => format!("{}/{}", judgement.service_id, route.id),
        None => judgement.service_id.to_string(),
    });
    authz.policy_hash = Some(judgement.policy.hash.to_string());
    authz.policy_rule = Some(judgement.rule.to_string());
    authz
}

fn names(field: &'static str, names: &[String], cuts: &mut Cuts) -> Vec<String> {
    let kept = cuts.list(field, names, MAX_NAMES);
    kept.into_iter().map(|name| cuts.text(field, name, MAX_SCOPE)).collect()
}

/// What the policy has the call for.
pub(super) fn route(judged: &Judged, cuts: &mut Cuts) -> Route {
    let judgement = &judged.judgement;
    let matched = judgement.route.as_ref();
    let notes = [
        ("path_ambiguous", judgement.path_ambiguous),
        ("host_unexpected", judgement.host_unexpected),
        ("preflight", judgement.preflight),
        ("advisory", judgement.advisory),
    ];
    let params = matched.map_or(&[][..], |route| &route.params);
    Route {
        service: judgement.service_id.to_string(),
        id: matched.map(|route| route.id.to_string()),
        sensitivity: matched.and_then(|route| route.sensitivity),
        operation_id: matched.and_then(|route| route.operation_id.clone()),
        operation: matched
            .and_then(|route| route.operation.as_ref())
            .map(|operation| cuts.text("operation", operation, MAX_PARAMETER)),
        params: params
            .iter()
            .map(|(name, value)| cuts.text("params", &format!("{name}={value}"), MAX_PARAMETER))
            .collect(),
        notes: notes
            .into_iter()
            .filter(|(_, is_so)| *is_so)
            .map(|(note, _)| note.to_owned())
            .collect(),
    }
}

/// Whether a call has an event `scope_check` beside its `access`: unless it was allowed and
/// answered, or cannot be judged and was answered; always where the data is sensitive.
#[must_use]
pub fn deserves_scope_check(judged: &Judged, outcome: ServerOutcome) -> bool {
    let class = judged.judgement.route.as_ref().and_then(|route| route.sensitivity);
    let is_ordinary = match (judged.judgement.verdict, judged.assessment.finding) {
        (Verdict::Allow, finding) => finding == Finding::Normal,
        (Verdict::Indeterminate, _) => outcome == ServerOutcome::Allowed,
        (Verdict::Deny, _) => false,
    };
    class.is_some_and(is_sensitive) || !is_ordinary
}

/// Whether data of a class is not for everybody within.
#[must_use]
pub const fn is_sensitive(class: Sensitivity) -> bool {
    match class {
        Sensitivity::Public | Sensitivity::Internal => false,
        Sensitivity::Confidential
        | Sensitivity::Pii
        | Sensitivity::Financial
        | Sensitivity::Phi
        | Sensitivity::Secret => true,
    }
}

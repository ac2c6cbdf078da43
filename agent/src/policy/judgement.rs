//! What became of judging a call. In: nothing. Out: the types that events are made of.

use std::{net::IpAddr, sync::Arc};

use crate::{
    names::named_enum,
    policy::{
        compiled::{Audit, Origin, PolicyId, ServiceIndex},
        raw::{Amount, Sensitivity},
        reason::Reason,
        volume::Volume,
    },
};

named_enum! {
    /// What the policy says of a call; the later is the stricter.
    pub enum Verdict {
        /// It may be answered
        Allow = "allow",
        /// It cannot be told by what was seen
        Indeterminate = "indeterminate",
        /// It must be refused
        Deny = "deny",
    }
}

/// A call, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What the policy says.
    pub verdict: Verdict,
    /// Why it does not say allow.
    pub reasons: Vec<Reason>,
    /// The service that the call was made to, by position and by name.
    pub service: ServiceIndex,
    /// See `service`.
    pub service_id: Arc<str>,
    /// The route that decided; `None` if none matches, or it is not known which.
    pub route: Option<MatchedRoute>,
    /// Where the rule that decided is written: the route, else the service.
    pub rule: Origin,
    /// Scopes that were needed.
    pub required: Amount,
    /// Those that the token lacks: each of them, or one of them.
    pub missing: Vec<String>,
    /// Position of the credential that was judged, among those of the call.
    pub credential: Option<usize>,
    /// The policy.
    pub policy: PolicyId,
    /// Address of the client, as far as trusted proxies tell it.
    pub client: Option<IpAddr>,
    /// What events tell beyond what all tell.
    pub audit: Audit,
    /// Whether the rule is a suggestion, which raises no alarm.
    pub advisory: bool,
    /// Whether the path may be read in several ways. The strictest of them is judged.
    pub path_ambiguous: bool,
    /// Whether the caller named a host that the service does not have. It is judged all the same.
    pub host_unexpected: bool,
    /// Whether it is a CORS preflight, which is not judged further.
    pub preflight: bool,
}

/// A route that a call was judged by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MatchedRoute {
    /// Name within the service.
    pub id: Arc<str>,
    /// Template of the path.
    pub template: Arc<str>,
    /// `operationId` in the OpenAPI document.
    pub operation_id: Option<String>,
    /// The operation within HTTP that decided.
    pub operation: Option<String>,
    /// What the data is.
    pub sensitivity: Option<Sensitivity>,
    /// How many events tell of calls that are in order.
    pub volume: Volume,
    /// Parameters whose values the policy keeps.
    pub params: Vec<(String, String)>,
}

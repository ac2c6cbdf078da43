//! Events of the agent itself, beside those of exchanges: what became of its policy. In: a
//! [`Renewal`] and when it was. Out: a [`Notice`], which has the groups `event`, `host` and `agent`
//! of every event, and one of its own.

use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::{
    clock::Timestamp,
    config::{policyfile::Reload, rulebook::Renewal},
    event::{
        access::Origin,
        group::group,
        model::{Agent, EventType, Host, Meta, Outcome, SCHEMA_VERSION, Severity, Time},
        shared::Shared,
    },
    policy::{compiled::PolicyId, diff::Diff},
    text::Cuts,
};

/// Most problems of a rejected policy that are told of.
pub const MAX_PROBLEMS: usize = 16;
/// Longest text kept of one of them, in bytes.
pub const MAX_PROBLEM: usize = 512;

group! {
    /// An event of the agent itself.
    pub struct Notice {
        required {
            /// What kind of event this is, and when it happened.
            event: Meta ["group", ""],
            /// The machine that the agent runs on.
            host: Shared<Host> ["group", ""],
            /// The agent that made the event.
            agent: Shared<Agent> ["group", ""],
            /// The policy that calls are judged by from now on.
            policy: PolicyChange ["group", ""],
        }
        optional {}
        list {}
    }
}

group! {
    /// The policy that calls are judged by from now on, in events about it.
    pub struct PolicyChange {
        required {
            /// Its file, as the configuration names it.
            file: String ["path", ""],
            /// Names its content: `authz.policy_hash` of what is judged by it.
            hash: String ["64 hex digits", "FIPS 180-4"],
        }
        optional {
            /// Names the content of the one before.
            previous_hash: String ["64 hex digits", "FIPS 180-4"],
            /// Issuers that are new.
            issuers_added: u64 ["count", ""],
            /// Issuers that are gone.
            issuers_removed: u64 ["count", ""],
            /// Issuers of which something is told otherwise.
            issuers_changed: u64 ["count", ""],
            /// Services that are new.
            services_added: u64 ["count", ""],
            /// Services that are gone.
            services_removed: u64 ["count", ""],
            /// Services of which something but their routes is told otherwise.
            services_changed: u64 ["count", ""],
            /// Routes that are new.
            routes_added: u64 ["count", ""],
            /// Routes that are gone.
            routes_removed: u64 ["count", ""],
            /// Routes of which something is told otherwise.
            routes_changed: u64 ["count", ""],
            /// There, and true, if keys of issuers changed and the policy did not.
            keys_changed: bool ["true", ""],
        }
        list {
            /// What is wrong with the one that was rejected, up to 16: file, line, column and
            /// problem. What is there stays in force.
            problems: String ["text, up to 512 bytes", ""],
        }
    }
}

impl Notice {
    /// The event of what became of the policy at `at`. It is numbered where it is encoded.
    #[must_use]
    pub fn of(origin: &Origin, renewal: &Renewal, at: Timestamp) -> Self {
        let (r#type, policy) = told(renewal);
        let (severity, outcome) = match r#type {
            // Whoever watches believes in rules that are not in force.
            EventType::PolicyRejected => (Severity::High, Outcome::Failure),
            _ => (Severity::Info, Outcome::Success),
        };
        let event = Meta {
            uid: uid(origin, r#type, &policy, at).to_string(),
            r#type,
            time: Time(at),
            observed_time: Time(at),
            seq: 0,
            severity,
            outcome,
            schema: SCHEMA_VERSION.to_owned(),
        };
        let (host, agent) = origin.groups();
        Self { event, host, agent, policy }
    }
}

fn told(renewal: &Renewal) -> (EventType, PolicyChange) {
    match renewal {
        Renewal::Policy(Reload::Loaded(id)) => (EventType::PolicyLoaded, named(id)),
        Renewal::Policy(Reload::Changed { from, to, diff }) => {
            (EventType::PolicyChanged, counted(named(to), from, diff))
        }
        Renewal::Policy(Reload::Rejected { kept, problems }) => {
            let problems = problems.0.iter().map(ToString::to_string);
            (EventType::PolicyRejected, rejected(kept, problems))
        }
        Renewal::Keys(policy) => {
            let change = named(policy);
            let previous_hash = Some(change.hash.clone());
            let keys_changed = Some(true);
            (EventType::PolicyChanged, PolicyChange { previous_hash, keys_changed, ..change })
        }
        Renewal::KeysRejected { policy, reason } => {
            (EventType::PolicyRejected, rejected(policy, std::iter::once(reason.clone())))
        }
    }
}

fn named(id: &PolicyId) -> PolicyChange {
    PolicyChange {
        file: id.file.to_string(),
        hash: id.hash.to_string(),
        previous_hash: None,
        issuers_added: None,
        issuers_removed: None,
        issuers_changed: None,
        services_added: None,
        services_removed: None,
        services_changed: None,
        routes_added: None,
        routes_removed: None,
        routes_changed: None,
        keys_changed: None,
        problems: Vec::new(),
    }
}

fn counted(change: PolicyChange, from: &PolicyId, diff: &Diff) -> PolicyChange {
    let Diff { issuers, services, routes } = diff;
    PolicyChange {
        previous_hash: Some(from.hash.to_string()),
        issuers_added: Some(issuers.added),
        issuers_removed: Some(issuers.removed),
        issuers_changed: Some(issuers.changed),
        services_added: Some(services.added),
        services_removed: Some(services.removed),
        services_changed: Some(services.changed),
        routes_added: Some(routes.added),
        routes_removed: Some(routes.removed),
        routes_changed: Some(routes.changed),
        ..change
    }
}

fn rejected(kept: &PolicyId, problems: impl Iterator<Item = String>) -> PolicyChange {
    let mut cuts = Cuts::default();
    let problems = cuts.list("problems", problems, MAX_PROBLEMS);
    let problems =
        problems.iter().map(|problem| cuts.text("problems", problem, MAX_PROBLEM)).collect();
    PolicyChange { problems, ..named(kept) }
}

/// Made from what names the event, as those of exchanges are.
fn uid(origin: &Origin, r#type: EventType, policy: &PolicyChange, at: Timestamp) -> Ulid {
    let (host, _) = origin.groups();
    let digest = Sha256::new()
        .chain_update(&host.boot_id)
        .chain_update([0])
        .chain_update(r#type.as_str())
        .chain_update([0])
        .chain_update(&policy.hash)
        .chain_update(at.0.to_be_bytes())
        .finalize();
    let first_80_bits = digest.iter().take(10).fold(0, |bits, b| bits << 8 | u128::from(*b));
    Ulid::from_parts(at.as_millis(), first_80_bits)
}

//! `docs/events.md`, made from the definitions in `model.rs`. In: nothing. Out: Markdown.

use std::fmt::{self, Write};

use crate::{
    event::{
        control::{
            CaptureHealth, Checkpoint, ClockHealth, Gap, Health, Reason, SinkHealth, SpoolHealth,
        },
        group::{Field, Presence, name_of},
        handshake::{ClientCert, Tls},
        model::{
            Agent, Authz, Client, Container, Credential, Event, EventType, Host, Http, Identity,
            Meta, Observed, Outcome, Process, Rpc, SCHEMA_VERSION, Server, ServerOutcome, Severity,
            Token, Trace,
        },
        notice::PolicyChange,
        verdict::{Required, Route},
        volume::Told,
    },
    flow::chunk::{Attribution, Transport},
    http::{anomaly::Anomaly, message::Role, operation::Protocol},
    policy::{judgement::Verdict, outcome::Finding, raw::Sensitivity},
    token::{
        Evidence, Format, Kind, TokenState,
        challenge::{ChallengeError, Hint},
        examination::SignatureState,
        extract::{Location, Scheme},
        pseudonym::Withheld,
    },
};

/// The path of every group, and its fields, in the order of the event.
const GROUPS: &[(&str, &[Field])] = &[
    ("", Event::FIELDS),
    ("event", Meta::FIELDS),
    ("host", Host::FIELDS),
    ("agent", Agent::FIELDS),
    ("process", Process::FIELDS),
    ("process.container", Container::FIELDS),
    ("observation", Observed::FIELDS),
    ("authz", Authz::FIELDS),
    ("authz.required", Required::FIELDS),
    ("route", Route::FIELDS),
    ("client", Client::FIELDS),
    ("server", Server::FIELDS),
    ("tls", Tls::FIELDS),
    ("tls.client_cert", ClientCert::FIELDS),
    ("http", Http::FIELDS),
    ("volume", Told::FIELDS),
    ("rpc", Rpc::FIELDS),
    ("trace", Trace::FIELDS),
    ("credential", Credential::FIELDS),
    ("token", Token::FIELDS),
    ("identity", Identity::FIELDS),
    ("policy", PolicyChange::FIELDS),
    ("gap", Gap::FIELDS),
    ("checkpoint", Checkpoint::FIELDS),
    ("health", Health::FIELDS),
    ("health.capture", CaptureHealth::FIELDS),
    ("health.spool", SpoolHealth::FIELDS),
    ("health.clock", ClockHealth::FIELDS),
    ("health.sinks", SinkHealth::FIELDS),
];

/// What sinks see beside: see `integrity/` and `event/mapping/shrink.rs`.
const ADDED: &[(&str, &[Field])] = &[
    ("event", &[added("is_truncated", "bool", "Some fields were left out, as all had no room.")]),
    (
        "integrity",
        &[
            added("chain", "String", "Names the chain that the event is of."),
            added("seq", "u64", "Its position there."),
            added("prev", "String", "Hash of the event before."),
            added("hash", "String", "Its own hash."),
        ],
    ),
];

const fn added(name: &'static str, rust_type: &'static str, meaning: &'static str) -> Field {
    let (presence, unit, source) = (Presence::Optional, "", "");
    Field { name, rust_type, presence, unit, source, meaning }
}

/// The fields that hold one of a closed set of names, and those names.
pub(crate) const NAMES: &[(&str, &[(&str, &str)])] = &[
    ("event.type", EventType::MEANINGS),
    ("event.severity", Severity::MEANINGS),
    ("event.outcome", Outcome::MEANINGS),
    ("observation.role", Role::MEANINGS),
    ("observation.transport", Transport::MEANINGS),
    ("observation.attribution", Attribution::MEANINGS),
    ("authz.server_outcome", ServerOutcome::MEANINGS),
    ("authz.verdict", Verdict::MEANINGS),
    ("authz.assessment", Finding::MEANINGS),
    ("authz.server_error", ChallengeError::MEANINGS),
    ("authz.server_hint", Hint::MEANINGS),
    ("route.sensitivity", Sensitivity::MEANINGS),
    ("http.operation_protocol", Protocol::MEANINGS),
    ("http.anomaly", Anomaly::MEANINGS),
    ("credential.location", Location::MEANINGS),
    ("credential.scheme", Scheme::MEANINGS),
    ("credential.kind", Kind::MEANINGS),
    ("credential.format", Format::MEANINGS),
    ("token.state", TokenState::MEANINGS),
    ("token.sig_state", SignatureState::MEANINGS),
    ("identity.evidence", Evidence::MEANINGS),
    ("identity.withheld", Withheld::MEANINGS),
    ("gap.reason", Reason::MEANINGS),
];

/// Every field that is no group, by its path, in the order of the event; those that are added behind
/// it, where it goes to sinks, at the end.
pub fn fields() -> impl Iterator<Item = (String, &'static Field)> {
    let known = GROUPS.iter().chain(ADDED).flat_map(|(group, fields)| {
        let dot = if group.is_empty() { "" } else { "." };
        fields.iter().map(move |field| {
            (format!("{group}{dot}{}", field.name.trim_start_matches("r#")), field)
        })
    });
    known.filter(|(_, field)| field.unit != "group")
}

/// The page that documents every field of an event.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _infallible = write_page(&mut page);
    page
}

fn write_page(out: &mut impl Write) -> fmt::Result {
    writeln!(out, "# Events, version {SCHEMA_VERSION}\n")?;
    writeln!(out, "{INTRODUCTION}")?;
    for (group, fields) in GROUPS {
        if group.is_empty() {
            writeln!(out, "\n## The event\n")?;
        } else {
            writeln!(out, "\n## `{group}`\n")?;
        }
        writeln!(out, "| field | type | unit or form | present | meaning | source |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        for field in *fields {
            write_row(out, group, field)?;
        }
    }
    for (field, names) in NAMES {
        writeln!(out, "\n## Values of `{field}`\n\n| value | meaning |\n|---|---|")?;
        for (name, meaning) in *names {
            writeln!(out, "| `{name}` | {} |", meaning.trim())?;
        }
    }
    Ok(())
}

fn write_row(out: &mut impl Write, group: &str, field: &Field) -> fmt::Result {
    let Field { name, rust_type, presence, unit, source, meaning } = *field;
    let dot = if group.is_empty() { "" } else { "." };
    let name = name_of(name);
    let json = json_type(rust_type, unit);
    let (list, present) = match presence {
        Presence::Required => ("", "always"),
        Presence::Optional => ("", "if known"),
        Presence::List => ("list of ", "unless empty"),
    };
    let unit = match unit {
        "group" => "",
        "one of" => "one of the values below",
        unit => unit,
    };
    let meaning = meaning.trim();
    writeln!(
        out,
        "| `{group}{dot}{name}` | {list}{json} | {unit} | {present} | {meaning} | {source} |"
    )
}

fn json_type(rust_type: &str, unit: &str) -> &'static str {
    match rust_type {
        _ if unit == "group" => "group",
        "u16" | "u32" | "u64" | "i64" => "integer",
        "bool" => "boolean",
        _ => "string",
    }
}

const INTRODUCTION: &str = "\
An event is one JSON object. Fields are added in later versions, never changed or removed. A field
or group that is not there is unknown or empty; `present` says when, within its group.

Nothing in an event is a token, a password, a query value or a body. Text that came from traffic is
cut to the limit in its row, and then `observation.notes` names the field; values that have the
shape of a token read `{token}`. What a token claims is what its bearer says, unless
`identity.evidence` says that it was verified.

Every exchange has an `access` event. Where a policy is given, `authz` tells what it says of the
call, and whether the server agreed. A call has a `scope_check` beside its `access`, with the same
groups, if the policy denies it, if the server refused what the policy allows or what could not be
judged, and always if its route's data is confidential or of a stricter class; for one that lasts as
soon as the server has answered, and once. `event.severity` of a `scope_check` is that of an
enforcement gap; that of an `access` tells of the form of its messages.

Events of the types `policy.…` tell of the agent: they have the groups `event`, `host`, `agent` and
`policy`, and no others. All others have every group but `policy`.

Events that go to sinks have a group `integrity` behind these, and events of types `agent.…`, by
which the agent tells of itself, stand between them: [integrity.md](integrity.md). They have the
groups `event`, `host` and `agent`, and one of `gap`, `checkpoint` and `health`, or none.

This page is made from `agent/src/event/model.rs`; a test tells when it is not current.";

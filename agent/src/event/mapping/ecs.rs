//! Elastic Common Schema 9. What it has no place for is in `scopewatch`.

use serde_json::{Map, Value, json};

use crate::event::mapping::fields::{Fields, put};

/// The event in ECS.
pub fn map(fields: &Fields<'_>) -> Value {
    let mut out = Map::new();
    let rows = fields.rows().filter(|(row, _)| !row.ecs.is_empty());
    rows.for_each(|(row, value)| put(&mut out, row.ecs, value.clone()));
    let rest = fields.rows().filter(|(row, _)| row.ecs.is_empty());
    let rest = rest.map(|(row, value)| (row.field.to_owned(), value));
    for (path, value) in rest.chain(fields.rest()) {
        put(&mut out, &format!("scopewatch.{path}"), value.clone());
    }
    let (category, kinds) = match (fields.kind, fields.text("authz.server_outcome")) {
        ("access" | "access.begun" | "scope_check", Some("allowed")) => {
            (["api", "web"], vec!["access", "allowed"])
        }
        ("access" | "access.begun" | "scope_check", Some("denied")) => {
            (["api", "web"], vec!["access", "denied"])
        }
        ("access" | "access.begun" | "scope_check", _) => (["api", "web"], vec!["access"]),
        ("agent.start", _) => (["configuration", "process"], vec!["start"]),
        ("agent.stop", _) => (["configuration", "process"], vec!["end"]),
        ("policy.loaded" | "policy.changed", _) => (["configuration", "process"], vec!["change"]),
        _ => (["configuration", "process"], vec!["info"]),
    };
    for (path, value) in [
        ("@timestamp", json!(fields.time.to_rfc3339())),
        ("event.created", json!(fields.observed.to_rfc3339())),
        ("ecs.version", json!("9.0.0")),
        ("event.kind", json!("event")),
        ("event.category", json!(category)),
        ("event.type", json!(kinds)),
        ("event.dataset", json!("scopewatch.events")),
        ("event.module", json!("scopewatch")),
        ("agent.type", json!("scopewatch")),
        ("message", json!(fields.message())),
    ] {
        put(&mut out, path, value);
    }
    Value::Object(out)
}

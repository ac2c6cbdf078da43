//! OCSF 1.8.0: API Activity (6003) for calls, Application Lifecycle (6002) and Application Error (6008)
//! for what the agent says of itself and of its policy. What the schema has no place for is in `unmapped`.

use serde_json::{Map, Value, json};

use crate::event::{
    mapping::fields::{Fields, put},
    model::Severity,
};

const VERSION: &str = "1.8.0";
/// Methods that `http_method` may have.
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The event's class, its activity, and the activity's name.
fn class(fields: &Fields<'_>) -> (u64, u64, &'static str) {
    match fields.kind {
        "access" | "access.begun" | "scope_check" => {
            let (id, name) = match fields.text("http.method") {
                Some("POST") => (1, "Create"),
                Some("GET" | "HEAD" | "QUERY") => (2, "Read"),
                Some("PUT" | "PATCH") => (3, "Update"),
                Some("DELETE") => (4, "Delete"),
                Some(_) => (99, "Other"),
                None => (0, "Unknown"),
            };
            (6003, id, name)
        }
        "agent.start" => (6002, 3, "Start"),
        "agent.stop" => (6002, 4, "Stop"),
        "agent.gap" | "policy.rejected" => (6008, 1, "General Error"),
        "agent.checkpoint" | "agent.health" | "policy.loaded" | "policy.changed" => {
            (6002, 8, "Update")
        }
        _ => (6003, 99, "Other"),
    }
}

const fn severity(severity: Severity) -> u64 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

/// The event in OCSF.
pub fn map(fields: &Fields<'_>) -> Value {
    let (class, activity, name) = class(fields);
    let mut out = Map::new();
    let mut unmapped = Map::new();
    for (row, value) in fields.rows() {
        let is_elsewhere =
            class != 6003 && !row.ocsf.starts_with("metadata.") && !row.ocsf.starts_with("device.");
        let is_unknown = row.field == "http.method"
            && !value.as_str().is_some_and(|method| METHODS.contains(&method));
        if row.ocsf.is_empty() || is_elsewhere || is_unknown {
            put(&mut unmapped, row.field, value.clone());
        } else {
            put(&mut out, row.ocsf, value.clone());
        }
    }
    for (path, value) in fields.rest() {
        put(&mut unmapped, &path, value.clone());
    }
    for (path, value) in [
        ("class_uid", json!(class)),
        ("category_uid", json!(6)),
        ("activity_id", json!(activity)),
        ("activity_name", json!(name)),
        ("type_uid", json!(class * 100 + activity)),
        ("severity_id", json!(severity(fields.severity))),
        ("time", json!(fields.time.as_millis())),
        ("message", json!(fields.message())),
        ("metadata.version", json!(VERSION)),
        ("metadata.product.name", json!("scopewatch")),
        ("metadata.product.vendor_name", json!("scopewatch")),
        ("metadata.logged_time", json!(fields.observed.as_millis())),
        ("device.type_id", json!(0)),
    ] {
        put(&mut out, path, value);
    }
    let mut profiles = vec!["host"];
    match class {
        6003 => access(fields, &mut out, &mut profiles),
        6002 => put(&mut out, "app", json!({"name": "scopewatch", "vendor_name": "scopewatch"})),
        _ => {}
    }
    put(&mut out, "metadata.profiles", json!(profiles));
    put(&mut out, "unmapped.scopewatch", Value::Object(unmapped));
    Value::Object(out)
}

/// What only an API activity has, and must have.
fn access(fields: &Fields<'_>, out: &mut Map<String, Value>, profiles: &mut Vec<&str>) {
    profiles.push("security_control");
    let method = fields.text("http.method").unwrap_or("?");
    let path = fields.text("http.path").unwrap_or("-");
    put(out, "api.operation", json!(format!("{method} {path}")));
    if !out.get("actor").is_some_and(Value::is_object) {
        put(out, "actor.app_name", json!("unknown"));
    }
    // An endpoint is nothing without a name for it, and the source must be there.
    if fields.value("client.ip").is_none() {
        put(out, "src_endpoint.name", json!("unknown"));
    }
    if fields.value("server.ip").is_none() && fields.value("server.host").is_none() {
        out.remove("dst_endpoint");
    }
    // The same for URLs without a path, and answers without a code.
    if fields.value("http.path").is_none()
        && let Some(Value::Object(request)) = out.get_mut("http_request")
    {
        request.remove("url");
    }
    if fields.status().is_none() {
        out.remove("http_response");
    }
    if fields.value("credential").is_some() {
        let id = fields.text("credential.jti").or_else(|| fields.text("credential.fp"));
        put(out, "api.token.type_id", json!(99));
        put(out, "api.token.type", json!("Access Token"));
        if let Some(id) = id {
            put(out, "api.token.uid", json!(id));
        }
    }
    if out.contains_key("trace") {
        profiles.push("trace");
    }
    if let Some(verdict) = fields.text("authz.verdict") {
        let mut authorization = Map::new();
        put(&mut authorization, "decision", json!(verdict));
        if let Some(id) = fields.text("authz.policy_id") {
            put(&mut authorization, "policy.uid", json!(id));
        }
        put(out, "actor.authorizations", json!([authorization]));
    }
    let (status, disposition) = match fields.status() {
        Some(..400) => (1, 1),
        Some(_) => (2, 2),
        None => (0, 0),
    };
    put(out, "status_id", json!(status));
    put(out, "action_id", json!(3));
    put(out, "disposition_id", json!(disposition));
}

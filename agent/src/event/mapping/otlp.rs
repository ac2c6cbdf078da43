//! OpenTelemetry: an event as a log record in `LogsData` of OTLP/JSON, as the file exporter has it.
//! What no convention names is an attribute `scopewatch.…`.

use serde_json::{Value, json};

use crate::event::{
    mapping::fields::{Fields, plain},
    model::Severity,
};

const fn severity(severity: Severity) -> u64 {
    match severity {
        Severity::Info => 9,
        Severity::Low => 10,
        Severity::Medium => 13,
        Severity::High => 17,
        Severity::Critical => 21,
    }
}

/// The event as one record of its resource.
pub fn map(fields: &Fields<'_>) -> Value {
    let (mut resource, mut attributes) =
        (vec![attribute("service.name", &json!("scopewatch"))], vec![]);
    for (row, value) in fields.rows() {
        let of_resource = row.field.starts_with("host.") || row.field.starts_with("agent.");
        let name = if row.otlp.is_empty() {
            format!("scopewatch.{}", row.field)
        } else {
            row.otlp.to_owned()
        };
        let list = if of_resource { &mut resource } else { &mut attributes };
        // Trace and span have members of their own.
        if !row.field.starts_with("trace.") {
            list.push(attribute(&name, value));
        }
    }
    let rest = fields.rest();
    attributes
        .extend(rest.iter().map(|(path, value)| attribute(&format!("scopewatch.{path}"), value)));
    let mut record = json!({
        "timeUnixNano": fields.time.0.to_string(),
        "observedTimeUnixNano": fields.observed.0.to_string(),
        "severityNumber": severity(fields.severity),
        "severityText": fields.severity.as_str(),
        "eventName": format!("scopewatch.{}", fields.kind),
        "body": {"stringValue": fields.message()},
        "attributes": attributes,
    });
    if let Value::Object(record) = &mut record {
        for (name, field) in [("traceId", "trace.trace_id"), ("spanId", "trace.span_id")] {
            if let Some(id) = fields.value(field) {
                record.insert(name.to_owned(), id.clone());
            }
        }
    }
    let scope = json!({"name": "scopewatch", "version": env!("CARGO_PKG_VERSION")});
    json!({"resourceLogs": [{
        "resource": {"attributes": resource},
        "scopeLogs": [{"scope": scope, "logRecords": [record]}],
    }]})
}

fn attribute(key: &str, value: &Value) -> Value {
    json!({"key": key, "value": any_value(value)})
}

/// An `AnyValue`: 64-bit integers are strings in OTLP/JSON.
fn any_value(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Number(number) if number.as_i64().is_some() => {
            json!({"intValue": number.to_string()})
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(any_value).collect();
            json!({"arrayValue": {"values": values}})
        }
        other => json!({"stringValue": plain(other)}),
    }
}

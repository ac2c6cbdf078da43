//! OpenTelemetry: an event as a log record and the resource that it is of ([`Item`]), from which both
//! encodings are made, protobuf ([`message`]) and JSON ([`json`]). What no convention names is an
//! attribute `scopewatch.…`.

pub mod json;
pub mod message;

use serde_json::Value;

use self::message::{
    AnyValue, AnyValueKind, ArrayValue, KeyValue, LogRecord, Logs, Resource, ResourceLogs, Scope,
    ScopeLogs,
};
use crate::event::{
    mapping::fields::{Fields, plain},
    model::Severity,
};

const fn severity(severity: Severity) -> i32 {
    match severity {
        Severity::Info => 9,
        Severity::Low => 10,
        Severity::Medium => 13,
        Severity::High => 17,
        Severity::Critical => 21,
    }
}

/// An event as OpenTelemetry has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Where it is from.
    pub resource: Resource,
    /// What happened.
    pub record: LogRecord,
}

impl Item {
    /// `None` if `event` lacks what every event has.
    #[must_use]
    pub fn of(event: &Value) -> Option<Self> {
        Fields::of(event).map(|fields| item(&fields))
    }
}

/// The event as one record of its resource, as the file exporter of the Collector has it.
pub fn map(fields: &Fields<'_>) -> Value {
    json::logs(&gathered([item(fields)]))
}

/// Items as one message, in their order: those that follow each other from one resource are together.
pub fn gathered(items: impl IntoIterator<Item = Item>) -> Logs {
    let mut all: Vec<ResourceLogs> = Vec::new();
    for Item { resource, record } in items {
        let last = all.last_mut().filter(|last| last.resource.as_ref() == Some(&resource));
        match last.and_then(|last| last.scope_logs.last_mut()) {
            Some(scope) => scope.log_records.push(record),
            None => {
                let name = "scopewatch".to_owned();
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let scope = Some(Scope { name, version });
                let scope_logs = vec![ScopeLogs { scope, log_records: vec![record] }];
                all.push(ResourceLogs { resource: Some(resource), scope_logs });
            }
        }
    }
    Logs { resource_logs: all }
}

fn item(fields: &Fields<'_>) -> Item {
    let mut resource = vec![pair("service.name", AnyValueKind::String("scopewatch".to_owned()))];
    let mut attributes = vec![];
    for (row, value) in fields.rows() {
        let of_resource = row.field.starts_with("host.") || row.field.starts_with("agent.");
        let list = if of_resource { &mut resource } else { &mut attributes };
        // Trace and span have members of their own.
        if row.field.starts_with("trace.") {
            continue;
        }
        if row.otlp.is_empty() {
            list.push(pair(&format!("scopewatch.{}", row.field), kind(value)));
        } else {
            list.push(pair(row.otlp, kind(value)));
        }
    }
    for (path, value) in fields.rest() {
        attributes.push(pair(&format!("scopewatch.{path}"), kind(value)));
    }
    let id = |field, length| fields.text(field).and_then(unhex).filter(|id| id.len() == length);
    let record = LogRecord {
        time_unix_nano: fields.time.0,
        severity_number: severity(fields.severity),
        severity_text: fields.severity.as_str().to_owned(),
        body: Some(any(AnyValueKind::String(fields.message()))),
        attributes,
        trace_id: id("trace.trace_id", 16).unwrap_or_default(),
        span_id: id("trace.span_id", 8).unwrap_or_default(),
        observed_time_unix_nano: fields.observed.0,
        event_name: format!("scopewatch.{}", fields.kind),
    };
    Item { resource: Resource { attributes: resource }, record }
}

/// An attribute.
pub fn pair(key: &str, value: AnyValueKind) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)) }
}

const fn any(value: AnyValueKind) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn kind(value: &Value) -> AnyValueKind {
    match value {
        Value::Bool(value) => AnyValueKind::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => AnyValueKind::Int(number),
            // Beyond 63 bits a text is exact, and a double is not.
            (None, Some(number)) if !value.is_u64() => AnyValueKind::Double(number),
            _ => AnyValueKind::String(plain(value)),
        },
        Value::Array(values) => {
            AnyValueKind::Array(ArrayValue { values: values.iter().map(kind).map(any).collect() })
        }
        other => AnyValueKind::String(plain(other)),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests;

//! OTLP/JSON: names in lowerCamelCase, ids in hexadecimal, 64-bit integers as text, enumerations as
//! numbers, and no member for what is not there.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::event::mapping::otlp::message::{
    AnyValue, AnyValueKind, KeyValue, LogRecord, Logs, Resource, ResourceLogs, Scope, ScopeLogs,
};

/// A request, or a line of a file.
#[must_use]
pub fn logs(logs: &Logs) -> Value {
    let Logs { resource_logs } = logs;
    json!({"resourceLogs": resource_logs.iter().map(of_resource).collect::<Vec<_>>()})
}

fn of_resource(logs: &ResourceLogs) -> Value {
    let ResourceLogs { resource, scope_logs } = logs;
    let mut out = Map::new();
    if let Some(Resource { attributes }) = resource {
        out.insert("resource".into(), json!({"attributes": pairs(attributes)}));
    }
    out.insert("scopeLogs".into(), scope_logs.iter().map(of_scope).collect());
    Value::Object(out)
}

fn of_scope(logs: &ScopeLogs) -> Value {
    let ScopeLogs { scope, log_records } = logs;
    let mut out = Map::new();
    if let Some(Scope { name, version }) = scope {
        out.insert("scope".into(), json!({"name": name, "version": version}));
    }
    out.insert("logRecords".into(), log_records.iter().map(record).collect());
    Value::Object(out)
}

fn record(record: &LogRecord) -> Value {
    let LogRecord {
        time_unix_nano,
        severity_number,
        severity_text,
        body,
        attributes,
        trace_id,
        span_id,
        observed_time_unix_nano,
        event_name,
    } = record;
    let mut out = Map::new();
    out.insert("timeUnixNano".into(), time_unix_nano.to_string().into());
    out.insert("observedTimeUnixNano".into(), observed_time_unix_nano.to_string().into());
    out.insert("severityNumber".into(), (*severity_number).into());
    out.insert("severityText".into(), severity_text.clone().into());
    out.insert("eventName".into(), event_name.clone().into());
    out.insert("attributes".into(), pairs(attributes));
    if let Some(body) = body {
        out.insert("body".into(), any(body));
    }
    for (name, id) in [("traceId", trace_id), ("spanId", span_id)] {
        if !id.is_empty() {
            out.insert(name.into(), hex(id).into());
        }
    }
    Value::Object(out)
}

fn pairs(pairs: &[KeyValue]) -> Value {
    let pair = |KeyValue { key, value }: &KeyValue| {
        let value = value.as_ref().map_or_else(|| json!({}), any);
        json!({"key": key, "value": value})
    };
    pairs.iter().map(pair).collect()
}

fn any(AnyValue { value }: &AnyValue) -> Value {
    match value {
        None => json!({}),
        Some(AnyValueKind::String(text)) => json!({"stringValue": text}),
        Some(AnyValueKind::Bool(value)) => json!({"boolValue": value}),
        Some(AnyValueKind::Int(number)) => json!({"intValue": number.to_string()}),
        Some(AnyValueKind::Double(number)) => json!({"doubleValue": number}),
        Some(AnyValueKind::Array(list)) => {
            json!({"arrayValue": {"values": list.values.iter().map(any).collect::<Vec<_>>()}})
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

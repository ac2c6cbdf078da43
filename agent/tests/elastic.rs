//! Elasticsearch's mappings of events, below `packaging/siem/elastic`: they are made from the tables of
//! fields, and every value of every type of event is of the type that they say.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf};

use scopewatch::{
    clock::Timestamp,
    event::{
        docs,
        mapping::{Format, table::ROWS},
    },
};
use serde_json::{Map, Value, json};

const EVENTS: &str = include_str!("../../tests/corpora/events/every_type.jsonl");

/// Fields that `event/mapping/ecs.rs` adds, with their types in ECS.
const ADDED_BY_ECS: &[(&str, &str)] = &[
    ("@timestamp", "date"),
    ("agent.type", "keyword"),
    ("ecs.version", "keyword"),
    ("event.category", "keyword"),
    ("event.created", "date"),
    ("event.dataset", "keyword"),
    ("event.kind", "keyword"),
    ("event.module", "keyword"),
    ("event.type", "keyword"),
    ("message", "match_only_text"),
];

/// Fields that ECS has another type for than their values would suggest.
const WISHED_BY_ECS: &[(&str, &str)] = &[("url.path", "wildcard")];

/// Default limit of an index (`index.mapping.total_fields.limit`).
const MAX_FIELDS: usize = 1000;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/siem/elastic").join(name)
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(path(name)).expect("the file is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The type of a field by that of its value. What only some readers need to the nanosecond is a
/// `date`, as ECS has it.
fn type_of(rust_type: &str, date: &'static str) -> &'static str {
    match rust_type {
        "u16" | "u32" | "u64" | "i64" => "long",
        "bool" => "boolean",
        "IpAddr" => "ip",
        "Time" => date,
        _ => "keyword",
    }
}

/// Types by path, of events as they are.
fn native() -> BTreeMap<String, &'static str> {
    let mut types: BTreeMap<_, _> = docs::fields()
        .map(|(path, field)| (path, type_of(field.rust_type, "date_nanos")))
        .collect();
    // A data stream wants it; the pipeline sets it.
    types.insert("@timestamp".to_owned(), "date");
    types
}

/// Types by path, of events in ECS.
fn ecs() -> BTreeMap<String, &'static str> {
    let place = |path: String| {
        let row = ROWS.iter().find(|row| row.field == path && !row.ecs.is_empty());
        row.map_or_else(|| format!("scopewatch.{path}"), |row| row.ecs.to_owned())
    };
    // Their places are those of the envelope.
    let known = ["event.time", "event.observed_time"];
    let fields = docs::fields().filter(|(path, _)| !known.contains(&path.as_str()));
    let types = fields.map(|(path, field)| (place(path), type_of(field.rust_type, "date")));
    let more = ADDED_BY_ECS.iter().chain(WISHED_BY_ECS);
    types.chain(more.map(|(path, kind)| ((*path).to_owned(), *kind))).collect()
}

/// A component template of these types.
fn component(types: &BTreeMap<String, &str>, what: &str) -> Value {
    let mut properties = Map::new();
    for (path, kind) in types {
        put(&mut properties, path, kind);
    }
    json!({
        "template": {"mappings": {
            // A newer agent's fields are found too, as words.
            "dynamic_templates": [{"words": {
                "match_mapping_type": "string",
                "mapping": {"type": "keyword", "ignore_above": 1024},
            }}],
            "date_detection": false,
            "properties": properties,
        }},
        "_meta": {"description": what, "managed_by": "scopewatch"},
    })
}

fn put(properties: &mut Map<String, Value>, path: &str, kind: &str) {
    match path.split_once('.') {
        None => {
            let mapping = match kind {
                "keyword" => json!({"type": kind, "ignore_above": 1024}),
                _ => json!({"type": kind}),
            };
            properties.insert(path.to_owned(), mapping);
        }
        Some((name, rest)) => {
            let inner = properties.entry(name).or_insert_with(|| json!({"properties": {}}));
            let inner = inner.pointer_mut("/properties").and_then(Value::as_object_mut);
            put(inner.expect("a field is either a value or an object"), rest, kind);
        }
    }
}

/// Types by path, as the file has them.
fn mapped(name: &str) -> BTreeMap<String, String> {
    fn collect(properties: &Value, path: &str, into: &mut BTreeMap<String, String>) {
        for (name, field) in properties.as_object().into_iter().flatten() {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{name}");
            if let Some(kind) = field.get("type").and_then(Value::as_str) {
                into.insert(path.clone(), kind.to_owned());
            }
            collect(field.get("properties").unwrap_or(&Value::Null), &path, into);
        }
    }
    let mut types = BTreeMap::new();
    let file = read(name);
    collect(file.pointer("/template/mappings/properties").expect("mappings"), "", &mut types);
    types
}

/// `UPDATE_DOCS=1 cargo test` writes the files anew.
#[test]
fn the_mappings_are_those_of_the_tables() {
    for (name, types, what) in [
        ("component-ecs.json", ecs(), "Events of scopewatch in the Elastic Common Schema 9"),
        ("component-native.json", native(), "Events of scopewatch as they are"),
    ] {
        let made = component(&types, what);
        let text = serde_json::to_string_pretty(&made).expect("it is JSON") + "\n";
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path(name), &text).expect("packaging/ is writable");
        }
        let is_current = fs::read_to_string(path(name)).is_ok_and(|file| file == text);
        assert!(is_current, "{name} is not current: run with UPDATE_DOCS=1");
        assert!(types.len() < MAX_FIELDS, "{name}: {} fields", types.len());
    }
}

/// Whether Elasticsearch takes `value` for a field of type `kind` without guessing.
fn fits(kind: &str, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Array(values)) => values.iter().all(|value| fits(kind, value)),
        ("keyword" | "match_only_text" | "wildcard", Value::String(_))
        | ("boolean", Value::Bool(_)) => true,
        ("long", Value::Number(number)) => number.is_i64(),
        ("date" | "date_nanos", Value::String(text)) => Timestamp::from_rfc3339(text).is_some(),
        ("ip", Value::String(text)) => text.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

/// Every value, by its path; those of objects in a list have the same one.
fn values<'a>(path: &str, value: &'a Value, into: &mut Vec<(String, &'a Value)>) {
    let dot = if path.is_empty() { "" } else { "." };
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| values(&format!("{path}{dot}{name}"), value, into)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| values(path, item, into));
        }
        _ => into.push((path.to_owned(), value)),
    }
}

#[test]
fn every_value_of_every_event_has_a_type_and_is_of_it() {
    for (name, format) in
        [("component-native.json", Format::Json), ("component-ecs.json", Format::Ecs)]
    {
        let types = mapped(name);
        for event in EVENTS.lines() {
            let mut text = Vec::new();
            assert!(format.append(event.as_bytes(), &mut text), "{event}");
            let event: Value = serde_json::from_slice(&text).expect("JSON");
            let mut found = Vec::new();
            values("", &event, &mut found);
            for (path, value) in found {
                let kind = types.get(&path);
                assert!(
                    kind.is_some_and(|kind| fits(kind, value)),
                    "{name}: {path} {kind:?}: {value}"
                );
            }
        }
    }
}

#[test]
fn a_value_of_another_type_does_not_fit() {
    for (kind, value) in [
        ("long", json!("812")),
        ("long", json!(1.5)),
        ("keyword", json!(812)),
        ("ip", json!("localhost")),
        ("date", json!(1_795_341_871)),
        ("date", json!("yesterday")),
        ("boolean", json!("true")),
        ("keyword", json!(["a", 1])),
    ] {
        assert!(!fits(kind, &value), "{value} is no {kind}");
    }
}

#[test]
fn templates_are_composed_of_what_is_there() {
    for (kind, stream) in
        [("ecs", "logs-scopewatch.events-*"), ("native", "logs-scopewatch.native-*")]
    {
        let template = read(&format!("index-template-{kind}.json"));
        assert_eq!(template.get("index_patterns"), Some(&json!([stream])), "{kind}");
        assert_eq!(template.get("data_stream"), Some(&json!({})), "{kind}");
        let composed = json!([format!("scopewatch-{kind}@mappings")]);
        assert_eq!(template.get("composed_of"), Some(&composed), "{kind}");
        // Elastic's own templates for logs-*-* have 100.
        assert!(
            template.get("priority").and_then(Value::as_u64).is_some_and(|it| it > 100),
            "{kind}"
        );
        let pipeline = template.pointer("/template/settings/index.default_pipeline");
        assert_eq!(pipeline, Some(&json!(format!("scopewatch-{kind}"))), "{kind}");
        // What the pipeline reads is a field of the events, and none is overwritten.
        let types = mapped(&format!("component-{kind}.json"));
        let pipeline = read(&format!("pipeline-{kind}.json"));
        let steps = pipeline.get("processors").and_then(Value::as_array).expect("processors");
        for set in steps.iter().map(|step| step.get("set").expect("only `set`")) {
            let text = |name: &str| set.get(name).and_then(Value::as_str);
            let template = text("value").map(|it| it.trim_matches(['{', '}']));
            let from = text("copy_from").or(template).expect("a source");
            assert!(types.contains_key(from), "{kind}: {from}");
            assert!(["_id", "@timestamp"].contains(&text("field").expect("a field")), "{kind}");
        }
    }
}

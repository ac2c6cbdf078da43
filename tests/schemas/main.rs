//! Events of every type, mapped, and read by others: OCSF and ECS by their published schemas, CEF by
//! another's parser, canonical JSON by another's implementation; LEEF by what its guide says, and lines by
//! the expressions of `packaging/siem/splunk`.
//!
//! In: `tests/corpora/events/every_type.jsonl`, which the agent's own tests keep current. Out: what
//! packages for Python and Node that `cargo xtask setup` installed have to say of it.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod splunk;

use std::process::Command;

use scopewatch::{event::mapping::Format, integrity::canonical};
use scopewatch_harness::{child, oauth};
use serde_json::{Value, json};

const EVENTS: &str = include_str!("../corpora/events/every_type.jsonl");
const CHECK: &str = concat!(include_str!("values.py"), include_str!("check.py"));
const TEMPLATE: &str = include_str!("../../packaging/siem/elastic/component-ecs.json");

/// All events in a format, a line each.
fn mapped(format: Format) -> String {
    let mut lines = Vec::new();
    let mut events = EVENTS.lines().map(str::as_bytes);
    let (_, refused) = format.append_lines(&mut events, &mut lines);
    assert!(!refused, "every event has a form in {format:?}");
    String::from_utf8(lines).unwrap()
}

/// The fields of ECS, by their paths, as its publisher has them.
fn schema_of_ecs() -> Value {
    let print = "console.log(JSON.stringify(require('@elastic/ecs').EcsFlat))";
    let mut node = Command::new("node");
    let said = child::checked(node.args(["-e", print]).current_dir(oauth::node_dir()), b"");
    let said = said.expect("packages of the peers: run `cargo xtask setup`");
    serde_json::from_slice(&said).unwrap()
}

/// What the script prints about `given`.
fn check(given: &Value) -> Vec<String> {
    python(CHECK, given)
}

fn python(script: &str, given: &Value) -> Vec<String> {
    let mut python = Command::new(oauth::python_dir().join("bin/python"));
    let said = child::checked(python.arg("-c").arg(script), given.to_string().as_bytes());
    let said = said.expect("packages of the peers: run `cargo xtask setup`");
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}

#[test]
fn every_event_is_valid_in_every_schema() {
    let (count, schema) = (EVENTS.lines().count(), schema_of_ecs());
    for (name, format) in
        [("ocsf", Format::Ocsf), ("ecs", Format::Ecs), ("cef", Format::Cef), ("leef", Format::Leef)]
    {
        let said = check(&json!({"native": EVENTS, "schema": schema, name: mapped(format)}));
        assert_eq!(said, [format!("looked at {{\"{name}\": {count}}}")], "{}", said.join("\n"));
    }
}

#[test]
fn the_validators_see_what_is_wrong() {
    let schema = schema_of_ecs();
    let broken = |name: &str, format, from: &str, to: &str| {
        let text = mapped(format);
        assert!(text.contains(from), "{name} has no {from}");
        let broken = text.replace(from, to);
        let said = check(&json!({"native": EVENTS, "schema": schema, name: broken}));
        assert!(said.len() > 1, "{name}: {to} passes");
    };
    broken("ocsf", Format::Ocsf, "\"activity_id\":", "\"activity\":");
    broken("ocsf", Format::Ocsf, "\"src_endpoint\":", "\"src_end\":");
    broken("ecs", Format::Ecs, "\"kind\":\"event\"", "\"kind\":\"thing\"");
    broken("ecs", Format::Ecs, "\"pid\":812", "\"pid\":\"812\"");
    broken("ecs", Format::Ecs, "[\"api\",\"web\"]", "\"api\"");
    broken("ecs", Format::Ecs, "[\"access\",\"allowed\"]", "[\"group\"]");
    broken("ecs", Format::Ecs, "\"sequence\":", "\"position\":");
    broken("cef", Format::Cef, "src=192.0.2.44", "src=192.0.2.45");
    broken("leef", Format::Leef, "src=192.0.2.44", "source=192.0.2.44");
}

#[test]
fn the_mappings_for_elasticsearch_are_those_of_ecs() {
    fn collect(properties: &Value, path: &str, into: &mut Vec<(String, Value)>) {
        for (name, field) in properties.as_object().into_iter().flatten() {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{name}");
            into.extend(field.get("type").map(|kind| (path.clone(), kind.clone())));
            collect(field.get("properties").unwrap_or(&Value::Null), &path, into);
        }
    }
    let template: Value = serde_json::from_str(TEMPLATE).unwrap();
    let mut fields = Vec::new();
    collect(template.pointer("/template/mappings/properties").unwrap(), "", &mut fields);
    let schema = schema_of_ecs();
    let of_ecs = fields.iter().filter(|(path, _)| !path.starts_with("scopewatch."));
    let mut count = 0;
    for (path, kind) in of_ecs {
        let known = schema.get(path).and_then(|field| field.get("type"));
        assert!(known == Some(kind), "{path} is {kind}, in ECS {known:?}");
        count += 1;
    }
    assert!(count > 40, "{count} of {}", fields.len());
}

#[test]
fn canonical_json_is_what_others_make_of_it() {
    let odd = [
        r#"{"b":1,"a":[true,null,{}],"\u20ac":"\u20ac","\r":1,"1":2,"\ud83d\ude00":3,"\ufb33":4}"#,
        // Other ways to write a number are refused, so that nobody can change digits that do not count.
        r#"{"n":[0.000001,1e-7,1e+21,333333333.3333333,4.5,0,1e+30,0.002,5e-324,-1.5]}"#,
        r#"{"s":"\u000f\n\"\\\/\u0080\u2028<>&\u007f"}"#,
        r#"{"big":9007199254740991,"small":-9007199254740991,"e":990000000000000}"#,
    ];
    let mut lines = String::new();
    for text in EVENTS.lines().chain(odd) {
        let mut ours = Vec::new();
        canonical::append(text, "integrity", &mut ours).unwrap();
        let ours = String::from_utf8(ours).unwrap();
        lines.push_str(&json!([text, ours]).to_string());
        lines.push('\n');
    }
    let count = EVENTS.lines().count() + odd.len();
    let said = check(&json!({"native": EVENTS, "canonical": lines}));
    assert_eq!(said, [format!("looked at {{\"canonical\": {count}}}")], "{}", said.join("\n"));
}

//! Events of every type, mapped, and read by others: OCSF by its published schema, CEF by another's
//! parser, canonical JSON by another's implementation; ECS and LEEF by what their guides say.
//!
//! In: `tests/corpora/events/every_type.jsonl`, which the agent's own tests keep current. Out: what
//! Python packages that `cargo xtask setup` installed have to say of it.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::process::Command;

use scopewatch::{event::mapping::Format, integrity::canonical};
use scopewatch_harness::{child, oauth};
use serde_json::json;

const EVENTS: &str = include_str!("../corpora/events/every_type.jsonl");
const CHECK: &str = include_str!("check.py");

/// All events in a format, a line each.
fn mapped(format: Format) -> String {
    let mut lines = Vec::new();
    let mut events = EVENTS.lines().map(str::as_bytes);
    let (_, refused) = format.append_lines(&mut events, &mut lines);
    assert!(!refused, "every event has a form in {format:?}");
    String::from_utf8(lines).unwrap()
}

/// What the script prints about `given`.
fn check(given: &serde_json::Value) -> Vec<String> {
    let mut python = Command::new(oauth::python_dir().join("bin/python"));
    let said = child::checked(python.arg("-c").arg(CHECK), given.to_string().as_bytes());
    let said = said.expect("packages of the peers: run `cargo xtask setup`");
    String::from_utf8_lossy(&said).lines().map(str::to_owned).collect()
}

#[test]
fn every_event_is_valid_in_every_schema() {
    let count = EVENTS.lines().count();
    for (name, format) in
        [("ocsf", Format::Ocsf), ("ecs", Format::Ecs), ("cef", Format::Cef), ("leef", Format::Leef)]
    {
        let said = check(&json!({"native": EVENTS, name: mapped(format)}));
        assert_eq!(said, [format!("looked at {{\"{name}\": {count}}}")], "{}", said.join("\n"));
    }
}

#[test]
fn the_validators_see_what_is_wrong() {
    let broken = |name: &str, format, from: &str, to: &str| {
        let text = mapped(format);
        assert!(text.contains(from), "{name} has no {from}");
        let said = check(&json!({"native": EVENTS, name: text.replace(from, to)}));
        assert!(said.len() > 1, "{name}: {to} passes");
    };
    broken("ocsf", Format::Ocsf, "\"activity_id\":", "\"activity\":");
    broken("ocsf", Format::Ocsf, "\"src_endpoint\":", "\"src_end\":");
    broken("ecs", Format::Ecs, "\"kind\":\"event\"", "\"kind\":\"thing\"");
    broken("ecs", Format::Ecs, "\"pid\":812", "\"pid\":\"812\"");
    broken("cef", Format::Cef, "src=192.0.2.44", "src=192.0.2.45");
    broken("leef", Format::Leef, "src=192.0.2.44", "source=192.0.2.44");
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

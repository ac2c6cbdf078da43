//! Source types for Splunk: every line is an event, its time is the event's, and the fields are what
//! was sent, also where somebody put what looks like fields into a request.

use std::fs;

use scopewatch::event::mapping::{
    Format,
    syslog::{self, Payload, Sender},
    table::{ROWS, Row},
};
use serde_json::{Value, json};

use crate::{EVENTS, mapped, python};

const PROPS: &str = include_str!("../../packaging/siem/splunk/props.conf");
const TRANSFORMS: &str = include_str!("../../packaging/siem/splunk/transforms.conf");
const CHECK: &str = concat!(include_str!("values.py"), include_str!("splunk.py"));

/// Fields that a sender chooses.
const TOLD_BY_SENDERS: [&str; 3] = ["/client/ua", "/identity/client_id", "/http/path"];

/// Events of every type, and some of senders who know the formats.
fn events() -> String {
    let whole = EVENTS.lines().next().unwrap();
    let first: Value = serde_json::from_str(whole).unwrap();
    let mut text = EVENTS.to_owned();
    for value in [
        "x\" sub=\"evil\" ] [scopewatch@32473 sub=\"evil\"]",
        "x suid=evil rt=1 |rt=1000000000000 \\| \\= \\",
        "a=b|c \\suid=evil\\=",
        "} {\"event\":{\"time\":\"1999-01-01T00:00:00.000000Z\"",
    ] {
        let mut event = first.clone();
        for pointer in TOLD_BY_SENDERS {
            *event.pointer_mut(pointer).unwrap() = value.into();
        }
        // As the agent writes it: serde_json would sort the members.
        let mut line = whole.to_owned();
        for pointer in TOLD_BY_SENDERS {
            let name = pointer.rsplit('/').next().unwrap();
            let [old, new] =
                [&first, &event].map(|it| format!("\"{name}\":{}", it.pointer(pointer).unwrap()));
            assert!(line.contains(&old), "{old}");
            line = line.replace(&old, &new);
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn lines(events: &str, format: Format) -> String {
    let mut lines = Vec::new();
    let (_, refused) = format.append_lines(&mut events.lines().map(str::as_bytes), &mut lines);
    assert!(!refused, "every event has a form in {format:?}");
    String::from_utf8(lines).unwrap()
}

/// CEF behind a header of syslog, as the sink sends it.
fn sent(events: &str) -> String {
    let message = |event: &str| {
        syslog::message(event.as_bytes(), Payload::Cef, &Sender::default(), 8192).unwrap() + "\r\n"
    };
    events.lines().map(message).collect()
}

/// Fields and the names that a format has for them.
fn names(of: impl Fn(&Row) -> &'static str) -> Vec<(&'static str, &'static str)> {
    let rows = ROWS.iter().map(|row| (row.field, of(row)));
    rows.filter(|(_, name)| !name.is_empty()).collect()
}

fn read_by(props: &str, transforms: &str, events: &str, cef: &str) -> Vec<String> {
    let natives: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let aliases = [
        ("identity.client_id", "client_id"),
        ("credential.fp", "token_fingerprint"),
        ("authz.scopes", "scopes"),
        ("token.iss", "issuer"),
        ("token.state", "token_state"),
        ("http.status", "http_status"),
    ];
    let cef_names = [names(|row| row.cef), aliases.to_vec()].concat();
    let given = json!({"props": props, "transforms": transforms, "types": {
        "scopewatch:json": [events, natives, []],
        "scopewatch:syslog": [lines(events, Format::Syslog), natives, names(|row| row.syslog)],
        "scopewatch:cef": [cef, natives, cef_names],
    }});
    python(CHECK, &given)
}

#[test]
fn splunk_has_every_event_with_its_time_and_its_fields() {
    let events = events();
    let count = events.lines().count();
    let each = format!(
        "looked at {{\"scopewatch:cef\": {count}, \"scopewatch:json\": {count}, \"scopewatch:syslog\": {count}}}"
    );
    for cef in [lines(&events, Format::Cef), sent(&events)] {
        let said = read_by(PROPS, TRANSFORMS, &events, &cef);
        assert_eq!(said, [each.as_str()], "{}", said.join("\n"));
    }
}

#[test]
fn what_splunk_would_get_wrong_is_seen() {
    let cef = mapped(Format::Cef);
    for (from, to) in [
        ("TRUNCATE = 0", "TRUNCATE = 10000"),
        ("\"event\":\\{", "\"agent\":\\{"),
        ("MAX_TIMESTAMP_LOOKAHEAD = 13", "MAX_TIMESTAMP_LOOKAHEAD = 10"),
        ("scopewatch_cef_header, ", ""),
        ("cs1 AS client_id", "cs2 AS client_id"),
    ] {
        assert!(PROPS.contains(from), "{from}");
        let said = read_by(&PROPS.replace(from, to), TRANSFORMS, EVENTS, &cef);
        assert!(said.len() > 1, "{to} passes");
    }
    let from = "\"((?:[^\"\\\\]|\\\\.)*)\"\nFORMAT = $1::$2";
    assert!(TRANSFORMS.contains(from));
    let (events, careless) = (events(), TRANSFORMS.replace(from, "\"([^\"]*)\"\nFORMAT = $1::$2"));
    let said = read_by(PROPS, &careless, &events, &lines(&events, Format::Cef));
    assert!(said.len() > 1, "an escape is not minded");
}

#[test]
fn the_readme_names_every_source_type() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/siem/splunk/README.md");
    let readme = fs::read_to_string(path).unwrap();
    for line in PROPS.lines().filter(|line| line.starts_with('[')) {
        assert!(readme.contains(line.trim_matches(['[', ']'])), "{line}");
    }
}

//! Every format: golden bytes, and what is escaped can be read back.

use std::collections::BTreeSet;

use clap::ValueEnum as _;
use proptest::{prelude::any, proptest};
use serde_json::{Value, json};

use super::{Format, pairs::MAX_LINE, table::ROWS};
use crate::integrity::verify::Verifier;

/// An event as the spool has it.
pub fn event() -> Value {
    json!({
        "event": {"uid": "01KAXQ0000000000000000000A", "type": "access", "schema": "1",
            "time": "2026-11-22T10:04:31.118204Z", "observed_time": "2026-11-22T10:04:31.121204Z",
            "seq": 42, "severity": "info", "outcome": "success"},
        "host": {"id": "8f4e", "name": "h7", "boot_id": "2f1c"},
        "agent": {"version": "0.1.0"},
        "process": {"pid": 812, "comm": "orders", "exe": "/usr/bin/orders"},
        "observation": {"role": "server", "complete": true, "conn_id": "000000000000c0de",
            "notes": ["upgraded"]},
        "authz": {"server_outcome": "allowed", "scopes": ["orders:read", "refunds:write"]},
        "client": {"ip": "192.0.2.44", "port": 51000, "ua": "a\"b|c=d]\\e"},
        "server": {"host": "api.example.com", "ip": "198.51.100.7", "port": 443},
        "http": {"method": "POST", "path": "/v1/refunds/{int}", "status": 201, "req_bytes": 12},
        "trace": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"},
        "credential": {"fp": "JV_FuX74lUCZgqvsrOJei4", "jti": "9f2c"},
        "token": {"iss": "https://sso.example.net/realms/corp", "state": "active"},
        "identity": {"subject": "f1c4", "client_id": "web", "evidence": "asserted"},
        "integrity": {"chain": "h7/01KAXQ", "seq": 0,
            "prev": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"},
    })
}

fn mapped(format: Format, event: &Value) -> String {
    let mut out = Vec::new();
    assert!(format.append(event.to_string().as_bytes(), &mut out), "{format:?}");
    String::from_utf8(out).unwrap()
}

/// Readable, and the same on every run.
fn shown(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
        Err(_) => text.to_owned(),
    }
}

#[test]
fn every_format_has_these_bytes() {
    for format in Format::value_variants() {
        let name = format!("mapped_{}", format!("{format:?}").to_lowercase());
        insta::assert_snapshot!(name, shown(&mapped(*format, &event())));
    }
}

#[test]
fn what_is_no_event_has_no_form() {
    for format in Format::value_variants().iter().filter(|format| **format != Format::Json) {
        for not_one in ["", "{}", "[1]", r#"{"event":{"type":"access"}}"#] {
            assert!(!format.append(not_one.as_bytes(), &mut Vec::new()), "{format:?} {not_one}");
        }
    }
}

#[test]
fn every_format_keeps_its_place_in_the_chain() {
    for format in Format::value_variants().iter().filter(|format| **format != Format::Json) {
        let mut verifier = Verifier::default();
        verifier.line(mapped(*format, &event()).as_bytes());
        let report = verifier.conclude();
        assert_eq!(report.chains.len(), 1, "{format:?}: {report}");
        let chain = &report.chains[0];
        assert_eq!((chain.name.as_str(), chain.mapped), ("h7/01KAXQ", 1), "{format:?}");
    }
}

#[test]
fn names_are_valid_and_used_once() {
    for column in [
        ROWS.iter().map(|row| row.field).collect::<Vec<_>>(),
        ROWS.iter().map(|row| row.ocsf).collect(),
        ROWS.iter().map(|row| row.ecs).collect(),
        ROWS.iter().map(|row| row.otlp).collect(),
        ROWS.iter().map(|row| row.syslog).collect(),
        ROWS.iter().map(|row| row.cef).collect(),
        ROWS.iter().map(|row| row.leef).collect(),
    ] {
        let names: Vec<_> = column.into_iter().filter(|name| !name.is_empty()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
    for row in ROWS {
        assert!(row.syslog.len() <= 32 && !row.syslog.contains(['=', ' ', ']', '"']));
        assert!(row.cef.chars().all(char::is_alphanumeric), "{}", row.cef);
    }
}

/// The values of a line of structured data, read as RFC 5424 §6.3.3 says.
fn read_structured(line: &str) -> Vec<(String, String)> {
    let (_, structured) = line.split_once('[').unwrap();
    let mut chars = structured.chars().skip_while(|c| *c != ' ').peekable();
    let mut pairs = Vec::new();
    while chars.next_if_eq(&' ').is_some() {
        let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
        assert_eq!(chars.next(), Some('"'));
        let mut value = String::new();
        loop {
            match chars.next().unwrap() {
                '"' => break,
                '\\' => value.push(chars.next().unwrap()),
                ']' => panic!("an unescaped bracket in {line}"),
                c => value.push(c),
            }
        }
        pairs.push((name, value));
    }
    assert_eq!(chars.next(), Some(']'));
    pairs
}

/// The values of a CEF extension: ` key=` begins the next one.
pub fn read_cef(line: &str) -> Vec<(String, String)> {
    let chars: Vec<char> = line.chars().collect();
    let (mut at, mut bars) = (0, 0);
    while bars < 7 {
        match chars[at] {
            '\\' => at += 1,
            '|' => bars += 1,
            _ => {}
        }
        at += 1;
    }
    let (mut pairs, mut word): (Vec<(String, String)>, String) = (Vec::new(), String::new());
    while at < chars.len() {
        match chars[at] {
            '\\' => {
                at += 1;
                word.push(match chars[at] {
                    'n' => '\n',
                    'r' => '\r',
                    c => c,
                });
            }
            '=' => {
                let (value, key) = word.rsplit_once(' ').unwrap_or(("", &word));
                if let Some(last) = pairs.last_mut() {
                    last.1 = value.to_owned();
                }
                pairs.push((key.to_owned(), String::new()));
                word.clear();
            }
            c => word.push(c),
        }
        at += 1;
    }
    pairs.last_mut().unwrap().1 = word;
    pairs
}

proptest! {
    #[test]
    fn hostile_text_stays_in_its_field(agent in any::<String>(), path in "[ -~\\n\\t]{0,60}") {
        let mut event = event();
        event["client"]["ua"] = json!(agent);
        event["http"]["path"] = json!(path);
        let clean = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
        };
        for format in Format::value_variants() {
            let text = mapped(*format, &event);
            assert!(!text.contains(['\n', '\r']), "one line: {text}");
            let is_json = serde_json::from_str::<Value>(&text).is_ok();
            let pairs = match format {
                Format::Syslog => read_structured(&text),
                Format::Cef => read_cef(&text),
                Format::Leef => text.split_once("|x09|").unwrap().1.split('\t').map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap();
                    (key.to_owned(), value.to_owned())
                }).collect(),
                Format::Json | Format::Ocsf | Format::Ecs | Format::Otlp => {
                    assert!(is_json);
                    continue;
                }
            };
            let named = |name: &str| {
                pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
            };
            let (agent_key, path_key) = match format {
                Format::Syslog => ("ua", "path"),
                Format::Cef => ("requestClientApplication", "request"),
                _ => ("userAgent", "url"),
            };
            for (key, original) in [(agent_key, &agent), (path_key, &path)] {
                assert_eq!(named(key).map(clean), Some(clean(original)), "{format:?} {text}");
            }
            assert!(named("chain") == Some("h7/01KAXQ"));
        }
    }

    #[test]
    fn long_values_are_left_out_whole(length in 0..20_000_usize) {
        let mut event = event();
        event["client"]["ua"] = json!("x".repeat(length));
        for format in [Format::Syslog, Format::Cef, Format::Leef] {
            let text = mapped(format, &event);
            assert!(text.len() <= MAX_LINE, "{} bytes", text.len());
            assert!(text.contains("f1c4"));
        }
        let pairs = read_structured(&mapped(Format::Syslog, &event));
        let is_told = pairs.contains(&("is_truncated".to_owned(), "true".to_owned()));
        assert!(is_told || pairs.iter().any(|(name, _)| name == "ua"));
    }
}

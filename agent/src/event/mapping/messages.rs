//! Messages of syslog: golden bytes for each payload, and a reader of RFC 5424, written from its
//! grammar (§6) and not from the writer, that gets back what was said.

use proptest::{
    collection::{btree_map, vec},
    prelude::{Just, Strategy, any},
    prop_oneof, proptest,
};
use serde_json::{Value, json};

use super::{
    Unfit,
    syslog::{Payload, Sender, message},
    tests::{event, read_cef},
};
use crate::integrity::verify::{Problem, Verifier};

const PAYLOADS: [Payload; 6] =
    [Payload::Sd, Payload::Json, Payload::OcsfJson, Payload::EcsJson, Payload::Cef, Payload::Leef];

/// An element of structured data: its name and its parameters.
type Element = (String, Vec<(String, String)>);

/// A message as a receiver sees it.
#[derive(Debug, PartialEq)]
struct Read<'a> {
    priority: u8,
    time: &'a str,
    host: &'a str,
    application: &'a str,
    process: &'a str,
    kind: &'a str,
    elements: Vec<Element>,
    message: &'a str,
}

impl Read<'_> {
    fn element(&self, name: &str) -> &[(String, String)] {
        let found = self.elements.iter().find(|(it, _)| it == name);
        found.map(|(_, parameters)| parameters.as_slice()).unwrap_or_default()
    }

    fn parameter(&self, element: &str, name: &str) -> Option<&str> {
        let mut parameters = self.element(element).iter();
        parameters.find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a message, and panics at what the grammar does not have.
fn read(text: &str) -> Read<'_> {
    let (priority, rest) = text.strip_prefix('<').unwrap().split_once('>').unwrap();
    assert!(priority == "0" || !priority.starts_with('0'), "a zero leads: {text}");
    let mut parts = rest.splitn(7, ' ');
    let mut part = |longest: usize| {
        let part = parts.next().unwrap();
        assert!(!part.is_empty() && part.len() <= longest, "{part:?} in {text}");
        assert!(part.bytes().all(|byte| (33..=126).contains(&byte)), "{part:?} in {text}");
        part
    };
    assert_eq!(part(3), "1", "version");
    let (time, host, application) = (part(32), part(255), part(48));
    let (process, kind) = (part(128), part(32));
    let fraction = time.trim_end_matches('Z').split_once('.').map_or(0, |(_, digits)| digits.len());
    assert!(time.ends_with('Z') && fraction <= 6, "{time}");
    time.parse::<jiff::Timestamp>().unwrap();
    let (elements, message) = read_elements(parts.next().unwrap());
    let priority: u8 = priority.parse().unwrap();
    assert!(priority <= 191);
    Read { priority, time, host, application, process, kind, elements, message }
}

fn read_elements(text: &str) -> (Vec<Element>, &str) {
    let mut elements = Vec::<Element>::new();
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('[') {
        let (name, behind) = inner.split_at(inner.find([' ', ']']).unwrap());
        let name = name.to_owned();
        assert!(is_name(&name), "{name:?} in {text}");
        assert!(elements.iter().all(|(it, _)| *it != name), "{name} twice in {text}");
        let mut parameters = Vec::new();
        rest = behind;
        while let Some(inner) = rest.strip_prefix(' ') {
            let (name, after) = inner.split_once("=\"").unwrap();
            assert!(is_name(name), "{name:?} in {text}");
            let (value, after) = read_value(after);
            parameters.push((name.to_owned(), value));
            rest = after;
        }
        rest = rest.strip_prefix(']').unwrap();
        elements.push((name, parameters));
    }
    assert!(!elements.is_empty(), "no structured data in {text}");
    (elements, rest.strip_prefix(' ').unwrap_or_else(|| panic!("{rest:?} of {text}")))
}

/// A value up to its quote, and what is behind.
fn read_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next().unwrap() {
            '"' => return (value, chars.as_str()),
            '\\' => {
                let escaped = chars.next().unwrap();
                assert!(matches!(escaped, '"' | '\\' | ']'), "\\{escaped} in {text}");
                value.push(escaped);
            }
            ']' => panic!("a bracket without escape in {text}"),
            c => value.push(c),
        }
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| (33..=126).contains(&byte) && !b"=]\"".contains(&byte);
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

fn sender() -> Sender {
    Sender { facility: 13, enterprise: 4711, process: Some(812), ..Sender::default() }
}

fn written(event: &Value, payload: Payload, bound: usize) -> Result<String, Unfit> {
    message(event.to_string().as_bytes(), payload, &sender(), bound)
}

fn whole(event: &Value, payload: Payload) -> String {
    written(event, payload, usize::MAX).unwrap()
}

/// A value of a field where a payload has it, found by whoever reads that payload.
fn found(
    payload: Payload,
    read: &Read<'_>,
    [sd, native, ocsf, ecs, cef, leef]: [&str; 6],
) -> Value {
    let in_json = |pointer: &str| {
        let json: Value = serde_json::from_str(read.message).unwrap();
        json.pointer(pointer).cloned().unwrap_or_default()
    };
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| json!(text));
    match payload {
        Payload::Sd => text(read.parameter("scopewatch@4711", sd)),
        Payload::Json => in_json(native),
        Payload::OcsfJson => in_json(ocsf),
        Payload::EcsJson => in_json(ecs),
        Payload::Cef => {
            let pairs = read_cef(read.message);
            text(pairs.iter().find(|(key, _)| key == cef).map(|(_, value)| value.as_str()))
        }
        Payload::Leef => {
            let (_, attributes) = read.message.split_once("|x09|").unwrap();
            let pairs = attributes.split('\t').map(|pair| pair.split_once('=').unwrap());
            text(pairs.into_iter().find(|(key, _)| *key == leef).map(|(_, value)| value))
        }
    }
}

const UID: [&str; 6] = ["uid", "/event/uid", "/metadata/uid", "/event/id", "externalId", "uid"];
const AGENT: [&str; 6] = [
    "ua",
    "/client/ua",
    "/http_request/user_agent",
    "/user_agent/original",
    "requestClientApplication",
    "userAgent",
];
const HASH: [&str; 6] = [
    "hash",
    "/integrity/hash",
    "/unmapped/scopewatch/integrity/hash",
    "/scopewatch/integrity/hash",
    "hash",
    "hash",
];
const TRUNCATED: [&str; 6] = [
    "is_truncated",
    "/event/is_truncated",
    "/metadata/is_truncated",
    "/scopewatch/event/is_truncated",
    "isTruncated",
    "isTruncated",
];

#[test]
fn every_payload_has_these_bytes() {
    for payload in PAYLOADS {
        let name = format!("message_{}", format!("{payload:?}").to_lowercase());
        insta::assert_snapshot!(name, whole(&event(), payload));
    }
}

#[test]
fn the_header_says_who_and_how_bad() {
    for (name, severity) in [("info", 6), ("low", 5), ("medium", 4), ("high", 3), ("critical", 2)] {
        let mut event = event();
        event["event"]["severity"] = json!(name);
        let text = whole(&event, Payload::Json);
        let read = read(&text);
        assert_eq!(read.priority, 13 * 8 + severity);
        assert_eq!(read.time, "2026-11-22T10:04:31.118204Z");
        let said = (read.host, read.application, read.process, read.kind);
        assert_eq!(said, ("h7", "scopewatch", "812", "access"));
        assert_eq!(read.parameter("meta", "sequenceId"), Some("1"));
        assert_eq!(read.parameter("origin", "swVersion"), Some("0.1.0"));
    }
}

#[test]
fn sequence_numbers_begin_again_behind_the_largest() {
    for (seq, expected) in [(2_147_483_646_u64, "2147483647"), (2_147_483_647, "1")] {
        let mut event = event();
        event["integrity"]["seq"] = json!(seq);
        let text = whole(&event, Payload::Cef);
        assert_eq!(read(&text).parameter("meta", "sequenceId"), Some(expected));
    }
}

#[test]
fn the_native_event_goes_on_byte_for_byte() {
    // Neither the order of members nor a blank is as this library would write it.
    let text = event().to_string().replacen("{\"", "{ \"", 1);
    let message = message(text.as_bytes(), Payload::Json, &sender(), 8192).unwrap();
    assert_eq!(read(&message).message, text);
}

#[test]
fn what_is_no_event_has_no_message() {
    for payload in PAYLOADS {
        for not_one in ["", "{}", "[1]", r#"{"event":{"type":"access"}}"#] {
            let refused = message(not_one.as_bytes(), payload, &sender(), 8192);
            assert_eq!(refused, Err(Unfit::Unmappable), "{payload:?} {not_one}");
        }
    }
}

#[test]
fn a_long_value_goes_before_short_ones_that_matter_less() {
    let mut event = event();
    event["client"]["ua"] = json!("x".repeat(8000));
    for payload in PAYLOADS {
        let text = written(&event, payload, 8192).unwrap();
        let read = read(&text);
        assert_eq!(found(payload, &read, AGENT), Value::Null, "{text}");
        let truncated = found(payload, &read, TRUNCATED);
        assert!(truncated == json!(true) || truncated == json!("true"), "{text}");
        assert!(text.contains("/usr/bin/orders") || payload == Payload::Cef, "{text}");
    }
}

#[test]
fn what_was_shortened_is_followed_and_not_taken_for_changed() {
    let mut event = event();
    event["client"]["ua"] = json!("x".repeat(8000));
    let text = written(&event, Payload::Json, 8192).unwrap();
    let verified = |line: &str| {
        let mut verifier = Verifier::default();
        verifier.line(line.as_bytes());
        let chain = verifier.conclude().chains.remove(0);
        (chain.mapped, chain.problems.contains(&Problem::Changed(0)))
    };
    assert_eq!(verified(read(&text).message), (1, false));
    // The same without saying so is a change.
    let silent = read(&text).message.replace("\"is_truncated\":true,", "");
    assert_eq!(verified(&silent), (0, true));
}

/// Events with texts of all kinds and lengths, and fields that no table knows.
fn events() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![any::<String>(), "[a-z\"\\\\\\]=|]{0,3000}", Just("é".repeat(700))];
    let rest = btree_map("[a-z]{1,40}", texts.clone(), 0..20);
    (texts.clone(), texts, vec("[a-z:]{1,300}", 0..20), rest).prop_map(
        |(agent, path, scopes, rest)| {
            let mut event = event();
            event["client"]["ua"] = json!(agent);
            event["http"]["path"] = json!(path);
            event["authz"]["scopes"] = json!(scopes);
            event["more"] = json!(rest);
            event
        },
    )
}

fn without_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

proptest! {
    #[test]
    fn every_message_is_read_back(event in events()) {
        for payload in PAYLOADS {
            let text = whole(&event, payload);
            assert!(!text.contains(['\n', '\r']), "one line: {text}");
            let read = read(&text);
            assert_eq!(found(payload, &read, UID), event["event"]["uid"]);
            assert_eq!(found(payload, &read, HASH), event["integrity"]["hash"]);
            let agent = found(payload, &read, AGENT);
            let clean = agent.as_str().map(without_controls);
            assert_eq!(clean, event["client"]["ua"].as_str().map(without_controls));
            assert_eq!(read.message.starts_with('\u{feff}'), payload == Payload::Sd);
            if payload == Payload::Json {
                assert_eq!(serde_json::from_str::<Value>(read.message).unwrap(), event);
            }
        }
    }

    #[test]
    fn what_is_too_large_loses_fields_and_stays_whole(event in events(), bound in 480..9000_usize) {
        for payload in PAYLOADS {
            let Ok(text) = written(&event, payload, bound) else {
                assert!(bound < 1600, "{payload:?} has no form of {bound} bytes");
                continue;
            };
            assert!(text.len() <= bound, "{} bytes of {bound}", text.len());
            let read = read(&text);
            assert_eq!(found(payload, &read, UID), event["event"]["uid"]);
            assert_eq!(found(payload, &read, HASH), event["integrity"]["hash"]);
            let is_whole = text == whole(&event, payload);
            assert_eq!(is_whole, found(payload, &read, TRUNCATED) == Value::Null, "{text}");
        }
    }

    #[test]
    fn shrinking_follows_one_order(event in events(), bound in 900..9000_usize, less in 0..900_usize) {
        let shrunk = |event: &Value, bound| -> Option<Value> {
            let text = written(event, Payload::Json, bound).ok()?;
            serde_json::from_str(read(&text).message).ok()
        };
        let (Some(large), Some(small)) = (shrunk(&event, bound), shrunk(&event, bound - less)) else {
            return Ok(());
        };
        assert_eq!(shrunk(&large, bound).as_ref(), Some(&large), "what fits stays as it is");
        let paths = |event: &Value| super::shrink::order(event);
        let kept = paths(&large);
        assert!(paths(&small).iter().all(|path| kept.contains(path)), "less keeps nothing more");
    }
}

//! Payloads that are mapped: an event of every type, as receivers have it in their files, compared
//! field by field with what was sent.

use std::collections::BTreeMap;

use scopewatch::event::mapping::{Format, syslog::Payload, table::ROWS};
use scopewatch_harness::receivers::{PACKAGES, Package, Receiver};
use serde_json::Value;

use crate::run::{Run, Way, of_receiver, options, place, until};

/// An event of every type, and one with every field.
const EVENTS: &str = include_str!("../corpora/events/every_type.jsonl");

/// What a receiver has in `file` once all was sent to it.
fn received(package: &'static Package, payload: Payload, file: &str) -> Vec<String> {
    let (directory, certs) = place();
    let receiver = Receiver::start(package, &certs, &of_receiver(&directory)).unwrap();
    let sent: Vec<String> = EVENTS.lines().map(str::to_owned).collect();
    let mut run = Run::new(&["siem"], &sent);
    let mut options = options(Way::Tls, payload, &receiver, &certs);
    options.max_bytes = 32 * 1024;
    run.start("siem", options);
    assert_eq!(run.finish("siem"), (sent.len() as u64, 0, 0), "{payload:?}");
    run.stop();
    until(&format!("{payload:?}: {}", receiver.said()), || {
        receiver.lines(file).unwrap().len() >= sent.len()
    });
    receiver.lines(file).unwrap()
}

/// All values by their paths.
fn leaves(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| leaves(&format!("{path}/{name}"), value, into));
        }
        _ => assert_eq!(into.insert(path.to_owned(), value.clone()), None, "{path} twice"),
    }
}

fn flat(json: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves("", &serde_json::from_str(json).unwrap(), &mut found);
    found
}

#[track_caller]
fn objects_arrive(package: &'static Package, payload: Payload, format: Format) {
    let lines = received(package, payload, "events.jsonl");
    assert_eq!(lines.len(), EVENTS.lines().count());
    for (line, event) in lines.iter().zip(EVENTS.lines()) {
        let mut sent = Vec::new();
        assert!(format.append(event.as_bytes(), &mut sent), "{event}");
        let (sent, read) = (flat(std::str::from_utf8(&sent).unwrap()), flat(line));
        for (path, value) in &sent {
            assert_eq!(read.get(path), Some(value), "{payload:?}: {path} of {event}");
        }
        assert_eq!(read.len(), sent.len(), "{payload:?}: more than was sent: {line}");
    }
}

/// A value as formats of pairs have it: lists with commas between, and no controls.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[track_caller]
fn pairs_arrive(package: &'static Package) {
    let lines = received(package, Payload::Leef, "events.log");
    assert_eq!(lines.len(), EVENTS.lines().count());
    for (line, event) in lines.iter().zip(EVENTS.lines()) {
        let event: Value = serde_json::from_str(event).unwrap();
        let field = |path: &str| event.pointer(&format!("/{}", path.replace('.', "/")));
        let (_, leef) = line.split_once(" LEEF:2.0|scopewatch|scopewatch|").expect(line);
        let header: Vec<&str> = leef.splitn(4, '|').collect();
        let kind = field("event.type").and_then(Value::as_str).unwrap();
        assert_eq!((header[1], header[2]), (kind, "x09"), "{line}");
        let mut read: BTreeMap<&str, &str> =
            header[3].split('\t').map(|pair| pair.split_once('=').expect(pair)).collect();
        let time = [read.remove("devTime"), read.remove("sev")];
        assert!(time.iter().flatten().all(|text| text.parse::<u64>().is_ok()), "{line}");
        for row in ROWS.iter().filter(|row| !row.leef.is_empty()) {
            let sent = field(row.field).map(plain);
            assert_eq!(read.remove(row.leef), sent.as_deref(), "{} of {event}", row.field);
        }
        assert!(read.is_empty(), "more than was sent: {read:?}");
    }
}

#[test]
fn rsyslog_has_every_type_in_ocsf() {
    objects_arrive(&PACKAGES[0], Payload::OcsfJson, Format::Ocsf);
}

#[test]
fn rsyslog_has_every_type_in_ecs() {
    objects_arrive(&PACKAGES[0], Payload::EcsJson, Format::Ecs);
}

#[test]
fn rsyslog_has_every_type_in_leef() {
    pairs_arrive(&PACKAGES[0]);
}

#[test]
fn syslog_ng_has_every_type_in_ocsf() {
    objects_arrive(&PACKAGES[1], Payload::OcsfJson, Format::Ocsf);
}

#[test]
fn syslog_ng_has_every_type_in_ecs() {
    objects_arrive(&PACKAGES[1], Payload::EcsJson, Format::Ecs);
}

#[test]
fn syslog_ng_has_every_type_in_leef() {
    pairs_arrive(&PACKAGES[1]);
}

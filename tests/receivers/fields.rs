//! Every way to a receiver and every kind of payload: each field of each event is in the receiver's
//! files as it was sent, and the files prove it.

use std::collections::BTreeMap;

use scopewatch::{event::mapping::syslog::Payload, integrity::verify::Verifier};
use scopewatch_harness::receivers::{PACKAGES, Package, Receiver};
use serde_json::Value;

use crate::run::{ALL, Run, Way, chained, of_receiver, options, place, until};

const COUNT: usize = 40;
const PAYLOADS: [Payload; 3] = [Payload::Sd, Payload::Json, Payload::Cef];

fn chain(way: Way, payload: Payload) -> String {
    format!("{way:?}-{payload:?}").to_lowercase()
}

/// Parameters of structured data, as a receiver must read them.
fn structured(event: &Value, nth: usize) -> BTreeMap<String, String> {
    let text = |pointer: &str| {
        let value = event.pointer(pointer).unwrap();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    let status = (200 + nth % 5).to_string();
    let pairs = [
        ("uid", text("/event/uid")),
        ("type", "access".to_owned()),
        ("severity", "high".to_owned()),
        ("outcome", "success".to_owned()),
        ("sub", format!("täter-{nth} \"x\" \\ ]")),
        ("method", "POST".to_owned()),
        ("path", "/v1/a=b|c/{int}".to_owned()),
        ("status", status),
        // Controls have no place in it.
        ("ua", "x chain=evil seq=0\" chain=\"evil\"   ".to_owned()),
        ("chain", text("/integrity/chain")),
        ("seq", nth.to_string()),
        ("prev", text("/integrity/prev")),
        ("hash", text("/integrity/hash")),
        // Fields without a row have their paths for names.
        ("authz.missing", "refunds:write,x".to_owned()),
        ("authz.reasons", String::new()),
        ("authz.verdict", "deny".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Values by their names: where syslog-ng makes JSON, dots in names make objects.
fn flat(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let Some(members) = value.as_object() else {
        let text = value.as_str().unwrap().to_owned();
        assert_eq!(into.insert(name.to_owned(), text), None, "{name} twice");
        return;
    };
    for (member, value) in members {
        let dot = if name.is_empty() { "" } else { "." };
        flat(&format!("{name}{dot}{member}"), value, into);
    }
}

/// Compares what a receiver wrote of a chain with what was sent to it.
fn compare(receiver: &Receiver, chain: &str, payload: Payload, sent: &[String]) {
    let uid = format!("{chain}-");
    let of_chain = |file: &str| -> Vec<String> {
        receiver.lines(file).unwrap().into_iter().filter(|line| line.contains(&uid)).collect()
    };
    if payload == Payload::Json {
        assert!(of_chain("events.jsonl") == sent, "{chain}: byte for byte");
        return;
    }
    if payload == Payload::Cef {
        for (nth, (line, event)) in of_chain("events.log").iter().zip(sent).enumerate() {
            let event: Value = serde_json::from_str(event).unwrap();
            let (_, cef) = line.split_once(" CEF:0|scopewatch|scopewatch|").unwrap();
            let hash = event["integrity"]["hash"].as_str().unwrap();
            for pair in [
                format!(" externalId={chain}-{nth:05} cat=access outcome=success"),
                format!(" suid=täter-{nth} \"x\" \\\\ ]"),
                " request=/v1/a\\=b|c/{int}".to_owned(),
                " requestClientApplication=x chain\\=evil seq\\=0\" chain\\=\"evil\"   ".to_owned(),
                format!(" hash={hash}"),
            ] {
                assert!(cef.contains(&pair), "{pair} in {cef}");
            }
        }
        return;
    }
    let lines = of_chain("structured.jsonl");
    assert_eq!(lines.len(), sent.len(), "{chain}");
    for (nth, (line, event)) in lines.iter().zip(sent).enumerate() {
        let event: Value = serde_json::from_str(event).unwrap();
        let read: Value = serde_json::from_str(line).unwrap();
        let elements = read.as_object().unwrap();
        let mut read = BTreeMap::new();
        flat("", &elements["scopewatch@32473"], &mut read);
        assert_eq!(read, structured(&event, nth), "{chain}");
        assert_eq!(elements["origin"]["software"], "scopewatch");
        let meta = elements["meta"].as_object().unwrap();
        let number = (nth + 1).to_string();
        assert!(meta.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("sequenceId") && *value == number.as_str()
        }));
    }
}

fn every_field_arrives(package: &'static Package) {
    let (directory, certs) = place();
    let receiver = Receiver::start(package, &certs, &of_receiver(&directory)).unwrap();
    let mut expected = 0;
    for way in ALL {
        for payload in PAYLOADS {
            let sent = chained(&chain(way, payload), COUNT);
            let mut run = Run::new(&["siem"], &sent);
            // More than rsyslog takes by itself, and one of the events has it.
            let mut options = options(way, payload, &receiver, &certs);
            options.max_bytes = 32 * 1024;
            run.start("siem", options);
            assert_eq!(run.finish("siem"), (COUNT as u64, 0, 0), "{way:?} {payload:?}");
            run.stop();
            expected += COUNT;
            until(&format!("{way:?} {payload:?}: {}", receiver.said()), || {
                receiver.lines("events.log").unwrap().len() >= expected
            });
            // Behind the lines come the other files.
            let file = match payload {
                Payload::Json => "events.jsonl",
                Payload::Sd => "structured.jsonl",
                _ => "events.log",
            };
            let uid = format!("{}-{:05}", chain(way, payload), COUNT - 1);
            until(&uid, || receiver.lines(file).unwrap().iter().any(|line| line.contains(&uid)));
            compare(&receiver, &chain(way, payload), payload, &sent);
        }
    }
    // All again, as whoever keeps the files can check it.
    for (file, chains) in [("events.jsonl", ALL.len()), ("events.log", ALL.len() * 3)] {
        let mut verifier = Verifier::default();
        let lines = receiver.lines(file).unwrap();
        lines.iter().for_each(|line| verifier.line(line.as_bytes()));
        let report = verifier.conclude();
        assert!(report.is_intact(), "{file}: {report}");
        assert_eq!((report.chains.len(), report.foreign), (chains, 0), "{file}: {report}");
        for chain in report.chains {
            let mapped = if chain.name.ends_with("-json") { 0 } else { COUNT as u64 };
            let of_chain = (chain.events, chain.mapped, chain.duplicates);
            assert_eq!(of_chain, (COUNT as u64, mapped, 0), "{file}: {}", chain.name);
        }
    }
}

#[test]
fn rsyslog_has_every_field_of_every_event() {
    every_field_arrives(&PACKAGES[0]);
}

#[test]
fn syslog_ng_has_every_field_of_every_event() {
    every_field_arrives(&PACKAGES[1]);
}

//! What a disk gave back: whatever a spool's directory holds, it opens, and works.

use std::time::{Duration, Instant};

use scopewatch::{
    integrity::{canonical, verify::Verifier},
    spool::{
        self, Lane, MIN_BYTES, Options,
        memory::Memory,
        reader::{Batch, Limits, Reader},
        segment::{self, Header},
    },
};

/// A directory of a segment of either lane and a ledger, cut from the input.
pub fn recovery(input: &[u8]) {
    let disk = Memory::default();
    let (bulk, rest) = input.split_at(input.len() / 2);
    let (kept, ledger) = rest.split_at(rest.len() / 2);
    let headers = [(Lane::Bulk, bulk), (Lane::Kept, kept)].map(|(lane, bytes)| {
        // With a header that is right, so that frames are read.
        let header = Header { lane, first: 3, run: [1; 16], base: 0 };
        disk.put(&header.file_name(), &[&header.encode(), bytes].concat());
        header
    });
    disk.put("ledger", ledger);
    let options = Options::new(MIN_BYTES, vec!["sink".to_owned()]);
    let now = Instant::now();
    let (mut writer, spool, found) =
        spool::open(disk, &options, [2; 16], now).expect("a spool opens");
    assert!(found.cut_bytes <= (bulk.len() + kept.len()) as u64);
    writer.append(headers[0].lane, b"after");
    writer.close(now);
    let mut reader = Reader::new(&spool, "sink").expect("the sink is known");
    let (mut batch, mut last) = (Batch::default(), Vec::new());
    while !reader.at_end() {
        reader.next(&mut batch, Limits { records: 16, bytes: 65_536 }, Duration::ZERO);
        last.extend(batch.records(0).last().map(|(_, payload)| payload.to_vec()));
        reader.advance(&batch, 0, batch.len(), 0);
    }
    assert_eq!(last.last().map(Vec::as_slice), Some(b"after".as_slice()));
    assert_eq!(spool.counts()[0].pending, 0);
}

pub fn recovery_seeds() -> Vec<Vec<u8>> {
    let header = Header { lane: Lane::Bulk, first: 3, run: [1; 16], base: 0 };
    let mut frames = Vec::new();
    for number in 3..6 {
        segment::append(&mut frames, header.seed(), number, b"payload");
    }
    let damaged = [&frames[..40], &[0xff; 30]].concat();
    vec![[frames.clone(), frames.clone()].concat(), [frames, damaged].concat(), vec![0; 40]]
}

/// Lines that somebody kept: canonical form is a fixed point, and verifying ends.
pub fn kept_lines(input: &[u8]) {
    let mut verifier = Verifier::default();
    input.split(|byte| *byte == b'\n').for_each(|line| verifier.line(line));
    assert!(!verifier.conclude().to_string().is_empty());
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    if canonical::append(text, "integrity", &mut once).is_ok() {
        let text = std::str::from_utf8(&once).expect("canonical form is UTF-8");
        canonical::append(text, "integrity", &mut twice).expect("it is canonical");
        assert_eq!(once, twice);
        serde_json::from_str::<serde_json::Value>(text).expect("it is JSON");
    }
}

pub fn kept_lines_seeds() -> Vec<Vec<u8>> {
    let hash = "A".repeat(43);
    let member = format!(r#"{{"chain":"h/1","seq":0,"prev":"{hash}","hash":"{hash}"}}"#);
    vec![
        format!(r#"{{"event":{{"type":"access"}},"x":[1,true,null],"integrity":{member}}}"#).into(),
        format!(r#"{{"event":{{"type":"agent.gap"}},"gap":{{"chain":"h/1","from":0,"to":9,"count":3}},"integrity":{member}}}"#).into(),
        format!("<86>1 - - - - - [a chain=\"h/1\" seq=\"1\" prev=\"{hash}\" hash=\"{hash}\"] x").into(),
        br#"{"b":"\u20ac\n","a":[{},5e-324,1e+23]}"#.to_vec(),
    ]
}

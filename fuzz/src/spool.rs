//! What a disk gave back: whatever a spool's directory holds, it opens, and works; whatever is kept
//! of events and of keys, nobody is believed who has not signed.

use std::time::{Duration, Instant};

use scopewatch::{
    integrity::{
        canonical,
        chain::Chain,
        checkpoint::{self, Checkpoint},
        note::Signer,
        succession::Successions,
        verify::Verifier,
    },
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

/// Checkpoints that name successors of keys: those alone are trusted that a trusted key named, which
/// here are the keys of the seeds, and the rest of the file makes no difference.
pub fn succession(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let keys: Vec<_> = (1..=LINE).map(|nth| key(nth).verifying_key()).collect();
    let conclude = |texts: &[&str]| {
        let mut successions = Successions::new(vec![keys[0].clone()]);
        texts.iter().for_each(|text| successions.take_all(text));
        successions.conclude()
    };
    let trusted = conclude(&[&text]);
    let known = keys.iter().filter(|key| trusted.has(key)).count() as u64;
    assert_eq!(trusted.inherited() + 1, known, "a key that nobody named");
    assert_eq!(trusted.left_out(), 0);
    let whole = line().concat();
    for texts in [[&*text, "\n", &whole], [&whole, "\n", &*text]] {
        assert_eq!(conclude(&texts).inherited(), u64::from(LINE) - 1);
    }
    if let Some(said) = Checkpoint::read(&text) {
        assert!(said.next.is_none_or(|next| text.contains(next.name())));
    }
}

/// Keys in the seeds' line.
const LINE: u8 = 4;

fn key(nth: u8) -> Signer {
    Signer::new("h7", &[nth; 32]).expect("any bytes make a key")
}

/// What each key says of the next, as its last checkpoint.
fn line() -> Vec<String> {
    let name = |nth: u8| {
        let mut chain = Chain::new(format!("h7/{nth:026}"));
        chain.link("{}", &mut Vec::new()).expect("it is canonical");
        let time = ("time", "2026-01-02T03:04:05.000Z");
        checkpoint::sign(&key(nth), &chain, Some(&key(nth + 1).verifying_key()), &[time])
    };
    (1..LINE).map(name).collect()
}

pub fn succession_seeds() -> Vec<Vec<u8>> {
    let line = line();
    let torn = format!("{}{}\n{}", line[0], &line[1][..300], line[2]);
    let cycle = checkpoint::sign(
        &key(LINE),
        &Chain::new(format!("h7/{LINE:026}")),
        Some(&key(1).verifying_key()),
        &[],
    );
    vec![line[0].clone().into(), line.concat().into(), torn.into(), cycle.into()]
}

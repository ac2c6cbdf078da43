//! From events to files, by way of the spool, and what `verify` says of them.

use std::{
    fs::{self, File},
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    config::signingfile::SigningFile,
    event::{
        mapping::Format,
        model::{Event, ServerOutcome},
        sample::{event, exchange},
    },
    http::message::Role,
    integrity::{
        note::{Signer, VerifyingKey},
        verify::{Report, Verifier},
    },
    sinks::{
        Delivery, Sink,
        export::{Export, Named},
        file::{FileSink, Options as FileOptions},
        output::Output,
    },
    spool::{MIN_BYTES, Options},
};

const SEED: [u8; 32] = [4; 32];

fn file_sink(path: &Path, format: Format) -> Box<dyn Sink> {
    let long = Duration::from_secs(1000);
    Box::new(FileSink::new(FileOptions {
        path: path.to_owned(),
        format,
        rotate_bytes: 1 << 30,
        rotate_after: long,
        compress: false,
        keep_bytes: 1 << 30,
        keep_for: long,
    }))
}

/// A receiver that is never there.
struct Gone;

impl Sink for Gone {
    fn deliver(&mut self, _records: &mut dyn Iterator<Item = &[u8]>) -> Delivery {
        let why = std::io::ErrorKind::ConnectionRefused.into();
        Delivery::Retry { done: 0, why, after: None }
    }
}

fn start(directory: &Path, max_bytes: u64, sinks: Vec<Named>) -> Export {
    let key = SigningFile::fixed(Signer::new("h7", &SEED).unwrap());
    start_with(key, directory, max_bytes, sinks)
}

fn start_with(key: SigningFile, directory: &Path, max_bytes: u64, sinks: Vec<Named>) -> Export {
    let names = sinks.iter().map(|sink| sink.name.clone()).collect();
    let options = Options::new(max_bytes, names);
    let host = (*sample().host).clone();
    Export::start(directory, &options, sinks, key, host).unwrap().0
}

fn sample() -> Event {
    event(&exchange(Role::Server, "GET", "/v1/orders", &[("host", "a")], 200))
}

fn named(name: &str, sink: Box<dyn Sink>) -> Named {
    Named { name: name.to_owned(), sink }
}

/// Sends so many events through the output thread.
fn send(export: Export, count: usize) {
    let output = Output::sinks(export);
    let (mut lines, batches) = output.channel();
    let running = thread::spawn(move || output.run(&batches));
    (0..count).for_each(|_| lines.push(&mut sample()));
    lines.flush();
    drop(lines);
    assert_eq!(running.join().unwrap().unwrap(), count as u64);
}

fn verify(path: &Path) -> Report {
    let key = Signer::new("h7", &SEED).unwrap().verifying_key();
    verify_by(key, "", &fs::read_to_string(path).unwrap())
}

fn verify_by(key: VerifyingKey, successions: &str, events: &str) -> Report {
    let mut verifier = Verifier::new(vec![key]);
    verifier.successions(successions);
    events.lines().for_each(|line| verifier.line(line.as_bytes()));
    verifier.conclude()
}

#[test]
fn every_sink_gets_the_whole_chain_in_its_format() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (native, ocsf) = (at("native"), at("ocsf"));
    for _ in 0..2 {
        let sinks = vec![
            named("native", file_sink(&native, Format::Json)),
            named("ocsf", file_sink(&ocsf, Format::Ocsf)),
        ];
        send(start(&at("spool"), 64 * MIN_BYTES, sinks), 2500);
    }
    for (path, mapped) in [(native, false), (ocsf, true)] {
        let report = verify(&path);
        assert!(report.is_intact(), "{report}");
        assert_eq!((report.chains.len(), report.foreign), (2, 0));
        for chain in &report.chains {
            // Start, stop, and a checkpoint at the end and after each thousand.
            assert!((2503..2510).contains(&chain.events), "{chain}");
            assert_eq!(chain.mapped > 0, mapped);
            assert!(mapped || chain.is_closed && chain.signed_to + 1 == chain.events, "{chain}");
        }
    }
}

/// Three starts of the agent: the second replaces its key at once, the third one while it runs. The
/// first key, the one that each start began with, and what was written.
fn successions(directory: &Path) -> (VerifyingKey, Vec<VerifyingKey>, String) {
    let at = |name: &str| directory.join(name);
    let mut keys = Vec::new();
    let age = |path: &Path, made: SystemTime| {
        File::options().read(true).open(path).unwrap().set_modified(made).unwrap();
    };
    let not_quite_ten_minutes = Duration::from_millis(10 * 60 * 1000 - 200);
    for nth in 0..3 {
        let path = at("signing.key");
        match nth {
            0 => {}
            1 => age(&path, SystemTime::UNIX_EPOCH),
            _ => age(&path, SystemTime::now() - not_quite_ten_minutes),
        }
        let key = SigningFile::open(&path, "h7", Instant::now()).unwrap();
        keys.push(key.verifying_key());
        let sinks = vec![named("file", file_sink(&at("file"), Format::Json))];
        let export = start_with(key, &at("spool"), 64 * MIN_BYTES, sinks);
        thread::sleep(Duration::from_millis(300));
        send(export, 20);
    }
    (keys[0].clone(), keys, fs::read_to_string(at("file")).unwrap())
}

#[test]
fn the_first_key_verifies_what_its_successors_sign() {
    let directory = tempfile::tempdir().unwrap();
    let (first, keys, events) = successions(directory.path());
    // The third start began with the key that the second one made.
    assert!(keys[0] == keys[1] && keys[1] != keys[2]);
    let report = verify_by(first.clone(), "", &events);
    assert!(report.is_intact(), "{report}");
    assert_eq!((report.chains.len(), report.inherited), (3, 2));
    assert!(report.chains.iter().all(|chain| chain.is_closed && chain.checkpoints.1 == 0));
    assert!(report.chains.iter().all(|chain| chain.signed_to + 1 == chain.events), "{report}");
    // From a later key, what is earlier is of nobody that is known.
    let report = verify_by(keys[2].clone(), "", &events);
    let known: Vec<_> = report.chains.iter().map(|chain| chain.checkpoints).collect();
    assert_eq!(known, [(0, 1), (1, 1), (2, 0)], "{report}");
}

#[test]
fn a_succession_that_is_missing_among_events_is_found_beside_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _, events) = successions(directory.path());
    let without: String =
        events.split_inclusive('\n').filter(|line| !line.contains("\\nnext ")).collect();
    let report = verify_by(first.clone(), "", &without);
    assert_eq!(report.inherited, 0);
    assert!(report.chains.iter().skip(1).all(|chain| chain.checkpoints == (0, 1)), "{report}");
    let public = fs::read_to_string(directory.path().join("signing.key.successions")).unwrap();
    let report = verify_by(first, &public, &without);
    assert_eq!(report.inherited, 2);
    assert!(report.chains.iter().all(|chain| chain.checkpoints.1 == 0), "{report}");
}

#[test]
fn a_successor_that_somebody_forged_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (first, keys, events) = successions(directory.path());
    let forged = Signer::new("h7", &[9; 32]).unwrap().verifying_key().to_line();
    let report = verify_by(first, "", &events.replace(&keys[2].to_line(), &forged));
    assert!(!report.is_intact(), "{report}");
    assert_eq!(report.inherited, 0);
}

#[test]
fn a_receiver_that_is_gone_delays_no_other_and_gets_the_rest_later() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let sinks =
        vec![named("here", file_sink(&at("here"), Format::Json)), named("gone", Box::new(Gone))];
    let export = start(&at("spool"), MIN_BYTES, sinks);
    send(export, 100);
    assert!(verify(&at("here")).is_intact());
    let sinks = vec![
        named("here", file_sink(&at("here"), Format::Json)),
        named("gone", file_sink(&at("gone"), Format::Json)),
    ];
    send(start(&at("spool"), MIN_BYTES, sinks), 100);
    for path in ["here", "gone"] {
        let report = verify(&at(path));
        assert!(report.is_intact(), "{report}");
        assert_eq!(report.chains.len(), 2);
        assert!(report.chains.iter().all(|chain| chain.duplicates == 0 && chain.is_closed));
    }
}

#[test]
fn what_finds_no_room_is_dropped_told_and_explained() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let export = start(&at("spool"), MIN_BYTES, vec![named("late", Box::new(Gone))]);
    send(export, 5000);
    let sinks = vec![named("late", file_sink(&at("late"), Format::Json))];
    send(start(&at("spool"), MIN_BYTES, sinks), 10);
    let report = verify(&at("late"));
    assert!(report.is_intact(), "{report}");
    let dropped: u64 = report.chains.iter().map(|chain| chain.dropped).sum();
    let kept: u64 = report.chains.iter().map(|chain| chain.events).sum();
    assert!(dropped > 1000 && kept + dropped > 5010, "{report}");
}

#[test]
fn an_expiry_beyond_all_numbers_does_not_cost_the_event() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let sinks = vec![named("file", file_sink(&at("file"), Format::Json))];
    let output = Output::sinks(start(&at("spool"), MIN_BYTES, sinks));
    let (mut lines, batches) = output.channel();
    let running = thread::spawn(move || output.run(&batches));
    let mut event = sample();
    event.http.as_mut().unwrap().req_bytes = Some(u64::MAX);
    lines.push(&mut event);
    lines.flush();
    drop(lines);
    running.join().unwrap().unwrap();
    let report = verify(&at("file"));
    assert!(report.is_intact(), "{report}");
    assert!(fs::read_to_string(at("file")).unwrap().contains("\"req_bytes\":9007199254740991"));
}

#[test]
fn a_token_in_an_event_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let token = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let mut event = sample();
    event.http.as_mut().unwrap().path = Some(format!("/a/{token}"));
    let output = Output::sinks(start(
        &at("spool"),
        MIN_BYTES,
        vec![named("file", file_sink(&at("file"), Format::Json))],
    ));
    let (mut lines, batches) = output.channel();
    let running = thread::spawn(move || output.run(&batches));
    lines.push(&mut event);
    lines.flush();
    drop(lines);
    running.join().unwrap().unwrap();
    for file in [at("file")]
        .into_iter()
        .chain(fs::read_dir(at("spool")).unwrap().map(|entry| entry.unwrap().path()))
    {
        let bytes = fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(token), "{}", file.display());
    }
    assert!(verify(&at("file")).is_intact());
    assert_eq!(gaps(&at("file")), [("redacted".to_owned(), 1)]);
    assert!(fs::read_to_string(at("file")).unwrap().contains("redacted 1"));
}

/// Reason and count of each gap that a file tells of.
fn gaps(path: &Path) -> Vec<(String, u64)> {
    let text = fs::read_to_string(path).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let gaps = events.filter(|event| event["event"]["type"] == "agent.gap");
    let gap = |event: serde_json::Value| {
        let gap = &event["gap"];
        (gap["reason"].as_str().unwrap().to_owned(), gap["count"].as_u64().unwrap())
    };
    gaps.map(gap).collect()
}

#[test]
fn who_captures_does_not_wait_for_an_output_that_stalls_and_denials_go_last() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let sinks = vec![named("file", file_sink(&at("file"), Format::Json))];
    let output = Output::sinks(start(&at("spool"), 1 << 30, sinks)).shedding();
    let (mut lines, batches) = output.channel();
    let mut denied = sample();
    denied.authz.server_outcome = ServerOutcome::Denied;
    // Nobody takes any of it: more than the queue and the worker hold.
    let count = 20_000;
    for nth in 0..count {
        lines.push(&mut if nth % 100 == 0 { denied.clone() } else { sample() });
        lines.flush();
    }
    let running = thread::spawn(move || output.run(&batches));
    // What was held goes when there is room.
    thread::sleep(Duration::from_millis(50));
    lines.flush();
    drop(lines);
    let written = running.join().unwrap().unwrap();
    let report = verify(&at("file"));
    assert!(report.is_intact(), "{report}");
    let [(reason, gone)] = gaps(&at("file")).try_into().unwrap();
    assert_eq!((reason.as_str(), gone + written), ("stalled", count));
    assert!(gone > 0 && written > 1000, "{gone} {written}");
    let text = fs::read_to_string(at("file")).unwrap();
    let denials = text.lines().filter(|line| line.contains(r#""server_outcome":"denied""#));
    assert_eq!(denials.count() as u64, count / 100);
}

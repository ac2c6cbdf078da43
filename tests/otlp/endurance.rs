//! Much traffic through receivers that come and go: every event arrives at least once at each sink,
//! duplicates have the same uid, and each account adds up.
//!
//! `cargo xtask soak export` runs it with half a million events.

use std::{
    collections::HashSet,
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use scopewatch::{
    config::signingfile::SigningFile,
    event::{
        json,
        mapping::{
            Format,
            syslog::{Payload, Sender},
        },
        model::{Event, Host},
    },
    integrity::{note::Signer, verify::Verifier},
    outbound,
    sinks::{
        Sink,
        export::{Export, Named},
        file::{FileSink, Options as FileOptions},
        otlp::{Options as OtlpOptions, OtlpSink, Protocol},
        output::Output,
        syslog::{Address, Options as SyslogOptions, SyslogSink, Target},
    },
    spool::Options,
    telemetry::board::Board,
};
use scopewatch_harness::{
    certs::Certificates,
    receivers::{PACKAGES, Receiver},
};

use crate::{
    run::options,
    server::{Act, Server},
};

/// An access by a verified token, as the agent writes it.
const EVENT: &str = include_str!("../../agent/benches/event.json");

/// Events a second: so many that some outages last for thousands of events.
const RATE: f64 = 2500.0;

/// Longest time in which nothing more arrives: back-off takes up to half a minute.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn everything_arrives_at_every_sink_whatever_receivers_do() {
    let count = env::var("SOAK_EVENTS").map_or(4000, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let servers = [Protocol::HttpProtobuf, Protocol::Grpc]
        .map(|protocol| Arc::new(Mutex::new(Server::start(protocol, Vec::new()))));
    let port = |nth: usize| servers[nth].lock().unwrap().port;
    let otlp = |protocol, nth| {
        let options = options(protocol, port(nth));
        Box::new(OtlpSink::new(OtlpOptions { max_batch_bytes: 1024 * 1024, ..options }))
    };
    let certs = Certificates::make(directory.path()).unwrap();
    let rsyslog = Receiver::start(&PACKAGES[0], &certs, &at("rsyslog")).unwrap();
    let syslog = Box::new(SyslogSink::new(over_tls(&rsyslog, &certs)));
    let rsyslog = Arc::new(Mutex::new(rsyslog));
    let board = Board::default();
    let export = start(
        directory.path(),
        vec![
            named("file", file(&at("events.jsonl"))),
            named("http", otlp(Protocol::HttpProtobuf, 0)),
            named("grpc", otlp(Protocol::Grpc, 1)),
            named("syslog", syslog),
        ],
    );
    let output = Output::sinks(export.reporting(board.clone(), Duration::from_secs(60)));
    let is_over = Arc::new(AtomicBool::new(false));
    let killer = {
        let (rsyslog, is_over) = (Arc::clone(&rsyslog), Arc::clone(&is_over));
        thread::spawn(move || kill(&rsyslog, &is_over))
    };
    let trouble: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(nth, server)| {
            let (server, is_over) = (Arc::clone(server), Arc::clone(&is_over));
            thread::spawn(move || disturb(&server, nth as u64 + 1, &is_over))
        })
        .collect();

    // What arrives is told by its uid alone: half a million records would not fit.
    let (mut seen, mut copies) = ([HashSet::new(), HashSet::new()], 0);
    let mut look = || {
        for (seen, server) in seen.iter_mut().zip(&servers) {
            let taken = server.lock().unwrap().drain();
            copies += taken.len();
            seen.extend(taken);
        }
        (seen.iter().all(|seen| has_all(seen, count)), copies)
    };

    let (mut lines, batches) = output.channel();
    let running = thread::spawn(move || output.run(&batches));
    let sample: Event = json::parse(EVENT.trim()).unwrap();
    let start = Instant::now();
    for nth in 0..count {
        let mut event = sample.clone();
        event.event.uid = uid(nth);
        lines.push(&mut event);
        if nth % 100 == 99 {
            lines.flush();
            let due = Duration::from_secs_f64(nth as f64 / RATE);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        if nth % 10_000 == 9_999 {
            look();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let outages: u64 =
        trouble.into_iter().chain([killer]).map(|thread| thread.join().unwrap()).sum();
    // The receivers are well from here on; what is behind still comes.
    let mut last = (Instant::now(), 0);
    let copies = loop {
        let (is_all, copies) = look();
        let logged = HashSet::from_iter(rsyslog.lock().unwrap().uids().unwrap());
        if is_all && has_all(&logged, count) {
            break copies;
        }
        if copies + logged.len() > last.1 {
            last = (Instant::now(), copies + logged.len());
        }
        assert!(last.0.elapsed() < PATIENCE, "{copies} copies, {} logged", logged.len());
        thread::sleep(Duration::from_millis(500));
    };
    lines.flush();
    drop(lines);
    let written = running.join().unwrap().unwrap();
    assert_eq!(written, count);
    let took = start.elapsed().as_secs();
    println!("{count} events in {took} s, {outages} outages, {copies} records at two receivers");
    let accounts = board.read().export.unwrap().what.sinks;
    for sink in &accounts {
        let counts = &sink.counts;
        println!("{counts:?} retries={}", sink.progress.retries);
        assert_eq!((counts.lost, counts.dead), (0, 0), "{counts:?}");
    }
    let given = |it: &scopewatch::spool::SinkCounts| it.delivered + it.dead + it.lost + it.pending;
    assert!(accounts.iter().all(|sink| given(&sink.counts) == given(&accounts[0].counts)));
    check_file(&at("events.jsonl"), count);
}

fn over_tls(receiver: &Receiver, certs: &Certificates) -> SyslogOptions {
    let address = Address { host: "127.0.0.1".to_owned(), port: receiver.ports.tls };
    let tls = outbound::Options {
        ca_file: Some(certs.authority.clone()),
        identity: Some((certs.client.clone(), certs.client_key.clone())),
        server_name: Some("localhost".to_owned()),
    };
    SyslogOptions {
        target: Target::Tls(address, tls),
        payload: Payload::Json,
        sender: Sender::default(),
        max_bytes: 8192,
        // What a kernel has room for that nobody reads.
        resend_bytes: 16 * 1024 * 1024,
        connect_for: Duration::from_secs(5),
        progress_within: Duration::from_secs(10),
    }
}

/// Kills a receiver and starts it again, until all `is_over`; how often.
fn kill(receiver: &Mutex<Receiver>, is_over: &AtomicBool) -> u64 {
    let mut kills = 0;
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(700 + kills % 5 * 600));
        kills += 1;
        let mut receiver = receiver.lock().unwrap();
        if kills % 3 == 0 {
            // It takes what its kernel has room for, and reads none of it.
            receiver.signal(Signal::SIGSTOP).unwrap();
            thread::sleep(Duration::from_millis(500));
        }
        receiver.kill();
        thread::sleep(Duration::from_millis(200));
        receiver.restart().unwrap();
    }
    kills
}

fn uid(nth: u64) -> String {
    format!("{nth:026}")
}

fn has_all(seen: &HashSet<String>, count: u64) -> bool {
    seen.len() as u64 >= count && (0..count).all(|nth| seen.contains(&uid(nth)))
}

/// The file has each event once, in a chain that nothing broke.
fn check_file(path: &Path, count: u64) {
    let mut verifier = Verifier::new(vec![signer().verifying_key()]);
    let mut events = 0;
    for line in BufReader::new(fs::File::open(path).unwrap()).split(b'\n') {
        let line = line.unwrap();
        verifier.line(&line);
        events += u64::from(String::from_utf8_lossy(&line).contains(r#""type":"access""#));
    }
    let report = verifier.conclude();
    assert!(report.is_intact(), "{report}");
    assert!(report.chains.iter().all(|chain| chain.duplicates == 0), "{report}");
    assert_eq!(events, count);
}

fn signer() -> Signer {
    Signer::new("h7", &[4; 32]).unwrap()
}

/// Stops, restarts, slows down and makes refuse a receiver, until all `is_over`; how often.
fn disturb(server: &Mutex<Server>, seed: u64, is_over: &AtomicBool) -> u64 {
    let mut dice = seed;
    let mut roll = |sides: u64| {
        // Knuth's MMIX generator: the same troubles in each run.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut outages = 0;
    while !is_over.load(Ordering::Relaxed) {
        outages += 1;
        match roll(4) {
            0 => {
                server.lock().unwrap().stop();
                thread::sleep(Duration::from_millis(100 + roll(2000)));
                server.lock().unwrap().restart();
            }
            1 => {
                let wait = Duration::from_millis(100 + roll(900));
                let acts = (0..4).map(|_| Act::Slow(wait)).collect();
                server.lock().unwrap().script(acts);
            }
            2 => {
                let status = [429, 503, 401, 502][usize::try_from(roll(4)).unwrap()];
                let acts = (0..1 + roll(4)).map(|_| Act::Http(status, Vec::new())).collect();
                server.lock().unwrap().script(acts);
            }
            _ => server.lock().unwrap().script(vec![Act::BreakOff, Act::Take, Act::BreakOff]),
        }
        thread::sleep(Duration::from_millis(100 + roll(1500)));
    }
    server.lock().unwrap().script(Vec::new());
    outages
}

fn named(name: &str, sink: Box<dyn Sink>) -> Named {
    Named { name: name.to_owned(), sink }
}

fn file(path: &Path) -> Box<dyn Sink> {
    let long = Duration::from_secs(1_000_000);
    Box::new(FileSink::new(FileOptions {
        path: path.to_owned(),
        format: Format::Json,
        rotate_bytes: 1 << 40,
        rotate_after: long,
        compress: false,
        keep_bytes: 1 << 40,
        keep_for: long,
    }))
}

fn start(directory: &Path, sinks: Vec<Named>) -> Export {
    let names = sinks.iter().map(|sink| sink.name.clone()).collect();
    let spool = Options::new(4 << 30, names);
    let host = Host { id: "1".to_owned(), name: "h7".to_owned(), boot_id: "b".to_owned() };
    Export::start(&directory.join("spool"), &spool, sinks, SigningFile::fixed(signer()), host)
        .unwrap()
        .0
}

//! How many events one core takes from encoding to a file of a sink: numbering, JSON, the last look
//! for tokens, the chain, the spool, and back out of it into a file, synced.
//!
//! In: `SECONDS` (60) of events as fast as they go, or `RATE` of them a second. Out: events a
//! second, the processor time of one, and the memory at each quarter. All threads are held to one
//! processor. Fails if the file does not have every event, or memory grows by more than
//! [`GROWTH`] after the first quarter.
//!
//! `cargo bench -p scopewatch --bench export`, `RATE=10000 SECONDS=600 cargo bench …`

#![expect(clippy::expect_used, clippy::print_stdout, reason = "it stops where it fails")]

use std::{
    env, fs,
    io::BufRead as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{UsageWho, getrusage},
    unistd::Pid,
};
use scopewatch::{
    config::signingfile::SigningFile,
    event::{
        json,
        mapping::Format,
        model::{Event, Host},
    },
    integrity::note::Signer,
    sinks::{
        export::{Export, Named},
        file::{FileSink, Options as FileOptions},
        output::Output,
    },
    spool::Options,
};

/// An access by a verified token, as the agent writes it.
const EVENT: &str = include_str!("event.json");

/// Events that differ: as many as repeat before the processor's caches could know them.
const EVENTS: usize = 1000;

/// By how much memory may grow once it has settled, in KiB.
const GROWTH: u64 = 16 * 1024;

fn main() {
    if env::args().any(|each| each == "--list") {
        println!("export: benchmark");
        return;
    }
    // Under `cargo test` benches are built and started once: a moment shows that it works.
    let seconds = if env::args().any(|each| each == "--bench") { 60 } else { 1 };
    let seconds = Duration::from_secs(asked("SECONDS", seconds));
    let rate = asked("RATE", 0);
    let mut only = CpuSet::new();
    only.set(0).expect("a processor");
    sched_setaffinity(Pid::from_raw(0), &only).expect("hold to it");
    let directory = tempfile::tempdir_in("target").expect("directory");
    let (written, took, quarters) = run(directory.path(), seconds, rate);
    let used = used();
    let micros = used.as_secs_f64() * 1e6 / written as f64;
    println!("{:.0} events/s, {micros:.2} us of processor each", written as f64 / took);
    println!("memory by quarters, KiB: {quarters:?}");
    let lines = lines_of(directory.path());
    // Start, stop, checkpoints and health stand between them.
    assert!(lines >= written, "{written} events, {lines} lines");
    let [first, .., last] = quarters.as_slice() else { return };
    assert!(*last <= first + GROWTH, "memory grows");
}

fn asked(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Events written, how long it took until they were in the file, and memory at each quarter.
fn run(directory: &Path, seconds: Duration, rate: u64) -> (u64, f64, Vec<u64>) {
    let output = Output::sinks(start(directory));
    let (mut lines, batches) = output.channel();
    let running = thread::spawn(move || output.run(&batches));
    let mut events: Vec<_> = (0..EVENTS).map(event).collect();
    let start = Instant::now();
    let mut quarters = Vec::new();
    let mut sent = 0_u64;
    while start.elapsed() < seconds {
        for event in &mut events {
            lines.push(event);
        }
        sent += EVENTS as u64;
        if rate > 0 {
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        let quarter = seconds.mul_f64((quarters.len() + 1) as f64 / 4.0);
        if start.elapsed() >= quarter {
            quarters.push(resident());
        }
    }
    lines.flush();
    drop(lines);
    let written = running.join().expect("no panic").expect("written");
    (written, start.elapsed().as_secs_f64(), quarters)
}

fn start(directory: &Path) -> Export {
    let file = FileSink::new(FileOptions {
        path: directory.join("events.jsonl"),
        format: Format::Json,
        rotate_bytes: 1 << 40,
        rotate_after: Duration::from_secs(1_000_000),
        compress: false,
        keep_bytes: 1 << 40,
        keep_for: Duration::from_secs(1_000_000),
    });
    let options = Options::new(8 << 30, vec!["file".to_owned()]);
    let key = SigningFile::fixed(Signer::new("h7", &[4; 32]).expect("a key"));
    let host = Host { id: "1".to_owned(), name: "h7".to_owned(), boot_id: "b".to_owned() };
    let sinks = vec![Named { name: "file".to_owned(), sink: Box::new(file) }];
    Export::start(&directory.join("spool"), &options, sinks, key, host).expect("a spool").0
}

fn event(nth: usize) -> Event {
    let mut event = json::parse(EVENT.trim()).expect("an event");
    if let Some(http) = &mut event.http {
        http.path = Some(format!("/v1/accounts/{nth:06}/orders"));
    }
    event
}

fn lines_of(directory: &Path) -> u64 {
    let file = fs::File::open(directory.join("events.jsonl")).expect("a file");
    std::io::BufReader::new(file).split(b'\n').count() as u64
}

/// Processor time of all threads.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let time = |time: nix::sys::time::TimeVal| {
        Duration::from_secs_f64(time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// Memory that is resident, in KiB (proc(5), `VmRSS`).
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

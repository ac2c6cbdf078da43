//! A sink at work. In: options and events. Out: the spool's counts, and dead letters.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use scopewatch::{
    outbound,
    sinks::{
        dead::DeadLetters,
        delivery::{DeliveryLoop, Stop},
        otlp::{Endpoint, Options, OtlpSink, Protocol},
    },
    spool::{self, Lane, SinkCounts, Spool, filesystem::Directory, reader::Reader},
};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

/// Options for a receiver at a port of this host, without TLS.
pub fn options(protocol: Protocol, port: u16) -> Options {
    let path = match protocol {
        Protocol::Grpc => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Protocol::HttpProtobuf | Protocol::HttpJson => "/v1/logs",
    };
    let host = "127.0.0.1".to_owned();
    let authority = format!("{host}:{port}");
    Options {
        endpoint: Endpoint { is_tls: false, host, port, authority, path: path.to_owned() },
        protocol,
        gzip: true,
        headers_file: None,
        tls: outbound::Options::default(),
        timeout: Duration::from_secs(10),
        max_batch_bytes: 64 * 1024,
        resource: BTreeMap::new(),
    }
}

/// An event, with so many bytes that it can do without.
pub fn event(uid: &str, pad: usize) -> Value {
    json!({
        "event": {"uid": uid, "type": "access", "schema": "1", "seq": 1, "severity": "info",
            "time": "2026-11-22T10:04:31.118204Z",
            "observed_time": "2026-11-22T10:04:31.121204Z", "outcome": "success"},
        "host": {"id": "8f4e", "name": "h7", "boot_id": "2f1c"},
        "agent": {"version": "0.1.0"},
        "identity": {"subject": "f1c4"},
        "http": {"method": "GET", "path": "/v1/orders", "status": 200},
        "authz": {"scopes": ["orders:read"], "reasons": ["x".repeat(pad)]},
        "trace": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"},
    })
}

/// So many events, and their uids.
pub fn events(count: usize) -> (Vec<Value>, Vec<String>) {
    let uids: Vec<_> = (0..count).map(|nth| format!("uid-{nth:05}")).collect();
    (uids.iter().map(|uid| event(uid, 20)).collect(), uids)
}

/// A sink's thread at work on a spool.
pub struct Run {
    directory: TempDir,
    spool: Arc<Spool<Directory>>,
    stop: Stop,
    thread: JoinHandle<()>,
}

/// Gives `events` to a sink of these options.
pub fn start(options: Options, events: &[Value]) -> Run {
    let directory = tempfile::tempdir().expect("a directory");
    let filesystem = Directory::new(directory.path()).expect("a spool");
    let name = "siem".to_owned();
    let spool_options = spool::Options::new(64 * 1024 * 1024, vec![name.clone()]);
    let (mut writer, spool, _) =
        spool::open(filesystem, &spool_options, [1; 16], Instant::now()).expect("it opens");
    for event in events {
        writer.append(Lane::Kept, event.to_string().as_bytes());
    }
    writer.close(Instant::now());
    let reader = Reader::new(&spool, &name).expect("the sink is known");
    let dead = DeadLetters::new(directory.path().join("siem.dead"));
    let stop = Stop::default();
    let sink = Box::new(OtlpSink::new(options));
    let delivery = DeliveryLoop::new(name, reader, sink, dead, stop.clone());
    let thread = thread::spawn(move || delivery.run());
    Run { directory, spool, stop, thread }
}

impl Run {
    pub fn counts(&self) -> SinkCounts {
        self.spool.counts().remove(0)
    }

    /// Waits until `is_so`, with a limit.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&SinkCounts) -> bool) {
        let start = Instant::now();
        while !is_so(&self.counts()) {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}: {:?}", self.counts());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of the spool: delivered, dead, pending, and the records of dead letters.
    #[track_caller]
    pub fn finish(self) -> (u64, u64, u64, Vec<Value>) {
        self.until("all is done", |counts| counts.pending == 0);
        self.end()
    }

    /// Says stop; the same, and it must not take long.
    #[track_caller]
    pub fn end(self) -> (u64, u64, u64, Vec<Value>) {
        self.stop.now();
        let start = Instant::now();
        self.thread.join().expect("the sink's thread ends well");
        assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
        let SinkCounts { delivered, dead, pending, lost, .. } = self.spool.counts().remove(0);
        assert_eq!(lost, 0);
        let letters = fs::read_to_string(self.directory.path().join("siem.dead"));
        let letters = letters.unwrap_or_default();
        let lines = letters.lines().filter(|line| !line.starts_with('#'));
        let letters =
            lines.map(|line| serde_json::from_str(line).expect("a whole event")).collect();
        (delivered, dead, pending, letters)
    }
}

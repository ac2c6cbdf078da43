//! Sinks at work on one spool. In: events, and options of each sink. Out: the spool's counts.

use std::{
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use scopewatch::{
    event::mapping::syslog::{Payload, Sender},
    integrity::chain::Chain,
    outbound,
    sinks::{
        dead::DeadLetters,
        delivery::{DeliveryLoop, Stop},
        syslog::{Address, Framing, Options, SyslogSink, Target},
    },
    spool::{self, Lane, SinkCounts, Spool, filesystem::Directory, reader::Reader},
};
use scopewatch_harness::{certs::Certificates, receivers::Receiver};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A way to a receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    Udp,
    Octet,
    Lf,
    Tls,
    Socket,
}

pub const ALL: [Way; 5] = [Way::Udp, Way::Octet, Way::Lf, Way::Tls, Way::Socket];

/// Options for a receiver, with all that it wants to see.
pub fn options(way: Way, payload: Payload, receiver: &Receiver, certs: &Certificates) -> Options {
    let address = |host: &str, port| Address { host: host.to_owned(), port };
    let ports = receiver.ports;
    let target = match way {
        Way::Udp => Target::Udp(address("127.0.0.1", ports.udp)),
        Way::Octet => Target::Tcp(address("127.0.0.1", ports.octet), Framing::Octet),
        Way::Lf => Target::Tcp(address("127.0.0.1", ports.lf), Framing::Lf),
        Way::Tls => Target::Tls(address("127.0.0.1", ports.tls), trust(certs)),
        Way::Socket => Target::Socket(receiver.socket()),
    };
    Options {
        target,
        payload,
        sender: Sender::default(),
        max_bytes: 8192,
        resend_bytes: 4 * 1024 * 1024,
        connect_for: Duration::from_secs(5),
        progress_within: Duration::from_secs(10),
    }
}

/// Trust in the authority, and a client's certificate of it.
pub fn trust(certs: &Certificates) -> outbound::Options {
    let identity = Some((certs.client.clone(), certs.client_key.clone()));
    let ca_file = Some(certs.authority.clone());
    outbound::Options { ca_file, identity, server_name: Some("localhost".to_owned()) }
}

/// The `nth` event of a chain, without its place there.
pub fn event(chain: &str, nth: usize) -> Value {
    let reasons =
        if chain.ends_with("-json") && nth == 7 { vec!["r".repeat(20_000)] } else { vec![] };
    json!({
        "event": {"uid": format!("{chain}-{nth:05}"), "type": "access", "severity": "high",
            "time": "2026-11-22T10:04:31.118204Z",
            "observed_time": "2026-11-22T10:04:31.121204Z", "outcome": "success"},
        "host": {"id": "8f4e", "name": "h7", "boot_id": "2f1c"},
        "agent": {"version": "0.1.0"},
        "identity": {"subject": format!("täter-{nth} \"x\" \\ ]")},
        "http": {"method": "POST", "path": "/v1/a=b|c/{int}", "status": 200 + nth % 5},
        // One that would like to be taken for the chain.
        "client": {"ua": "x chain=evil seq=0\" chain=\"evil\" \u{7f}\u{9b}"},
        "authz": {"verdict": "deny", "missing": ["refunds:write", "x"], "reasons": reasons},
    })
}

/// So many events of a chain, linked.
pub fn chained(chain: &str, count: usize) -> Vec<String> {
    let mut linked = Chain::new(chain.to_owned());
    let line = |nth: usize| {
        let mut line = Vec::new();
        linked.link(&event(chain, nth).to_string(), &mut line).expect("it has a canonical form");
        String::from_utf8(line).expect("text")
    };
    (0..count).map(line).collect()
}

/// Waits until `is_so`, with a limit.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A spool with events, and the sinks that have them.
pub struct Run {
    directory: TempDir,
    spool: Arc<Spool<Directory>>,
    running: Vec<(Stop, JoinHandle<()>)>,
}

impl Run {
    /// A spool of these events for sinks of these names, none of which runs.
    pub fn new(names: &[&str], events: &[String]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let filesystem = Directory::new(directory.path()).expect("a spool");
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let options = spool::Options::new(256 * 1024 * 1024, names);
        let (mut writer, spool, _) =
            spool::open(filesystem, &options, [1; 16], Instant::now()).expect("it opens");
        for event in events {
            writer.append(Lane::Kept, event.as_bytes());
        }
        // Not closed: a sink that has sent all must stay, for a receiver that loses some of it.
        writer.commit(Instant::now());
        writer.sync(Instant::now());
        Self { directory, spool, running: Vec::new() }
    }

    /// Starts a sink, from where it was.
    pub fn start(&mut self, name: &str, options: Options) {
        let reader = Reader::new(&self.spool, name).expect("the sink is known");
        let dead = DeadLetters::new(self.directory.path().join(format!("{name}.dead")));
        let stop = Stop::default();
        let sink = Box::new(SyslogSink::new(options));
        let delivery = DeliveryLoop::new(name.to_owned(), reader, sink, dead, stop.clone());
        self.running.push((stop, thread::spawn(move || delivery.run())));
    }

    /// Ends all sinks; that must not take long.
    #[track_caller]
    pub fn stop(&mut self) {
        let start = Instant::now();
        self.running.iter().for_each(|(stop, _)| stop.now());
        for (_, thread) in self.running.drain(..) {
            thread.join().expect("a sink's thread ends well");
        }
        assert!(start.elapsed() < Duration::from_secs(3), "it took {:?}", start.elapsed());
    }

    /// What became of the events of a sink: delivered, dead, pending.
    pub fn counts(&self, name: &str) -> (u64, u64, u64) {
        let counts = self.spool.counts();
        let counts = counts.iter().find(|counts| counts.name == name).expect("the sink is known");
        let SinkCounts { delivered, dead, pending, .. } = counts;
        (*delivered, *dead, *pending)
    }

    /// Waits until a sink has nothing more to do.
    #[track_caller]
    pub fn finish(&self, name: &str) -> (u64, u64, u64) {
        until("all is done", || self.counts(name).2 == 0);
        self.counts(name)
    }
}

/// A directory with certificates in it, and the place of a receiver.
pub fn place() -> (TempDir, Certificates) {
    let directory = tempfile::tempdir().unwrap();
    let certs = Certificates::make(directory.path()).unwrap();
    (directory, certs)
}

/// Where a receiver has its files.
pub fn of_receiver(directory: &TempDir) -> PathBuf {
    directory.path().join("receiver")
}

//! The sink against receivers that the tests script: what arrives, and what happens when one goes
//! away. Real ones are not here.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
    thread,
    time::{Duration, Instant},
};

use super::{Address, Framing, LEAST_BYTES, Options, SyslogSink, Target};
use crate::{
    event::mapping::syslog::{Payload, Sender},
    sinks::{Delivery, Refusal, Sink as _, delivery::Stop},
};

fn sink(target: Target) -> SyslogSink {
    SyslogSink::new(Options {
        target,
        payload: Payload::Json,
        sender: Sender::default(),
        max_bytes: 8192,
        resend_bytes: 1 << 20,
        connect_for: Duration::from_secs(5),
        progress_within: Duration::from_secs(5),
    })
}

fn local(port: u16) -> Address {
    Address { host: "127.0.0.1".to_owned(), port }
}

fn record(nth: usize) -> String {
    format!(
        "{{\"event\":{{\"uid\":\"u{nth}\",\"type\":\"access\",\"severity\":\"info\",\
         \"time\":\"2026-11-22T10:04:31.118204Z\",\"observed_time\":\"2026-11-22T10:04:31.1Z\"}}}}"
    )
}

fn give(sink: &mut SyslogSink, records: &[String]) -> Delivery {
    sink.deliver(&mut records.iter().map(String::as_bytes))
}

/// One message in a frame of its length.
fn octets(from: &mut BufReader<TcpStream>) -> Option<String> {
    let mut length = Vec::new();
    from.read_until(b' ', &mut length).ok()?;
    let length = std::str::from_utf8(length.strip_suffix(b" ")?).unwrap().parse().unwrap();
    let mut message = vec![0; length];
    from.read_exact(&mut message).ok()?;
    Some(String::from_utf8(message).unwrap())
}

#[test]
fn lines_arrive_one_by_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = local(listener.local_addr().unwrap().port());
    let reading = thread::spawn(move || {
        let (peer, _) = listener.accept().unwrap();
        // A receiver that closes at once has confirmed nothing: this one stays.
        let mut reader = BufReader::new(peer);
        let lines: Vec<_> = reader.by_ref().lines().take(3).map(Result::unwrap).collect();
        (lines, reader)
    });
    let mut sink = sink(Target::Tcp(address, Framing::Lf));
    let records: Vec<_> = (0..3).map(record).collect();
    assert!(matches!(give(&mut sink, &records), Delivery::Delivered));
    let (lines, _peer) = reading.join().unwrap();
    assert_eq!(lines.len(), 3);
    for (line, record) in lines.iter().zip(&records) {
        assert!(line.starts_with("<86>1 2026-11-22T10:04:31.118204Z - scopewatch "), "{line}");
        assert!(line.ends_with(record.as_str()), "{line}");
    }
}

#[test]
fn what_a_dying_receiver_confirmed_comes_again_without_anything_new() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = local(listener.local_addr().unwrap().port());
    let mut sink = sink(Target::Tcp(address, Framing::Octet));
    let accepting = thread::spawn(move || (listener.accept().unwrap().0, listener));
    assert!(matches!(give(&mut sink, &[record(0), record(1)]), Delivery::Delivered));
    // It dies before it has read what its kernel confirmed.
    let (peer, listener) = accepting.join().unwrap();
    drop(peer);
    let reading = thread::spawn(move || {
        let mut peer = BufReader::new(listener.accept().unwrap().0);
        [octets(&mut peer), octets(&mut peer)].map(Option::unwrap)
    });
    let start = Instant::now();
    while !reading.is_finished() && start.elapsed() < Duration::from_secs(10) {
        sink.idle();
        thread::sleep(Duration::from_millis(50));
    }
    let [first, second] = reading.join().unwrap();
    assert!(first.ends_with(&record(0)) && second.ends_with(&record(1)), "{first} {second}");
}

#[test]
fn a_receiver_that_takes_nothing_is_left_when_it_is_time_to_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = local(listener.local_addr().unwrap().port());
    let stop = Stop::default();
    let mut sink = sink(Target::Tcp(address, Framing::Octet));
    sink.options.progress_within = Duration::from_secs(60);
    sink.patience.progress = Duration::from_secs(60);
    sink.heed(&stop);
    // Nobody accepts, and nobody reads: more than the kernels have room for.
    let records: Vec<_> = (0..60_000).map(record).collect();
    let sending = thread::spawn(move || give(&mut sink, &records));
    thread::sleep(Duration::from_secs(3));
    let start = Instant::now();
    stop.now();
    let became = sending.join().unwrap();
    assert!(matches!(became, Delivery::Retry { .. }), "{became:?}");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn nobody_there_is_a_reason_to_try_again() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut sink = sink(Target::Tcp(local(port), Framing::Octet));
    let became = give(&mut sink, &[record(0)]);
    assert!(matches!(became, Delivery::Retry { done: 0, .. }), "{became:?}");
}

#[test]
fn a_record_without_message_is_refused_behind_those_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut sink = sink(Target::Socket(path));
    let became = give(&mut sink, &[record(0), "no event".to_owned(), record(2)]);
    let refused = matches!(became, Delivery::Reject { done: 1, why: Refusal::Unmappable });
    assert!(refused, "{became:?}");
    let mut datagram = [0; 8192];
    let length = receiver.recv(&mut datagram).unwrap();
    assert!(String::from_utf8_lossy(&datagram[..length]).ends_with(&record(0)));
}

#[test]
fn a_record_that_cannot_be_small_enough_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let _receiver = UnixDatagram::bind(&path).unwrap();
    let mut sink = sink(Target::Socket(path));
    sink.bound = LEAST_BYTES;
    let long = record(0).replace("u0", &"u".repeat(LEAST_BYTES));
    let became = give(&mut sink, &[long]);
    let refused = matches!(became, Delivery::Reject { done: 0, why: Refusal::TooLarge });
    assert!(refused, "{became:?}");
}

#[test]
fn a_socket_of_datagrams_is_found_again_and_one_of_a_stream_gets_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let first = UnixDatagram::bind(&path).unwrap();
    let mut sink = sink(Target::Socket(path.clone()));
    assert!(matches!(give(&mut sink, &[record(0)]), Delivery::Delivered));
    drop(first);
    assert!(matches!(give(&mut sink, &[record(1)]), Delivery::Retry { done: 0, .. }));
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let reading = thread::spawn(move || {
        let (peer, _) = listener.accept().unwrap();
        BufReader::new(peer).lines().take(2).map(Result::unwrap).collect::<Vec<_>>()
    });
    assert!(matches!(give(&mut sink, &[record(1)]), Delivery::Delivered));
    let lines = reading.join().unwrap();
    assert!(lines[0].ends_with(&record(0)) && lines[1].ends_with(&record(1)), "{lines:?}");
}

#[test]
fn each_datagram_of_udp_is_one_message() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut sink = sink(Target::Udp(local(receiver.local_addr().unwrap().port())));
    let records: Vec<_> = (0..3).map(record).collect();
    assert!(matches!(give(&mut sink, &records), Delivery::Delivered));
    for record in records {
        let mut datagram = [0; 8192];
        let length = receiver.recv(&mut datagram).unwrap();
        let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
        assert!(text.starts_with("<86>1 ") && text.ends_with(&record), "{text}");
    }
}

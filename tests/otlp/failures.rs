//! Networks and receivers that fail: nothing is lost, and what comes twice has the same uid.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use crate::{
    run::{ALL, events, options, start},
    server::{Act, Server},
};

#[test]
fn a_slow_receiver_is_waited_for() {
    let (events, uids) = events(30);
    for protocol in ALL {
        let server = Server::start(protocol, vec![Act::Slow(Duration::from_millis(600))]);
        assert_eq!(start(options(protocol, server.port), &events).finish().0, 30);
        assert_eq!((server.taken(), server.connections()), (uids.clone(), 1), "{protocol:?}");
    }
}

#[test]
fn what_was_not_confirmed_comes_again_under_the_same_uid() {
    let (events, uids) = events(30);
    for protocol in ALL {
        let server = Server::start(protocol, vec![Act::Hang, Act::BreakOff]);
        let mut options = options(protocol, server.port);
        options.timeout = Duration::from_secs(2);
        let (delivered, dead, pending, _) = start(options, &events).finish();
        assert_eq!((delivered, dead, pending), (30, 0, 0), "{protocol:?}");
        // Taken three times by the server, of which it confirmed the last one.
        assert_eq!(server.taken().len(), 90, "{protocol:?}");
        let distinct: BTreeSet<_> = server.taken().into_iter().collect();
        assert_eq!(distinct.into_iter().collect::<Vec<_>>(), uids);
    }
}

#[test]
fn a_receiver_that_hangs_does_not_keep_the_agent_from_ending() {
    let (events, _) = events(30);
    for protocol in ALL {
        let server = Server::start(protocol, vec![Act::Hang]);
        let mut options = options(protocol, server.port);
        options.timeout = Duration::from_secs(100);
        let run = start(options, &events);
        while server.requests() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // `end` asserts that it takes no longer than a moment.
        let (delivered, dead, pending, _) = run.end();
        assert_eq!((delivered, dead, pending), (0, 0, 30), "{protocol:?}: nothing was confirmed");
    }
}

#[test]
fn a_long_wait_that_was_asked_for_does_not_keep_the_agent_from_ending() {
    let (events, _) = events(30);
    let wait = vec![("retry-after", "500".to_owned())];
    let protocol = scopewatch::sinks::otlp::Protocol::HttpProtobuf;
    let server = Server::start(protocol, vec![Act::Http(429, wait)]);
    let run = start(options(protocol, server.port), &events);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(server.requests(), 1, "it waits");
    let (_, _, pending, _) = run.end();
    assert_eq!(pending, 30);
}

#[test]
fn what_is_no_receiver_of_otlp_confirms_nothing() {
    let (events, uids) = events(30);
    for protocol in ALL {
        let script = vec![Act::Says(b"<html>It works!</html>"), Act::Says(b"\xff\xff\xff\xff")];
        let server = Server::start(protocol, script);
        let (delivered, dead, _, _) = start(options(protocol, server.port), &events).finish();
        assert_eq!((delivered, dead, server.requests()), (30, 0, 3), "{protocol:?}");
        assert_eq!(server.taken(), uids);
    }
}

#[test]
fn a_server_of_another_protocol_confirms_nothing() {
    let (events, _) = events(5);
    for protocol in ALL {
        for says in [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", b""] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            listener.set_nonblocking(true).unwrap();
            let run = start(options(protocol, port), &events);
            let (from, mut asked) = (Instant::now(), 0);
            while asked < 2 && from.elapsed() < Duration::from_secs(20) {
                if let Ok((mut stream, _)) = listener.accept() {
                    asked += 1;
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    let _ = stream.read(&mut [0; 65_536]);
                    let _ = stream.write_all(says);
                }
                thread::sleep(Duration::from_millis(2));
            }
            let (delivered, dead, pending, _) = run.end();
            assert!(asked > 1, "{protocol:?}: it is tried again");
            assert_eq!((delivered, dead, pending), (0, 0, 5), "{protocol:?}");
        }
    }
}

#[test]
fn a_receiver_that_is_killed_and_comes_back_gets_everything() {
    let (events, uids) = events(4000);
    for protocol in ALL {
        // Slow enough to be killed in the middle.
        let slow = || Act::Slow(Duration::from_millis(4));
        let mut server = Server::start(protocol, (0..5000).map(|_| slow()).collect());
        let mut options = options(protocol, server.port);
        options.max_batch_bytes = 8 * 1024;
        let run = start(options, &events);
        for part in 1..=3 {
            let wanted = part * 1000;
            let from = Instant::now();
            while server.taken().len() < wanted && from.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
            server.stop();
            thread::sleep(Duration::from_millis(150));
            server.restart();
        }
        let (delivered, dead, pending, _) = run.finish();
        assert_eq!((delivered, dead, pending), (4000, 0, 0), "{protocol:?}");
        let taken = server.taken();
        let distinct: BTreeSet<_> = taken.iter().cloned().collect();
        assert!(distinct.into_iter().collect::<Vec<_>>() == uids, "{protocol:?}: all arrived");
        assert!(server.connections() > 3, "{protocol:?}: {} connections", server.connections());
        println!("{protocol:?}: {} of {} came again", taken.len() - 4000, taken.len());
    }
}

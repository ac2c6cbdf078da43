//! Receivers that say no: what comes again, what never does, and what is made smaller.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use scopewatch::sinks::otlp::Protocol;

use crate::{
    run::{ALL, event, events, options, start},
    server::{Act, Server, text},
};

/// `google.rpc.Status` with a `RetryInfo` of one second, in base64 without padding.
const RETRY_IN_ONE_SECOND: &str =
    "GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAE";

fn after(seconds: &str) -> Vec<(&'static str, String)> {
    vec![("retry-after", seconds.to_owned())]
}

#[test]
fn what_can_be_taken_later_comes_again_when_the_receiver_says() {
    let (events, uids) = events(20);
    for protocol in ALL {
        let script = match protocol {
            Protocol::Grpc => vec![
                Act::Grpc(14, "unavailable", None),
                Act::Grpc(8, "quota", Some(RETRY_IN_ONE_SECOND.to_owned())),
                Act::Http(503, Vec::new()),
            ],
            _ => vec![
                Act::Http(503, Vec::new()),
                Act::Http(429, after("1")),
                Act::Http(502, after("soon")),
            ],
        };
        let server = Server::start(protocol, script);
        let (delivered, dead, _, _) = start(options(protocol, server.port), &events).finish();
        assert_eq!((delivered, dead), (20, 0), "{protocol:?}");
        assert_eq!(server.taken(), uids, "{protocol:?}");
        server.seen(|seen| {
            assert_eq!(seen.len(), 4);
            let waited = seen[2].at - seen[1].at;
            assert!(waited >= Duration::from_secs(1), "{protocol:?}: {waited:?}");
            let waited = seen[3].at - seen[2].at;
            assert!(waited < Duration::from_secs(5), "{protocol:?}: {waited:?}");
        });
    }
}

#[test]
fn what_is_refused_for_good_is_kept_as_dead_letters_and_not_sent_again() {
    let (events, uids) = events(600);
    for protocol in ALL {
        let no = match protocol {
            Protocol::Grpc => Act::Grpc(3, "invalid", None),
            _ => Act::Http(400, after("1")),
        };
        let server = Server::start(protocol, vec![Act::Take, no]);
        let (delivered, dead, pending, letters) =
            start(options(protocol, server.port), &events).finish();
        let refused: Vec<_> = server.seen(|seen| {
            seen[1].records.iter().map(|record| text(record, "log.record.uid").unwrap()).collect()
        });
        let count = u64::try_from(refused.len()).unwrap();
        assert!(count > 10 && server.requests() > 2, "{protocol:?}");
        assert_eq!((delivered, dead, pending), (600 - count, count, 0), "{protocol:?}");
        let letters: Vec<_> =
            letters.iter().map(|event| event["event"]["uid"].as_str().unwrap()).collect();
        assert_eq!(letters, refused, "{protocol:?}");
        let rest: Vec<_> = uids.iter().filter(|uid| !refused.contains(uid)).cloned().collect();
        assert_eq!(server.taken(), rest, "{protocol:?}");
    }
}

#[test]
fn a_partial_success_is_not_sent_again_and_its_losses_count() {
    let (events, uids) = events(20);
    for protocol in ALL {
        let server = Server::start(protocol, vec![Act::Partly(3)]);
        let (delivered, dead, pending, letters) =
            start(options(protocol, server.port), &events).finish();
        assert_eq!((delivered, dead, pending), (17, 3, 0), "{protocol:?}");
        // Nobody says which three: all are kept.
        assert_eq!(letters.len(), 20);
        assert_eq!((server.requests(), server.taken()), (1, uids.clone()));
    }
}

#[test]
fn an_agent_that_may_not_send_loses_nothing_and_reads_its_key_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("headers");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (events, uids) = events(40);
    for protocol in ALL {
        write("x-key: expired\n");
        let no = match protocol {
            Protocol::Grpc => vec![Act::Grpc(16, "who", None), Act::Grpc(12, "what", None)],
            _ => vec![Act::Http(401, Vec::new()), Act::Http(404, Vec::new())],
        };
        let server = Server::start(protocol, no);
        let mut options = options(protocol, server.port);
        options.headers_file = Some(path.clone());
        let run = start(options, &events);
        while server.requests() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        write("x-key: renewed\n");
        let (delivered, dead, pending, _) = run.finish();
        assert_eq!((delivered, dead, pending), (40, 0, 0), "{protocol:?}");
        assert_eq!(server.taken(), uids);
        server.seen(|seen| {
            assert_eq!(seen[0].fields["x-key"], "expired");
            assert_eq!(seen.last().unwrap().fields["x-key"], "renewed");
        });
    }
}

#[test]
fn requests_that_are_too_large_are_halved_until_they_fit() {
    let (events, uids) = events(200);
    for protocol in ALL {
        let server = Server::start(protocol, Vec::new());
        server.limit(6000);
        let (delivered, dead, pending, _) = start(options(protocol, server.port), &events).finish();
        assert_eq!((delivered, dead, pending), (200, 0, 0), "{protocol:?}");
        assert_eq!(server.taken(), uids, "{protocol:?}");
        server.seen(|seen| assert!(!seen[0].is_taken, "the first was too large"));
    }
}

#[test]
fn a_record_that_is_too_large_loses_what_it_can_do_without_and_says_so() {
    let mut hopeless = event("hopeless", 10);
    hopeless["identity"]["subject"] = "s".repeat(9000).into();
    let events = [event("a", 10), event("large", 9000), event("b", 10), hopeless, event("c", 10)];
    for protocol in ALL {
        let server = Server::start(protocol, Vec::new());
        server.limit(6000);
        let (delivered, dead, pending, letters) =
            start(options(protocol, server.port), &events).finish();
        assert_eq!((delivered, dead, pending), (4, 1, 0), "{protocol:?}");
        assert_eq!(server.taken(), ["a", "large", "b", "c"], "{protocol:?}");
        assert_eq!(letters[0]["event"]["uid"], "hopeless");
        server.seen(|seen| {
            let taken = seen.iter().filter(|seen| seen.is_taken);
            for record in taken.flat_map(|seen| &seen.records) {
                let is_large = text(record, "log.record.uid").as_deref() == Some("large");
                let mark = text(record, "scopewatch.is_truncated");
                assert_eq!(mark.is_some(), is_large, "{protocol:?}");
                assert_eq!(text(record, "user.id").as_deref(), Some("f1c4"));
            }
        });
    }
}

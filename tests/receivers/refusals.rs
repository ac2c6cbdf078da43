//! TLS with something wrong: nothing arrives, nothing is lost, and it goes on once that is mended.

use std::{thread, time::Duration};

use scopewatch::{
    event::mapping::syslog::Payload,
    outbound,
    sinks::syslog::{Options, Target},
};
use scopewatch_harness::{
    certs::Certificates,
    receivers::{PACKAGES, Package, Receiver},
};

use crate::run::{Run, Way, chained, of_receiver, options, place, until};

const COUNT: u64 = 30;

fn with(options: &Options, change: impl FnOnce(&mut outbound::Options)) -> Options {
    let mut options = options.clone();
    if let Target::Tls(_, tls) = &mut options.target {
        change(tls);
    }
    options
}

fn nothing_is_said_to_whom_it_should_not(package: &'static Package) {
    let (directory, certs) = place();
    let other = tempfile::tempdir().unwrap();
    let others = Certificates::make(other.path()).unwrap();
    let receiver = Receiver::start(package, &certs, &of_receiver(&directory)).unwrap();
    let right = options(Way::Tls, Payload::Json, &receiver, &certs);
    let wrong = [
        ("authority", with(&right, |tls| tls.ca_file = Some(others.authority.clone()))),
        ("name", with(&right, |tls| tls.server_name = Some("siem.example".to_owned()))),
        ("none", with(&right, |tls| tls.identity = None)),
        (
            "stranger",
            with(&right, |tls| {
                tls.identity = Some((others.client.clone(), others.client_key.clone()));
            }),
        ),
    ];
    let mut runs = wrong.map(|(what, options)| {
        let sent = chained(what, 30);
        let mut run = Run::new(&["siem"], &sent);
        run.start("siem", options);
        (what, run)
    });
    // Long enough for several tries of each.
    thread::sleep(Duration::from_secs(6));
    for (what, run) in &mut runs {
        run.stop();
        assert_eq!(run.counts("siem"), (0, 0, COUNT), "{what}");
    }
    let lines = receiver.lines("events.log").unwrap();
    assert!(lines.is_empty(), "{lines:?}");
    for (what, run) in &mut runs {
        run.start("siem", right.clone());
        assert_eq!(run.finish("siem"), (COUNT, 0, 0), "{what}");
        run.stop();
    }
    until("the receiver to have all", || receiver.lines("events.jsonl").unwrap().len() == 4 * 30);
}

#[test]
fn rsyslog_gets_nothing_while_certificates_are_wrong() {
    nothing_is_said_to_whom_it_should_not(&PACKAGES[0]);
}

#[test]
fn syslog_ng_gets_nothing_while_certificates_are_wrong() {
    nothing_is_said_to_whom_it_should_not(&PACKAGES[1]);
}

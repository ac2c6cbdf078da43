//! Receivers that die, and receivers that hang.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use nix::sys::signal::Signal;
use scopewatch::event::mapping::syslog::Payload;
use scopewatch_harness::receivers::{PACKAGES, Package, Receiver};

use crate::run::{Run, Way, chained, of_receiver, options, place, until};

const COUNT: usize = 16_000;

/// Waits until no more is delivered.
fn settled(run: &Run) {
    let mut before = None;
    until("the sink to wait", || {
        let now = Some(run.counts("siem"));
        thread::sleep(Duration::from_secs(1));
        std::mem::replace(&mut before, now) == now
    });
}

/// Bytes that this host's kernel holds at most for a process that does not read.
fn most_in_kernel() -> usize {
    let sizes = fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
    sizes.split_whitespace().next_back().unwrap().parse().unwrap()
}

fn all_arrive_though_it_is_killed(package: &'static Package, way: Way) {
    let (directory, certs) = place();
    let mut receiver = Receiver::start(package, &certs, &of_receiver(&directory)).unwrap();
    let sent = chained("killed", COUNT);
    let mut run = Run::new(&["siem"], &sent);
    let mut options = options(way, Payload::Json, &receiver, &certs);
    // What the documentation says that it takes: as much as the receiver's kernel may hold.
    options.resend_bytes = most_in_kernel();
    run.start("siem", options);
    for part in 1..=2 {
        until("a part to be delivered", || run.counts("siem").0 > (part * COUNT / 5) as u64);
        if part == 2 {
            // Its kernel goes on taking what it will never read, until it has no more room.
            receiver.signal(Signal::SIGSTOP).unwrap();
            settled(&run);
        }
        receiver.kill();
        let (_, _, pending) = run.counts("siem");
        assert!(pending > 0 || part == 2, "it was killed too late for this test");
        thread::sleep(Duration::from_millis(300));
        receiver.restart().unwrap();
    }
    assert_eq!(run.finish("siem"), (COUNT as u64, 0, 0));
    let mut came = Vec::new();
    until("every event to arrive", || {
        came = receiver.uids().unwrap();
        came.iter().collect::<BTreeSet<_>>().len() == COUNT
    });
    run.stop();
    // Otherwise nobody was killed in mid stream.
    assert!(came.len() > COUNT, "nothing came again");
}

#[test]
fn rsyslog_killed_in_mid_stream_over_tcp_gets_every_event() {
    all_arrive_though_it_is_killed(&PACKAGES[0], Way::Octet);
}

#[test]
fn rsyslog_killed_in_mid_stream_over_tls_gets_every_event() {
    all_arrive_though_it_is_killed(&PACKAGES[0], Way::Tls);
}

#[test]
fn syslog_ng_killed_in_mid_stream_over_tcp_gets_every_event() {
    all_arrive_though_it_is_killed(&PACKAGES[1], Way::Octet);
}

#[test]
fn syslog_ng_killed_in_mid_stream_over_tls_gets_every_event() {
    all_arrive_though_it_is_killed(&PACKAGES[1], Way::Tls);
}

#[test]
fn what_the_kernel_of_a_dead_receiver_had_comes_again_though_no_more_is_to_be_sent() {
    const FEW: usize = 20;
    let (directory, certs) = place();
    let mut receiver = Receiver::start(&PACKAGES[0], &certs, &of_receiver(&directory)).unwrap();
    let mut run = Run::new(&["siem"], &chained("few", FEW));
    receiver.signal(Signal::SIGSTOP).unwrap();
    run.start("siem", options(Way::Octet, Payload::Json, &receiver, &certs));
    assert_eq!(run.finish("siem"), (FEW as u64, 0, 0));
    receiver.kill();
    assert_eq!(receiver.uids().unwrap().len(), 0);
    receiver.restart().unwrap();
    until("every event to arrive", || receiver.uids().unwrap().len() == FEW);
    run.stop();
}

#[test]
fn a_receiver_that_hangs_and_one_that_is_dead_delay_no_other() {
    let (directory, certs) = place();
    let place = |name: &str| directory.path().join(name);
    let start = |nth: usize, name| Receiver::start(&PACKAGES[nth], &certs, &place(name)).unwrap();
    let (good, mut slow, mut dead) = (start(0, "good"), start(1, "slow"), start(1, "dead"));
    slow.signal(Signal::SIGSTOP).unwrap();
    dead.kill();
    let sent = chained("three", COUNT);
    let mut run = Run::new(&["good", "slow", "dead"], &sent);
    for (name, receiver) in [("slow", &slow), ("dead", &dead), ("good", &good)] {
        run.start(name, options(Way::Octet, Payload::Json, receiver, &certs));
    }
    assert_eq!(run.finish("good"), (COUNT as u64, 0, 0));
    assert_eq!(run.counts("dead"), (0, 0, COUNT as u64));
    let (_, _, pending) = run.counts("slow");
    assert!(pending > 0, "more than what the kernels hold was to be sent");
    until("all to arrive at the good one", || good.uids().unwrap().len() == COUNT);
    // Neither has lost anything by it.
    slow.signal(Signal::SIGCONT).unwrap();
    dead.restart().unwrap();
    assert_eq!(run.finish("slow"), (COUNT as u64, 0, 0));
    assert_eq!(run.finish("dead"), (COUNT as u64, 0, 0));
    run.stop();
    for receiver in [&slow, &dead] {
        until("all to arrive in the end", || {
            receiver.uids().unwrap().iter().collect::<BTreeSet<_>>().len() == COUNT
        });
    }
}

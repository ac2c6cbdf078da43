//! Reads and writes: which function, how much at once, and those that fail.

use anyhow::{Result, ensure};
use scopewatch_harness::openssl::{How, Opening};

use super::{
    check,
    lab::{Behaviour, Lab},
};

/// Ways to read.
pub const READS: [(&str, Behaviour); 6] = [
    ("read", |lab| exchange(lab, How::default())),
    ("read_ex", |lab| exchange(lab, How { read: "SSL_read_ex", ..How::default() })),
    ("seven bytes at a time", |lab| exchange(lab, How { piece: 7, ..How::default() })),
    ("seven bytes at a time by read_ex", |lab| {
        exchange(lab, How { read: "SSL_read_ex", piece: 7, ..How::default() })
    }),
    ("peek before every read", |lab| {
        exchange(lab, How { peek: true, ..How::default() })?;
        exchange_again(lab, How { peek: true, piece: 7, ..How::default() })
    }),
    ("many reads of every record", many_reads_of_every_record),
];

/// Ways to write.
pub const WRITES: [(&str, Behaviour); 5] = [
    ("write", |lab| exchange(lab, How::default())),
    ("write_ex", |lab| exchange(lab, How { write: "SSL_write_ex", ..How::default() })),
    ("write_ex2", |lab| match lab.client().has_write_ex2() {
        true => exchange(lab, How { write: "SSL_write_ex2", ..How::default() }),
        false => Ok(()),
    }),
    ("partial writes from a buffer that moves", |lab| blocked_writes(lab, true)),
    ("a write repeated from a buffer that moves", |lab| blocked_writes(lab, false)),
];

/// Calls that move nothing, over memory that looks like messages.
pub const FAILURES: [(&str, Behaviour); 3] = [
    ("calls that fail before the handshake", calls_that_fail_before_the_handshake),
    ("reads of what has not arrived", reads_of_what_has_not_arrived),
    ("reads beyond the end", |lab| reads_beyond_the_end(lab)),
];

/// An exchange on a session of its own.
fn exchange(lab: &mut Lab, how: How) -> Result<()> {
    lab.client().open("one", Opening::default())?;
    exchange_again(lab, how)
}

/// Another one on the session that was opened last.
fn exchange_again(lab: &mut Lab, how: How) -> Result<()> {
    let request = lab.request("GET", &format!("{}-by-{}", how.read, how.piece))?;
    let exchanged = lab.client().exchange("one", &request, how)?;
    ensure!(how.piece > 7 || exchanged.reads.0 > 20, "it read too much: {exchanged:?}");
    lab.tell(request, exchanged);
    Ok(())
}

fn many_reads_of_every_record(lab: &mut Lab) -> Result<()> {
    for read in ["SSL_read", "SSL_read_ex"] {
        lab.client().open("one", Opening::default())?;
        let request = lab.request_large()?;
        let how = How { read, piece: 5000, ..How::default() };
        let exchanged = lab.client().exchange("one", &request, how)?;
        ensure!(exchanged.reads.0 > 200, "it read too much: {exchanged:?}");
        lab.tell(request, exchanged);
    }
    Ok(())
}

/// Writes more than the socket takes, so that attempts fail in between.
fn blocked_writes(lab: &mut Lab, partial_writes: bool) -> Result<()> {
    for write in ["SSL_write", "SSL_write_ex"] {
        let opening =
            Opening { blocking: false, partial_writes, send_buffer: 4096, ..Opening::default() };
        lab.client().open("one", opening)?;
        let request = lab.request("POST", write)?.body(&"body ".repeat(100_000));
        let how = How { write, ..How::default() };
        let exchanged = lab.client().exchange("one", &request, how)?;
        let (done, blocked) = exchanged.writes;
        ensure!(blocked > 0 && (done > 1) == partial_writes, "no such writes: {exchanged:?}");
        lab.tell(request, exchanged);
    }
    Ok(())
}

fn calls_that_fail_before_the_handshake(lab: &mut Lab) -> Result<()> {
    let opening = Opening { blocking: false, handshake: false, ..Opening::default() };
    lab.client().open("one", opening)?;
    lab.client().make("fail_to_write", "one")?;
    lab.client().make("fail_to_read", "one")?;
    lab.client().make("handshake", "one")?;
    exchange_again(lab, How::default())
}

fn reads_of_what_has_not_arrived(lab: &mut Lab) -> Result<()> {
    let opening = Opening { blocking: false, ..Opening::default() };
    lab.client().open("one", opening)?;
    for read in ["SSL_read", "SSL_read_ex"] {
        lab.client().make("fail_to_read", "one")?;
        exchange_again(lab, How { read, piece: 7, ..How::default() })?;
        exchange_again(lab, How { read, piece: 8, peek: true, ..How::default() })?;
    }
    lab.client().make("fail_to_read", "one")
}

fn reads_beyond_the_end(lab: &mut Lab) -> Result<()> {
    for read in ["SSL_read", "SSL_read_ex"] {
        lab.client().open("one", Opening::default())?;
        let request = lab.request("GET", read)?.header("Connection", "close");
        let how = How { read, until_end: true, ..How::default() };
        let exchanged = lab.client().exchange("one", &request, how)?;
        ensure!(exchanged.reads.1 > 0, "no read failed: {exchanged:?}");
        lab.tell(request, exchanged);
    }
    Ok(())
}

/// Of answers that last, calls are told by their length once the agent has said that nobody reads them.
pub fn check_long_answers(release: &str) -> Result<()> {
    const ANSWER: u64 = 64 << 20;
    let outcome = check(
        release,
        &[("answers that last", |lab| {
            lab.client().open("one", Opening::default())?;
            for more in 0..2 {
                let request = lab.request_bytes(ANSWER + more)?;
                let how = How { piece: 16 * 1024, ..How::default() };
                let exchanged = lab.client().exchange("one", &request, how)?;
                lab.tell(request, exchanged);
            }
            exchange_again(lab, How::default())
        })],
    )?;
    // At both ends; how much goes by how soon the agent asks.
    let of = |name| outcome.counters.get(name).copied().unwrap_or_default();
    let copied = of("data_bytes");
    ensure!(copied < 3 * ANSWER, "nearly all of it was copied: {:?}", outcome.counters);
    ensure!(of("not_copied_bytes") + copied >= 4 * ANSWER, "untold: {:?}", outcome.counters);
    ensure!(of("gaps") == 0, "what was passed over was taken for lost: {:?}", outcome.counters);
    Ok(())
}

/// A call is captured up to 1 MiB: its exchange is told with what is missing of it.
pub fn check_long_write(release: &str) -> Result<()> {
    const BODY: usize = 3 << 20;
    const LIMIT: u64 = 1 << 20;
    let outcome = check(
        release,
        &[("three mebibytes in one write", |lab| {
            lab.client().open("one", Opening::default())?;
            for name in ["first", "second"] {
                let request = lab.request("POST", name)?.body(&"m".repeat(BODY));
                let exchanged = lab.client().exchange("one", &request, How::default())?;
                ensure!(exchanged.writes == (1, 0), "not in one call: {exchanged:?}");
                lab.tell_incomplete(request, exchanged, &["request_body_lost"]);
            }
            exchange_again(lab, How::default())
        })],
    )?;
    let lost = outcome.counters.get("call_too_long_bytes").copied().unwrap_or_default();
    let least = 2 * (u64::try_from(BODY)? - LIMIT);
    ensure!((least..least + 4096).contains(&lost), "{lost} bytes were too much for one call");
    Ok(())
}

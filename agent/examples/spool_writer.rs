//! A process that is made to be killed: it writes a spool and delivers it to a file.
//!
//! In: a directory, and a number that tells this start from others. Out: on standard output, a line
//! for each record that is acknowledged: the start's number and the record's.

#![expect(clippy::print_stdout, reason = "this is how it tells")]

use std::{
    io::{self, Write as _},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use scopewatch::{
    event::mapping::Format,
    sinks::{
        dead::DeadLetters,
        delivery::{DeliveryLoop, Stop},
        file::{FileSink, Options as FileOptions},
    },
    spool::{self, Lane, Options, SyncPolicy, filesystem::Directory, reader::Reader},
};

/// Records of each batch.
const BATCH: u64 = 50;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("a directory")?);
    let start: u64 = arguments.next().context("a number")?.parse()?;
    // Only deliver what is there.
    let finish = arguments.next().is_some();
    let sinks = vec!["file".to_owned()];
    let policy = SyncPolicy::Interval(Duration::from_millis(10));
    let options = Options { sync: policy, ..Options::new(256 * 1024 * 1024, sinks) };
    let filesystem = Directory::new(&directory.join("spool"))?;
    let run = u128::from(start).to_be_bytes();
    let (mut writer, spool, _) = spool::open(filesystem, &options, run, Instant::now())?;
    let sink = FileSink::new(FileOptions {
        path: directory.join("events"),
        format: Format::Json,
        rotate_bytes: 512 * 1024,
        rotate_after: Duration::from_secs(3600),
        compress: false,
        keep_bytes: u64::MAX,
        keep_for: Duration::from_secs(3600),
    });
    let reader = Reader::new(&spool, "file").context("a reader")?;
    let dead = DeadLetters::new(directory.join("dead"));
    let delivery =
        DeliveryLoop::new("file".to_owned(), reader, Box::new(sink), dead, Stop::default());
    let delivery = thread::spawn(move || delivery.run());
    let mut told = 0;
    for batch in 0..if finish { 0 } else { u64::MAX / BATCH } {
        for nth in batch * BATCH..(batch + 1) * BATCH {
            let lane = if nth % 7 == 0 { Lane::Kept } else { Lane::Bulk };
            let pad = "x".repeat(usize::try_from(nth % 400)?);
            writer
                .append(lane, format!("{{\"id\":\"{start}-{nth}\",\"pad\":\"{pad}\"}}").as_bytes());
        }
        writer.commit(Instant::now());
        let acknowledged = writer.acknowledged();
        if acknowledged > told {
            let mut out = io::stdout().lock();
            (told..acknowledged).try_for_each(|nth| writeln!(out, "{start}-{nth}"))?;
            out.flush()?;
            told = acknowledged;
        }
        thread::sleep(Duration::from_micros(500));
    }
    writer.close(Instant::now());
    let _ = delivery.join();
    writer.finish();
    println!("done");
    Ok(())
}

//! A process that is killed at any moment loses nothing that it acknowledged: a writer of the spool
//! is started and killed again and again over one directory, then left to finish.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::{
    collections::HashSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// The example `spool_writer`, which is built with the tests.
fn writer() -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let profile = this.ancestors().nth(2).expect("it stands below target");
    profile.join("examples/spool_writer")
}

/// Ids that a start acknowledged before it was killed, after so many milliseconds.
fn start_and_kill(directory: &Path, start: u64, after: u64) -> HashSet<String> {
    let mut command = Command::new(writer());
    command.arg(directory).arg(start.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the writer starts");
    let mut out = child.stdout.take().expect("it has an output");
    let reading = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).expect("its output is text");
        text
    });
    thread::sleep(Duration::from_millis(after));
    assert!(child.try_wait().expect("it can be asked").is_none(), "start {start} ended by itself");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let text = reading.join().expect("its output was read");
    // A line that the kill cut was not said.
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    whole.lines().map(str::to_owned).collect()
}

/// Every id in the file and in those that were put aside, in order.
fn delivered(directory: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events"))
        })
        .collect();
    // The file that is written to has the shortest name, and comes last.
    files.sort_by_key(|path| (path.extension().is_none(), path.clone()));
    let mut ids = Vec::new();
    for file in files {
        for line in fs::read_to_string(file).expect("the file is text").lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect("lines are whole");
            ids.push(
                event
                    .get("id")
                    .and_then(serde_json::Value::as_str)
                    .expect("it has an id")
                    .to_owned(),
            );
        }
    }
    ids
}

/// `SOAK_KILLS` sets how often.
#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let kills = std::env::var("SOAK_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(8);
    let directory = tempfile::tempdir().expect("a directory");
    let mut acknowledged = HashSet::new();
    // By xorshift, so that a run that fails can be run again.
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for start in 0..kills {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        acknowledged.extend(start_and_kill(directory.path(), start, 5 + dice % 250));
    }
    let mut command = Command::new(writer());
    let end = command.arg(directory.path()).arg(kills.to_string()).arg("finish").output();
    let end = end.expect("the writer starts");
    assert_eq!(String::from_utf8_lossy(&end.stdout), "done\n");
    let ids = delivered(directory.path());
    let distinct: HashSet<&String> = ids.iter().collect();
    let missing = acknowledged.iter().filter(|id| !distinct.contains(id)).count();
    println!(
        "{kills} kills: {} records acknowledged, {} lines delivered, {} of them again, {missing} missing",
        acknowledged.len(),
        ids.len(),
        ids.len() - distinct.len()
    );
    assert!(acknowledged.len() > 100, "the writers came to acknowledge something");
    assert_eq!(missing, 0, "acknowledged, and not delivered");
}

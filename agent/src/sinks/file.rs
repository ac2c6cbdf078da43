//! Events as lines of a file that is put aside when it is large or old. In: records. Out: a file
//! that only grows, and older ones, compressed, within bounds of age and size.
//!
//! What is confirmed is on disk. A line that a crash cut short is removed at the next start: it was
//! not confirmed, and comes again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use flate2::{Compression, write::GzEncoder};

use crate::{
    event::mapping::Format,
    paths::{directory, with_suffix},
    sinks::{Delivery, Refusal, Sink},
};

/// Bytes that are looked at once for the end of a line.
const LOOK: u64 = 64 * 1024;
/// Behind the name of a file that is being compressed.
const DRAFT: &str = ".draft";

/// How a file sink is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// The file that is written to.
    pub path: PathBuf,
    /// How events are written.
    pub format: Format,
    /// Size at which it is put aside, in bytes.
    pub rotate_bytes: u64,
    /// Age at which it is put aside.
    pub rotate_after: Duration,
    /// Whether files that are put aside are compressed.
    pub compress: bool,
    /// Bytes that files put aside may have together; the oldest go first.
    pub keep_bytes: u64,
    /// Age at which files put aside are removed.
    pub keep_for: Duration,
}

/// The sink.
pub struct FileSink {
    options: Options,
    open: Option<Open>,
    lines: Vec<u8>,
}

struct Open {
    file: File,
    length: u64,
    since: SystemTime,
}

impl FileSink {
    /// A sink of these options; its file is opened when there is something to write.
    #[must_use]
    pub const fn new(options: Options) -> Self {
        Self { options, open: None, lines: Vec::new() }
    }

    /// Writes the lines and waits until they are on disk; all of them or none.
    fn write(&mut self) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => open(&self.options.path)?,
        };
        let written = open.file.write_all(&self.lines).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // What is left of it is cut when the file is opened again, at the latest.
            let _ = open.file.set_len(open.length);
            return Err(error);
        }
        open.length += self.lines.len() as u64;
        let age = open.since.elapsed().unwrap_or_default();
        if open.length >= self.options.rotate_bytes || age >= self.options.rotate_after {
            drop(open);
            if let Err(error) = self.rotate() {
                tracing::warn!(%error, path = %self.options.path.display(), "file not rotated");
            }
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    /// Puts the file aside, compresses what is aside, and removes what is too much.
    fn rotate(&self) -> io::Result<()> {
        let path = &self.options.path;
        let now = jiff::Timestamp::now();
        let stamp = now.strftime("%Y%m%dT%H%M%SZ");
        // By name they are in the order of time, also those of one second.
        let mut part = now.subsec_nanosecond();
        let aside = loop {
            let name = with_suffix(path, &format!(".{stamp}-{part:09}"));
            if !name.exists() && !with_suffix(&name, ".gz").exists() {
                break name;
            }
            part = part.checked_add(1).ok_or(io::ErrorKind::AlreadyExists)?;
        };
        fs::rename(path, &aside)?;
        sync_directory(path)?;
        if self.options.compress {
            for file in self.aside()?.iter().filter(|it| it.extension().is_none_or(|e| e != "gz")) {
                compress(file)?;
            }
        }
        self.keep_within_bounds()
    }

    /// Files that were put aside, the oldest first; drafts of crashed compressions are removed.
    fn aside(&self) -> io::Result<Vec<PathBuf>> {
        let path = &self.options.path;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir(directory(path))? {
            let entry = entry?;
            let other = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = other.strip_prefix(&name) else { continue };
            if !is_aside(rest) {
                continue;
            }
            if rest.ends_with(DRAFT) {
                fs::remove_file(entry.path())?;
            } else {
                found.push(entry.path());
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn keep_within_bounds(&self) -> io::Result<()> {
        let mut total = 0_u64;
        for file in self.aside()?.iter().rev() {
            let found = fs::metadata(file)?;
            total = total.saturating_add(found.len());
            let age = found.modified()?.elapsed().unwrap_or_default();
            if total > self.options.keep_bytes || age > self.options.keep_for {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

impl Sink for FileSink {
    fn deliver(&mut self, records: &mut dyn Iterator<Item = &[u8]>) -> Delivery {
        self.lines.clear();
        let (done, refused) = self.options.format.append_lines(records, &mut self.lines);
        if let Err(why) = self.write() {
            return Delivery::Retry { done: 0, why, after: None };
        }
        if refused {
            Delivery::Reject { done, why: Refusal::Unmappable }
        } else {
            Delivery::Delivered
        }
    }
}

/// Whether what stands behind a file's name says that it was put aside:
/// `.20261125T071509Z-118204000`.
fn is_aside(rest: &str) -> bool {
    let stamp = rest.strip_prefix('.').and_then(|rest| rest.split_once('-'));
    stamp.is_some_and(|(time, number)| {
        let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
        time.len() == 16 && digits(time) == 14 && number.len() >= 9 && digits(number) >= 9
    })
}

/// Opens the file to append to it, behind its last whole line.
fn open(path: &Path) -> io::Result<Open> {
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let found = file.metadata()?;
    let length = end_of_lines(&mut file, found.len())?;
    if length < found.len() {
        file.set_len(length)?;
        file.sync_data()?;
    }
    if found.len() == 0 {
        sync_directory(path)?;
    }
    let since = found.created().or_else(|_| found.modified()).unwrap_or_else(|_| SystemTime::now());
    Ok(Open { file, length, since })
}

/// Where the last whole line of the first `length` bytes ends.
fn end_of_lines(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(LOOK);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::take(&mut *file, end - start).read_to_end(&mut part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Compresses a file into one beside it, which appears whole, and removes it.
fn compress(path: &Path) -> io::Result<()> {
    let draft = with_suffix(path, &format!(".gz{DRAFT}"));
    let created =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    let mut encoder = GzEncoder::new(created?, Compression::fast());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&draft, with_suffix(path, ".gz"))?;
    sync_directory(path)?;
    fs::remove_file(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn options(path: PathBuf) -> Options {
        Options {
            path,
            format: Format::Json,
            rotate_bytes: 1000,
            rotate_after: DAY,
            compress: true,
            keep_bytes: 100_000,
            keep_for: DAY,
        }
    }

    fn give(sink: &mut FileSink, records: &[&[u8]]) {
        let taken = sink.deliver(&mut records.iter().copied());
        assert!(matches!(taken, Delivery::Delivered), "{taken:?}");
    }

    /// Everything that the sink has written, oldest first.
    fn all(sink: &FileSink) -> String {
        let mut text = String::new();
        for file in sink.aside().unwrap() {
            let file = File::open(file).unwrap();
            flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        }
        text + &fs::read_to_string(&sink.options.path).unwrap_or_default()
    }

    #[test]
    fn a_large_file_is_put_aside_compressed_and_nothing_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = FileSink::new(options(directory.path().join("events.jsonl")));
        let mut expected = String::new();
        for nth in 0..100 {
            let record = format!("{{\"n\":{nth},\"pad\":\"{}\"}}", "x".repeat(90));
            give(&mut sink, &[record.as_bytes()]);
            expected.push_str(&record);
            expected.push('\n');
        }
        assert_eq!(all(&sink), expected);
        assert!(sink.aside().unwrap().len() > 5);
    }

    #[test]
    fn an_old_file_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = FileSink::new(Options {
            rotate_after: Duration::ZERO,
            compress: false,
            ..options(directory.path().join("events.jsonl"))
        });
        give(&mut sink, &[b"{}"]);
        give(&mut sink, &[b"{}"]);
        assert_eq!(sink.aside().unwrap().len(), 2);
        assert!(!sink.options.path.exists());
    }

    #[test]
    fn the_oldest_go_when_there_is_too_much_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        fs::write(directory.path().join("events.jsonl.notes"), "mine").unwrap();
        fs::write(directory.path().join("events.jsonl.20261125T071509Z-000000000.gz.draft"), "")
            .unwrap();
        let mut sink = FileSink::new(Options {
            rotate_bytes: 1,
            compress: false,
            keep_bytes: 7,
            ..options(path)
        });
        ["{1}", "{2}", "{3}"].iter().for_each(|record| give(&mut sink, &[record.as_bytes()]));
        let aside = sink.aside().unwrap();
        let last = fs::read_to_string(aside.last().unwrap()).unwrap();
        assert_eq!((aside.len(), last.as_str()), (1, "{3}\n"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_line_that_was_cut_short_is_removed_and_comes_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        fs::write(&path, format!("{{}}\n{{\"half\":\"{}", "x".repeat(100_000))).unwrap();
        let mut sink = FileSink::new(Options { rotate_bytes: 1 << 20, ..options(path.clone()) });
        give(&mut sink, &[b"{\"whole\":1}"]);
        assert_eq!(fs::read_to_string(path).unwrap(), "{}\n{\"whole\":1}\n");
    }

    #[test]
    fn what_cannot_be_written_is_to_be_tried_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = FileSink::new(options(directory.path().join("none/events.jsonl")));
        let taken = sink.deliver(&mut [b"{}".as_slice()].into_iter());
        assert!(matches!(taken, Delivery::Retry { done: 0, .. }), "{taken:?}");
        fs::create_dir(directory.path().join("none")).unwrap();
        give(&mut sink, &[b"{}"]);
    }
}

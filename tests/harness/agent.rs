//! A running agent.
//!
//! In: the command line after `scopewatch`, and a directory for its files. Out: a process that has
//! announced itself ready, its events while it runs, and all that it wrote once it stopped.

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    io::ErrorKind,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    NOBODY,
    child::{self, Reaped},
    events::EventLog,
    is_root, wait_until,
};

/// Names the binary to test when it is not next to the running one.
pub const BINARY_VARIABLE: &str = "SCOPEWATCH_BIN";

/// A debug build looks at every process of the host before it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Far beyond the second that the agent allows itself: the tests measure, this only bounds.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The agent's binary: `SCOPEWATCH_BIN`, or `scopewatch` in the target directory that the running
/// program was built into.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let running = env::current_exe().context("find the running program")?;
    let dir = running.parent().context("the running program is in no directory")?;
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    let binary = dir.join("scopewatch");
    ensure!(binary.exists(), "{} is missing: run `cargo build -p scopewatch`", binary.display());
    Ok(binary)
}

/// The agent's command line with `arguments`.
///
/// # Errors
/// When there is no binary.
pub fn command<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments).env_remove("NOTIFY_SOCKET").env_remove("RUST_BACKTRACE");
    command.env_remove("RUST_LOG");
    Ok(command)
}

/// Runs the agent to its end as the user `nobody`, or as the present user if that is not root.
/// `dir`, which `nobody` must be able to enter, takes a copy of the binary: the target directory
/// may be closed to others.
///
/// # Errors
/// When it cannot be started.
pub fn output_unprivileged<A: AsRef<std::ffi::OsStr>>(
    dir: &Path,
    arguments: &[A],
) -> Result<Output> {
    if !is_root() {
        return child::output(&mut command(arguments)?, b"");
    }
    let copy = dir.join("scopewatch");
    fs::copy(binary()?, &copy).context("copy the agent")?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).context("open the copy")?;
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
    command.args(["--clear-groups", "--inh-caps=-all", "--no-new-privs", "--"]);
    command.arg(copy).args(arguments).current_dir("/");
    command.env_remove("NOTIFY_SOCKET").env_remove("RUST_BACKTRACE").env_remove("RUST_LOG");
    child::output(&mut command, b"")
}

/// A directory under the system's temporary one that `nobody` may enter.
///
/// # Errors
/// When it cannot be made.
pub fn open_dir() -> Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix("scopewatch-").tempdir();
    let dir = dir.context("make a temporary directory")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))
        .context("open the temporary directory")?;
    Ok(dir)
}

/// The agent under test.
#[derive(Debug)]
pub struct Agent {
    process: Reaped,
    dir: PathBuf,
    log: EventLog,
}

/// What the agent left behind.
#[derive(Debug)]
pub struct Stopped {
    /// How it ended.
    pub status: ExitStatus,
    /// Time from SIGTERM to its end.
    pub took: Duration,
    /// Every event it wrote.
    pub events: Vec<Value>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Agent {
    /// `scopewatch run`, writing JSON events below `dir`, an existing directory.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn run(dir: &Path) -> Result<Self> {
        Self::run_configured(dir, "")
    }

    /// The same with `configuration`, YAML.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn run_configured(dir: &Path, configuration: &str) -> Result<Self> {
        let file = |name: &str| dir.join(name);
        let (config, output) = (file("config.yaml"), file("events.json"));
        fs::write(&config, configuration).context("write the configuration")?;
        let arguments = [
            "run".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
            "--format".as_ref(),
            "json".as_ref(),
            "--output".as_ref(),
            output.as_os_str(),
            "--fingerprint-key".as_ref(),
            &file("fingerprint.key").into_os_string(),
        ];
        Self::start(&arguments, dir, &output)
    }

    /// [`Agent::run`], capturing calls alone: each end of a connection is told of by itself.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn run_on_calls(dir: &Path) -> Result<Self> {
        Self::run_configured(dir, "capture:\n  path: call\n")
    }

    /// `scopewatch run` with nothing but `configuration`, whose sinks are to write JSON to
    /// `events.json` below `dir`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn run_exporting(dir: &Path, configuration: &str) -> Result<Self> {
        let (config, events) = (dir.join("config.yaml"), dir.join("events.json"));
        fs::write(&config, configuration).context("write the configuration")?;
        let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        Self::start(&arguments, dir, &events)
    }

    /// `scopewatch` with `arguments`, which make it write its events to `events`.
    ///
    /// # Errors
    /// When it does not become ready within 30 seconds.
    pub fn start(arguments: &[&std::ffi::OsStr], dir: &Path, events: &Path) -> Result<Self> {
        let notify = dir.join("notify");
        let socket = UnixDatagram::bind(&notify).context("bind the readiness socket")?;
        socket.set_nonblocking(true).context("unblock the readiness socket")?;
        let file = |name: &str| {
            File::create(dir.join(name)).with_context(|| format!("create the agent's {name}"))
        };
        let mut command = command(arguments)?;
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null());
        command.stdout(file("stdout")?).stderr(file("stderr")?);
        let process = Reaped::start(&mut command)?;
        let mut agent = Self { process, dir: dir.to_owned(), log: EventLog::new(events) };
        wait_until("the agent to be ready", READY_TIMEOUT, || {
            if let Some(status) = agent.process.ended()? {
                bail!("the agent ended at start, {status}: {}", agent.stderr().trim());
            }
            ready(&socket)
        })
        .with_context(|| format!("the agent said: {}", agent.stderr().trim()))?;
        fs::remove_file(&notify).context("remove the readiness socket")?;
        Ok(agent)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Its events so far, and waiting for more.
    pub const fn log(&mut self) -> &mut EventLog {
        &mut self.log
    }

    /// Stops it as a service manager does and collects what it left.
    ///
    /// # Errors
    /// When it is still there after 15 seconds, or what it wrote is not readable.
    pub fn terminate(mut self) -> Result<Stopped> {
        let start = Instant::now();
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait(STOP_TIMEOUT)?;
        let took = start.elapsed();
        let stderr = self.stderr();
        let stdout = fs::read(self.dir.join("stdout")).context("read the agent's stdout")?;
        Ok(Stopped { status, took, events: self.log.into_events()?, stdout, stderr })
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(STOP_TIMEOUT).map(drop)
    }

    fn stderr(&self) -> String {
        let bytes = fs::read(self.dir.join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Stopped {
    /// The counters of its last words, by name.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, u64> {
        counters(&self.stderr)
    }

    /// Records that the agent says it lost, whatever the reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let counters = self.counters();
        let lost = counters.iter().filter(|(name, _)| name.starts_with("dropped"));
        lost.map(|(_, count)| count).sum()
    }
}

/// Whether a datagram of the `sd_notify` protocol says that the sender is ready.
fn ready(socket: &UnixDatagram) -> Result<Option<()>> {
    let mut datagram = [0; 4096];
    let length = match socket.recv(&mut datagram) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        received => received.context("read the readiness socket")?,
    };
    let message = datagram.get(..length).unwrap_or_default();
    let ready = message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
    Ok(ready.then_some(()))
}

/// The `key=value` counters of the line `scopewatch: stopped; …`.
fn counters(stderr: &str) -> BTreeMap<String, u64> {
    let last = stderr.lines().rev().find_map(|line| line.strip_prefix("scopewatch: stopped;"));
    let pairs = last.unwrap_or_default().split_whitespace().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.trim_end_matches([',', ';']).parse().ok()?))
    });
    pairs.collect()
}

/// Whether `needle` occurs in `haystack`.
#[must_use]
pub fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len().max(1)).any(|window| window == needle.as_bytes())
}

/// Every file below `dir`, with its content.
///
/// # Errors
/// When a file cannot be read.
pub fn files_below(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry.context("list a directory")?.path();
            let kind = fs::symlink_metadata(&path).context("look at a file")?.file_type();
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).with_context(|| format!("read {}", path.display()));
                files.push((path, content?));
            }
        }
    }
    files.sort_by(|(left, _), (right, _)| {
        left.as_os_str().as_bytes().cmp(right.as_os_str().as_bytes())
    });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_counted() {
        let stderr = "scopewatch: warning: a=1\n\
                      scopewatch: stopped; exchanges=20, events=40 dropped_records=2 took=3ms\n";
        let expected = [("dropped_records", 2), ("events", 40), ("exchanges", 20)];
        let expected = expected.map(|(name, count)| (name.to_owned(), count));
        assert_eq!(counters(stderr), BTreeMap::from(expected));
        assert!(counters("scopewatch: killed").is_empty());
    }

    #[test]
    fn readiness_is_one_line_of_a_datagram() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        receiver.set_nonblocking(true).unwrap();
        assert!(ready(&receiver).unwrap().is_none());
        sender.send(b"STATUS=looking at processes").unwrap();
        assert!(ready(&receiver).unwrap().is_none());
        sender.send(b"READY=1\nMAINPID=7").unwrap();
        assert!(ready(&receiver).unwrap().is_some());
    }

    #[test]
    fn a_needle_is_found_anywhere() {
        assert!(contains(b"abcdef", "def") && contains(b"abcdef", "abcdef"));
        assert!(!contains(b"abc", "abcd") && !contains(b"", "a"));
    }
}

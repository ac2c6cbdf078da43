//! The discoverer: examines each library file once, asks the broker to probe it, remembers what
//! became of it.
//!
//! Runs on a thread of its own: reading and attaching take milliseconds, and a hostile file may
//! take longer.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::{self, File},
    io,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use lru::LruCache;

use crate::{
    binary::{
        elf::{ElfError, Library},
        exports,
        file::LibraryFile,
        keysite::{self, NoKeySite},
        plan::{AttachPlan, NoPlan, OPENSSL, openssl},
    },
    discover::{
        handover::Handover,
        maps::{self, is_wanted},
        system::Directories,
    },
    sandbox::{
        broker::Handle,
        protocol::{Inode, Refusal},
    },
    telemetry::board::{Board, Libraries, Said},
};

/// Files that are remembered. A host has a handful, a busy container host some hundreds; one that
/// is forgotten while mapped is examined again and attached twice, which the kernel half endures.
const MAX_FILES: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// Time between two words for the board.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// When to look at a new process, after its exec: the loader maps libraries within milliseconds,
/// interpreters load their TLS module later, services later still. A look at a process that maps
/// nothing new reads its list of mappings and no file.
const LOOKS: [(Duration, Age); 6] = [
    (Duration::ZERO, Age::New),
    (Duration::from_millis(5), Age::New),
    (Duration::from_millis(25), Age::New),
    (Duration::from_millis(100), Age::New),
    (Duration::from_millis(400), Age::Settled),
    (Duration::from_secs(2), Age::Settled),
];

/// New processes that wait for a look. When there are more, the next scan of all finds the rest.
const MAX_WAITING: usize = 4096;

/// What an executable exports that holds OpenSSL.
const EXPORTED: [&str; 3] = ["SSL_read", "EVP_KDF_derive", "EVP_PKEY_CTX_ctrl"];

/// A function that libssl has since 3.0.
const SINCE_3_0: &str = "SSL_CTX_new_ex";

/// How the version of the release before that begins, which its libssl tells.
const BEFORE_3_0: &str = "OpenSSL 1.1.1";

/// How connections are captured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// By secrets and ciphertext where there is a key site; by calls elsewhere, and for connections
    /// that are older than the agent.
    Wire,
    /// By calls alone.
    Calls,
}

/// What became of one library.
#[derive(Debug)]
pub enum Outcome {
    /// Its secrets are seen, at this function.
    Secrets(&'static str),
    /// Its calls are seen, in every process.
    Calls(AttachPlan),
    /// Its calls are seen in processes with old connections: new ones show their secrets.
    OldConnections,
    /// Nothing was attached, and why.
    Left(Reason),
}

/// Why a library was left alone.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It could not be read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// It is not a library for this machine.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// There is nothing to attach to, or no safe way.
    #[error(transparent)]
    Plan(#[from] NoPlan),
    /// There is no place where secrets pass.
    #[error(transparent)]
    KeySite(#[from] NoKeySite),
    /// Calls are captured, and it has none.
    #[error("it makes no TLS calls")]
    NoCalls,
    /// The broker refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Finds libraries and has them probed.
pub struct Discoverer {
    broker: Handle,
    method: Method,
    return_probes_safe: bool,
    rescan: Duration,
    handover: Handover,
    system: Directories,
    /// By what `maps` prints: avoids opening a file that was seen.
    seen: LruCache<(String, u64), Inode>,
    executables: LruCache<Executable, Option<Inode>>,
    outcomes: HashMap<Inode, Outcome>,
    waiting: BinaryHeap<Reverse<(Instant, u32, Age)>>,
    board: Board,
}

/// An executable as it was when it was looked at.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Executable {
    inode: Inode,
    /// When it was last written, in seconds and nanoseconds: it may be replaced in place.
    written: (i64, i64),
    len: u64,
}

/// Whether a process has had time to load all that it loads together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Age {
    New,
    Settled,
}

impl Discoverer {
    /// A discoverer that scans all processes every `rescan`.
    #[must_use]
    pub fn new(
        broker: Handle,
        method: Method,
        return_probes_safe: bool,
        rescan: Duration,
        board: Board,
    ) -> Self {
        Self {
            broker,
            method,
            return_probes_safe,
            rescan,
            handover: Handover::default(),
            system: Directories::default(),
            seen: LruCache::new(MAX_FILES),
            executables: LruCache::new(MAX_FILES),
            outcomes: HashMap::new(),
            waiting: BinaryHeap::new(),
            board,
        }
    }

    /// Works until `new_programs` is closed. `ready` is told, by being dropped, when everything
    /// that was there at the start is probed.
    pub fn run(mut self, new_programs: &Receiver<u32>, ready: Sender<usize>) {
        self.scan_system();
        self.scan_processes();
        self.take_over();
        let _ = ready.send(self.probed());
        drop(ready);
        self.say();
        let mut next_scan = Instant::now() + self.rescan;
        let mut next_word = Instant::now() + SAY_EVERY;
        loop {
            let deadline = self.waiting.peek().map_or(next_scan, |Reverse((at, ..))| *at);
            match new_programs.recv_deadline(deadline.min(next_scan).min(next_word)) {
                Ok(pid) => self.wait_for(pid),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_at_due();
            if Instant::now() >= next_word {
                self.say();
                next_word = Instant::now() + SAY_EVERY;
            }
            if Instant::now() >= next_scan {
                self.handover.release(&self.broker);
                self.scan_system();
                self.scan_processes();
                next_scan = Instant::now() + self.rescan;
            }
        }
    }

    /// Files that are probed.
    fn probed(&self) -> usize {
        let probed = |outcome: &&Outcome| !matches!(outcome, Outcome::Left(_));
        self.outcomes.values().filter(probed).count()
    }

    /// Says what was found, and for the kernel half, which only the broker may ask, what it counts.
    fn say(&self) {
        let (probed, all) = (self.probed() as u64, self.outcomes.len() as u64);
        let libraries = Libraries { probed, left: all - probed };
        let counters = self.broker.counters();
        self.board.say(|parts, now| {
            parts.libraries = Some(Said::at(libraries, now));
            if let Ok(counters) = counters {
                parts.kernel = Some(Said::at(counters, now));
            }
        });
    }

    fn wait_for(&mut self, pid: u32) {
        let now = Instant::now();
        if self.waiting.len() + LOOKS.len() <= MAX_WAITING {
            self.waiting.extend(LOOKS.map(|(after, age)| Reverse((now + after, pid, age))));
        }
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, pid, age))) = self.waiting.peek() {
            if at > now {
                break;
            }
            self.waiting.pop();
            self.scan_process(pid, age);
        }
    }

    fn scan_system(&mut self) {
        for path in self.system.changed() {
            self.examine(&path.to_string_lossy(), File::open(&path));
        }
    }

    fn scan_processes(&mut self) {
        for pid in maps::processes().unwrap_or_default() {
            self.scan_process(pid, Age::Settled);
        }
    }

    fn scan_process(&mut self, pid: u32, age: Age) {
        let mut mapped = Vec::from_iter(self.look_at_executable(pid));
        // A process that is gone, or a kernel thread, has nothing to find.
        for mapping in maps::of_process(pid, is_wanted).unwrap_or_default() {
            let inode = match self.seen.get(&mapping.file) {
                Some(&inode) => Some(inode),
                None => self.examine(&mapping.path, maps::open(pid, &mapping)),
            };
            // One that could not be opened, as its process has ended, others may map still.
            if let Some(inode) = inode {
                self.seen.put(mapping.file, inode);
                mapped.push(inode);
            }
        }
        if age == Age::Settled {
            self.cover(&mapped);
        }
    }

    /// The executable of `pid`, if it holds OpenSSL. One that was not seen takes a few small reads
    /// to tell, one that was takes none.
    fn look_at_executable(&mut self, pid: u32) -> Option<Inode> {
        let path = format!("/proc/{pid}/exe");
        let stat = fs::metadata(&path).ok()?;
        let executable = Executable {
            inode: Inode { device: stat.dev(), number: stat.ino() },
            written: (stat.mtime(), stat.mtime_nsec()),
            len: stat.len(),
        };
        if let Some(&known) = self.executables.get(&executable) {
            return known;
        }
        let file = File::open(&path);
        let holds = file.as_ref().is_ok_and(|file| exports::any(file, &EXPORTED));
        let name = fs::read_link(&path).unwrap_or_default();
        let inode = if holds { self.examine(&name.to_string_lossy(), file) } else { None };
        self.executables.put(executable, inode);
        inode
    }

    /// Probes the calls of a process's libssl after all, if none of the files that it maps shows
    /// secrets: its libcrypto could not be probed, or is called something else.
    fn cover(&mut self, mapped: &[Inode]) {
        let shows = |inode| matches!(self.outcomes.get(inode), Some(Outcome::Secrets(_)));
        if mapped.iter().any(shows) {
            return;
        }
        for &inode in mapped {
            let Some((file, plan)) = self.handover.give_up(inode) else { continue };
            let attached = self.broker.attach(file.into(), inode, plan.points(), None);
            let outcome = match attached {
                Ok(_) => Outcome::Calls(plan),
                Err(refusal) => Outcome::Left(refusal.into()),
            };
            tracing::info!(%inode, ?outcome, "no secrets are seen beside it");
            self.outcomes.insert(inode, outcome);
        }
    }

    /// Probes the calls of processes that hold connections now. Everything that shows secrets is
    /// probed by this time, so that any connection that begins from here on is opened by them.
    fn take_over(&mut self) {
        for pid in maps::processes().unwrap_or_default() {
            let mapped = maps::of_process(pid, is_wanted).unwrap_or_default();
            let mut inodes: Vec<_> =
                mapped.iter().filter_map(|each| self.seen.get(&each.file).copied()).collect();
            inodes.extend(self.look_at_executable(pid));
            for inode in inodes {
                self.handover.take_over(&self.broker, pid, inode);
            }
        }
    }

    fn examine(&mut self, path: &str, opened: io::Result<File>) -> Option<Inode> {
        let file = match opened.and_then(LibraryFile::new) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(path, %error, "library not opened");
                return None;
            }
        };
        let inode = file.inode;
        if self.outcomes.contains_key(&inode) || self.outcomes.len() >= MAX_FILES.get() {
            return Some(inode);
        }
        let outcome = self.probe(file).unwrap_or_else(Outcome::Left);
        let path = Path::new(path).display();
        match &outcome {
            Outcome::Secrets(function) => tracing::info!(%path, function, "secrets are seen"),
            Outcome::Calls(plan) => tracing::info!(
                %path,
                build_id = plan.build_id.as_deref().unwrap_or("none"),
                probes = plan.steps.len(),
                "calls are seen"
            ),
            Outcome::OldConnections => tracing::info!(%path, "calls of old connections are seen"),
            Outcome::Left(reason) => tracing::warn!(%path, %reason, "not probed"),
        }
        self.outcomes.insert(inode, outcome);
        Some(inode)
    }

    fn probe(&mut self, file: LibraryFile) -> Result<Outcome, Reason> {
        let bytes = file.read()?;
        let wanted: Vec<_> = OPENSSL
            .iter()
            .map(|(name, _)| *name)
            .chain(keysite::FUNCTIONS)
            .chain([SINCE_3_0])
            .collect();
        let library = Library::parse(bytes.source(), &wanted)?;
        let inode = file.inode;
        if !library.exports("SSL_read") {
            return self.probe_secrets(&library, file);
        }
        if self.method == Method::Wire && keysite::openssl(&library).is_ok() {
            return self.probe_both(&library, file);
        }
        let plan = openssl(&library, self.return_probes_safe)?;
        if self.method == Method::Wire && is_beside_key_site(&library) {
            self.handover.keep(inode, file.into_file(), plan);
            return Ok(Outcome::OldConnections);
        }
        self.broker.attach(file.into_fd(), inode, plan.points(), None)?;
        Ok(Outcome::Calls(plan))
    }

    /// A file that holds both libraries: its calls are for old connections.
    fn probe_both(&mut self, library: &Library<'_>, file: LibraryFile) -> Result<Outcome, Reason> {
        if let Ok(plan) = openssl(library, self.return_probes_safe) {
            self.handover.keep(file.inode, file.file().try_clone()?, plan);
        }
        self.probe_secrets(library, file)
    }

    fn probe_secrets(&self, library: &Library<'_>, file: LibraryFile) -> Result<Outcome, Reason> {
        if self.method == Method::Calls {
            return Err(Reason::NoCalls);
        }
        let step = keysite::openssl(library)?;
        let inode = file.inode;
        self.broker.attach(file.into_fd(), inode, vec![step.point()], None)?;
        Ok(Outcome::Secrets(step.function))
    }
}

/// Whether a libssl is of a release whose libcrypto has a key site.
fn is_beside_key_site(library: &Library<'_>) -> bool {
    let version = library.version.as_deref().unwrap_or_default();
    library.exports(SINCE_3_0) || version.starts_with(BEFORE_3_0)
}

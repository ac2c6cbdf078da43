//! The discoverer: examines each library file once, asks the broker to probe it, remembers what
//! became of it.
//!
//! Runs on a thread of its own: reading and attaching take milliseconds, and a hostile file may
//! take longer.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::File,
    io,
    num::NonZeroUsize,
    path::Path,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use lru::LruCache;

use crate::{
    binary::{
        elf::{ElfError, Library},
        file::{LibraryFile, MAX_LIBRARY},
        plan::{AttachPlan, NoPlan, OPENSSL, openssl},
    },
    discover::{
        maps::{self, is_tls_library},
        system,
    },
    sandbox::{
        broker::Handle,
        protocol::{Inode, Refusal},
    },
};

/// Files that are remembered. A host has a handful, a busy container host some hundreds; one that
/// is forgotten while mapped is examined again and attached twice, which the kernel half endures.
const MAX_FILES: NonZeroUsize = NonZeroUsize::new(8192).unwrap();

/// When to look at a new process, after its exec: the loader maps libraries within milliseconds,
/// interpreters load their TLS module later, services later still.
const LOOKS: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(100), Duration::from_secs(2)];

/// New processes that wait for a look. When there are more, the next scan of all finds the rest.
const MAX_WAITING: usize = 4096;

/// What became of one library.
#[derive(Debug)]
pub enum Outcome {
    /// Its probes are in place.
    Probed(AttachPlan),
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
    /// The broker refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Finds libraries and has them probed.
pub struct Discoverer {
    broker: Handle,
    return_probes_safe: bool,
    rescan: Duration,
    /// By what `maps` prints: avoids opening a file that was seen.
    seen: LruCache<(String, u64), ()>,
    outcomes: HashMap<Inode, Outcome>,
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Discoverer {
    /// A discoverer that scans all processes every `rescan`.
    #[must_use]
    pub fn new(broker: Handle, return_probes_safe: bool, rescan: Duration) -> Self {
        Self {
            broker,
            return_probes_safe,
            rescan,
            seen: LruCache::new(MAX_FILES),
            outcomes: HashMap::new(),
            waiting: BinaryHeap::new(),
        }
    }

    /// Works until `new_programs` is closed. `ready` is told, by being dropped, when everything
    /// that was there at the start is probed.
    pub fn run(mut self, new_programs: &Receiver<u32>, ready: Sender<usize>) {
        self.scan_system();
        self.scan_processes();
        let probed = |outcome: &&Outcome| matches!(outcome, Outcome::Probed(_));
        let _ = ready.send(self.outcomes.values().filter(probed).count());
        drop(ready);
        let mut next_scan = Instant::now() + self.rescan;
        loop {
            let deadline = self.waiting.peek().map_or(next_scan, |Reverse((at, _))| *at);
            match new_programs.recv_deadline(deadline.min(next_scan)) {
                Ok(pid) => self.wait_for(pid),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_at_due();
            if Instant::now() >= next_scan {
                self.scan_processes();
                next_scan = Instant::now() + self.rescan;
            }
        }
    }

    fn wait_for(&mut self, pid: u32) {
        let now = Instant::now();
        if self.waiting.len() + LOOKS.len() <= MAX_WAITING {
            self.waiting.extend(LOOKS.map(|after| Reverse((now + after, pid))));
        }
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, pid))) = self.waiting.peek() {
            if at > now {
                break;
            }
            self.waiting.pop();
            self.scan_process(pid);
        }
    }

    fn scan_system(&mut self) {
        for path in system::libraries() {
            self.examine(&path.to_string_lossy(), File::open(&path));
        }
    }

    fn scan_processes(&mut self) {
        for pid in maps::processes().unwrap_or_default() {
            self.scan_process(pid);
        }
    }

    fn scan_process(&mut self, pid: u32) {
        // A process that is gone, or a kernel thread, has nothing to find.
        for mapping in maps::of_process(pid, is_tls_library).unwrap_or_default() {
            if self.seen.get(&mapping.file).is_none() {
                self.examine(&mapping.path, maps::open(pid, &mapping));
                self.seen.put(mapping.file, ());
            }
        }
    }

    fn examine(&mut self, path: &str, opened: io::Result<File>) {
        let file = match opened.and_then(LibraryFile::new) {
            Ok(file) => file,
            Err(error) => return tracing::debug!(path, %error, "library not opened"),
        };
        let inode = file.inode;
        if self.outcomes.contains_key(&inode) || self.outcomes.len() >= MAX_FILES.get() {
            return;
        }
        let outcome = self.probe(file).map_or_else(Outcome::Left, Outcome::Probed);
        match &outcome {
            Outcome::Probed(plan) => tracing::info!(
                path = %Path::new(path).display(),
                build_id = plan.build_id.as_deref().unwrap_or("none"),
                probes = plan.steps.len(),
                "probing"
            ),
            Outcome::Left(reason) => {
                tracing::warn!(path = %Path::new(path).display(), %reason, "not probed");
            }
        }
        self.outcomes.insert(inode, outcome);
    }

    fn probe(&self, file: LibraryFile) -> Result<AttachPlan, Reason> {
        let bytes = file.read(MAX_LIBRARY)?;
        let library = Library::parse(&bytes, &OPENSSL.map(|(name, _)| name))?;
        let plan = openssl(&library, self.return_probes_safe)?;
        let inode = file.inode;
        self.broker.attach(file.into_fd(), inode, plan.points())?;
        Ok(plan)
    }
}

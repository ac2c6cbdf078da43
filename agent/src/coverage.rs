//! What of the host's connections is told, by which path, and why the rest is not.
//!
//! In: connections that were opened or told, connections that were given up, and who holds them.
//! Out: a [`Coverage`] that serialises as the status shows it, counters by reason, and a line for
//! the log. Pure: processes are looked up elsewhere. Bounded by [`MAX_PROCESSES`], [`MAX_RECENT`]
//! and [`MAX_FRESH`]; what finds no room is counted still, by reason, but not by process.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    num::NonZeroUsize,
};

use lru::LruCache;
use serde::{Serialize, Serializer};

use crate::{
    clock::Timestamp, flow::chunk::Socket, identity::process::Process, names::named_enum,
    text::printable,
};

/// Processes that are told apart: those that did something last.
const MAX_PROCESSES: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Connections without coverage that are remembered, the last ones.
const MAX_RECENT: usize = 64;

/// Connections without coverage that wait for someone to look up their holders, a minute of some
/// ten a second.
const MAX_FRESH: usize = 512;

/// Processes that one line of the log names.
const MAX_NAMED: usize = 8;

named_enum! {
    /// How a connection came to be told.
    pub enum Path {
        /// Its ciphertext was opened.
        Wire = "wire",
        /// The calls of its TLS library were listened to.
        Calls = "calls",
        /// It has no TLS, on a port that is listed.
        Plain = "plain",
    }
}

named_enum! {
    /// Why a TLS connection is not told.
    pub enum Reason {
        /// No secret of it was seen: neither end uses a library in which the agent looks for them.
        NoSecret = "no_secret",
        /// Its handshake was not seen: it is older than the agent, or its start was lost.
        NoHandshake = "no_handshake",
        /// It was given up to make room, as too many waited for their secrets.
        CrowdedOut = "crowded_out",
        /// Its version of TLS is not opened.
        Version = "version",
        /// Its cipher suite is not opened.
        Suite = "suite",
        /// It only began like TLS, or broke the rules of its handshake.
        NotTls = "not_tls",
        /// Its records ceased to open, after a loss that was too long.
        Desynchronised = "desynchronised",
    }
}

/// A connection that is not told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Uncovered {
    /// When it was given up.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// Its ends on this host, as they have its addresses.
    pub ends: Vec<Socket>,
    /// Processes that are known to hold one of them.
    pub holders: Vec<u32>,
    /// Cookies of the sockets at which it was seen.
    #[serde(skip)]
    pub cookies: Vec<u64>,
}

/// Connections that were given up, until someone looks up who holds them.
#[derive(Debug, Default)]
pub struct Fresh {
    listed: Vec<Uncovered>,
    unlisted: BTreeMap<Reason, u64>,
}

impl Fresh {
    /// Takes one; `describe` is asked only if there is room.
    pub fn push(&mut self, reason: Reason, describe: impl FnOnce() -> Uncovered) {
        if self.listed.len() < MAX_FRESH {
            self.listed.push(describe());
        } else {
            increment(self.unlisted.entry(reason).or_default());
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.unlisted.is_empty()
    }

    /// Leaves out those that are told by another path: `is_told` knows by the socket's cookie.
    pub fn leave_out(&mut self, is_told: impl Fn(u64) -> bool) {
        self.listed.retain(|each| !each.cookies.iter().copied().any(&is_told));
    }

    /// Ends of connections none of whose holders is known.
    #[must_use]
    pub fn strangers(&self) -> Vec<Socket> {
        let unknown = self.listed.iter().filter(|each| each.holders.is_empty());
        unknown.flat_map(|each| &each.ends).copied().collect()
    }

    /// Says who holds an end.
    pub fn hold(&mut self, pid: u32, end: &Socket) {
        for each in self.listed.iter_mut().filter(|each| each.ends.contains(end)) {
            if !each.holders.contains(&pid) {
                each.holders.push(pid);
            }
        }
    }
}

/// What one process's connections are.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Row {
    /// Short name, empty if it was gone before it could be asked.
    pub comm: String,
    /// Path of its executable.
    pub exe: Option<String>,
    /// Connections that are told, by path.
    pub covered: BTreeMap<Path, u64>,
    /// TLS connections that are not, by reason.
    pub uncovered: BTreeMap<Reason, u64>,
}

/// The coverage of a host.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Connections that are told, by path.
    pub covered: BTreeMap<Path, u64>,
    /// TLS connections that are not, by reason.
    pub uncovered: BTreeMap<Reason, u64>,
    /// By process, those that did something last. A connection of two processes counts for both.
    #[serde(serialize_with = "rows")]
    processes: LruCache<u32, Row>,
    /// The connections that were given up last.
    recent: VecDeque<Uncovered>,
    /// Connections that were not told when the log said so last.
    #[serde(skip)]
    logged: u64,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            covered: BTreeMap::new(),
            uncovered: BTreeMap::new(),
            processes: LruCache::new(MAX_PROCESSES),
            recent: VecDeque::new(),
            logged: 0,
        }
    }
}

impl Coverage {
    /// Counts a connection that is told, of these processes.
    pub fn cover(&mut self, path: Path, holders: impl IntoIterator<Item = u32>) {
        increment(self.covered.entry(path).or_default());
        for pid in holders {
            let row = self.processes.get_or_insert_mut(pid, Row::default);
            increment(row.covered.entry(path).or_default());
        }
    }

    /// Counts connections that are not, and says whose they are.
    pub fn take(&mut self, fresh: Fresh) {
        for (reason, count) in fresh.unlisted {
            let known = self.uncovered.entry(reason).or_default();
            *known = known.saturating_add(count);
        }
        for uncovered in fresh.listed {
            increment(self.uncovered.entry(uncovered.reason).or_default());
            for pid in &uncovered.holders {
                let row = self.processes.get_or_insert_mut(*pid, Row::default);
                increment(row.uncovered.entry(uncovered.reason).or_default());
            }
            if self.recent.len() >= MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(uncovered);
        }
    }

    /// Processes whose connections are not all told and whose name is not known.
    pub fn nameless(&self) -> impl Iterator<Item = u32> {
        let nameless = |row: &Row| row.comm.is_empty() && !row.uncovered.is_empty();
        self.processes.iter().filter(move |(_, row)| nameless(row)).map(|(pid, _)| *pid)
    }

    /// Says who a process is.
    pub fn name(&mut self, process: &Process) {
        if let Some(row) = self.processes.peek_mut(&process.pid) {
            (row.comm, row.exe) = (process.comm.clone(), process.exe.clone());
        }
    }

    /// Forgets a process that ended; the totals keep what it did.
    pub fn forget(&mut self, pid: u32) {
        self.processes.pop(&pid);
    }

    /// Writes one line to the log, if connections that are not told came since the last one.
    pub fn log(&mut self) {
        let uncovered = self.uncovered.values().fold(0_u64, |sum, n| sum.saturating_add(*n));
        if uncovered != self.logged {
            self.logged = uncovered;
            tracing::info!(
                covered = counts(&self.covered),
                uncovered = counts(&self.uncovered),
                processes = self.gaps(),
                "coverage"
            );
        }
    }

    /// Processes with connections that are not told, the busiest first, as one line names them.
    #[must_use]
    pub fn gaps(&self) -> String {
        let missed =
            |row: &Row| row.uncovered.values().fold(0_u64, |sum, n| sum.saturating_add(*n));
        let mut rows: Vec<_> = self.processes.iter().filter(|(_, row)| missed(row) > 0).collect();
        rows.sort_by_key(|(pid, row)| (std::cmp::Reverse(missed(row)), **pid));
        let mut text = String::new();
        for (pid, row) in rows.iter().take(MAX_NAMED) {
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _infallible = write!(text, "{separator}{}[{pid}]", printable(&row.comm));
            for (reason, count) in &row.uncovered {
                let _infallible = write!(text, " {reason}={count}");
            }
        }
        if let Some(others) = rows.len().checked_sub(MAX_NAMED).filter(|others| *others > 0) {
            let _infallible = write!(text, ", {others} others");
        }
        text
    }
}

/// `name=count` of each, for a line of the log.
#[must_use]
pub fn counts<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let words = counts.iter().map(|(name, count)| format!("{name}={count}"));
    words.collect::<Vec<_>>().join(" ")
}

fn increment(count: &mut u64) {
    *count = count.saturating_add(1);
}

fn rows<S: Serializer>(rows: &LruCache<u32, Row>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(rows.iter())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gap(reason: Reason, holders: &[u32]) -> Uncovered {
        let ends = vec![Socket {
            cookie: 1,
            local: "127.0.0.1:443".parse().unwrap(),
            remote: "127.0.0.1:50000".parse().unwrap(),
            netns: 0,
        }];
        let (holders, cookies) = (holders.to_vec(), vec![1]);
        Uncovered { at: Timestamp(5), reason, ends, holders, cookies }
    }

    fn take(coverage: &mut Coverage, gaps: impl IntoIterator<Item = Uncovered>) {
        let mut fresh = Fresh::default();
        gaps.into_iter().for_each(|gap| fresh.push(gap.reason, || gap));
        coverage.take(fresh);
    }

    #[test]
    fn a_process_is_shown_with_what_is_told_of_it_and_why_the_rest_is_not() {
        let mut coverage = Coverage::default();
        coverage.cover(Path::Wire, [7, 8]);
        take(&mut coverage, [gap(Reason::NoSecret, &[7]), gap(Reason::Suite, &[])]);
        assert_eq!(coverage.nameless().collect::<Vec<_>>(), [7]);
        coverage.name(&Process { comm: "a b".to_owned(), ..Process::unknown(7) });
        assert_eq!(coverage.gaps(), "\"a b\"[7] no_secret=1");
        assert_eq!(counts(&coverage.uncovered), "no_secret=1 suite=1");
        let shown = serde_json::to_value(&coverage).unwrap();
        assert_eq!(shown["covered"], json!({"wire": 1}));
        let row = json!({
            "comm": "a b", "exe": null, "covered": {"wire": 1}, "uncovered": {"no_secret": 1},
        });
        assert_eq!(shown["processes"]["7"], row);
        assert_eq!(shown["recent"][0]["reason"], "no_secret");
        coverage.forget(7);
        assert_eq!((coverage.gaps().as_str(), coverage.uncovered.len()), ("", 2));
    }

    #[test]
    fn what_calls_tell_is_no_gap_and_holders_are_named_once() {
        let mut fresh = Fresh::default();
        fresh.push(Reason::NoSecret, || Uncovered {
            cookies: vec![9],
            ..gap(Reason::NoSecret, &[])
        });
        fresh.push(Reason::NoSecret, || gap(Reason::NoSecret, &[]));
        fresh.leave_out(|cookie| cookie == 9);
        let strangers = fresh.strangers();
        assert_eq!(strangers.len(), 1);
        fresh.hold(7, &strangers[0]);
        fresh.hold(7, &strangers[0]);
        assert!(fresh.strangers().is_empty());
        let mut coverage = Coverage::default();
        coverage.take(fresh);
        assert_eq!(coverage.gaps(), "\"\"[7] no_secret=1");
    }

    #[test]
    fn everything_is_bounded_and_everything_is_counted() {
        let mut coverage = Coverage::default();
        let many = MAX_PROCESSES.get() + MAX_FRESH;
        for _ in 0..2 {
            take(
                &mut coverage,
                (0..many).map(|pid| gap(Reason::NoSecret, &[u32::try_from(pid).unwrap()])),
            );
        }
        assert_eq!(coverage.uncovered[&Reason::NoSecret], 2 * u64::try_from(many).unwrap());
        assert_eq!((coverage.processes.len(), coverage.recent.len()), (MAX_FRESH, MAX_RECENT));
        assert!(coverage.gaps().ends_with(&format!(", {} others", MAX_FRESH - MAX_NAMED)));
        (0..u32::try_from(many).unwrap()).for_each(|pid| coverage.cover(Path::Calls, [pid]));
        assert_eq!(coverage.processes.len(), MAX_PROCESSES.get());
    }
}

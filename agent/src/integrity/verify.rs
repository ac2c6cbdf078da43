//! What is wrong with events that somebody kept. In: their lines, in any order, of any number of
//! chains, natively or as other formats carry them. Out: for each chain what is missing, changed or
//! doubtful, the first of it by position.
//!
//! Takes some 150 bytes of memory an event. Lines without `integrity` are counted.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use crate::integrity::{
    canonical,
    carried::{self, Carried, Pairs},
    chain::{self, MEMBER, read_hash},
    checkpoint::Checkpoint,
    merkle::{Hash, Tree},
    note::VerifyingKey,
    succession::{Place, Signature, Successions, Trusted},
};

/// Most chains that are told apart; events of more are counted as foreign.
pub const MAX_CHAINS: usize = 65_536;

/// Where mapped formats carry the member.
const PLACES: [&str; 3] = ["/unmapped/scopewatch/integrity", "/scopewatch/integrity", "/integrity"];

/// Gathers events.
#[derive(Debug, Default)]
pub struct Verifier {
    successions: Successions,
    chains: BTreeMap<String, Vec<Link>>,
    /// Told as dropped, by the chain that they were of.
    tombstones: BTreeMap<String, Vec<Tombstone>>,
    lines: u64,
    foreign: u64,
}

/// An event, as far as it matters.
#[derive(Clone, Debug)]
struct Link {
    seq: u64,
    line: u64,
    prev: Hash,
    hash: Hash,
    content: Content,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Content {
    /// What the hash says.
    Whole,
    /// Not what the hash says.
    Changed,
    /// In another format: the hash says nothing of it.
    Mapped,
}

#[derive(Clone, Debug)]
enum Kind {
    Other,
    Stop,
    Checkpoint(Option<Box<Said>>),
}

/// A checkpoint, and its note: which keys are trusted is known when all was read.
#[derive(Clone, Debug)]
struct Said {
    checkpoint: Checkpoint,
    note: String,
}

#[derive(Clone, Copy, Debug)]
struct Tombstone {
    from: u64,
    to: u64,
    count: u64,
}

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Problem {
    /// These are not there, and nothing says that they were dropped.
    Missing(u64, u64),
    /// This one is not what was written.
    Changed(u64),
    /// There are several of this position that differ.
    Conflict(u64),
    /// This one does not follow the one before it.
    Unlinked(u64),
    /// This one is a checkpoint that says something else than the events, or is not signed by the
    /// key that it names.
    Checkpoint(u64),
    /// This one is a checkpoint that is signed by a key that was made later.
    Early(u64),
    /// What is up to this one is not what a succession of keys says of it.
    Denied(u64),
}

/// What is known of a chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ChainReport {
    /// Its name.
    pub name: String,
    /// Events of it, each counted once.
    pub events: u64,
    /// What is wrong, the first first.
    pub problems: Vec<Problem>,
    /// Events that are gone, as the agent says.
    pub dropped: u64,
    /// Events that were there more than once, the same.
    pub duplicates: u64,
    /// Events that stood behind later ones.
    pub out_of_order: u64,
    /// Events whose content could not be checked.
    pub mapped: u64,
    /// Checkpoints with a good signature, and those whose key is not known.
    pub checkpoints: (u64, u64),
    /// Number behind the last event that a good checkpoint covers.
    pub signed_to: u64,
    /// Whether the last but one says that the agent stops.
    is_stopping: bool,
    /// Whether the agent said that it stops, and the checkpoint behind that is there. If not, what
    /// came last may be missing.
    pub is_closed: bool,
}

/// What is known of all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The chains, by name.
    pub chains: Vec<ChainReport>,
    /// Lines that were read.
    pub lines: u64,
    /// Lines that belong to no chain.
    pub foreign: u64,
    /// Keys that are trusted since those that were given vouch for them.
    pub inherited: u64,
    /// Successions of keys for which there was no room.
    pub left_out: u64,
}

impl Verifier {
    /// Checks signatures against these keys, and those that follow from them.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self { successions: Successions::new(keys), ..Self::default() }
    }

    /// Takes checkpoints that name successors of keys, as the agent keeps them beside its key: what
    /// is missing among the events may be there.
    pub fn successions(&mut self, text: &str) {
        self.successions.take_all(text);
    }

    /// Takes a line.
    pub fn line(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        self.lines += 1;
        let text = std::str::from_utf8(line).ok();
        let Some((chain, link)) = text.and_then(|text| self.read(text)) else {
            self.foreign += 1;
            return;
        };
        if !self.chains.contains_key(&chain) && self.chains.len() >= MAX_CHAINS {
            self.foreign += 1;
            return;
        }
        self.chains.entry(chain).or_default().push(link);
    }

    fn read(&mut self, text: &str) -> Option<(String, Link)> {
        let (text, json) = match serde_json::from_str::<Value>(text.trim()) {
            Ok(json) => (text, json),
            Err(_) => match carried::read(text)? {
                Carried::Json(inner) => (inner, serde_json::from_str(inner).ok()?),
                Carried::Pairs(pairs) => return self.read_pairs(&pairs),
            },
        };
        let otlp = otlp_member(&json);
        let place = |place: &&str| json.pointer(place).filter(|it| it.is_object());
        let member = PLACES.iter().find_map(place).or(otlp.as_ref())?;
        let of = |name: &str| member.get(name)?.as_str();
        let (prev, hash) = (read_hash(of("prev")?)?, read_hash(of("hash")?)?);
        let (chain, seq) = (of("chain")?.to_owned(), member.get("seq")?.as_u64()?);
        let is_native = json.get(MEMBER).is_some();
        // What was shortened for a receiver says so, and is not what its hash was made of.
        let is_short = json.pointer("/event/is_truncated") == Some(&Value::Bool(true));
        let whole = is_native.then(|| content(text, &prev, &hash));
        let content = match whole {
            Some(Content::Changed) if is_short => Content::Mapped,
            Some(content) => content,
            None => Content::Mapped,
        };
        let kind = if content == Content::Whole { self.kind(&json) } else { Kind::Other };
        Some((chain, Link { seq, line: self.lines, prev, hash, content, kind }))
    }

    /// An event of a format of pairs.
    fn read_pairs(&self, pairs: &Pairs) -> Option<(String, Link)> {
        let (prev, hash) = (read_hash(pairs.get("prev")?)?, read_hash(pairs.get("hash")?)?);
        let seq = pairs.get("seq")?.parse().ok()?;
        let (line, content, kind) = (self.lines, Content::Mapped, Kind::Other);
        Some((pairs.get("chain")?.to_owned(), Link { seq, line, prev, hash, content, kind }))
    }

    fn kind(&mut self, json: &Value) -> Kind {
        match json.pointer("/event/type").and_then(Value::as_str) {
            Some("agent.stop") => Kind::Stop,
            Some("agent.checkpoint") => {
                let note = json.pointer("/checkpoint/note").and_then(Value::as_str);
                let said = note.and_then(|note| {
                    let checkpoint = Checkpoint::read(note)?;
                    self.successions.take(note, &checkpoint);
                    Some(Box::new(Said { checkpoint, note: note.to_owned() }))
                });
                Kind::Checkpoint(said)
            }
            Some("agent.gap") => {
                let number = |name| json.get("gap")?.get(name)?.as_u64();
                let chain = json.pointer("/gap/chain").and_then(Value::as_str);
                let range = (number("from"), number("to"), number("count"));
                if let (Some(chain), (Some(from), Some(to), Some(count))) = (chain, range) {
                    let tombstones = self.tombstones.entry(chain.to_owned()).or_default();
                    tombstones.push(Tombstone { from, to, count });
                }
                Kind::Other
            }
            _ => Kind::Other,
        }
    }

    /// What is known of what was read.
    #[must_use]
    pub fn conclude(self) -> Report {
        let Self { successions, chains, tombstones, lines, foreign } = self;
        let trusted = successions.conclude();
        let report = |(name, links)| {
            let dropped = tombstones.get(&name).map_or(&[][..], Vec::as_slice);
            examine(name, links, dropped, &trusted)
        };
        let chains = chains.into_iter().map(report).collect();
        let (inherited, left_out) = (trusted.inherited(), trusted.left_out());
        Report { chains, lines, foreign, inherited, left_out }
    }
}

/// The member as the attributes of the only record of an OTLP line have it.
fn otlp_member(json: &Value) -> Option<Value> {
    let attributes = json.pointer("/resourceLogs/0/scopeLogs/0/logRecords/0/attributes")?;
    let mut member = serde_json::Map::new();
    for attribute in attributes.as_array()? {
        let key = attribute.get("key").and_then(Value::as_str);
        let name = key.and_then(|key| key.strip_prefix("scopewatch.integrity."));
        let (Some(name), Some(value)) = (name, attribute.get("value")) else { continue };
        let number = value.get("intValue").and_then(Value::as_str);
        let number = number.and_then(|number| number.parse::<u64>().ok()).map(Value::from);
        if let Some(value) = number.or_else(|| value.get("stringValue").cloned()) {
            member.insert(name.to_owned(), value);
        }
    }
    Some(Value::Object(member))
}

/// Whether an event is what its hash says.
fn content(text: &str, prev: &Hash, hash: &Hash) -> Content {
    let mut canonical = Vec::with_capacity(text.len());
    let whole = canonical::append(text.trim(), MEMBER, &mut canonical).is_ok()
        && chain::hash(prev, &canonical) == *hash;
    if whole { Content::Whole } else { Content::Changed }
}

fn examine(
    name: String,
    mut links: Vec<Link>,
    tombstones: &[Tombstone],
    trusted: &Trusted,
) -> ChainReport {
    let mut report = ChainReport { name, ..ChainReport::default() };
    report.out_of_order = out_of_order(&links);
    links.sort_by_key(|link| (link.seq, link.line));
    let (mut head, mut next) = (Some(chain::start(&report.name)), 0_u64);
    // The root is known as long as no event is missing.
    let mut tree = Some(Tree::default());
    let roots = trusted.roots(&report.name);
    let mut missing = Vec::new();
    let mut before: Option<&Link> = None;
    for link in &links {
        if let Some(same) = before.filter(|before| before.seq == link.seq) {
            let alike = same.hash == link.hash && same.prev == link.prev;
            if link.content == Content::Changed {
                report.problems.push(Problem::Changed(link.seq));
            } else if alike {
                report.duplicates += 1;
            } else {
                report.problems.push(Problem::Conflict(link.seq));
            }
            continue;
        }
        if link.seq > next {
            missing.push((next, link.seq - 1));
            (head, tree) = (None, None);
        }
        report.link(link, head, tree.as_ref(), trusted);
        if let Some(tree) = &mut tree {
            tree.push(&link.hash);
            let said = roots.and_then(|roots| roots.get(&tree.size()));
            if said.is_some_and(|root| *root != tree.root()) {
                report.problems.push(Problem::Denied(link.seq));
            }
        }
        (head, next) = (Some(link.hash), link.seq.saturating_add(1));
        before = Some(link);
    }
    report.explain(&missing, tombstones);
    report.problems.sort_unstable_by_key(Problem::at);
    report
}

fn out_of_order(links: &[Link]) -> u64 {
    let (mut count, mut most) = (0, None);
    for link in links {
        // One that was there before is a duplicate, whatever stands between.
        count += u64::from(most.is_some_and(|most| link.seq < most));
        most = most.max(Some(link.seq));
    }
    count
}

impl ChainReport {
    fn link(&mut self, link: &Link, head: Option<Hash>, tree: Option<&Tree>, trusted: &Trusted) {
        self.events += 1;
        match link.content {
            Content::Whole => {}
            Content::Changed => self.problems.push(Problem::Changed(link.seq)),
            Content::Mapped => self.mapped += 1,
        }
        if head.is_some_and(|head| head != link.prev) {
            self.problems.push(Problem::Unlinked(link.seq));
        }
        match &link.kind {
            Kind::Other => (self.is_stopping, self.is_closed) = (false, false),
            Kind::Stop => (self.is_stopping, self.is_closed) = (true, false),
            Kind::Checkpoint(said) => {
                self.is_closed = self.is_stopping;
                self.checkpoint(link, said.as_deref(), tree, trusted);
            }
        }
    }

    fn checkpoint(
        &mut self,
        link: &Link,
        said: Option<&Said>,
        tree: Option<&Tree>,
        trusted: &Trusted,
    ) {
        let agrees = |Said { checkpoint, .. }: &&Said| {
            let root = tree.is_none_or(|tree| tree.root() == checkpoint.root);
            let place = checkpoint.chain == self.name && checkpoint.size == link.seq;
            root && place && checkpoint.head == link.prev
        };
        let signature = said.filter(agrees).map_or(Signature::Bad, |Said { checkpoint, note }| {
            trusted.judge(note, &Place::of(checkpoint))
        });
        match signature {
            Signature::Good => {
                self.checkpoints.0 += 1;
                self.signed_to = link.seq;
            }
            Signature::UnknownKey => self.checkpoints.1 += 1,
            Signature::Early => self.problems.push(Problem::Early(link.seq)),
            Signature::Bad => self.problems.push(Problem::Checkpoint(link.seq)),
        }
    }

    /// Tells what is missing from what the agent says is gone.
    fn explain(&mut self, missing: &[(u64, u64)], tombstones: &[Tombstone]) {
        for &(from, to) in missing {
            let mut at = from;
            while at <= to {
                let covering = tombstones.iter().filter(|it| (it.from..=it.to).contains(&at));
                let Some(end) = covering.map(|it| it.to).max() else {
                    let next = tombstones.iter().map(|it| it.from).filter(|next| *next > at).min();
                    let end = next.map_or(to, |next| to.min(next - 1));
                    self.problems.push(Problem::Missing(at, end));
                    at = end.saturating_add(1);
                    continue;
                };
                let end = end.min(to);
                self.dropped = self.dropped.saturating_add(end - at + 1);
                at = end.saturating_add(1);
            }
        }
        let told = tombstones.iter().fold(0_u64, |sum, it| sum.saturating_add(it.count));
        if self.dropped > told
            && let Some(&(from, to)) = missing.first()
        {
            self.problems.push(Problem::Missing(from, to));
        }
    }
}

impl Problem {
    /// Where in the chain it is.
    #[must_use]
    pub const fn at(&self) -> u64 {
        match *self {
            Self::Missing(at, _)
            | Self::Changed(at)
            | Self::Conflict(at)
            | Self::Unlinked(at)
            | Self::Checkpoint(at)
            | Self::Early(at)
            | Self::Denied(at) => at,
        }
    }
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.chains.iter().all(|chain| chain.problems.is_empty())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(from, to) if from == to => write!(f, "event {from} is missing"),
            Self::Missing(from, to) => write!(f, "events {from} to {to} are missing"),
            Self::Changed(at) => write!(f, "event {at} was changed"),
            Self::Conflict(at) => write!(f, "event {at} is there in versions that differ"),
            Self::Unlinked(at) => write!(f, "event {at} does not follow the one before it"),
            Self::Checkpoint(at) => write!(f, "checkpoint {at} does not agree, or is not signed"),
            Self::Early(at) => write!(f, "checkpoint {at} is signed by a key that was made later"),
            Self::Denied(at) => {
                write!(f, "up to event {at}, not what a key said that was replaced")
            }
        }
    }
}

impl fmt::Display for ChainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, events, problems, dropped, duplicates, out_of_order, mapped, .. } = self;
        let (good, unknown) = self.checkpoints;
        match problems.split_first() {
            None => write!(f, "chain {name}: intact, {events} events")?,
            Some((first, [])) => write!(f, "chain {name}: {first}; {events} events")?,
            Some((first, more)) => {
                write!(f, "chain {name}: {first}, and {} more; {events} events", more.len())?;
            }
        }
        let plain = [
            (*dropped, "dropped by the agent, as it says"),
            (*duplicates, "more than once"),
            (*out_of_order, "out of order"),
            (*mapped, "in a mapped format, or shortened: only their linkage can be checked"),
            (unknown, "checkpoints whose key was not given"),
        ];
        for (count, what) in plain.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if good > 0 {
            write!(f, ", {good} signed checkpoints up to event {}", self.signed_to)?;
        }
        if !self.is_closed {
            f.write_str(", no end: the agent runs, was killed, or the last events are missing")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chain in &self.chains {
            writeln!(f, "{chain}")?;
        }
        write!(f, "{} lines, {} of no chain", self.lines, self.foreign)?;
        let keys = [
            (self.inherited, "keys by succession from those that were given"),
            (self.left_out, "successions of keys left out, which are too many"),
        ];
        for (count, what) in keys.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        Ok(())
    }
}

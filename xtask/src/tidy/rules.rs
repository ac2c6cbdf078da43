//! The rules. Pure: one function and one entry of [`RULES`] each.
//!
//! In: a [`Source`], and the [`Tree`] that it stands in. Out: [`Finding`]s.

use super::source::{Source, Tree, has_word, imports};

/// A rule.
pub struct Rule {
    /// Its name in findings.
    pub id: &'static str,
    /// What holds.
    pub what: &'static str,
    /// Why it shall.
    pub why: &'static str,
    /// Finds where it does not.
    pub check: fn(&Source<'_>, &Tree) -> Vec<Finding>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Fails the check.
    Error,
}

impl Severity {
    /// The word in a finding's line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A place where a rule is broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Line, from 1.
    pub line: usize,
    /// What stands there.
    pub what: String,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "aya-in-bpf",
        what: "aya is named only under agent/src/bpf",
        why: "the rest must run from a recording, without a kernel",
        check: aya_in_bpf,
    },
    Rule {
        id: "unsafe-places",
        what: "unsafe code stands only in agent/src/bpf, agent/src/sandbox/confine.rs, agent-ebpf, \
               agent/src/telemetry/clock.rs, and agent/build.rs",
        why: "who audits memory safety reads these places, of which the last runs only at build time",
        check: unsafe_places,
    },
    Rule {
        id: "pure-stages",
        what: "stages 4 to 6, wire and tls name neither tokio, sockets, files nor a clock",
        why: "the same bytes must give the same events, live and replayed",
        check: pure_stages,
    },
    Rule {
        id: "file-size",
        what: "Rust files have at most 500 lines, or with a reason 800",
        why: "a longer file has more than one job",
        check: file_size,
    },
    Rule {
        id: "module-doc",
        what: "Rust files begin with a module doc",
        why: "the reader wants to know first what flows in and out",
        check: module_doc,
    },
    Rule {
        id: "open-ends",
        what: "a marker for open work says what is open",
        why: "nobody else can finish it otherwise",
        check: open_ends,
    },
    Rule {
        id: "no-globs",
        what: "imports name what they import, `use super::*` in tests excepted",
        why: "a name's origin is found by searching the file",
        check: no_globs,
    },
    Rule {
        id: "no-trailing-space",
        what: "lines do not end in white space",
        why: "it shows up in other people's diffs",
        check: no_trailing_space,
    },
    Rule {
        id: "no-machine-paths",
        what: "files name no directory of the machine that they were written on",
        why: "it exists nowhere else",
        check: no_machine_paths,
    },
    Rule {
        id: "links-resolve",
        what: "relative links in Markdown lead to files of the repository",
        why: "a dead link is a promise broken",
        check: links_resolve,
    },
    Rule {
        id: "expect-not-allow",
        what: "lints are excepted by `expect` with a reason",
        why: "an exception that is no longer needed must be told",
        check: expect_not_allow,
    },
];

/// Directories and files whose code is pure.
const PURE: &[&str] = &[
    "agent/src/http/",
    "agent/src/http1/",
    "agent/src/http2/",
    "agent/src/oauth/",
    "agent/src/token/",
    "agent/src/observation.rs",
    "agent/src/policy/",
    "agent/src/detect/",
    "agent/src/event/",
    "agent/src/wire/",
    "agent/src/tls/",
];

/// Lines that make a reader look twice, and lines that are too many.
const LINES: (usize, usize) = (500, 800);

fn error(line: usize, what: impl Into<String>) -> Finding {
    Finding { severity: Severity::Error, line, what: what.into() }
}

/// An error for each line of `text` that `breach` has something to say about.
fn lines(text: &str, breach: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let numbered = text.lines().zip(1..);
    numbered.filter_map(|(line, number)| Some(error(number, breach(line)?))).collect()
}

/// Whether `path` is `place` or a file below it; a place may omit `.rs`, for `x.rs` and `x/`.
fn stands_in(path: &str, place: &str) -> bool {
    let module = place.strip_suffix('/').unwrap_or(place);
    path == place || path.starts_with(place) || path.strip_suffix(".rs") == Some(module)
}

fn aya_in_bpf(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    if !source.path.starts_with("agent/src/") || stands_in(source.path, "agent/src/bpf/") {
        return Vec::new();
    }
    lines(&source.code, |line| {
        ["aya", "aya_log"].iter().find(|name| has_word(line, name)).map(|name| (*name).to_owned())
    })
}

fn unsafe_places(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    let places = [
        "agent/src/bpf/",
        "agent/src/sandbox/confine.rs",
        "agent/src/telemetry/clock.rs",
        "agent-ebpf/",
        "agent/build.rs",
    ];
    if places.iter().any(|place| stands_in(source.path, place)) {
        return Vec::new();
    }
    lines(&source.code, |line| has_word(line, "unsafe").then(|| "unsafe code".to_owned()))
}

fn pure_stages(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    if !PURE.iter().any(|place| stands_in(source.path, place)) {
        return Vec::new();
    }
    let code = source.product_code();
    let mut findings: Vec<Finding> = imports(code)
        .into_iter()
        .filter(|(_, path)| is_impure(path))
        .map(|(line, path)| error(line, format!("imports {path}")))
        .collect();
    let inline = lines(code, |line| {
        let paths = ["tokio::", "std::fs::", "fs::File", "TcpStream::", "UdpSocket::"];
        let clocks = ["SystemTime::now", "Instant::now", "Timestamp::now", "Zoned::now"];
        let is_import = line.trim_start().starts_with("use ");
        let named = paths.iter().filter(|_| !is_import).chain(&clocks);
        named.copied().find(|name| line.contains(name)).map(|name| format!("names {name}"))
    });
    findings.extend(inline);
    findings
}

/// Whether the import of `path` reaches beyond memory. Addresses are data.
fn is_impure(path: &str) -> bool {
    const ADDRESSES: [&str; 6] =
        ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];
    let mut parts = path.split("::");
    match (parts.next(), parts.next()) {
        (Some("tokio"), _) | (Some("std"), Some("fs")) => true,
        (Some("std" | "core"), Some("net")) => {
            !parts.next().is_some_and(|name| ADDRESSES.contains(&name))
        }
        _ => false,
    }
}

fn file_size(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    let generated = source.text.lines().take(5).any(|line| line.contains("@generated"));
    let count = source.text.lines().count();
    let (look, limit) = LINES;
    if !source.is_rust() || generated || count <= look {
        return Vec::new();
    }
    let severity = if count > limit { Severity::Error } else { Severity::Warning };
    vec![Finding { severity, line: count, what: format!("{count} lines") }]
}

fn module_doc(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    if !source.is_rust() || source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![error(1, "no module doc on the first line")]
}

fn open_ends(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    let text = if source.is_rust() { &source.comments } else { source.text };
    lines(text, |line| {
        let marker = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")]
            .into_iter()
            .find(|marker| has_word(line, marker))?;
        let (_, after) = line.split_once(marker)?;
        let words = after.split(|character: char| !character.is_alphabetic());
        let says = words.filter(|word| !word.is_empty()).count() >= 2;
        (!says).then(|| format!("{marker} without text"))
    })
}

fn no_globs(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    let product = source.product_code().lines().count();
    let globs = imports(&source.code).into_iter().filter(|(_, path)| path.ends_with("::*"));
    globs
        .filter(|(line, path)| path != "super::*" || *line <= product)
        .map(|(line, path)| error(line, format!("imports {path}")))
        .collect()
}

fn no_trailing_space(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    // Golden files show what was printed, to the last blank; corpora are as others made them.
    let corpora = ["tests/corpora/", "fuzz/corpus/"];
    if source.path.ends_with(".snap") || corpora.iter().any(|it| stands_in(source.path, it)) {
        return Vec::new();
    }
    lines(source.text, |line| {
        let ends = line.ends_with([' ', '\t', '\r']);
        ends.then(|| "white space at the end".to_owned())
    })
}

fn no_machine_paths(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    lines(source.text, |line| {
        let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
        paths.into_iter().find(|path| begins_path(line, path)).map(str::to_owned)
    })
}

/// Whether `path` stands in `line` as the beginning of an absolute path: `/proc/7/root/lib` names
/// no directory of this machine.
fn begins_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.get(..start).and_then(|before| before.chars().next_back());
        !before.is_some_and(|last| last.is_alphanumeric() || "/._-}>*$".contains(last))
    })
}

fn links_resolve(source: &Source<'_>, tree: &Tree) -> Vec<Finding> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let mut fenced = false;
    let mut findings = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        if fenced || is_fence {
            continue;
        }
        let dead = links(line).into_iter().filter(|link| !resolves(source.path, link, tree));
        findings.extend(dead.map(|link| error(number, format!("link to {link}"))));
    }
    findings
}

/// Targets of `[text](target)` in `line`, outside of inline code.
fn links(line: &str) -> Vec<&str> {
    // Every other part between backquotes is code.
    let prose = line.split('`').step_by(2);
    let targets = prose.flat_map(|part| part.split("](").skip(1));
    targets.filter_map(|rest| rest.split([')', ' ']).next()).collect()
}

fn resolves(from: &str, link: &str, tree: &Tree) -> bool {
    let path = link.split('#').next().unwrap_or_default();
    if path.is_empty() || link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            name => parts.push(name),
        }
    }
    tree.has(&parts.join("/"))
}

fn expect_not_allow(source: &Source<'_>, _tree: &Tree) -> Vec<Finding> {
    lines(&source.code, |line| {
        let attribute = ["#[allow(", "#![allow("].into_iter().find(|start| line.contains(start));
        attribute.map(|start| format!("{start}…"))
    })
}

//! House rules that a text search can check.
//!
//! In: every file of the repository that git knows or would add. Out: one line for each breach,
//! `path:line: rule: what`, and whether there was none. [`rules::RULES`] has the rules.

mod rules;
mod source;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fs, process::ExitCode};

use anyhow::{Context as _, Result};

use self::{
    rules::{RULES, Severity},
    source::{Source, Tree},
};
use crate::{exit_code, process};

/// The task: `cargo xtask tidy`.
///
/// # Errors
/// When the files cannot be listed or read.
pub fn run() -> Result<ExitCode> {
    Ok(exit_code(check()?))
}

/// Checks every file against every rule and prints breaches. True if there is no error.
///
/// # Errors
/// When the files cannot be listed or read.
pub fn check() -> Result<bool> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let list = process::answer("git", &arguments).context("list the repository's files")?;
    let root = process::root();
    // A file that was deleted but not yet from the index is of no interest.
    let paths: BTreeSet<String> = list
        .split('\0')
        .filter(|path| !path.is_empty() && root.join(path).is_file())
        .map(str::to_owned)
        .collect();
    let tree = Tree::new(paths);
    let mut breaches = 0_usize;
    let mut broken = BTreeSet::new();
    for path in tree.paths() {
        let bytes = fs::read(root.join(path)).with_context(|| format!("read {path}"))?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let source = Source::new(path, &text);
        for rule in RULES {
            for finding in (rule.check)(&source, &tree) {
                let severity = finding.severity;
                println!(
                    "{path}:{}: {} [{}]: {}",
                    finding.line,
                    severity.word(),
                    rule.id,
                    finding.what
                );
                if severity == Severity::Error {
                    breaches += 1;
                    broken.insert(rule.id);
                }
            }
        }
    }
    for rule in RULES.iter().filter(|rule| broken.contains(rule.id)) {
        println!("rule {}: {}, because {}", rule.id, rule.what, rule.why);
    }
    println!("tidy: {} files, {} rules, {breaches} errors", tree.paths().count(), RULES.len());
    Ok(breaches == 0)
}

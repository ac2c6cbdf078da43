//! All checks and all tests, one after the other.
//!
//! In: the working tree. Out: each stage with its time, then the checks' result, and in the end one
//! line of counts. A stage that fails does not keep the others from running; live tests that cannot
//! run here are named and counted as skipped, which `CI=true` makes a failure.

mod count;

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use scopewatch_harness::{is_root, target_dir};

use self::count::Counts;
use crate::{exit_code, process, setup, tidy, vm};

/// Everything that is checked except the kernel half, which builds for another target.
const WORKSPACE: [&str; 3] = ["--workspace", "--exclude", "scopewatch-ebpf"];

/// Selects the tests that attach probes.
const LIVE: &str = "package(scopewatch-harness) & binary(live)";

/// The task: `cargo xtask test`.
///
/// # Errors
/// When a stage cannot even be started in a way that its failure does not cover.
pub fn run() -> Result<ExitCode> {
    let mut report = Report::default();
    report.check("setup", || {
        ensure!(setup::ensure(setup::Teller::Stdout)?, "see MISSING above");
        Ok(())
    });
    report.check("format", || cargo(&["fmt", "--all", "--check"]));
    report.check("clippy", || {
        let lint = ["--all-targets", "--quiet", "--", "-D", "warnings"];
        cargo(&[["clippy"].as_slice(), &WORKSPACE, &lint].concat())
    });
    report.check("tidy", || {
        ensure!(tidy::check()?, "house rules are broken: see above");
        Ok(())
    });
    report.check("dependencies", dependencies);
    // The tests run the agent's binary, which building the tests alone does not bring; built
    // together, both share their dependencies' features and are compiled once.
    report.check("build", || cargo(&[["build", "--all-targets"].as_slice(), &WORKSPACE].concat()));
    report.tests("tests", || nextest(&format!("not ({LIVE})")));
    report.tests("doc tests", doc_tests);
    report.check("verifier of the oldest kernel", vm::check_oldest);
    report.tests("live tests", || if is_root() { nextest(LIVE) } else { skip_live() });
    Ok(exit_code(report.conclude(env::var("CI").is_ok_and(|ci| ci == "true"))))
}

/// What came of the stages so far.
#[derive(Debug, Default)]
struct Report {
    checks: usize,
    failed: Vec<String>,
    counts: Counts,
}

impl Report {
    fn check(&mut self, name: &str, stage: impl FnOnce() -> Result<()>) {
        if tell(name, || stage().map(|()| "ok".to_owned())) {
            self.checks += 1;
        } else {
            self.failed.push(name.to_owned());
        }
    }

    fn tests(&mut self, name: &str, stage: impl FnOnce() -> Result<Counts>) {
        let mut counts = Counts::default();
        let counted = tell(name, || {
            counts = stage()?;
            Ok(format!("{} of {} tests failed", counts.failed, counts.total()))
        });
        self.counts = self.counts.plus(counts);
        if !counted {
            self.failed.push(name.to_owned());
        }
    }

    /// Prints the last lines and tells whether all is well. A failed stage counts as one failure,
    /// so that the line of counts never looks better than the exit code.
    fn conclude(self, skips_fail: bool) -> bool {
        let Self { checks, failed, counts } = self;
        let Counts { passed, failed: failed_tests, skipped } = counts;
        println!("\nxtask test: {checks} checks ok, {} stages failed", failed.len());
        for name in &failed {
            println!("failed stage: {name}");
        }
        if skips_fail && skipped > 0 {
            println!("skipped tests are failures here, since CI=true");
        }
        let all_failed = failed_tests + failed.len();
        println!("scopewatch: {passed} passed, {all_failed} failed, {skipped} skipped");
        all_failed == 0 && !(skips_fail && skipped > 0)
    }
}

/// Runs a stage and prints its name, what it says of itself, and its time.
fn tell(name: &str, stage: impl FnOnce() -> Result<String>) -> bool {
    println!("== {name}");
    let start = Instant::now();
    let done = stage();
    let seconds = start.elapsed().as_secs_f32();
    match done {
        Ok(outcome) => println!("== {name}: {outcome}, {seconds:.1} s"),
        Err(error) => {
            println!("== {name}: FAILED, {seconds:.1} s: {error:#}");
            return false;
        }
    }
    true
}

fn cargo(arguments: &[&str]) -> Result<()> {
    process::run(&mut process::command("cargo", arguments))
}

fn dependencies() -> Result<()> {
    let mut arguments = vec!["deny", "--offline", "check", "--hide-inclusion-graph"];
    arguments.extend(["bans", "licenses", "sources"]);
    if advisory_database() {
        arguments.push("advisories");
    } else {
        println!("advisories: skipped, no database offline");
    }
    cargo(&arguments)
}

/// Whether cargo-deny's advisory database was fetched before.
fn advisory_database() -> bool {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let databases = home.and_then(|home| home.join("advisory-dbs").read_dir().ok());
    let mut entries = databases.into_iter().flatten().flatten();
    // Its lock file may stand there alone.
    entries.any(|entry| entry.path().is_dir())
}

/// Runs the tests that `filter` selects. Those that fail are counted, not an error: nextest has
/// named them.
fn nextest(filter: &str) -> Result<Counts> {
    let list = list(filter)?;
    for name in &list.ignored {
        println!("skipped: marked as ignored: {name}");
    }
    // A report of an earlier run must not be counted.
    let report = target_dir().join("nextest/default/junit.xml");
    if report.exists() {
        std::fs::remove_file(&report).context("remove the earlier test report")?;
    }
    let arguments = ["nextest", "run", "--no-tests", "pass", "--filterset", filter];
    let status = command(&arguments).status().context("start cargo nextest")?;
    if list.selected.is_empty() {
        return Ok(Counts { skipped: list.ignored.len(), ..Counts::default() });
    }
    let xml = std::fs::read_to_string(&report);
    let counts = count::junit(&xml.with_context(|| format!("no test report, nextest: {status}"))?)?;
    ensure!(status.success() || counts.failed > 0, "nextest failed beside the tests, {status}");
    ensure!(
        counts.total() == list.selected.len(),
        "nextest ran {} of {} tests",
        counts.total(),
        list.selected.len()
    );
    Ok(Counts { skipped: counts.skipped + list.ignored.len(), ..counts })
}

fn skip_live() -> Result<Counts> {
    let list = list(LIVE)?;
    let names = list.selected.iter().chain(&list.ignored);
    for name in names {
        println!("skipped: needs root: {name}");
    }
    let skipped = list.selected.len() + list.ignored.len();
    Ok(Counts { skipped, ..Counts::default() })
}

fn list(filter: &str) -> Result<count::List> {
    let arguments = ["nextest", "list", "--message-format", "json", "--filterset", filter];
    let output = command(&arguments).stderr(std::process::Stdio::inherit()).output();
    let output = output.context("start cargo nextest")?;
    ensure!(output.status.success(), "the tests do not build, {}", output.status);
    count::list(&output.stdout)
}

/// `cargo nextest`, over the workspace.
fn command(arguments: &[&str]) -> Command {
    let mut command = process::command("cargo", arguments);
    command.args(WORKSPACE).arg("--cargo-quiet");
    command
}

fn doc_tests() -> Result<Counts> {
    let arguments = ["test", "--quiet", "--doc", "--package", "scopewatch"];
    let output = process::command("cargo", &arguments).output().context("start cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let counts = count::doc_tests(&text);
    if !output.status.success() && counts.failed == 0 {
        bail!("doc tests do not build: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(counts)
}

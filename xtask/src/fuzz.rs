//! Fuzzing: every target in turn, by libFuzzer, from the stored inputs and those found before.
//!
//! In: names of targets, and minutes or executions. Out: for each target what was executed, how
//! much was newly covered, and what crashed; a crash makes the task fail and leaves its input
//! below `fuzz/artifacts`. Coverage is counted by a pass of LLVM that the stable compiler has: no
//! nightly, no sanitizer library, no other tool. What is found is kept below `target/fuzz-corpus`.

use std::{
    fs,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{exit_code, process};

/// Where targets run, and are built for: with it named, build scripts are not instrumented.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Counters of edges, and comparisons that libFuzzer learns from.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Executions of each target in the smoke run, the stored inputs among them, and the seconds after
/// which a slow target ends before.
const SMOKE: [&str; 3] = ["-runs=3000", "-max_total_time=4", "-seed=1"];

/// Longest that a target runs before the next has its turn, in seconds.
const TURN: u64 = 60;

/// How much is asked for.
#[derive(Clone, Copy)]
pub enum Effort {
    /// Minutes for all targets together.
    Minutes(u64),
    /// A smoke run.
    Smoke,
}

/// What a target did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Done {
    executions: u64,
    /// Edges and their frequencies, at the start and at the end.
    features: (u64, u64),
    crashed: bool,
}

/// The task: `cargo xtask fuzz`.
///
/// # Errors
/// When the targets do not build or run, or are not known.
pub fn run(targets: &[String], effort: Effort) -> Result<ExitCode> {
    let program = build()?;
    let known = String::from_utf8(output(Command::new(&program).env("FUZZ_LIST", "1"))?)?;
    let known: Vec<&str> = known.lines().collect();
    for target in targets {
        ensure!(known.contains(&target.as_str()), "no target {target}, only: {}", known.join(" "));
    }
    let chosen = |name: &&&str| targets.is_empty() || targets.iter().any(|target| target == *name);
    let mut all: Vec<(&str, Done)> =
        known.iter().filter(chosen).map(|name| (*name, Done::default())).collect();
    match effort {
        Effort::Smoke => {
            for (name, done) in &mut all {
                done.add(turn(&program, name, &SMOKE)?);
            }
        }
        Effort::Minutes(minutes) => {
            let budget = Duration::from_secs(minutes.saturating_mul(60));
            let count = u64::try_from(all.len())?.max(1);
            let each = budget.as_secs().checked_div(count).unwrap_or(0).clamp(1, TURN);
            let limit = format!("-max_total_time={each}");
            let start = Instant::now();
            while start.elapsed() < budget && all.iter().any(|(_, done)| !done.crashed) {
                for (name, done) in all.iter_mut().filter(|(_, done)| !done.crashed) {
                    done.add(turn(&program, name, &[&limit])?);
                }
            }
        }
    }
    for (name, Done { executions, features: (before, after), crashed }) in &all {
        let verdict = if *crashed { "CRASHED, see fuzz/artifacts" } else { "ok" };
        let new = after.saturating_sub(*before);
        println!(
            "fuzz {name:17} {executions:>10} executions, {after:>6} features, {new:>5} new: {verdict}"
        );
    }
    Ok(exit_code(all.iter().all(|(_, done)| !done.crashed)))
}

/// Writes the inputs to begin with anew, from the corpora of the tests and what targets make.
///
/// # Errors
/// When the targets do not build.
pub fn write_seeds() -> Result<ExitCode> {
    let program = build()?;
    let corpus = process::root().join("fuzz/corpus");
    if corpus.exists() {
        fs::remove_dir_all(&corpus).context("remove the stored inputs")?;
    }
    output(Command::new(program).env("FUZZ_SEEDS", corpus))?;
    Ok(ExitCode::SUCCESS)
}

fn build() -> Result<std::path::PathBuf> {
    let target = process::root().join("target/fuzz");
    let arguments = ["build", "--quiet", "--release", "--locked", "--target", HOST];
    let mut command = process::command("cargo", &arguments);
    command.current_dir(process::root().join("fuzz"));
    process::run(command.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", FLAGS))?;
    Ok(target.join(HOST).join("release/scopewatch-fuzz"))
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().context("start the fuzzing program")?;
    ensure!(output.status.success(), "the fuzzing program failed, {}", output.status);
    Ok(output.stdout)
}

/// Lets one target run.
fn turn(program: &std::path::Path, name: &str, limits: &[&str]) -> Result<Done> {
    let root = process::root();
    let (found, stored) = (root.join("target/fuzz-corpus").join(name), root.join("fuzz/corpus"));
    let artifacts = root.join("fuzz/artifacts");
    for dir in [&found, &artifacts, &stored.join(name)] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let mut command = Command::new(program);
    command.env("FUZZ_TARGET", name).arg(&found).arg(stored.join(name)).args(limits);
    command.args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/{name}-", artifacts.display()));
    let output = command.output().with_context(|| format!("start the target {name}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let crashed = !output.status.success();
    if crashed {
        println!(
            "{}",
            text.lines()
                .rev()
                .take(60)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
    Ok(Done { crashed, ..read(&text) })
}

/// What libFuzzer printed of itself.
fn read(text: &str) -> Done {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
    let features = |line: &str| {
        number(line.split_once("ft: ").and_then(|(_, rest)| rest.split_whitespace().next()))
    };
    let of = |mark: &str| text.lines().find(|line| line.contains(mark)).map_or(0, features);
    let executed =
        text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let before = of("\tINITED");
    Done {
        executions: number(executed.map(str::trim)),
        features: (before, of("\tDONE").max(before)),
        crashed: false,
    }
}

impl Done {
    fn add(&mut self, other: Self) {
        let before = if self.executions == 0 { other.features.0 } else { self.features.0 };
        self.executions = self.executions.saturating_add(other.executions);
        self.features = (before, other.features.1);
        self.crashed |= other.crashed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_prints_is_read() {
        let text = "#3\tINITED cov: 5 ft: 6 corp: 1/2b\n#9\tNEW    cov: 7 ft: 8\n\
                    #20\tDONE   cov: 9 ft: 10 corp: 3/4b\nstat::number_of_executed_units: 20\n";
        let done = Done { executions: 20, features: (6, 10), crashed: false };
        assert_eq!(read(text), done);
        let mut both = done;
        both.add(Done { executions: 5, features: (10, 12), crashed: true });
        assert_eq!(both, Done { executions: 25, features: (6, 12), crashed: true });
        assert_eq!(read("nothing"), Done::default());
    }
}

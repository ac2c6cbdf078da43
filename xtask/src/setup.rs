//! Makes a machine ready to build, run and test.
//!
//! In: the machine, Debian 12 or newer with rustup's stable toolchain; elsewhere what is missing is
//! named. Out: one line for each thing, `ok`, `do` or `MISSING`, and whether nothing is missing.
//! Running it again changes nothing.

pub mod archive;
mod facts;
pub mod openssl;
pub mod peers;
mod plan;
pub mod receivers;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    process::{ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result};

use self::plan::Step;
use crate::{exit_code, process};

/// Where steps are told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Teller {
    /// The task's own output.
    Stdout,
    /// Aside, since stdout is for something else.
    Stderr,
}

impl Teller {
    fn say(self, line: &str) {
        match self {
            Self::Stdout => println!("{line}"),
            Self::Stderr => eprintln!("{line}"),
        }
    }

    fn output(self) -> Stdio {
        match self {
            Self::Stdout => Stdio::inherit(),
            Self::Stderr => io::stderr().into(),
        }
    }
}

/// The task: `cargo xtask setup`.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn run() -> Result<ExitCode> {
    Ok(exit_code(ensure(Teller::Stdout)?))
}

/// Plans, does and looks again, until nothing is left to do. True if nothing is missing.
///
/// # Errors
/// When the machine cannot be looked at.
pub fn ensure(teller: Teller) -> Result<bool> {
    let mut told = BTreeSet::new();
    let mut tried = BTreeSet::new();
    loop {
        // Package lists are fetched once: the plan asks for it before it names packages.
        let lists_fresh = !tried.is_empty();
        let mut doing = false;
        let mut ready = true;
        for step in plan::plan(&facts::gather(lists_fresh)) {
            let line = match step {
                Step::Ok(name) => format!("ok       {name}"),
                Step::Do(name, command) if tried.insert(command.clone()) => {
                    doing = true;
                    match perform(teller, &name, &command) {
                        Ok(()) => continue,
                        Err(error) => format!("failed   {name}: {error:#}"),
                    }
                }
                Step::Do(name, command) => {
                    ready = false;
                    format!("MISSING  {name}: find out why `{}` did not help", command.join(" "))
                }
                Step::Missing(name, advice) => {
                    ready = false;
                    format!("MISSING  {name}: {advice}")
                }
            };
            if told.insert(line.clone()) {
                teller.say(&line);
            }
        }
        if !doing {
            return Ok(ready);
        }
    }
}

fn perform(teller: Teller, name: &str, words: &[String]) -> Result<()> {
    teller.say(&format!("do       {name}: {}", words.join(" ")));
    let (program, arguments) = words.split_first().context("a step without command")?;
    let start = Instant::now();
    let mut command = process::command(program, arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(teller.output());
    process::run(&mut command)?;
    teller.say(&format!("done     {name}, {:.0} s", start.elapsed().as_secs_f32()));
    Ok(())
}

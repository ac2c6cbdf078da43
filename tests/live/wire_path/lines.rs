//! A child process that is told one line at a time, and answers each with one.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::child::Reaped;

/// The child.
pub struct Lines {
    pub process: Reaped,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Lines {
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut process = Reaped::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let stdin = process.inner().stdin.take().context("no stdin")?;
        let stdout = process.inner().stdout.take().context("no stdout")?;
        Ok(Self { process, stdin, answers: BufReader::new(stdout) })
    }

    /// One that serves: it first says on which port.
    pub fn serve(command: &mut Command) -> Result<(Self, u16)> {
        let mut server = Self::start(command)?;
        let line = server.line()?;
        let port = line.parse().with_context(|| format!("the server said {line:?}"))?;
        Ok((server, port))
    }

    /// What it says next.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("read from the child")?;
        ensure!(!line.is_empty(), "the child ended");
        Ok(line.trim().to_owned())
    }

    /// The numbers with which it answers `line`.
    pub fn ask<const COUNT: usize>(&mut self, line: &str) -> Result<[u64; COUNT]> {
        writeln!(self.stdin, "{line}").context("tell the child")?;
        let answer = self.line()?;
        let numbers: Vec<u64> = answer.split(' ').filter_map(|word| word.parse().ok()).collect();
        numbers.try_into().ok().with_context(|| format!("the child said {answer:?}"))
    }
}

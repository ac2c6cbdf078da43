//! The command line: what can be asked, as clap reads it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::event::mapping;

/// Audits OAuth 2.0 API access on this host, from the plaintext of its TLS connections.
#[derive(Debug, Parser)]
#[command(name = "scopewatch", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the agent can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host until stopped, and write an event for each HTTP exchange.
    Run(Run),
    /// Watch this host and keep what was captured in a file, which will hold secrets.
    Record(Record),
    /// Run a recording through the same pipeline, without privilege.
    Replay(Replay),
    /// Print events (JSON lines) readably, both ends of a call in one line, and a summary.
    Show(Show),
    /// Tell whether kept events are whole: what is missing, changed or out of order.
    Verify(Verify),
    /// Tell what this kernel and this process can do, and what each means.
    Doctor(Doctor),
    /// Tell which probes a library or a process would get, where, at what cost, and why.
    Probe(Probe),
}

/// `scopewatch run`
#[derive(Debug, Args)]
pub struct Run {
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How events are written.
    #[command(flatten)]
    pub output: Output,
    /// Let the kernel half say what it does, on standard error; never payload.
    #[arg(long)]
    pub kernel_log: bool,
}

/// `scopewatch record`
#[derive(Debug, Args)]
pub struct Record {
    /// File to create for the recording.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    pub out: PathBuf,
    /// Also write events to this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Key file of token fingerprints, in place of the configured one.
    #[arg(long, value_name = "FILE")]
    pub fingerprint_key: Option<PathBuf>,
}

/// `scopewatch replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The recording.
    pub file: PathBuf,
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How events are written.
    #[command(flatten)]
    pub output: Output,
}

/// `scopewatch show`
#[derive(Debug, Args)]
pub struct Show {
    /// File of JSON lines, or `-` for standard input.
    pub file: PathBuf,
    /// Print each event in this format instead, a line each.
    #[arg(long, value_enum)]
    pub format: Option<mapping::Format>,
}

/// `scopewatch verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// Files of events, compressed ones (`.gz`) too, or `-` for standard input.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// File with keys that checkpoints may be signed with, one a line.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

/// `scopewatch doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Also tell what the kernel's verifier makes of each program.
    #[arg(long)]
    pub programs: bool,
}

/// `scopewatch probe`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true))]
pub struct Probe {
    /// Library, or executable that holds one; takes no privilege.
    #[arg(group = "target")]
    pub file: Option<PathBuf>,
    /// Process whose executable and libraries to look at.
    #[arg(long, group = "target")]
    pub pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where events go, and how.
#[derive(Debug, Args)]
pub struct Output {
    /// `auto` is `human` on a terminal and `json` elsewhere.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// Append events to this file instead of standard output.
    #[arg(long = "output", value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Key file of token fingerprints, in place of the configured one.
    #[arg(long, value_name = "FILE")]
    pub fingerprint_key: Option<PathBuf>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// `human` on a terminal, `json` elsewhere.
    Auto,
    /// One readable line an event.
    Human,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

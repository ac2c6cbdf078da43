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
    /// Look at tokens.
    Token(Token),
    /// Tell whose a pseudonym is, and forget people's.
    Subject(Subject),
    /// Look at policies: what is wrong with one, what it says of a call, what one could be.
    Policy(Policy),
    /// Look at what can be configured.
    Config(Config),
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
    /// File with keys that checkpoints may be signed with, one a line, or with checkpoints that name
    /// successors of such keys; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub keys: Vec<PathBuf>,
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

/// `scopewatch token`
#[derive(Debug, Args)]
pub struct Token {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What can be done with a token.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Read a token on standard input, and tell what it says and whether it is valid.
    Inspect(Inspect),
}

/// `scopewatch token inspect`
#[derive(Debug, Args)]
pub struct Inspect {
    /// Policy (YAML) whose issuers are trusted, by the keys in it and in files.
    #[arg(long, value_name = "FILE", conflicts_with = "jwks")]
    pub policy: Option<PathBuf>,
    /// Keys of its issuer: a JWK set or a PEM public key.
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Moment to judge it by (RFC 3339), in place of now.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Configuration file (YAML), for how people are named.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `scopewatch subject`
#[derive(Debug, Args)]
pub struct Subject {
    /// What to do.
    #[command(subcommand)]
    pub command: SubjectCommand,
}

/// What can be done with names and pseudonyms of people. Names are read on standard input, one a
/// line.
#[derive(Debug, Subcommand)]
pub enum SubjectCommand {
    /// Read names on standard input, one a line, and print their pseudonyms.
    Pseudonym(SubjectKey),
    /// Tell which of the names on standard input are called so; exit code 1 if none is.
    Lookup {
        /// Pseudonyms as events have them; behind `--`, if one begins with a hyphen.
        #[arg(required = true)]
        pseudonyms: Vec<String>,
        /// Whose they are.
        #[command(flatten)]
        key: SubjectKey,
    },
    /// Read names on standard input, and see to it that nobody can make their pseudonyms any more.
    Forget {
        /// Of the names on standard input, forget only who is called so; may be repeated.
        #[arg(long = "pseudonym", value_name = "PSEUDONYM", allow_hyphen_values = true)]
        pseudonyms: Vec<String>,
        /// Whose they are.
        #[command(flatten)]
        key: SubjectKey,
    },
}

/// The key that pseudonyms are made by.
#[derive(Debug, Args)]
pub struct SubjectKey {
    /// Configuration file (YAML), which says where the key is.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Key file, in place of the configured one.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// `scopewatch policy`
#[derive(Debug, Args)]
pub struct Policy {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What can be done with a policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Tell what is wrong with a policy, and what is odd.
    Check {
        /// The policy (YAML).
        file: PathBuf,
    },
    /// Tell what a policy says of a request, by which line, and why.
    Explain(Explain),
    /// Make a policy out of an OpenAPI document, 3.0 to 3.2, and print it.
    Import {
        /// The document (YAML or JSON).
        openapi: PathBuf,
    },
    /// Tell the least that clients need, from an audit log (JSON lines).
    Suggest {
        /// The log.
        log: PathBuf,
    },
    /// Check cases that are written beside a policy.
    Test {
        /// The cases (YAML), which name the policy.
        file: PathBuf,
    },
}

/// `scopewatch policy explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The policy (YAML).
    pub file: PathBuf,
    /// The request: METHOD TARGET, fields, an empty line.
    #[arg(long, value_name = "FILE")]
    pub request: PathBuf,
    /// File with a token, to be sent as `Authorization: Bearer`.
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// Service that the request is made to; found by host and port if there are several.
    #[arg(long, value_name = "ID")]
    pub service: Option<String>,
    /// Port that the request is made to.
    #[arg(long, default_value_t = 443)]
    pub port: u16,
    /// Moment to judge it by (RFC 3339), in place of now.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// `scopewatch config`
#[derive(Debug, Args)]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What can be done with what is configured.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of what operators write.
    Schema {
        /// Of what.
        #[arg(value_enum, default_value_t = SchemaOf::Config)]
        of: SchemaOf,
    },
}

/// What operators write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum SchemaOf {
    /// The agent's configuration.
    Config,
    /// Policies.
    Policy,
    /// Cases of `policy test`.
    Cases,
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

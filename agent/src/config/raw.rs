//! The configuration as it is written: YAML, every key optional, unknown keys refused.

use std::{fs::File, io::Read as _, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{error::ConfigError, export, status},
    observation::SubjectMode,
    sandbox::protocol::{Sight, Tap},
};

/// Longest configuration that is read, in bytes.
const MAX_LEN: u64 = 1024 * 1024;

/// The whole file.
#[derive(Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is captured, and how.
    pub capture: Capture,
    /// Bounds on connections.
    pub flow: Flow,
    /// What may leave the agent.
    pub privacy: Privacy,
    /// What calls are judged by.
    pub policy: Policy,
    /// Where events go.
    pub export: export::Raw,
    /// How the agent tells how it is doing.
    pub status: status::Raw,
}

/// `capture:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Size of the ring between kernel and agent in bytes: a power of two, 64 KiB to 1 GiB.
    pub ring_bytes: u64,
    /// Seconds between scans of all processes for libraries that were loaded late, 1 to 3600.
    pub rescan_seconds: u64,
    /// Threads that rebuild exchanges, 1 to 64.
    pub workers: u64,
    /// How plaintext is had.
    pub path: Path,
    /// HTTP without TLS.
    pub plain_http: PlainHttp,
    /// How it is seen which socket a thread uses.
    pub sockets: Sockets,
    /// Where packets are seen.
    pub packets: Packets,
    /// Whether forms in requests are read, up to 32 KiB each, for the credentials in them.
    pub form_bodies: bool,
}

/// `capture.plain_http:`
#[derive(Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct PlainHttp {
    /// Servers' ports on which it is captured, at most 64, each 1 to 65535; none by default.
    pub ports: Vec<u64>,
}

/// `capture.sockets`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Sockets {
    /// The best way that the kernel has.
    #[default]
    Auto,
    /// [`Sight::Tracepoints`] alone.
    Tracepoints,
    /// [`Sight::Functions`] alone.
    Functions,
    /// [`Sight::Kprobes`] alone.
    Kprobes,
    /// [`Sight::SystemCalls`] alone.
    SystemCalls,
}

impl Sockets {
    /// The one way that is allowed, if only one is.
    #[must_use]
    pub const fn only(self) -> Option<Sight> {
        match self {
            Self::Auto => None,
            Self::Tracepoints => Some(Sight::Tracepoints),
            Self::Functions => Some(Sight::Functions),
            Self::Kprobes => Some(Sight::Kprobes),
            Self::SystemCalls => Some(Sight::SystemCalls),
        }
    }
}

/// `capture.packets`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Packets {
    /// The best place that the host has.
    #[default]
    Auto,
    /// [`Tap::Cgroup`] alone.
    Cgroup,
    /// [`Tap::Tcx`] alone.
    Tcx,
}

impl Packets {
    /// The one place that is allowed, if only one is.
    #[must_use]
    pub const fn only(self) -> Option<Tap> {
        match self {
            Self::Auto => None,
            Self::Cgroup => Some(Tap::Cgroup),
            Self::Tcx => Some(Tap::Tcx),
        }
    }
}

/// `capture.path`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// From session secrets and ciphertext where that is possible, else from calls.
    #[default]
    Auto,
    /// From calls alone.
    Call,
}

/// `flow:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Flow {
    /// Connections that are followed at once over all workers, 16 to 10,000,000. Beyond it the
    /// ones idle longest are given up.
    pub max_connections: u64,
    /// Seconds without traffic after which a connection is given up, 1 to 86,400.
    pub idle_seconds: u64,
    /// Octets that are held of unfinished messages over all connections, 16 MiB to 4 GiB. Beyond
    /// them, the connections that hold most lose what they hold.
    pub max_held_bytes: u64,
}

/// `privacy:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// How subjects are named.
    pub subject: SubjectMode,
    /// File with the 32-byte key of fingerprints; made if absent. Agents that shall agree on
    /// fingerprints share it.
    pub fingerprint_key: PathBuf,
    /// File with the key of pseudonyms, which `scopewatch subject forget` changes; made if absent.
    /// Agents that shall agree on pseudonyms begin with copies of one. It is read again when it
    /// changes, and on SIGHUP.
    pub subject_key: PathBuf,
}

/// `policy:`
#[derive(Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// File with the policy; none for none. It is read again when it changes, and on SIGHUP.
    pub file: Option<PathBuf>,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            ring_bytes: 16 * 1024 * 1024,
            rescan_seconds: 15,
            workers: 1,
            path: Path::Auto,
            plain_http: PlainHttp::default(),
            sockets: Sockets::Auto,
            packets: Packets::Auto,
            form_bodies: true,
        }
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self { max_connections: 65_536, idle_seconds: 300, max_held_bytes: 256 * 1024 * 1024 }
    }
}

impl Default for Privacy {
    fn default() -> Self {
        let file = |name| PathBuf::from("/var/lib/scopewatch").join(name);
        Self {
            subject: SubjectMode::Plain,
            fingerprint_key: file("fingerprint.key"),
            subject_key: file("subject.key"),
        }
    }
}

/// Reads and parses a file.
///
/// # Errors
/// It cannot be read, is longer than 1 MiB, is no YAML, or has an unknown key.
pub fn read(path: &std::path::Path) -> Result<Config, ConfigError> {
    let path_buf = || path.to_owned();
    let read_error = |source| ConfigError::Read { path: path_buf(), source };
    let file = File::open(path).map_err(read_error)?;
    let mut text = String::new();
    file.take(MAX_LEN + 1).read_to_string(&mut text).map_err(read_error)?;
    if text.len() as u64 > MAX_LEN {
        return Err(ConfigError::TooLong { path: path_buf(), limit: MAX_LEN });
    }
    parse(&text).map_err(|message| ConfigError::Syntax { path: path_buf(), message })
}

/// Parses YAML; an empty document is the default configuration.
///
/// # Errors
/// It is no YAML, or has an unknown key; the text says which and where.
pub fn parse(text: &str) -> Result<Config, String> {
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    if !text.lines().any(is_content) {
        return Ok(Config::default());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // One sentence for a terminal and a log: no line breaks.
        error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("# nothing\n"), Ok(Config::default()));
    }

    #[test]
    fn a_key_that_is_set_replaces_its_default_only() {
        let config = parse("privacy:\n  subject: pseudonym\n").unwrap();
        assert_eq!(config.privacy.subject, SubjectMode::Pseudonym);
        assert_eq!(config.capture, Capture::default());
    }

    #[test]
    fn one_way_to_see_sockets_may_be_named() {
        let check = |name: &str, only| {
            let config = parse(&format!("capture: {{sockets: {name}}}\n"));
            assert_eq!(config.unwrap().capture.sockets.only(), only);
        };
        check("auto", None);
        check("tracepoints", Some(Sight::Tracepoints));
        check("functions", Some(Sight::Functions));
        check("kprobes", Some(Sight::Kprobes));
        check("system_calls", Some(Sight::SystemCalls));
        assert!(parse("capture: {sockets: guess}\n").is_err());
    }

    #[test]
    fn a_place_to_see_packets_may_be_demanded() {
        let check = |name: &str, only| {
            let config = parse(&format!("capture: {{packets: {name}}}\n"));
            assert_eq!(config.unwrap().capture.packets.only(), only);
        };
        check("auto", None);
        check("cgroup", Some(Tap::Cgroup));
        check("tcx", Some(Tap::Tcx));
        assert!(parse("capture: {packets: xdp}\n").is_err());
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_line() {
        let message = parse("capture:\n  ring_byte: 4096\n").unwrap_err();
        assert!(message.contains("ring_byte") && message.contains("line 2"), "{message}");
        assert!(!message.contains('\n'));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(parse("flow:\n  idle_seconds: soon\n").is_err());
        assert!(parse("privacy: {subject: maybe}\n").is_err());
    }

    #[test]
    fn the_documented_example_is_the_default() {
        let guide = include_str!("../../../docs/configuration.md");
        let example = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        assert_eq!(parse(example.unwrap()), Ok(Config::default()));
    }
}

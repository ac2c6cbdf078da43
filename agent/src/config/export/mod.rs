//! `export:` as it is written, and as the agent uses it; each kind of sink in a file of its own.

mod file;
mod otlp;
mod syslog;
pub mod tls;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::{file::File, otlp::Otlp, syslog::Syslog};

use crate::{
    config::error::{ConfigError, within},
    event::mapping::Format,
    sinks,
    spool::{MAX_SINK_NAME, MAX_SINKS, MIN_BYTES, Options, SyncPolicy},
};

/// Largest bound of any file or of all, in bytes: beyond every disk.
const MAX_BYTES: u64 = 1 << 50;
/// Longest time that anything is kept, in seconds: a hundred years.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// `export:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// What waits on disk until every sink has it.
    pub spool: Spool,
    /// File with the 32-byte seed of the key that signs checkpoints; made if absent.
    pub signing_key: PathBuf,
    /// Who gets events; nobody means standard output.
    pub sinks: Vec<Sink>,
}

/// `export.spool:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Its directory; made if absent.
    pub directory: PathBuf,
    /// Most bytes that records may take.
    pub max_bytes: u64,
    /// When records are on disk.
    pub sync: Sync,
    /// Milliseconds between syncs, 10 to 60,000.
    pub sync_millis: u64,
}

/// `export.spool.sync`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// At the end of each interval.
    #[default]
    Interval,
    /// With every batch.
    Each,
}

/// One of `export.sinks:`: a name, and one of the others.
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// What it is called, always the same: its place in the spool goes by it.
    pub name: String,
    /// A file that is rotated.
    pub file: Option<File>,
    /// A receiver of OpenTelemetry's log protocol.
    pub otlp: Option<Otlp>,
    /// Standard output.
    pub stdout: Option<Stdout>,
    /// A receiver of syslog.
    pub syslog: Option<Syslog>,
}

/// `stdout:` of a sink.
#[derive(Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Stdout {
    /// How events are written.
    pub format: Format,
}

impl Default for Raw {
    fn default() -> Self {
        let signing_key = PathBuf::from("/var/lib/scopewatch/signing.key");
        Self { spool: Spool::default(), signing_key, sinks: Vec::new() }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/scopewatch/spool"),
            max_bytes: 1024 * 1024 * 1024,
            sync: Sync::Interval,
            sync_millis: 1000,
        }
    }
}

/// Where events go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Export {
    /// Directory of the spool.
    pub directory: PathBuf,
    /// The spool.
    pub spool: Options,
    /// File with the seed of the key that signs checkpoints.
    pub signing_key: PathBuf,
    /// Names of sinks, and what they are.
    pub sinks: Vec<(String, Kind)>,
}

/// What a sink is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A file that is rotated.
    File(sinks::file::Options),
    /// A receiver of OpenTelemetry's log protocol.
    Otlp(sinks::otlp::Options),
    /// Standard output.
    Stdout(Format),
    /// A receiver of syslog.
    Syslog(sinks::syslog::Options),
}

/// Checks every value; `None` if nobody gets events.
///
/// # Errors
/// A value is out of its bounds, or a sink has no name of its own.
pub fn compile(raw: Raw) -> Result<Option<Export>, ConfigError> {
    let Raw { spool, signing_key, sinks } = raw;
    let Spool { directory, max_bytes, sync, sync_millis } = spool;
    let key = "export.spool.max_bytes";
    let max_bytes = within(key, max_bytes, (MIN_BYTES, MAX_BYTES), "1048576 to 2^50")?;
    let key = "export.spool.sync_millis";
    let millis = within(key, sync_millis, (10, 60_000), "10 to 60000")?;
    let mut names = BTreeSet::new();
    for Sink { name, .. } in &sinks {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=MAX_SINK_NAME).contains(&name.len()) && name.bytes().all(is_plain);
        if !fits || !names.insert(name.clone()) || names.len() > MAX_SINKS {
            let must =
                "another one for each of at most 64 sinks, of letters, digits, '.', '_', '-'";
            return Err(ConfigError::Text { key: "export.sinks[].name", must });
        }
    }
    let sinks = sinks.into_iter().map(sink).collect::<Result<Vec<_>, _>>()?;
    let sync = match sync {
        Sync::Interval => SyncPolicy::Interval(Duration::from_millis(millis)),
        Sync::Each => SyncPolicy::Each,
    };
    let spool = Options { sync, ..Options::new(max_bytes, names.into_iter().collect()) };
    let export = Export { directory, spool, signing_key, sinks };
    Ok((!export.sinks.is_empty()).then_some(export))
}

fn sink(Sink { name, file, otlp, stdout, syslog }: Sink) -> Result<(String, Kind), ConfigError> {
    let kinds = [
        file.map(|file| file.compile().map(Kind::File)),
        otlp.map(|otlp| otlp.compile().map(Kind::Otlp)),
        stdout.map(|stdout| Ok(Kind::Stdout(stdout.format))),
        syslog.map(|syslog| syslog.compile().map(Kind::Syslog)),
    ];
    let mut kinds = kinds.into_iter().flatten();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Ok((name, kind?)),
        _ => {
            let must = "one of file, otlp, stdout, syslog";
            Err(ConfigError::Text { key: "export.sinks[]", must })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::parse;

    fn compiled(text: &str) -> Result<Option<Export>, String> {
        compile(parse(text)?.export).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sink_needs_little() {
        let text = "export: {sinks: [{name: audit, file: {path: /tmp/e.jsonl}}]}";
        let export = compiled(text).unwrap().unwrap();
        assert_eq!(export.spool.sinks, ["audit"]);
        let (name, Kind::File(file)) = &export.sinks[0] else { panic!("{export:?}") };
        assert_eq!((name.as_str(), file.compress), ("audit", true));
        let text = "export: {sinks: [{name: console, stdout: {format: ecs}}]}";
        let export = compiled(text).unwrap().unwrap();
        assert_eq!(export.sinks, [("console".to_owned(), Kind::Stdout(Format::Ecs))]);
        assert_eq!(compiled(""), Ok(None));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let check = |text: &str, key: &str| {
            let message = compiled(text).unwrap_err();
            assert!(message.contains(key), "{message}");
        };
        check("export: {spool: {max_bytes: 5}}", "export.spool.max_bytes is 5");
        check("export: {spool: {sync_millis: 1}}", "export.spool.sync_millis");
        check("export: {sinks: [{name: a/b, file: {path: x}}]}", "export.sinks[].name");
        let twice = "{name: a, file: {path: x}}, {name: a, file: {path: y}}";
        check(&format!("export: {{sinks: [{twice}]}}"), "export.sinks[].name");
        let zero = "export: {sinks: [{name: a, file: {path: x, rotate_bytes: 0}}]}";
        check(zero, "export.sinks[].file.rotate_bytes");
        check("export: {sinks: [{name: a}]}", "one of file, otlp, stdout");
        check(
            "export: {sinks: [{name: a, stdout: {}, file: {path: x}}]}",
            "one of file, otlp, stdout",
        );
    }
}

//! `file:` of a sink, as it is written and as the sink has it.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        error::{ConfigError, within},
        export::{MAX_BYTES, MAX_SECONDS},
    },
    event::mapping::Format,
    sinks::file::Options,
};

/// `file:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file.
    pub path: PathBuf,
    /// How events are written.
    #[serde(default)]
    pub format: Format,
    /// Size at which it is put aside, in bytes.
    #[serde(default = "rotate_bytes")]
    pub rotate_bytes: u64,
    /// Age at which it is put aside, in seconds.
    #[serde(default = "rotate_seconds")]
    pub rotate_seconds: u64,
    /// Whether files put aside are compressed.
    #[serde(default = "compress")]
    pub compress: bool,
    /// Bytes that files put aside may have together.
    #[serde(default = "keep_bytes")]
    pub keep_bytes: u64,
    /// Age at which files put aside are removed, in seconds.
    #[serde(default = "keep_seconds")]
    pub keep_seconds: u64,
}

const fn rotate_bytes() -> u64 {
    256 * 1024 * 1024
}

const fn rotate_seconds() -> u64 {
    86_400
}

const fn compress() -> bool {
    true
}

const fn keep_bytes() -> u64 {
    10 * 1024 * 1024 * 1024
}

const fn keep_seconds() -> u64 {
    90 * 86_400
}

impl File {
    /// Checks every value.
    ///
    /// # Errors
    /// One is out of its bounds.
    pub fn compile(self) -> Result<Options, ConfigError> {
        let bytes = |key, value| within(key, value, (1, MAX_BYTES), "1 to 2^50");
        let seconds = |key, value| {
            within(key, value, (1, MAX_SECONDS), "1 to 3162240000").map(Duration::from_secs)
        };
        Ok(Options {
            path: self.path,
            format: self.format,
            rotate_bytes: bytes("export.sinks[].file.rotate_bytes", self.rotate_bytes)?,
            rotate_after: seconds("export.sinks[].file.rotate_seconds", self.rotate_seconds)?,
            compress: self.compress,
            keep_bytes: bytes("export.sinks[].file.keep_bytes", self.keep_bytes)?,
            keep_for: seconds("export.sinks[].file.keep_seconds", self.keep_seconds)?,
        })
    }
}

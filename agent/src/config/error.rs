//! What is wrong with a configuration. Every message says where, and what to write instead.

use std::{io, path::PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration {path} is longer than {limit} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The text is no YAML, or has a key or a value that is not known.
    #[error("the configuration {path} is wrong: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },
    /// A value that another makes impossible.
    #[error("{key} cannot be had together with {with}")]
    Conflict {
        /// Path of the key.
        key: &'static str,
        /// The other key, and its value.
        with: &'static str,
    },
    /// A text that is no such.
    #[error("{key} must be {must}")]
    Text {
        /// Path of the key.
        key: &'static str,
        /// What may be written.
        must: &'static str,
    },
    /// A value is out of its bounds.
    #[error("{key} is {value}, but must be {bounds}")]
    OutOfBounds {
        /// Path of the key, such as `capture.ring_bytes`.
        key: &'static str,
        /// What was written.
        value: u64,
        /// What may be written.
        bounds: &'static str,
    },
}

/// `value`, if it is within its bounds; `bounds` tells people of them.
///
/// # Errors
/// It is not.
pub fn within(
    key: &'static str,
    value: u64,
    (least, most): (u64, u64),
    bounds: &'static str,
) -> Result<u64, ConfigError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::OutOfBounds { key, value, bounds })
    }
}

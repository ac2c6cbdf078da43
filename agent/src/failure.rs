//! Why a command failed, and the exit code that says so to scripts (sysexits.h).

use std::{fmt, io, path::Path};

use crate::config::error::ConfigError;

/// The exit codes that are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ExitCode {
    /// What was looked for is not there, as `grep` has it.
    NotFound = 1,
    /// The command line is wrong.
    Usage = 64,
    /// Input is damaged.
    Data = 65,
    /// Input does not exist or cannot be read.
    NoInput = 66,
    /// The kernel or machine lacks something.
    Unavailable = 69,
    /// A fault of the agent's own.
    Software = 70,
    /// The system refused something that it usually grants.
    Os = 71,
    /// An output cannot be created.
    CannotCreate = 73,
    /// Writing failed.
    Io = 74,
    /// Privilege is missing.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// A failure: one sentence that says what is wrong and what to do, and an exit code.
#[derive(Debug)]
pub struct Failure {
    /// What scripts see.
    pub code: ExitCode,
    /// What people see, without a final period or line break.
    pub message: String,
}

impl Failure {
    /// A failure with that code and sentence.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An input file that cannot be read.
    #[must_use]
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new(ExitCode::NoInput, format!("cannot read {}: {error}", path.display()))
    }

    /// An output file that cannot be created.
    #[must_use]
    pub fn uncreatable(path: &Path, error: &io::Error) -> Self {
        Self::new(ExitCode::CannotCreate, format!("cannot create {}: {error}", path.display()))
    }
}

/// An error and its causes in one line: the first of each, as verifier logs run to thousands.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(ExitCode::Config, error.to_string())
    }
}

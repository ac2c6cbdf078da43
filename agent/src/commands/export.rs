//! Where events of a run go: the sinks of the configuration, each with its thread.

use std::time::{Duration, Instant};

use crate::{
    commands::{os_failure, own_directory},
    config::{
        export::{Export as Configured, Kind},
        signingfile::SigningFile,
    },
    event::model,
    failure::{ExitCode, Failure, chain},
    sinks::{
        Sink,
        export::{Export, Named},
        file::FileSink,
        otlp::OtlpSink,
        output::Output,
        stdout::Stdout,
        syslog::SyslogSink,
    },
    telemetry::board::Board,
};

/// Opens the key that signs checkpoints and the spool, and starts the sinks.
///
/// # Errors
/// A key cannot be had, or the spool not be opened.
pub fn open(
    configured: &Configured,
    host: model::Host,
    (board, health_every): (Board, Duration),
) -> Result<Output, Failure> {
    let Configured { directory, spool, signing_key, sinks } = configured;
    own_directory(signing_key)?;
    own_directory(directory)?;
    let key = SigningFile::open(signing_key, &host.name, Instant::now())
        .map_err(|error| Failure::new(ExitCode::Config, chain(&error)))?;
    let named = |(name, kind): &(String, Kind)| Named { name: name.clone(), sink: sink(kind) };
    let sinks = sinks.iter().map(named).collect();
    let started = Export::start(directory, spool, sinks, key, host);
    let (export, recovered) =
        started.map_err(|error| os_failure(&format!("spool {}", directory.display()), &error))?;
    tracing::info!(?recovered, "spool opened");
    Ok(Output::sinks(export.reporting(board, health_every)))
}

fn sink(kind: &Kind) -> Box<dyn Sink> {
    match kind {
        Kind::File(options) => Box::new(FileSink::new(options.clone())),
        Kind::Otlp(options) => Box::new(OtlpSink::new(options.clone())),
        Kind::Stdout(format) => Box::new(Stdout::new(*format)),
        Kind::Syslog(options) => Box::new(SyslogSink::new(options.clone())),
    }
}

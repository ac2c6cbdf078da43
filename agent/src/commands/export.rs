//! Where events of a run go: the sinks of the configuration, each with its thread.

use std::{fs, io, path::Path, time::Duration};

use crate::{
    commands::{os_failure, own_directory},
    config::{
        export::{Export as Configured, Kind},
        keyfile,
    },
    event::model,
    failure::{ExitCode, Failure, chain},
    integrity::checkpoint::Signer,
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

/// Opens the spool, starts the sinks, and writes the key that checks checkpoints beside the one
/// that signs them.
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
    let seed = keyfile::bytes(signing_key)
        .map_err(|error| Failure::new(ExitCode::Config, chain(&error)))?;
    let signer = Signer::new(&host.name, &seed).ok_or_else(|| {
        Failure::new(ExitCode::Config, format!("{} makes no key", signing_key.display()))
    })?;
    publish(signing_key, &signer).map_err(|error| Failure::uncreatable(signing_key, &error))?;
    let named = |(name, kind): &(String, Kind)| Named { name: name.clone(), sink: sink(kind) };
    let sinks = sinks.iter().map(named).collect();
    let started = Export::start(directory, spool, sinks, signer, host);
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

/// The public key, in a file that anybody may have.
fn publish(signing_key: &Path, signer: &Signer) -> io::Result<()> {
    let mut path = signing_key.as_os_str().to_owned();
    path.push(".pub");
    fs::write(path, format!("{}\n", signer.verifying_key().to_line()))
}

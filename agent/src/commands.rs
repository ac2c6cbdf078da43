//! What each command does: reads configuration, opens inputs and outputs, and hands over to the
//! pipeline. Every failure ends here as one sentence and an exit code.

#![expect(clippy::print_stderr, reason = "commands warn and sum up")]

mod export;
mod naming;
mod policy;
mod private;
mod probe;
mod schema;
mod subject;
mod token;
mod verify;

use std::{
    fs::{DirBuilder, File},
    io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use scopewatch_common::Counter;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::{
    bpf::{canary::ReturnProbes, capability::Capabilities, inspect, load},
    capture::{
        recorder::{Preamble, Recorder},
        replay::{End, Replay, ReplayError},
    },
    cli::{self, Cli, Command},
    config::{
        compiled::{self, Config},
        keyfile, raw,
        rulebook::Rulebook,
    },
    coverage::Reason,
    event::{access::Origin, human::Colour, model},
    failure::{ExitCode, Failure, chain},
    identity::host::Host,
    observation::{Naming, Observer},
    pipeline::{self, Capture, Erasure, Keeper, Stages, Summary},
    report::show,
    rules::Standing,
    sandbox::broker,
    sinks::output::{Format, Output},
    telemetry::{board::Board, server::Server},
    token::fingerprint::FingerprintKey,
};

/// Runs a command to its end.
///
/// # Errors
/// Whatever kept it from doing what was asked.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // Before anything is read that must not get out.
    if let Err(error) = private::keep_private() {
        eprintln!("scopewatch: warning: a core of this process would hold secrets: {error}");
    }
    match cli.command {
        Command::Run(asked) => watch(asked),
        Command::Record(asked) => record(asked),
        Command::Replay(asked) => replay(asked),
        Command::Show(asked) => show_events(&asked),
        Command::Verify(asked) => verify::verify(&asked),
        Command::Doctor(asked) => doctor(&asked),
        Command::Probe(asked) => probe::probe(&asked),
        Command::Token(cli::Token { command: cli::TokenCommand::Inspect(asked) }) => {
            token::inspect(&asked)
        }
        Command::Subject(asked) => subject::subject(asked.command),
        Command::Policy(asked) => policy::policy(&asked),
        Command::Config(asked) => schema::config(&asked),
    }
}

fn watch(asked: cli::Run) -> Result<(), Failure> {
    let cli::Run { config, output, kernel_log } = asked;
    let config = configuration(config.as_deref(), output.fingerprint_key.clone())?;
    refuse_if_missing(&Capabilities::probe())?;
    let key = fingerprint_key(&config)?;
    start_logging(kernel_log);
    let board = Board::default();
    let output = event_output(&output, &config, &Host::local(), &board)?.shedding();
    live(&config, key, output, kernel_log, None, board)
}

fn record(asked: cli::Record) -> Result<(), Failure> {
    let cli::Record { out, events, config, fingerprint_key: key } = asked;
    let config = configuration(config.as_deref(), key)?;
    refuse_if_missing(&Capabilities::probe())?;
    let key = fingerprint_key(&config)?;
    let file = events.as_deref();
    let output = match file {
        Some(path) => {
            Output::file(path, None).map_err(|error| Failure::uncreatable(path, &error))?
        }
        None => Output::stdout(None),
    };
    live(&config, key, output, false, Some(&out), Board::default())
}

/// A live capture, until a signal ends it.
fn live(
    config: &Config,
    key: FingerprintKey,
    output: Output,
    kernel_log: bool,
    record_to: Option<&Path>,
    board: Board,
) -> Result<(), Failure> {
    start_logging(kernel_log);
    let (naming, file) = naming::live(config)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| os_failure("cannot handle signals", &error))?;
    }
    let host = Host::local();
    let recorder = match record_to {
        Some(path) => {
            eprintln!(
                "scopewatch: warning: {} will hold plaintext of this host's TLS connections, \
                 credentials included: keep it as you would keep those",
                path.display()
            );
            let created = Recorder::create(path, &Preamble { host: host.clone() });
            Some(created.map_err(|error| Failure::uncreatable(path, &error))?)
        }
        None => None,
    };
    let (kernel, channels) = load::Kernel::load(load::Options {
        ring_bytes: config.ring_bytes,
        plain_ports: &config.plain_ports,
        kernel_log,
        sockets: config.sockets,
        packets: config.packets,
    })
    .map_err(|error| Failure::new(ExitCode::Unavailable, chain(&error)))?;
    for (tracepoint, reason) in &kernel.missing {
        tracing::warn!(tracepoint, reason, "not on this kernel: doing without");
    }
    match kernel.sockets.sight {
        Some(sight) => tracing::debug!(sight = sight.name(), "sockets are seen"),
        None => {
            let refused = &kernel.sockets.refused;
            tracing::warn!(?refused, "sockets are not seen: connections have no addresses");
        }
    }
    kernel.packets.log(!config.plain_ports.is_empty());
    board.say(|parts, _| parts.packets = kernel.packets.tap);
    let wire = kernel.packets.tap.is_some() && config.path == raw::Path::Auto;
    let (broker, broker_thread) =
        broker::start(kernel).map_err(|error| os_failure("cannot start a thread", &error))?;
    let return_probes = broker.test_return_probes();
    tracing::info!("{}", return_probes.meaning());

    let book = config.policy.as_deref().map(rulebook).transpose()?;
    let standing = book.as_ref().map_or_else(Standing::default, |book| Standing::new(book.rules()));
    let stages = start_stages(config, (key, naming), &standing, host, output, &board)?;
    let erasure = file.map(|(file, pseudonyms)| Erasure::start(file, pseudonyms)).transpose();
    let erasure = erasure.map_err(|error| os_failure("cannot keep the subject key", &error))?;
    let keeper = book.map(|book| Keeper::start(book, standing)).transpose();
    let keeper = keeper.map_err(|error| os_failure("cannot keep the policy", &error))?;
    let capture = Capture {
        channels,
        wire,
        broker,
        return_probes_safe: return_probes == ReturnProbes::Safe,
        keeper,
        board: board.clone(),
        recorder,
    };
    let server = status_server(config, board)?;
    let (summary, counters) = pipeline::run_live(capture, stages, config, &stop, ready)
        .map_err(|error| Failure::new(ExitCode::Io, format!("{error:#}")))?;
    let _ = broker_thread.join();
    if let Some(erasure) = erasure {
        erasure.stop();
    }
    if let Some(server) = server {
        server.stop();
    }
    print_summary(&summary, &counters);
    Ok(())
}

/// Where the agent can be asked how it is doing, if it can be.
fn status_server(config: &Config, board: Board) -> Result<Option<Server>, Failure> {
    let Some(listen) = &config.status.listen else { return Ok(None) };
    let server = Server::start(listen, board)
        .map_err(|error| os_failure("cannot listen at status.listen", &error))?;
    tracing::info!(address = ?server.address, "tells how it is doing");
    Ok(Some(server))
}

/// Tells whoever started the agent that it watches.
fn ready(libraries: usize) {
    tracing::info!(libraries, "watching");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

fn replay(asked: cli::Replay) -> Result<(), Failure> {
    let cli::Replay { file: path, config, output } = asked;
    let config = configuration(config.as_deref(), output.fingerprint_key.clone())?;
    start_logging(false);
    let file = File::open(&path).map_err(|error| Failure::unreadable(&path, &error))?;
    let replay =
        Replay::open(BufReader::new(file)).map_err(|error| bad_recording(&path, &error))?;
    let named_by = (replay_key(&config)?, naming::replayed(&config)?);
    let board = Board::default();
    let output = event_output(&output, &config, &replay.preamble.host, &board)?;
    let book = config.policy.as_deref().map(rulebook).transpose()?;
    let standing = book.map_or_else(Standing::default, |book| Standing::new(book.fixed_rules()));
    let host = replay.preamble.host.clone();
    let stages = start_stages(&config, named_by, &standing, host, output, &board)?;
    let (summary, end) = pipeline::run_replay(replay, stages).map_err(|error| match error
        .downcast_ref::<ReplayError>(
    ) {
        Some(error) => bad_recording(&path, error),
        None => Failure::new(ExitCode::Io, format!("{error:#}")),
    })?;
    if end == End::Cut {
        eprintln!(
            "scopewatch: warning: {} ends within a frame: its writer was cut off",
            path.display()
        );
    }
    print_summary(&summary, &[]);
    Ok(())
}

fn show_events(asked: &cli::Show) -> Result<(), Failure> {
    let path = &asked.file;
    let mut stdout = BufWriter::new(io::stdout());
    let colour = if io::stdout().is_terminal() { Colour::On } else { Colour::Off };
    let mut show = |input: &mut dyn BufRead| match asked.format {
        Some(format) => show::convert(input, &mut stdout, format),
        None => show::show(input, &mut stdout, colour),
    };
    let shown = if path == Path::new("-") {
        show(&mut io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
        show(&mut BufReader::new(file))
    };
    match shown.and_then(|bad_lines| stdout.flush().map(|()| bad_lines)) {
        Ok(_) => Ok(()),
        // The reader had enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(Failure::new(ExitCode::Io, format!("cannot show {}: {error}", path.display())))
        }
    }
}

fn doctor(asked: &cli::Doctor) -> Result<(), Failure> {
    let mut capabilities = Capabilities::probe();
    if capabilities.first_missing().is_none() {
        let options = load::Options {
            ring_bytes: 65_536,
            plain_ports: &[],
            kernel_log: false,
            sockets: None,
            packets: None,
        };
        if asked.programs {
            // With a port listed, so that the verifier looks at all that may run.
            match inspect::programs(load::Options { plain_ports: &[80], ..options }) {
                Ok(programs) => capabilities.add_programs(programs),
                Err(error) => capabilities.add_load_failure(chain(&error)),
            }
        }
        match load::Kernel::load(options) {
            Ok((mut kernel, _channels)) => {
                let surveyed = kernel.survey();
                capabilities.add_sockets(&kernel.sockets, &surveyed);
                capabilities.add_packets(&kernel.packets);
                let (broker, thread) = broker::start(kernel)
                    .map_err(|error| os_failure("cannot start a thread", &error))?;
                capabilities.add_return_probes(broker.test_return_probes());
                let _ = broker.stop();
                drop(broker);
                let _ = thread.join();
            }
            Err(error) => capabilities.add_load_failure(chain(&error)),
        }
    }
    let text = if asked.json {
        serde_json::to_string_pretty(&capabilities).unwrap_or_default()
    } else {
        capabilities.to_string()
    };
    print(&text)?;
    refuse_if_missing(&capabilities)
}

/// Prints an answer on standard output. A reader that had enough, as `head` has, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(ExitCode::Io, format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

fn configuration(path: Option<&Path>, key: Option<PathBuf>) -> Result<Config, Failure> {
    let raw = path.map_or_else(|| Ok(raw::Config::default()), raw::read)?;
    let mut config = compiled::compile(raw)?;
    if let Some(key) = key {
        config.fingerprint_key = key;
    }
    Ok(config)
}

fn fingerprint_key(config: &Config) -> Result<FingerprintKey, Failure> {
    own_directory(&config.fingerprint_key)?;
    keyfile::load_or_create(&config.fingerprint_key)
        .map_err(|error| Failure::new(ExitCode::Config, chain(&error)))
}

/// Makes the directory of one of the agent's own files, at its first start; never a chain of
/// directories that a typing error names.
fn own_directory(file: &Path) -> Result<(), Failure> {
    if let Some(parent) = file.parent().filter(|parent| !parent.exists()) {
        DirBuilder::new()
            .mode(0o700)
            .create(parent)
            .map_err(|error| Failure::uncreatable(parent, &error))?;
    }
    Ok(())
}

/// The key of the live run if it is at hand: whoever replays need not own it.
fn replay_key(config: &Config) -> Result<FingerprintKey, Failure> {
    let path = config.fingerprint_key.display();
    let reason = match keyfile::load(&config.fingerprint_key) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => format!("there is no key file {path}"),
        Err(error) => chain(&error),
    };
    eprintln!(
        "scopewatch: warning: {reason}: fingerprints will differ from those of the live run, \
         unless its key is given with --fingerprint-key"
    );
    keyfile::ephemeral().map_err(|error| Failure::new(ExitCode::Os, chain(&error)))
}

/// The sinks of the configuration, unless the command line says where events go.
fn event_output(
    asked: &cli::Output,
    config: &Config,
    host: &Host,
    board: &Board,
) -> Result<Output, Failure> {
    match &config.export {
        Some(export) if asked.to.is_none() && asked.format == cli::Format::Auto => {
            let report = (board.clone(), config.status.health_every);
            export::open(export, model_host(host.clone()), report)
        }
        _ => open_output(asked),
    }
}

fn model_host(Host { id, name, boot_id }: Host) -> model::Host {
    model::Host { id, name, boot_id }
}

fn open_output(asked: &cli::Output) -> Result<Output, Failure> {
    let format = match asked.format {
        cli::Format::Auto => None,
        cli::Format::Human => Some(Format::Human(Colour::Off)),
        cli::Format::Json => Some(Format::Json),
    };
    match &asked.to {
        Some(path) => {
            Output::file(path, format).map_err(|error| Failure::uncreatable(path, &error))
        }
        None => Ok(Output::stdout(format)),
    }
}

fn start_stages(
    config: &Config,
    (key, naming): (FingerprintKey, Naming),
    rules: &Standing,
    host: Host,
    output: Output,
    board: &Board,
) -> Result<Stages, Failure> {
    let observer = Observer::new(Arc::new(key), naming, rules);
    let origin = Origin::new(model_host(host));
    Stages::start(config, &observer, rules, &origin, output, board)
        .map_err(|error| os_failure("cannot start a thread", &error))
}

/// The policy and its keys; what is odd about them is told.
fn rulebook(path: &Path) -> Result<Rulebook, Failure> {
    let book =
        Rulebook::open(path).map_err(|error| Failure::new(ExitCode::Config, chain(&error)))?;
    for warning in &book.warnings {
        eprintln!("scopewatch: warning: {warning}");
    }
    Ok(book)
}

fn refuse_if_missing(capabilities: &Capabilities) -> Result<(), Failure> {
    let Some(missing) = capabilities.first_missing() else { return Ok(()) };
    let code =
        if missing.name == "privilege" { ExitCode::NoPermission } else { ExitCode::Unavailable };
    Err(Failure::new(code, missing.meaning.clone()))
}

/// The agent's own log: standard error, quiet unless something is odd or `RUST_LOG` asks. The
/// kernel half logs under its own name, and only if it was asked to.
fn start_logging(kernel_log: bool) {
    let default = if kernel_log {
        "warn,scopewatch=info,scopewatch_ebpf=debug"
    } else {
        "warn,scopewatch=info"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
}

/// The last line: what was seen, and what was not.
fn print_summary(summary: &Summary, counters: &[u64]) {
    let Summary { events, flows, malformed, wire, uncovered } = summary;
    let mut line = format!(
        "scopewatch: stopped; exchanges={} events={events} connections={} evicted={} idle={} \
         gaps={} gap_bytes={} malformed_records={malformed} tls_opened={} tls_uncovered={} \
         tls_failed={} tls_crowded_out={} tls_sockets_evicted={} tls_owners_evicted={} \
         tls_sessions_evicted={} \
         mirrored={} plain={} skipped_bytes={} relieved={} http_limits={} contents_too_large={} content_bombs={} \
         unwatched={}",
        flows.exchanges,
        flows.connections,
        flows.evicted,
        flows.idle,
        flows.gaps,
        flows.gap_bytes,
        wire.opened,
        wire.uncovered,
        wire.failed,
        wire.crowded_out,
        wire.sockets_evicted,
        wire.owners_evicted,
        wire.sessions_evicted,
        wire.mirrored,
        wire.plain,
        flows.skipped_bytes,
        flows.relieved,
        flows.limits_hit,
        flows.contents_too_large,
        flows.content_bombs,
        flows.unwatched
    );
    for reason in Reason::ALL {
        let count = uncovered.get(reason).copied().unwrap_or(0);
        line.push_str(&format!(" uncovered_{reason}={count}"));
    }
    for (counter, value) in Counter::ALL.iter().zip(counters) {
        line.push_str(&format!(" {}={value}", counter.name()));
    }
    eprintln!("{line}");
}

fn bad_recording(path: &Path, error: &ReplayError) -> Failure {
    let code = match error {
        ReplayError::Read(_) => ExitCode::NoInput,
        ReplayError::NotARecording | ReplayError::Damaged { .. } => ExitCode::Data,
    };
    Failure::new(code, format!("cannot replay {}: {}", path.display(), chain(error)))
}

fn os_failure(what: &str, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Os, format!("{what}: {error}"))
}

//! The command: reads the command line, runs what was asked, maps failures to exit codes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

use std::process::ExitCode;

use clap::{Parser as _, error::ErrorKind};
use scopewatch::{
    bpf::canary,
    cli::Cli,
    commands,
    failure::{self, Failure},
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(canary::CHILD_ARGUMENT) {
        canary::run_child(&arguments.next().unwrap_or_default());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("{error}");
            return ExitCode::from(failure::ExitCode::Usage as u8);
        }
    };
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            eprintln!("scopewatch: {message}");
            ExitCode::from(code as u8)
        }
    }
}

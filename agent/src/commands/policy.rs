//! `scopewatch policy …`: tells what is wrong with a policy, what it says of a call, whether it
//! says what its authors expect, and what a policy could be. In: files. Out: text.

mod cases;
mod explain;
mod import;
mod request;
mod suggest;

pub use cases::Cases;

use std::path::Path;

use crate::{
    cli::{self, PolicyCommand},
    commands::print,
    config::policyfile,
    failure::{ExitCode, Failure},
    policy::{compile::Compiled, error::Problems},
};

/// Does what was asked.
///
/// # Errors
/// A policy or another input is wrong or cannot be read, or a case fails.
pub fn policy(asked: &cli::Policy) -> Result<(), Failure> {
    match &asked.command {
        PolicyCommand::Check { file } => check(file),
        PolicyCommand::Explain(asked) => explain::explain(asked),
        PolicyCommand::Import { openapi } => import::import(openapi),
        PolicyCommand::Suggest { log } => suggest::suggest(log),
        PolicyCommand::Test { file } => cases::run(file),
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let Compiled { policy, warnings } = load(file)?;
    let routes: usize = policy.services.iter().map(|service| service.routes.len()).sum();
    let mut text: String =
        warnings.iter().map(|warning| format!("{warning} (warning)\n")).collect();
    text.push_str(&format!(
        "{}: {} issuers, {} services, {routes} routes, {} warnings; sha256 {}",
        policy.id.file,
        policy.issuers.len(),
        policy.services.len(),
        warnings.len(),
        policy.id.hash
    ));
    print(&text)
}

fn load(file: &Path) -> Result<Compiled, Failure> {
    policyfile::load(file).map_err(|problems| wrong(&problems))
}

fn wrong(problems: &Problems) -> Failure {
    Failure::new(ExitCode::Config, problems.to_string())
}

/// Text of an input file.
fn read(path: &Path) -> Result<String, Failure> {
    policyfile::read(path).map_err(|reason| {
        Failure::new(ExitCode::NoInput, format!("cannot read {}: {reason}", path.display()))
    })
}

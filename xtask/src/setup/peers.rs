//! Installs the packages of the authorization server, of its APIs and of their client, and gRPC.
//!
//! In: lock files of the test harness. Out: packages for Node and for Python below `target/peers`,
//! in the versions that are locked. Nothing is installed elsewhere, and no package's script runs.

use std::fs;

use anyhow::{Context as _, Result, bail};
use scopewatch_harness::oauth;

use crate::process;

/// Languages whose packages are installed, in the order of [`oauth::is_there`].
pub const LANGUAGES: [&str; 2] = ["node", "python"];

/// The command that installs those of `language`.
pub const fn command(language: &str) -> [&str; 4] {
    ["cargo", "xtask", "peers", language]
}

/// Installs the packages for `language`.
///
/// # Errors
/// When there is no such language, or its package client fails.
pub fn run(language: &str) -> Result<()> {
    match language {
        "node" => node(),
        "python" => python(),
        other => bail!("there are packages for {}, not for {other}", LANGUAGES.join(" and ")),
    }
}

fn node() -> Result<()> {
    let dir = oauth::node_dir();
    fs::create_dir_all(&dir).context("make the directory for packages of Node")?;
    let write = |name: &str, text| {
        fs::write(dir.join(name), text).with_context(|| format!("write {name} for npm"))
    };
    write("package.json", oauth::NODE_PACKAGES)?;
    write("package-lock.json", oauth::NODE_LOCK)?;
    let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    process::run(process::command("npm", &arguments).current_dir(&dir))
}

fn python() -> Result<()> {
    let dir = oauth::python_dir();
    // Whatever an earlier attempt left.
    if dir.exists() {
        fs::remove_dir_all(&dir).context("remove the packages of Python that are there")?;
    }
    let venv = ["-m".as_ref(), "venv".as_ref(), dir.as_os_str()];
    process::run(&mut process::command("python3", &venv))?;
    let (wanted, had) = (dir.join("wanted.txt"), dir.join("requirements.txt"));
    fs::write(&wanted, oauth::PYTHON_REQUIREMENTS).context("write requirements.txt for pip")?;
    let python = dir.join("bin/python");
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
    let mut command = process::command(&python.to_string_lossy(), &install);
    process::run(command.arg(&wanted))?;
    // Last, as it tells that all is there.
    fs::rename(wanted, had).context("name the packages that are there")
}

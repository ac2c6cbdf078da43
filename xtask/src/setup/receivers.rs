//! Fetches a receiver of syslog for the tests.
//!
//! In: its name. Out: its packages unpacked in its directory below `target/peers`. Nothing is
//! installed and no service started: the receivers' packages exclude each other.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::receivers::{PACKAGES, Package};

use super::archive::Archive;

/// The command that fetches `package`.
pub fn command(package: &Package) -> [&str; 4] {
    ["cargo", "xtask", "receiver", package.name]
}

/// Fetches the receiver called `name`, unless it is there.
///
/// # Errors
/// When apt knows no mirror of Debian, or a package cannot be had from it.
pub fn run(name: &str) -> Result<()> {
    let package = Package::named(name).with_context(|| {
        let names = PACKAGES.each_ref().map(|package| package.name);
        format!("no receiver is called {name}; there are {}", names.join(", "))
    })?;
    if package.is_there() {
        return Ok(());
    }
    let dir = package.dir();
    Archive::open(&dir, package.suite)?.put(package.packages, &dir)?;
    ensure!(package.is_there(), "its packages do not hold the program");
    Ok(())
}

//! Fetches a release of OpenSSL that tests load beside this system's own.
//!
//! In: a release. Out: its packages unpacked in its directory below `target/peers`. Nothing is
//! installed.

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::openssl::{RELEASES, Release};

use super::archive::Archive;

/// The command that fetches `release`.
pub fn command(release: &Release) -> [&str; 4] {
    ["cargo", "xtask", "openssl", release.name]
}

/// Fetches the release called `name`, unless it is there.
///
/// # Errors
/// When apt knows no mirror of Debian, or a package cannot be had from it.
pub fn run(name: &str) -> Result<()> {
    let release = Release::named(name).with_context(|| {
        let names = RELEASES.map(|release| release.name);
        format!("no release is called {name}; there are {}", names.join(", "))
    })?;
    let Some(suite) = release.suite.filter(|_| !release.is_there()) else { return Ok(()) };
    let dir = release.dir();
    Archive::open(&dir, suite)?.put(release.packages, &dir)?;
    ensure!(release.is_there(), "its packages do not hold the libraries");
    Ok(())
}

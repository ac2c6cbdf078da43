//! Real servers, clients and tokens for the live tests and for `cargo xtask demo`.
//!
//! In: nothing but the programs that `cargo xtask setup` installs. Out: a running nginx with an
//! OAuth-protected API, minted tokens, clients that call it, an authorization server with APIs, and
//! a running agent with its events as JSON; and connections that are nothing but bytes. Every value
//! owns what it started, children and files, and ends it when dropped; nothing here touches a
//! process that it did not start. Servers listen on 127.0.0.1 only.

pub mod certs;
pub mod tokens;

pub mod nginx;

pub mod clients;
pub mod oauth;
pub mod openssl;
pub mod receivers;

pub mod agent;
pub mod events;

pub mod calls;

pub mod talks;

pub mod child;

use std::{
    env,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

/// The user and group that unprivileged runs use: Debian's `nobody` and `nogroup`.
pub const NOBODY: u32 = 65534;

/// Whether this process may attach probes.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Fails unless this process is root. Live tests call it first: run directly without root they
/// fail, while `cargo xtask test` counts them as skipped.
///
/// # Errors
/// When the effective user is not root.
pub fn require_root() -> Result<()> {
    ensure!(is_root(), "live tests attach probes and need root: run `cargo xtask test` as root");
    Ok(())
}

/// The directory that the running program was built into, without its profile.
#[must_use]
pub fn target_dir() -> PathBuf {
    let running = env::current_exe().unwrap_or_default();
    let dir = running.parent().unwrap_or(Path::new(""));
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    dir.parent().unwrap_or(dir).to_owned()
}

/// Asks `attempt` every 10 ms until it has a value.
///
/// # Errors
/// When `attempt` fails, or has no value within `timeout`; `what` names what was awaited.
pub fn wait_until<T>(
    what: &str,
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if start.elapsed() >= timeout {
            bail!("waited {timeout:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

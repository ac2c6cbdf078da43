//! A real nginx that serves an OAuth-protected API over TLS on 127.0.0.1.
//!
//! In: certificates and the tokens it shall know, each with what it grants. Out: a port, and the
//! access log as the truth about which requests were served. `/api/` decides by token: 200, 401 or
//! 403; `/static/large.bin` is [`LARGE_BYTES`] long; `/chunked/page.txt` has no length; `/empty`
//! answers 204.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{certs::Certificates, child::Reaped, tokens::Token, wait_until};

/// Length of `/static/large.bin`: more than one TLS record and one capture buffer hold.
pub const LARGE_BYTES: usize = 1 << 20;

/// How often another port is tried when the chosen one was taken in the meantime.
const PORT_ATTEMPTS: usize = 3;

const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the API makes of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grant {
    /// `orders:read`: GET and HEAD succeed.
    Read,
    /// `orders:read` and `orders:write`: every method succeeds.
    ReadWrite,
    /// Another API's scope: 403 whatever the method.
    Elsewhere,
    /// Nothing, since it expired: 401.
    Expired,
}

impl Grant {
    const fn as_granted(self) -> &'static str {
        match self {
            Self::Read => "orders:read",
            Self::ReadWrite => "orders:read orders:write",
            Self::Elsewhere => "profile:read",
            Self::Expired => "expired",
        }
    }
}

/// A running nginx: one master, one worker.
#[derive(Debug)]
pub struct Nginx {
    master: Reaped,
    prefix: PathBuf,
    port: u16,
    deferred: u16,
    mutual: u16,
    worker: u32,
}

impl Nginx {
    /// Starts nginx with its files in `prefix`, an existing directory, and waits until it answers.
    ///
    /// # Errors
    /// When nginx is missing or does not start; its error log is in the message.
    pub fn start(
        prefix: &Path,
        certificates: &Certificates,
        grants: &[(Token, Grant)],
    ) -> Result<Self> {
        lay_out(prefix)?;
        let mut last = None;
        for _attempt in 0..PORT_ATTEMPTS {
            match Self::start_on(
                [free_port()?, free_port()?, free_port()?],
                prefix,
                certificates,
                grants,
            ) {
                Ok(nginx) => return Ok(nginx),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("nginx was never tried")?)
    }

    fn start_on(
        ports: [u16; 3],
        prefix: &Path,
        certificates: &Certificates,
        grants: &[(Token, Grant)],
    ) -> Result<Self> {
        let [port, deferred, mutual] = ports;
        let config = prefix.join("nginx.conf");
        fs::write(&config, configuration(ports, prefix, certificates, grants)?)
            .context("write nginx.conf")?;
        let mut command = Command::new(program());
        command.arg("-p").arg(prefix).arg("-e").arg(prefix.join("error.log"));
        command.arg("-c").arg(&config).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut master = Reaped::start(&mut command)?;
        let worker = wait_until("nginx to answer", START_TIMEOUT, || {
            if let Some(status) = master.ended()? {
                let log = fs::read_to_string(prefix.join("error.log")).unwrap_or_default();
                bail!("nginx ended at start, {status}: {}", log.trim());
            }
            let answers = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            Ok(children_of(master.pid()).first().copied().filter(|_| answers))
        })?;
        Ok(Self { master, prefix: prefix.to_owned(), port, deferred, mutual, worker })
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens, too, but accepts only who has said something.
    #[must_use]
    pub const fn deferred_port(&self) -> u16 {
        self.deferred
    }

    /// Where it answers clients with a certificate of the authority, and no others.
    #[must_use]
    pub const fn mutual_port(&self) -> u16 {
        self.mutual
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The process that reads and writes the connections.
    #[must_use]
    pub const fn worker_pid(&self) -> u32 {
        self.worker
    }

    /// The requests served so far, in the order in which they ended.
    ///
    /// # Errors
    /// When the access log cannot be read.
    pub fn served(&self) -> Result<Vec<Value>> {
        let log = fs::read(self.prefix.join("access.log")).context("read nginx's access log")?;
        Ok(log
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM makes the master end its worker; killed at once, it would orphan it.
        let _ended = self.master.stop(STOP_TIMEOUT);
    }
}

/// nginx lives in `sbin`, which an unprivileged user's PATH may lack.
fn program() -> &'static str {
    const INSTALLED: &str = "/usr/sbin/nginx";
    if Path::new(INSTALLED).exists() { INSTALLED } else { "nginx" }
}

/// The files that nginx serves. Its worker runs as another user, hence the open modes.
fn lay_out(prefix: &Path) -> Result<()> {
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(prefix, open).context("open the nginx directory")?;
    for dir in ["www/static", "www/chunked"] {
        fs::create_dir_all(prefix.join(dir)).with_context(|| format!("create {dir}"))?;
    }
    let large: Vec<u8> = (b'a'..=b'z').cycle().take(LARGE_BYTES).collect();
    fs::write(prefix.join("www/static/large.bin"), large).context("write large.bin")?;
    let page = "a line of a body whose length nobody announces\n".repeat(400);
    fs::write(prefix.join("www/chunked/page.txt"), page).context("write page.txt")
}

fn configuration(
    [port, deferred, mutual]: [u16; 3],
    prefix: &Path,
    certificates: &Certificates,
    grants: &[(Token, Grant)],
) -> Result<String> {
    let mut lines = String::new();
    for (token, grant) in grants {
        writeln!(lines, "        \"{}\" \"{}\";", token.bearer(), grant.as_granted())
            .context("format a grant")?;
    }
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path is not UTF-8");
    Ok(include_str!("nginx.conf.in")
        .replace("@PREFIX@", &path(prefix)?)
        .replace("@PORT@", &port.to_string())
        .replace("@DEFERRED@", &deferred.to_string())
        .replace("@MUTUAL@", &mutual.to_string())
        .replace("@AUTHORITY@", &path(&certificates.authority)?)
        .replace("@CERTIFICATE@", &path(&certificates.server)?)
        .replace("@KEY@", &path(&certificates.server_key)?)
        .replace("@GRANTS@", lines.trim_end()))
}

/// A port that was free a moment ago; who loses the race for it tries another.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a free port")?;
    Ok(listener.local_addr().context("read the free port")?.port())
}

/// Processes whose parent's main thread is `pid`'s.
fn children_of(pid: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

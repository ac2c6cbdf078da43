//! The server and the loads: nginx with one worker, and wrk with one thread, on loopback.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use scopewatch_harness::{certs::Certificates, child::Reaped, wait_until};
use tempfile::TempDir;

/// A load on the server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What it is, in the report.
    pub name: &'static str,
    /// Scheme and path.
    scheme: &'static str,
    path: &'static str,
    /// Whether every request makes a connection of its own.
    reconnect: bool,
}

/// The loads of the report.
pub const LOADS: [Load; 4] = [
    Load { name: "small answers", scheme: "https", path: "/small", reconnect: false },
    Load { name: "256 KiB answers", scheme: "https", path: "/large", reconnect: false },
    Load { name: "connection each", scheme: "https", path: "/small", reconnect: true },
    Load { name: "plain HTTP", scheme: "http", path: "/small", reconnect: false },
];

/// Ports of the server: fixed, as nothing else of the tests uses them.
const TLS_PORT: u16 = 28443;
const PLAIN_PORT: u16 = 28080;

/// How long nginx may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that carry a load.
const CONNECTIONS: usize = 8;

/// What a load achieved.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Requests answered.
    pub requests: u64,
    /// Seconds that they took.
    pub seconds: f64,
}

/// The server.
pub struct Server {
    nginx: Reaped,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // By its own signal, so that the worker ends with it; dropping would kill it.
        if let Err(error) = self.nginx.stop(PATIENCE) {
            eprintln!("bench: nginx is left behind: {error:#}");
        }
    }
}

impl Server {
    /// Starts nginx.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start() -> Result<Self> {
        let dir = scopewatch_harness::agent::open_dir()?;
        let certificates = Certificates::make(dir.path())?;
        let www = dir.path().join("www");
        fs::create_dir(&www).context("make the document root")?;
        fs::write(www.join("large"), vec![b'x'; 256 * 1024]).context("write the large answer")?;
        let config = format!(
            "worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; keepalive_requests 100000000; server {{\n\
             listen 127.0.0.1:{TLS_PORT} ssl; listen 127.0.0.1:{PLAIN_PORT};\n\
             ssl_certificate {cert}; ssl_certificate_key {key};\n\
             location /small {{ return 200 \"hello\\n\"; }} location /large {{ root {www}; }} }} }}\n",
            dir = dir.path().display(),
            cert = certificates.server.display(),
            key = certificates.server_key.display(),
            www = www.display(),
        );
        let path = dir.path().join("nginx.conf");
        fs::write(&path, config).context("write the configuration")?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir.path()).arg("-c").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let nginx = Reaped::start(&mut command)?;
        wait_until("nginx to answer", PATIENCE, || {
            let connected = std::net::TcpStream::connect(("127.0.0.1", TLS_PORT));
            Ok(connected.is_ok().then_some(()))
        })?;
        Ok(Self { nginx, _dir: dir })
    }

    /// Runs a load for that long.
    ///
    /// # Errors
    /// When wrk fails, or the server refuses requests.
    pub fn run(&self, load: Load, duration: Duration) -> Result<Done> {
        let port = if load.scheme == "https" { TLS_PORT } else { PLAIN_PORT };
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", duration.as_secs())]);
        if load.reconnect {
            command.args(["-H", "Connection: close"]);
        }
        command.args(["-H", "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"]);
        command.arg(format!("{}://127.0.0.1:{port}{}", load.scheme, load.path));
        let output = command.output().context("run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk failed: {text}");
        ensure!(!text.contains("Non-2xx"), "the server refused requests: {text}");
        let Some((requests, seconds)) = text.lines().find_map(parse) else {
            bail!("wrk said nothing of requests: {text}");
        };
        Ok(Done { requests, seconds })
    }
}

/// `  12345 requests in 2.00s, 1.23MB read`
fn parse(line: &str) -> Option<(u64, f64)> {
    let (requests, rest) = line.trim().split_once(" requests in ")?;
    let (seconds, _) = rest.split_once("s,")?;
    Some((requests.parse().ok()?, seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_wrk_that_counts() {
        assert_eq!(parse("  12345 requests in 2.00s, 1.23MB read"), Some((12345, 2.0)));
        assert_eq!(parse("Requests/sec:  12345.6"), None);
    }
}

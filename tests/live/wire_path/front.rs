//! An nginx on a port of its own, before a service.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{calls::Testbed, child::Reaped, wait_until};

/// What of its configuration differs.
pub struct Front<'a> {
    /// How it listens: parameters of `listen`.
    pub listen: &'a str,
    /// Directives about all that it serves.
    pub http: &'a str,
    /// Directives about a request.
    pub location: &'a str,
}

impl Front<'_> {
    /// Starts it with its files in `dir`: one process, and its port.
    pub fn start(&self, dir: &Path, testbed: &Testbed) -> Result<(Reaped, u16)> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let file = dir.join("front.conf");
        fs::write(&file, self.configuration(dir, testbed, port))
            .context("write the configuration of the nginx in front")?;
        let log = dir.join("front.log");
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(dir).arg("-e").arg(&log).arg("-c").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Reaped::start(&mut command)?;
        wait_until("the nginx in front to answer", Duration::from_secs(10), || {
            let ended = process.ended()?;
            ensure!(ended.is_none(), "it ended: {:?}", fs::read_to_string(&log));
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
        })?;
        Ok((process, port))
    }

    fn configuration(&self, dir: &Path, testbed: &Testbed, port: u16) -> String {
        let Self { listen, http, location } = self;
        let prefix = dir.display();
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {prefix}/{kind};"))
            .join(" ");
        let certificates = testbed.certificates();
        format!(
            "daemon off; master_process off; pid {prefix}/front.pid; error_log {prefix}/front.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_max_body_size 8m; {temp} {http}\n\
             server {{ listen 127.0.0.1:{port} {listen};\n\
             ssl_certificate {}; ssl_certificate_key {};\n\
             location / {{ {location} }} }} }}\n",
            certificates.server.display(),
            certificates.server_key.display(),
        )
    }
}

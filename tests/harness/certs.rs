//! Throw-away certificates, made by the `openssl` command.
//!
//! In: an empty directory. Out: a certificate authority, a server certificate for `localhost` and
//! 127.0.0.1, and certificates of clients, valid for two days.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::child;

/// Paths of PEM files in the directory that was given to [`Certificates::make`].
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that clients trust.
    pub authority: PathBuf,
    authority_key: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// The server's private key.
    pub server_key: PathBuf,
}

impl Certificates {
    /// Makes the authority and the certificate in `dir`.
    ///
    /// # Errors
    /// When `openssl` is missing or fails.
    pub fn make(dir: &Path) -> Result<Self> {
        let authority = dir.join("ca.pem");
        let authority_key = dir.join("ca.key");
        let server = dir.join("server.pem");
        let server_key = dir.join("server.key");
        child::checked(
            certificate(&authority, &authority_key, "scopewatch throw-away CA")
                .args(["-addext", "basicConstraints=critical,CA:TRUE"])
                .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]),
            b"",
        )
        .context("make the throw-away authority")?;
        child::checked(
            certificate(&server, &server_key, "localhost")
                .args(["-CA".as_ref(), authority.as_os_str()])
                .args(["-CAkey".as_ref(), authority_key.as_os_str()])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]),
            b"",
        )
        .context("make the server certificate")?;
        Ok(Self { authority, authority_key, server, server_key })
    }

    /// Makes the certificate of a client called `name` in `dir`; it and its private key.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn client(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let [own, key] = ["pem", "key"].map(|kind| dir.join(format!("client-{name}.{kind}")));
        child::checked(
            certificate(&own, &key, name)
                .args(["-CA".as_ref(), self.authority.as_os_str()])
                .args(["-CAkey".as_ref(), self.authority_key.as_os_str()]),
            b"",
        )
        .context("make a client's certificate")?;
        Ok((own, key))
    }
}

/// `openssl req` that writes a new P-256 key and a certificate for it.
fn certificate(certificate: &Path, key: &Path, common_name: &str) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-noenc", "-sha256", "-days", "2", "-subj", &format!("/CN={common_name}")])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate);
    command
}

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
    /// A client's certificate, with the subject [`CLIENT_NAME`].
    pub client: PathBuf,
    /// The client's private key.
    pub client_key: PathBuf,
}

/// Common name of the authority.
pub const AUTHORITY_NAME: &str = "scopewatch throw-away CA";

/// Common name of the client.
pub const CLIENT_NAME: &str = "billing";

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
        let client = dir.join("client.pem");
        let client_key = dir.join("client.key");
        child::checked(
            certificate(&authority, &authority_key, AUTHORITY_NAME)
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
        child::checked(
            certificate(&client, &client_key, CLIENT_NAME)
                .args(["-CA".as_ref(), authority.as_os_str()])
                .args(["-CAkey".as_ref(), authority_key.as_os_str()])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-addext", "extendedKeyUsage=clientAuth"]),
            b"",
        )
        .context("make the client certificate")?;
        Ok(Self { authority, authority_key, server, server_key, client, client_key })
    }

    /// SHA-256 over the client's certificate, in hexadecimal, as `openssl` has it.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn client_fingerprint(&self) -> Result<String> {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&self.client);
        let printed = String::from_utf8_lossy(&child::checked(&mut command, b"")?).into_owned();
        let (_, digits) =
            printed.trim().split_once('=').context("openssl printed no fingerprint")?;
        Ok(digits.replace(':', "").to_lowercase())
    }

    /// Makes the certificate of another client, called `name`, in `dir`; it and its private key.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn another_client(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let [other, key] = ["pem", "key"].map(|kind| dir.join(format!("client-{name}.{kind}")));
        child::checked(
            certificate(&other, &key, name)
                .args(["-CA".as_ref(), self.authority.as_os_str()])
                .args(["-CAkey".as_ref(), self.authority_key.as_os_str()])
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-addext", "extendedKeyUsage=clientAuth"]),
            b"",
        )
        .context("make another client's certificate")?;
        Ok((other, key))
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

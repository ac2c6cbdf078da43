//! `tls:` of a sink that speaks to a receiver.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{config::error::ConfigError, outbound::Options};

/// `tls:`
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the certificate authorities that the receiver may be known by; none for those
    /// of the host.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate, and its chain, that the agent shows.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of that certificate's key.
    pub key_file: Option<PathBuf>,
    /// Name that the receiver's certificate must have; none for the host that is connected to.
    pub server_name: Option<String>,
}

impl Tls {
    /// Checks that a certificate has a key, and a key a certificate.
    ///
    /// # Errors
    /// One is without the other.
    pub fn compile(self) -> Result<Options, ConfigError> {
        let Self { ca_file, certificate_file, key_file, server_name } = self;
        let identity = match (certificate_file, key_file) {
            (Some(certificates), Some(key)) => Some((certificates, key)),
            (None, None) => None,
            _ => {
                let must = "written together with key_file";
                return Err(ConfigError::Text { key: "tls.certificate_file", must });
            }
        };
        Ok(Options { ca_file, identity, server_name })
    }
}

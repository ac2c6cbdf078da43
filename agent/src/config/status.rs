//! `status:` as it is written, and as the agent uses it.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::error::{ConfigError, within},
    telemetry::server::Listen,
};

/// `status:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// Where `/metrics`, `/healthz` and `/status` are: a loopback address and port, or `unix:` and
    /// a path; none for nowhere.
    pub listen: Option<String>,
    /// Seconds between events `agent.health`, 10 to 86,400.
    pub health_seconds: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { listen: None, health_seconds: 60 }
    }
}

/// How the agent tells how it is doing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// Where it is asked.
    pub listen: Option<Listen>,
    /// How often it says so itself.
    pub health_every: Duration,
}

/// Checks every value.
///
/// # Errors
/// One is out of its bounds, or others could ask.
pub fn compile(raw: Raw) -> Result<Status, ConfigError> {
    let Raw { listen, health_seconds } = raw;
    let must = "a loopback address and port, such as 127.0.0.1:9469, or unix:/path";
    let wrong = || ConfigError::Text { key: "status.listen", must };
    let listen = match listen.as_deref().map(|text| (text, text.strip_prefix("unix:"))) {
        None => None,
        Some((_, Some(path))) if path.starts_with('/') => Some(Listen::Unix(PathBuf::from(path))),
        Some((_, Some(_))) => return Err(wrong()),
        Some((text, None)) => {
            let address: std::net::SocketAddr = text.parse().map_err(|_| wrong())?;
            // It tells of processes and peers: what others may know is for a proxy to decide.
            address.ip().is_loopback().then_some(()).ok_or_else(wrong)?;
            Some(Listen::Tcp(address))
        }
    };
    let seconds = within("status.health_seconds", health_seconds, (10, 86_400), "10 to 86400")?;
    Ok(Status { listen, health_every: Duration::from_secs(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::parse;

    fn listen(text: &str) -> Result<Option<Listen>, String> {
        let raw = parse(&format!("status: {{listen: \"{text}\"}}"))?.status;
        compile(raw).map(|status| status.listen).map_err(|error| error.to_string())
    }

    #[test]
    fn only_this_host_can_ask() {
        let tcp = |text: &str| Ok(Some(Listen::Tcp(text.parse().unwrap())));
        assert_eq!(listen("127.0.0.1:9469"), tcp("127.0.0.1:9469"));
        assert_eq!(listen("[::1]:9469"), tcp("[::1]:9469"));
        assert_eq!(listen("unix:/run/s.sock"), Ok(Some(Listen::Unix("/run/s.sock".into()))));
        for text in ["0.0.0.0:9469", "192.0.2.1:1", "[::]:1", "9469", "localhost:1", "unix:s", ""] {
            assert!(listen(text).unwrap_err().starts_with("status.listen must be"), "{text}");
        }
    }

    #[test]
    fn health_has_a_bound() {
        let raw = parse("status: {health_seconds: 9}").unwrap().status;
        assert!(compile(raw).unwrap_err().to_string().contains("status.health_seconds is 9"));
    }
}

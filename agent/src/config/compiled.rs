//! The configuration as the agent uses it: bounds checked, units fixed.

use std::{path::PathBuf, time::Duration};

use crate::{
    clock::NANOS_PER_SEC,
    config::{
        error::{self, ConfigError},
        export::{self, Export},
        raw,
        status::{self, Status},
    },
    http::body::Wanted,
    observation::SubjectMode,
    sandbox::protocol::{Sight, Tap},
};

/// A configuration that can be run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Size of the ring in bytes: a power of two of at least a page.
    pub ring_bytes: u32,
    /// Time between scans of all processes.
    pub rescan: Duration,
    /// How plaintext is had.
    pub path: raw::Path,
    /// Servers' ports on which HTTP without TLS is captured.
    pub plain_ports: Vec<u16>,
    /// The only way to see sockets that is allowed; `None` for the best that the kernel has.
    pub sockets: Option<Sight>,
    /// The only place to see packets that is allowed; `None` for the best that the host has.
    pub packets: Option<Tap>,
    /// Which bodies are read.
    pub wanted: Wanted,
    /// Worker threads.
    pub workers: usize,
    /// Connections followed at once by one worker.
    pub connections_per_worker: usize,
    /// Nanoseconds without traffic after which a connection is given up.
    pub idle_nanos: u64,
    /// Octets that the codecs of one worker may hold.
    pub held_bytes_per_worker: usize,
    /// How subjects are named.
    pub subject: SubjectMode,
    /// File with the key of fingerprints.
    pub fingerprint_key: PathBuf,
    /// File with the key of pseudonyms.
    pub subject_key: PathBuf,
    /// File with the policy.
    pub policy: Option<PathBuf>,
    /// Where events go; `None` for standard output.
    pub export: Option<Export>,
    /// How the agent tells how it is doing.
    pub status: Status,
}

/// Checks every value and derives what the agent needs.
///
/// # Errors
/// A value is out of its bounds.
pub fn compile(raw: raw::Config) -> Result<Config, ConfigError> {
    let raw::Config {
        capture:
            raw::Capture {
                ring_bytes,
                rescan_seconds,
                workers,
                path,
                plain_http,
                sockets,
                packets,
                form_bodies,
            },
        flow: raw::Flow { max_connections, idle_seconds, max_held_bytes },
        privacy: raw::Privacy { subject, fingerprint_key, subject_key },
        policy: raw::Policy { file: policy },
        export,
        status,
    } = raw;
    let ring = "a power of two from 65536 to 1073741824";
    let ring_bytes = within("capture.ring_bytes", ring_bytes, 65_536, 1 << 30, ring)?;
    if !ring_bytes.is_power_of_two() {
        let value = ring_bytes.into();
        return Err(ConfigError::OutOfBounds { key: "capture.ring_bytes", value, bounds: ring });
    }
    let rescan = within("capture.rescan_seconds", rescan_seconds, 1, 3600, "1 to 3600")?;
    let workers = within("capture.workers", workers, 1, 64, "1 to 64")? as usize;
    let plain_ports = plain_ports(&plain_http.ports, path)?;
    let key = "flow.max_connections";
    let connections = within(key, max_connections, 16, 10_000_000, "16 to 10000000")? as usize;
    let idle = within("flow.idle_seconds", idle_seconds, 1, 86_400, "1 to 86400")?;
    let key = "flow.max_held_bytes";
    let bounds = "16777216 to 4294967295";
    let held = within(key, max_held_bytes, 16 * 1024 * 1024, u32::MAX, bounds)? as usize;
    Ok(Config {
        ring_bytes,
        path,
        plain_ports,
        sockets: sockets.only(),
        packets: packets.only(),
        wanted: Wanted { forms: form_bodies, ..Wanted::default() },
        rescan: Duration::from_secs(rescan.into()),
        workers,
        connections_per_worker: connections.div_ceil(workers),
        idle_nanos: u64::from(idle) * NANOS_PER_SEC,
        held_bytes_per_worker: held / workers,
        subject,
        fingerprint_key,
        subject_key,
        policy,
        export: export::compile(export)?,
        status: status::compile(status)?,
    })
}

/// Most ports on which HTTP without TLS is captured: each may be a busy one.
const MAX_PLAIN_PORTS: usize = 64;

fn plain_ports(ports: &[u64], path: raw::Path) -> Result<Vec<u16>, ConfigError> {
    let key = "capture.plain_http.ports";
    if path == raw::Path::Call && !ports.is_empty() {
        return Err(ConfigError::Conflict { key, with: "capture.path: call" });
    }
    if ports.len() > MAX_PLAIN_PORTS {
        let (value, bounds) = (ports.len() as u64, "at most 64 of them");
        return Err(ConfigError::OutOfBounds { key, value, bounds });
    }
    let port = |&value: &u64| {
        let bounds = "1 to 65535";
        within(key, value, 1, u16::MAX.into(), bounds).and_then(|port| {
            u16::try_from(port).map_err(|_| ConfigError::OutOfBounds { key, value, bounds })
        })
    };
    ports.iter().map(port).collect()
}

/// The same of what fits into 32 bits.
fn within(
    key: &'static str,
    value: u64,
    min: u32,
    max: u32,
    bounds: &'static str,
) -> Result<u32, ConfigError> {
    let value = error::within(key, value, (min.into(), max.into()), bounds)?;
    u32::try_from(value).map_err(|_| ConfigError::OutOfBounds { key, value, bounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        let config = compile(raw::Config::default()).unwrap();
        assert_eq!(config.ring_bytes, 16 * 1024 * 1024);
        assert_eq!(config.connections_per_worker, 65_536);
    }

    #[test]
    fn values_out_of_bounds_are_refused_with_their_key() {
        let check = |change: fn(&mut raw::Config), key: &str| {
            let mut raw = raw::Config::default();
            change(&mut raw);
            let message = compile(raw).unwrap_err().to_string();
            assert!(message.starts_with(key), "{message}");
        };
        check(|raw| raw.capture.ring_bytes = 100_000, "capture.ring_bytes");
        check(|raw| raw.capture.ring_bytes = 1 << 40, "capture.ring_bytes");
        check(|raw| raw.capture.rescan_seconds = 0, "capture.rescan_seconds");
        check(|raw| raw.capture.workers = 65, "capture.workers");
        check(|raw| raw.capture.plain_http.ports = vec![8080, 0], "capture.plain_http.ports");
        check(|raw| raw.capture.plain_http.ports = vec![65_536], "capture.plain_http.ports");
        check(|raw| raw.capture.plain_http.ports = vec![80; 65], "capture.plain_http.ports");
        check(|raw| raw.flow.max_connections = 1, "flow.max_connections");
        check(|raw| raw.flow.idle_seconds = 0, "flow.idle_seconds");
        check(|raw| raw.flow.max_held_bytes = 1024, "flow.max_held_bytes");
        check(|raw| raw.flow.max_held_bytes = 1 << 32, "flow.max_held_bytes");
    }

    #[test]
    fn ports_without_tls_need_the_path_that_sees_packets() {
        let mut raw = raw::Config::default();
        raw.capture.plain_http.ports = vec![8080];
        raw.capture.path = raw::Path::Call;
        let message = compile(raw).unwrap_err().to_string();
        assert_eq!(
            message,
            "capture.plain_http.ports cannot be had together with capture.path: call"
        );
    }
}

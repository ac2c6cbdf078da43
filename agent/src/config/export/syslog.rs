//! `syslog:` of a sink, as it is written and as the sink has it.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        error::ConfigError,
        export::{tls::Tls, within},
    },
    event::mapping::syslog::{APPLICATION, DOCUMENTATION, Payload, Sender},
    sinks::syslog::{Address, Framing, LEAST_BYTES, Options, Target},
};

/// Longest message that may be asked for, in bytes: records of the spool are no longer.
const MOST_BYTES: u64 = 1024 * 1024;
/// Longest datagram over IPv4 (65,535 without the headers of IP and UDP).
const MOST_DATAGRAM: u64 = 65_507;
/// Most that may be kept to be sent again, in bytes.
const MOST_RESEND: u64 = 1024 * 1024 * 1024;

/// `syslog:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Syslog {
    /// Host and port of the receiver; this or `socket`.
    pub address: Option<String>,
    /// How it is reached; `tls` without this.
    pub transport: Option<Transport>,
    /// Socket of this host, such as `/dev/log`.
    pub socket: Option<PathBuf>,
    /// How messages are told apart over TCP.
    pub framing: Option<Framing>,
    /// What messages carry.
    pub payload: Payload,
    /// Facility of all messages.
    pub facility: Facility,
    /// Private enterprise number behind `scopewatch@`.
    pub enterprise_number: u32,
    /// Name of the application, 1 to 48 printable characters of ASCII.
    pub application: String,
    /// Longest message, in bytes: 480 to 1 MiB, over UDP 65,507.
    pub max_bytes: Option<u64>,
    /// Bytes that a new connection gets once more, up to 1 GiB.
    pub resend_bytes: u64,
    /// Seconds that each address may take to answer, 1 to 300.
    pub connect_seconds: u64,
    /// Seconds that the receiver may make no progress, 1 to 3600.
    pub timeout_seconds: u64,
    /// Whom to trust and what to show, over TLS.
    pub tls: Option<Tls>,
}

/// `transport:` of `syslog:`
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams, which may be lost.
    Udp,
    /// TCP, which anybody on the way can read.
    Tcp,
    /// TLS (RFC 5425).
    Tls,
}

/// `facility:` of `syslog:` (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Facility {
    /// Kernel.
    Kern = 0,
    /// User level.
    User = 1,
    /// Mail.
    Mail = 2,
    /// Daemons.
    Daemon = 3,
    /// Authorisation.
    Auth = 4,
    /// Syslog itself.
    Syslog = 5,
    /// Printers.
    Lpr = 6,
    /// News.
    News = 7,
    /// UUCP.
    Uucp = 8,
    /// Clock daemon.
    Cron = 9,
    /// Authorisation, private.
    #[default]
    Authpriv = 10,
    /// FTP.
    Ftp = 11,
    /// NTP.
    Ntp = 12,
    /// Log audit.
    Audit = 13,
    /// Log alert.
    Alert = 14,
    /// Clock daemon, the other.
    Clock = 15,
    /// For local use.
    Local0 = 16,
    /// For local use.
    Local1 = 17,
    /// For local use.
    Local2 = 18,
    /// For local use.
    Local3 = 19,
    /// For local use.
    Local4 = 20,
    /// For local use.
    Local5 = 21,
    /// For local use.
    Local6 = 22,
    /// For local use.
    Local7 = 23,
}

impl Default for Syslog {
    fn default() -> Self {
        Self {
            address: None,
            transport: None,
            socket: None,
            framing: None,
            payload: Payload::default(),
            facility: Facility::default(),
            enterprise_number: DOCUMENTATION,
            application: APPLICATION.to_owned(),
            max_bytes: None,
            resend_bytes: 8 * 1024 * 1024,
            connect_seconds: 10,
            timeout_seconds: 30,
            tls: None,
        }
    }
}

impl Syslog {
    /// Checks every value.
    ///
    /// # Errors
    /// One is out of its bounds, or does not go with another.
    pub fn compile(self) -> Result<Options, ConfigError> {
        let Self { address, transport, socket, framing, payload, facility, .. } = self;
        let target = target(address, transport, socket, framing, self.tls)?;
        let (usual, most, bounds) = match target {
            Target::Udp(_) => (2048, MOST_DATAGRAM, "480 to 65507"),
            _ => (8192, MOST_BYTES, "480 to 1048576"),
        };
        let key = "export.sinks[].syslog.max_bytes";
        let max_bytes = self.max_bytes.unwrap_or(usual);
        let max_bytes = within(key, max_bytes, (LEAST_BYTES as u64, most), bounds)?;
        let key = "export.sinks[].syslog.resend_bytes";
        let resend = within(key, self.resend_bytes, (0, MOST_RESEND), "0 to 1073741824")?;
        let key = "export.sinks[].syslog.connect_seconds";
        let connect = within(key, self.connect_seconds, (1, 300), "1 to 300")?;
        let key = "export.sinks[].syslog.timeout_seconds";
        let timeout = within(key, self.timeout_seconds, (1, 3600), "1 to 3600")?;
        let application = self.application;
        let is_word = application.bytes().all(|byte| byte.is_ascii_graphic());
        if !(1..=48).contains(&application.len()) || !is_word {
            let key = "export.sinks[].syslog.application";
            return Err(ConfigError::Text { key, must: "1 to 48 printable characters of ASCII" });
        }
        Ok(Options {
            target,
            payload,
            sender: Sender {
                facility: facility as u8,
                enterprise: self.enterprise_number,
                application,
                process: None,
            },
            max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX),
            resend_bytes: usize::try_from(resend).unwrap_or(usize::MAX),
            connect_for: Duration::from_secs(connect),
            progress_within: Duration::from_secs(timeout),
        })
    }
}

/// Where messages go, and that nothing is said of what that way does not have.
fn target(
    address: Option<String>,
    transport: Option<Transport>,
    socket: Option<PathBuf>,
    framing: Option<Framing>,
    tls: Option<Tls>,
) -> Result<Target, ConfigError> {
    let conflict = |key, with| Err(ConfigError::Conflict { key, with });
    let address = match (address, socket) {
        (Some(address), None) => parse(&address)?,
        (None, Some(path)) => {
            if transport.is_some() || framing.is_some() || tls.is_some() {
                let key = "export.sinks[].syslog.socket";
                return conflict(key, "transport, framing, tls");
            }
            return Ok(Target::Socket(path));
        }
        _ => {
            let key = "export.sinks[].syslog";
            return Err(ConfigError::Text { key, must: "one with either address or socket" });
        }
    };
    let transport = transport.unwrap_or(Transport::Tls);
    match transport {
        Transport::Udp | Transport::Tcp if tls.is_some() => {
            conflict("export.sinks[].syslog.tls", "a transport other than tls")
        }
        Transport::Udp | Transport::Tls if framing == Some(Framing::Lf) => {
            conflict("export.sinks[].syslog.framing: lf", "a transport other than tcp")
        }
        Transport::Udp => Ok(Target::Udp(address)),
        Transport::Tcp => Ok(Target::Tcp(address, framing.unwrap_or_default())),
        Transport::Tls => {
            let options = tls.unwrap_or_default().compile()?;
            if let Some(name) = &options.server_name
                && options.name(name).is_err()
            {
                let key = "export.sinks[].syslog.tls.server_name";
                return Err(ConfigError::Text { key, must: "a name of DNS or an address" });
            }
            Ok(Target::Tls(address, options))
        }
    }
}

/// `host:port`, where the host may be an address of IPv6 in brackets.
fn parse(text: &str) -> Result<Address, ConfigError> {
    let wrong = || ConfigError::Text {
        key: "export.sinks[].syslog.address",
        must: "host:port, such as siem.example:6514 or [2001:db8::1]:6514",
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    // Without brackets it would not be known which part is the port.
    if host.is_empty() || host.contains(':') != bare.is_some() || host.contains(['[', ']', ' ']) {
        return Err(wrong());
    }
    Ok(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        export::{Kind, compile},
        raw::parse as raw,
    };

    fn compiled(syslog: &str) -> Result<Options, String> {
        let text = format!("export: {{sinks: [{{name: siem, syslog: {{{syslog}}}}}]}}");
        let export = compile(raw(&text)?.export).map_err(|error| error.to_string())?;
        let (_, kind) = export.unwrap().sinks.remove(0);
        let Kind::Syslog(options) = kind else { panic!("{kind:?}") };
        Ok(options)
    }

    #[test]
    fn an_address_is_enough() {
        let options = compiled("address: 'siem.example:6514'").unwrap();
        let address = Address { host: "siem.example".to_owned(), port: 6514 };
        assert_eq!(options.target, Target::Tls(address, crate::outbound::Options::default()));
        assert_eq!((options.sender, options.max_bytes), (Sender::default(), 8192));
        assert_eq!((options.payload, options.resend_bytes), (Payload::Sd, 8 * 1024 * 1024));
        let udp = compiled("address: '[::1]:514', transport: udp, facility: audit").unwrap();
        let address = Address { host: "::1".to_owned(), port: 514 };
        assert_eq!((udp.target, udp.max_bytes), (Target::Udp(address), 2048));
        assert_eq!(udp.sender.facility, 13);
        let local = compiled("socket: /dev/log, payload: ocsf-json, facility: local7").unwrap();
        assert_eq!(local.target, Target::Socket("/dev/log".into()));
        assert_eq!((local.payload, local.sender.facility), (Payload::OcsfJson, 23));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let check = |text: &str, said: &str| {
            let message = compiled(text).unwrap_err();
            assert!(message.contains(said), "{text}: {message}");
        };
        check("payload: sd", "export.sinks[].syslog must be one with either address or socket");
        check("address: 'a:1', socket: /dev/log", "either address or socket");
        for address in
            ["siem", "siem:", "siem:0", "siem:65536", ":514", "::1:514", "[a:514", "a b:1"]
        {
            check(&format!("address: '{address}'"), "syslog.address must be host:port");
        }
        check("socket: /dev/log, framing: lf", "syslog.socket cannot be had together with");
        check("address: 'a:1', transport: tcp, tls: {}", "syslog.tls cannot be had together with");
        check("address: 'a:1', framing: lf", "syslog.framing: lf cannot be had together with");
        check("address: 'a:1', max_bytes: 479", "syslog.max_bytes is 479, but must be 480 to");
        let long = "address: 'a:1', transport: udp, max_bytes: 65508";
        check(long, "syslog.max_bytes is 65508, but must be 480 to 65507");
        check("address: 'a:1', resend_bytes: 1073741825", "syslog.resend_bytes");
        check("address: 'a:1', connect_seconds: 0", "syslog.connect_seconds");
        check("address: 'a:1', timeout_seconds: 3601", "syslog.timeout_seconds");
        check("address: 'a:1', application: 'a b'", "syslog.application");
        check(
            "address: 'a:1', tls: {key_file: k}",
            "tls.certificate_file must be written together",
        );
        check("address: 'a:1', tls: {server_name: 'a b'}", "syslog.tls.server_name");
        check("address: 'a:1', facility: nobody", "expected one of kern, user");
        check("address: 'a:1', payload: xml", "expected one of sd, json, ocsf-json");
    }
}

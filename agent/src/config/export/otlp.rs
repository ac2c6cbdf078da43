//! `otlp:` of a sink, as it is written and as the sink has it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use http::{Uri, uri::Scheme};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        error::{ConfigError, within},
        export::tls::Tls,
    },
    outbound,
    sinks::otlp::{Endpoint, Options, Protocol},
};

/// Path of requests over gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Path of requests over HTTP, if the endpoint has none.
const HTTP_PATH: &str = "/v1/logs";
/// Bounds of a request, in bytes. Receivers of gRPC take 4 MiB unless told otherwise.
const BATCH_BYTES: (u64, u64) = (64 * 1024, 4 * 1024 * 1024);
/// Most attributes that can be added to the resource, and most bytes of each.
const MAX_RESOURCE: (usize, usize) = (64, 1024);

/// `otlp:`
#[derive(Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// Address of the receiver, `https://HOST[:PORT][/PATH]`. Over HTTP the path is `/v1/logs` if
    /// there is none. `http://` only to this host, unless `insecure`.
    pub endpoint: String,
    /// How it is spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// How bodies are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// File of lines `name: value`, mode 0600: fields that are sent along, such as a key.
    pub headers_file: Option<PathBuf>,
    /// Whom to trust, and what to show.
    #[serde(default)]
    pub tls: Tls,
    /// Whether events, and the headers, may go to other hosts without TLS.
    #[serde(default)]
    pub insecure: bool,
    /// Longest time for connecting, and for a request, in seconds, 1 to 300.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
    /// Most bytes of a request before compression, 64 KiB to 4 MiB.
    #[serde(default = "max_batch_bytes")]
    pub max_batch_bytes: u64,
    /// Attributes of the resource besides those of host and agent, or in their place.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
}

/// `otlp.compression`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// gzip.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

const fn timeout_seconds() -> u64 {
    10
}

const fn max_batch_bytes() -> u64 {
    1024 * 1024
}

impl Otlp {
    /// Checks every value.
    ///
    /// # Errors
    /// One is out of its bounds, or the endpoint cannot be spoken to like this.
    pub fn compile(self) -> Result<Options, ConfigError> {
        let endpoint = endpoint(&self.endpoint, self.protocol, self.insecure)?;
        let key = "export.sinks[].otlp.timeout_seconds";
        let timeout = within(key, self.timeout_seconds, (1, 300), "1 to 300")?;
        let key = "export.sinks[].otlp.max_batch_bytes";
        let bytes = within(key, self.max_batch_bytes, BATCH_BYTES, "65536 to 4194304")?;
        let (most, longest) = MAX_RESOURCE;
        let fits = |text: &String| (1..=longest).contains(&text.len());
        let all_fit = self.resource.iter().all(|(key, value)| fits(key) && fits(value));
        if self.resource.len() > most || !all_fit {
            let must = "at most 64 attributes of 1 to 1024 bytes";
            return Err(ConfigError::Text { key: "export.sinks[].otlp.resource", must });
        }
        Ok(Options {
            endpoint,
            protocol: self.protocol,
            gzip: self.compression == Compression::Gzip,
            headers_file: self.headers_file,
            tls: self.tls.compile()?,
            timeout: Duration::from_secs(timeout),
            max_batch_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            resource: self.resource,
        })
    }
}

fn endpoint(text: &str, protocol: Protocol, insecure: bool) -> Result<Endpoint, ConfigError> {
    let wrong = |must| ConfigError::Text { key: "export.sinks[].otlp.endpoint", must };
    let no_address = || wrong("an address, https://HOST[:PORT][/PATH]");
    let uri: Uri = text.parse().map_err(|_| no_address())?;
    let is_tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(no_address()),
    };
    let authority = uri.authority().ok_or_else(no_address)?;
    if authority.as_str().contains('@') {
        return Err(wrong("without a user: credentials stand in headers_file"));
    }
    let host = authority.host().to_owned();
    if !is_tls && !outbound::is_this_host(&host) && !insecure {
        return Err(wrong("https unless it is on this host, or insecure is true"));
    }
    let path = match (protocol, uri.path_and_query().map_or("/", |path| path.as_str())) {
        (Protocol::Grpc, "/") => GRPC_PATH,
        (Protocol::Grpc, _) => return Err(wrong("without a path for grpc")),
        (_, "/") => HTTP_PATH,
        (_, path) => path,
    };
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let (authority, path) = (authority.to_string(), path.to_owned());
    Ok(Endpoint { is_tls, host, port, authority, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        export::{Kind, compile},
        raw::parse,
    };

    fn compiled(text: &str) -> Result<Options, String> {
        let text = format!("export: {{sinks: [{{name: siem, otlp: {{{text}}}}}]}}");
        let export = compile(parse(&text)?.export).map_err(|error| error.to_string())?;
        match export.unwrap().sinks.remove(0) {
            (_, Kind::Otlp(options)) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_address_is_enough() {
        let options = compiled("endpoint: 'https://siem.example'").unwrap();
        assert_eq!(options.endpoint.path, "/v1/logs");
        assert_eq!((options.endpoint.port, options.endpoint.is_tls), (443, true));
        assert_eq!((options.protocol, options.gzip), (Protocol::HttpProtobuf, true));
        let options = compiled("endpoint: 'http://[::1]:4318/in/logs?a=b', protocol: http/json");
        let Endpoint { host, port, path, .. } = options.unwrap().endpoint;
        assert_eq!((host.as_str(), port, path.as_str()), ("[::1]", 4318, "/in/logs?a=b"));
        let options = compiled("endpoint: 'https://siem.example:4317', protocol: grpc").unwrap();
        assert_eq!(options.endpoint.path, GRPC_PATH);
        let plain = "endpoint: 'http://siem.example:4318', insecure: true, compression: none";
        assert!(!compiled(plain).unwrap().gzip);
    }

    #[test]
    fn the_documented_example_has_every_key_and_its_default() {
        let guide = include_str!("../../../../docs/export.md");
        let otlp = guide.split("## OTLP\n").nth(1).unwrap();
        let example = otlp.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
        let mut sinks = parse(example.unwrap()).unwrap().export.sinks;
        let documented = sinks.remove(0).otlp.unwrap();
        let options = compiled(&format!("endpoint: '{}'", documented.endpoint)).unwrap();
        let told = documented.compile().unwrap();
        // What is left out by default, the example has.
        assert!(told.headers_file.is_some() && !told.resource.is_empty());
        assert!(told.tls.ca_file.is_some() && told.tls.identity.is_some());
        let Options { headers_file, tls, resource, .. } = options.clone();
        assert_eq!(Options { headers_file, tls, resource, ..told }, options);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let check = |text: &str, expected: &str| {
            let message = compiled(text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        };
        for address in ["siem.example", "ftp://siem.example", "https://", "/v1/logs"] {
            check(&format!("endpoint: '{address}'"), "otlp.endpoint must be an address");
        }
        check("endpoint: 'http://siem.example'", "otlp.endpoint must be https unless");
        check("endpoint: 'https://a:b@siem.example'", "otlp.endpoint must be without a user");
        check("endpoint: 'https://a/x', protocol: grpc", "otlp.endpoint must be without a path");
        check("endpoint: 'https://a', protocol: thrift", "thrift");
        check("endpoint: 'https://a', timeout_seconds: 0", "otlp.timeout_seconds is 0");
        check("endpoint: 'https://a', max_batch_bytes: 4194305", "otlp.max_batch_bytes is 4194305");
        check("endpoint: 'https://a', resource: {a: ''}", "otlp.resource must be");
        check("endpoint: 'https://a', tls: {key_file: x}", "tls.certificate_file");
        check("endpoint: 'https://a', header: x", "header");
    }
}

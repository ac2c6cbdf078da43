//! Events to a receiver of OpenTelemetry's log protocol, over gRPC or HTTP. In: records. Out: requests
//! ([`request`]) over a connection ([`client`]), one after another, and what their answers mean
//! ([`answer`]).
//!
//! A record is confirmed by an answer that says so, and by nothing else. Where there is no answer it
//! comes again: more than once is better than never, and each has its uid.

pub mod answer;
mod client;
mod headers;
mod request;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    answer::{Complaint, Outcome},
    client::{Client, NoAnswer},
    request::{Encoder, Sending},
};
use crate::{
    failure::chain,
    identity::boot,
    outbound,
    sinks::{Delivery, Refusal, Sink, delivery::Stop},
};

/// What a limit grows by with each request that is taken, after refusals of large ones: part of
/// itself, and bytes. So a receiver that takes more again gets more again.
const GROWTH: (usize, usize) = (8, 64);

/// How the receiver is spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
pub enum Protocol {
    /// gRPC: protobuf over HTTP/2.
    #[serde(rename = "grpc")]
    Grpc,
    /// Protobuf over HTTP/1.1, what OpenTelemetry's own exporters have.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// JSON over HTTP/1.1.
    #[serde(rename = "http/json")]
    HttpJson,
}

impl Protocol {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::HttpProtobuf => "application/x-protobuf",
            Self::HttpJson => "application/json",
        }
    }
}

/// Where the receiver is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Whether by TLS.
    pub is_tls: bool,
    /// Its name or address, IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Host and port as they were written.
    pub authority: String,
    /// Path of requests.
    pub path: String,
}

/// How an OTLP sink is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where the receiver is.
    pub endpoint: Endpoint,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// File of fields that are sent along.
    pub headers_file: Option<PathBuf>,
    /// Whom to trust, and what to show.
    pub tls: outbound::Options,
    /// Longest time for connecting, and for a request.
    pub timeout: Duration,
    /// Most bytes of a request, before compression.
    pub max_batch_bytes: usize,
    /// What is said of the resource besides.
    pub resource: BTreeMap<String, String>,
}

/// The sink.
pub struct OtlpSink {
    options: Options,
    client: Client,
    stop: Stop,
    /// Most bytes of a request that this receiver takes, as far as is known.
    limit: usize,
    /// What was complained of, and said, last.
    said: Option<Complaint>,
}

/// Why the next record, or part, did not get there.
enum Failed {
    Later {
        why: io::Error,
        after: Option<Duration>,
    },
    /// So many of a part, for so many are refused.
    Refused {
        of: usize,
        refused: u64,
        why: Refusal,
    },
}

impl OtlpSink {
    /// A sink of these options; it connects when there is something to send.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let limit = options.max_batch_bytes;
        Self { options, client: Client::new(), stop: Stop::default(), limit, said: None }
    }

    fn encoder(&self) -> Encoder<'_> {
        let Options { protocol, gzip, resource, .. } = &self.options;
        Encoder { protocol: *protocol, gzip: *gzip, resource }
    }

    /// Sends a part of `all`, from its start; how many records that were, if all of them arrived.
    fn send_some(&mut self, all: &mut [Sending]) -> Result<usize, Failed> {
        loop {
            let count = Encoder::fitting(all, self.limit);
            let Some(part) = all.get_mut(..count) else { return Ok(0) };
            if let [only] = part
                && only.size() > self.options.max_batch_bytes
            {
                self.shrunk(only, Refusal::TooLarge)?;
                continue;
            }
            let size = part.iter().map(Sending::size).fold(0, usize::saturating_add);
            match self.send(part)? {
                Outcome::Taken => {
                    let (part, bytes) = GROWTH;
                    let grown = self.limit.saturating_add(self.limit / part + bytes);
                    self.limit = grown.min(self.options.max_batch_bytes);
                    return Ok(count);
                }
                Outcome::Partly(refused) => {
                    let why = Refusal::Rejected;
                    return Err(Failed::Refused { of: count, refused, why });
                }
                Outcome::Later { why, after } => return Err(self.complained(why, after)),
                Outcome::Refused(why) => {
                    let refused = u64::try_from(count).unwrap_or(u64::MAX);
                    let why = Refusal::Answered(why);
                    return Err(Failed::Refused { of: count, refused, why });
                }
                Outcome::TooLarge(why) => match part {
                    [only] => self.shrunk(only, Refusal::Answered(why))?,
                    // In halves, down to single records.
                    _ => self.limit = self.limit.min(size) / 2,
                },
            }
            if self.stop.is_set() {
                let why = NoAnswer::Stopped;
                return Err(Failed::Later { why: io::Error::other(why), after: None });
            }
        }
    }

    /// Makes a record smaller that is too large by itself.
    fn shrunk(&self, only: &mut Sending, why: Refusal) -> Result<(), Failed> {
        if self.encoder().shrink(only) {
            return Ok(());
        }
        Err(Failed::Refused { of: 1, refused: 1, why })
    }

    /// What became of a request with all of `part`.
    fn send(&mut self, part: &[Sending]) -> Result<Outcome, Failed> {
        let later = |why: &dyn std::error::Error| Failed::Later {
            why: io::Error::other(chain(why)),
            after: None,
        };
        let body = self.encoder().body(part).map_err(|error| later(&error))?;
        let answer = self.client.ask(&self.options, &body, &self.stop);
        let answer = answer.map_err(|error| later(&error))?;
        let outcome = match self.options.protocol {
            Protocol::Grpc => answer::over_grpc(&answer, boot::now()),
            Protocol::HttpProtobuf => answer::over_http(&answer, false, boot::now()),
            Protocol::HttpJson => answer::over_http(&answer, true, boot::now()),
        };
        if matches!(outcome, Outcome::Taken | Outcome::Partly(_)) {
            self.said = None;
        }
        Ok(outcome)
    }

    /// What to do about a receiver that takes nothing now. What somebody has to put right is said
    /// once at the level of errors, and files are read again for the next request.
    fn complained(&mut self, why: Complaint, after: Option<Duration>) -> Failed {
        if why.is_of_configuration() {
            self.client.disconnect();
            if self.said.replace(why) != Some(why) {
                let endpoint = &self.options.endpoint.authority;
                tracing::error!(
                    endpoint, %why, "events are not taken until this is put right; they wait in the spool"
                );
            }
        }
        Failed::Later { why: io::Error::other(why), after }
    }
}

impl Sink for OtlpSink {
    fn deliver(&mut self, records: &mut dyn Iterator<Item = &[u8]>) -> Delivery {
        let (mut all, mut is_whole) = (Vec::new(), true);
        for record in records {
            match self.encoder().prepare(record) {
                Some(sending) => all.push(sending),
                None => {
                    is_whole = false;
                    break;
                }
            }
        }
        let mut done = 0;
        while let Some(rest) = all.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.send_some(rest) {
                Ok(count) => done += count,
                Err(Failed::Later { why, after }) => return Delivery::Retry { done, why, after },
                Err(Failed::Refused { of, refused, why }) => {
                    return Delivery::Partly { done, of, refused, why };
                }
            }
        }
        if is_whole {
            Delivery::Delivered
        } else {
            Delivery::Reject { done, why: Refusal::Unmappable }
        }
    }

    fn heed(&mut self, stop: &Stop) {
        self.stop = stop.clone();
    }
}

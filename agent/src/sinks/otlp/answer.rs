//! What a receiver's answer means. In: status, fields and body, as they came, over HTTP or gRPC.
//! Out: an [`Outcome`], and of what went wrong a [`Complaint`] of fixed words: texts of receivers go
//! nowhere. Pure.
//!
//! The rules are those of the OTLP specification (§ Failures), with one exception, argued in
//! `docs/export.md`: answers that say nothing of the records, but that the agent may not or cannot
//! ask like this, lose nothing.

use std::{fmt, time::Duration};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, StatusCode, header};
use prost::Message as _;
use serde_json::Value;

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    event::mapping::otlp::message::{PartialSuccess, Response, RetryInfo, Status},
};

/// With and without padding: gRPC has senders of both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Length of the head of a message of gRPC: a flag and the length of the rest.
pub const FRAME_HEAD: usize = 5;
/// What implementations of gRPC say of a message that is too large: Go, Java, C and those on top of
/// it, Rust. The last one does so under `OUT_OF_RANGE`.
const TOO_LARGE: [&str; 3] = ["larger than max", "exceeds maximum size", "length too large"];

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// All records were taken.
    Taken,
    /// All but so many, which never will be.
    Partly(u64),
    /// None were taken; they can be, later.
    Later {
        /// What is wrong.
        why: Complaint,
        /// When to try again, if the receiver said so.
        after: Option<Duration>,
    },
    /// None were taken, because they are too many bytes at once.
    TooLarge(Complaint),
    /// None were taken, and none ever will be.
    Refused(Complaint),
}

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Complaint {
    /// A status of HTTP.
    Http(u16),
    /// A status of gRPC.
    Grpc(u8),
    /// No answer that OTLP knows.
    Unintelligible,
}

/// Names of gRPC's statuses, by number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Complaint {
    /// Whether it is about how the agent asks, and not about what it sends: its credentials, the
    /// address, the protocol.
    #[must_use]
    pub const fn is_of_configuration(self) -> bool {
        match self {
            Self::Http(code) => matches!(code, 300..=399 | 401 | 403 | 404 | 405 | 407 | 415),
            Self::Grpc(code) => matches!(code, 7 | 12 | 16),
            Self::Unintelligible => true,
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(code) => write!(f, "the receiver answers {code}"),
            Self::Grpc(code) => match GRPC.get(usize::from(*code)) {
                Some(name) => write!(f, "the receiver answers {name}"),
                None => write!(f, "the receiver answers with status {code} of gRPC"),
            },
            Self::Unintelligible => f.write_str("what answers is no receiver of OTLP"),
        }
    }
}

impl std::error::Error for Complaint {}

/// An answer as it came.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status of HTTP.
    pub status: StatusCode,
    /// Fields of its head.
    pub fields: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Fields behind the body.
    pub trailers: HeaderMap,
}

/// What an answer over HTTP means, at `now`, if the request was JSON or not.
#[must_use]
pub fn over_http(answer: &Answer, is_json: bool, now: Timestamp) -> Outcome {
    if !answer.status.is_success() {
        return failed(answer, now);
    }
    // Receivers that have nothing to say often say nothing, and some of them 204.
    if answer.body.is_empty() {
        return Outcome::Taken;
    }
    let media = answer.fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = media.map(|media| media.split(';').next().unwrap_or_default().trim());
    let read = match media {
        Some("application/json") => read_json(&answer.body),
        Some("application/x-protobuf") => Response::decode(answer.body.as_slice()).ok(),
        Some(_) => None,
        None if is_json => read_json(&answer.body),
        None => Response::decode(answer.body.as_slice()).ok(),
    };
    read.map_or_else(unintelligible, |response| succeeded(&response))
}

/// What an answer over gRPC means, at `now`.
#[must_use]
pub fn over_grpc(answer: &Answer, now: Timestamp) -> Outcome {
    // Without a body, everything stands in the head.
    let field = |name| answer.trailers.get(name).or_else(|| answer.fields.get(name));
    let text = |name| field(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse::<u8>().ok()) else {
        return if answer.status.is_success() { unintelligible() } else { failed(answer, now) };
    };
    let why = Complaint::Grpc(code);
    let delay = text("grpc-status-details-bin").and_then(retry_info);
    let message = text("grpc-message").unwrap_or_default().replace("%20", " ");
    let is_too_large = TOO_LARGE.iter().any(|words| message.contains(words));
    match code {
        0 => framed(&answer.body).map_or_else(unintelligible, |response| succeeded(&response)),
        8 | 11 if is_too_large => Outcome::TooLarge(why),
        8 if delay.is_none() => Outcome::Refused(why),
        1 | 4 | 8 | 10 | 11 | 14 | 15 => Outcome::Later { why, after: delay },
        _ if why.is_of_configuration() => Outcome::Later { why, after: delay },
        _ => Outcome::Refused(why),
    }
}

const fn unintelligible() -> Outcome {
    Outcome::Later { why: Complaint::Unintelligible, after: None }
}

/// What a status of HTTP means that is no success.
fn failed(answer: &Answer, now: Timestamp) -> Outcome {
    let code = answer.status.as_u16();
    let why = Complaint::Http(code);
    let after = answer.fields.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    match code {
        413 => Outcome::TooLarge(why),
        429 | 502 | 503 | 504 => {
            Outcome::Later { why, after: after.and_then(|after| retry_after(after, now)) }
        }
        _ if why.is_of_configuration() => Outcome::Later { why, after: None },
        _ => Outcome::Refused(why),
    }
}

fn succeeded(response: &Response) -> Outcome {
    let rejected = response.partial_success.as_ref().map_or(0, |it| it.rejected_log_records);
    // Nobody can refuse less than nothing.
    match u64::try_from(rejected) {
        Ok(0) | Err(_) => Outcome::Taken,
        Ok(refused) => Outcome::Partly(refused),
    }
}

/// The only message of an answer over gRPC. It is not compressed: the agent accepts no coding.
fn framed(body: &[u8]) -> Option<Response> {
    let (head, message) = body.split_at_checked(FRAME_HEAD)?;
    let (flag, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let is_whole = *flag == 0 && usize::try_from(length) == Ok(message.len());
    is_whole.then(|| Response::decode(message).ok()).flatten()
}

fn read_json(body: &[u8]) -> Option<Response> {
    let Value::Object(response) = serde_json::from_slice(body).ok()? else { return None };
    let partial_success = match response.get("partialSuccess") {
        None | Some(Value::Null) => None,
        Some(Value::Object(partial)) => {
            let rejected_log_records = match partial.get("rejectedLogRecords") {
                None | Some(Value::Null) => 0,
                Some(Value::String(number)) => number.parse().ok()?,
                Some(number) => number.as_i64()?,
            };
            Some(PartialSuccess { rejected_log_records, error_message: String::new() })
        }
        Some(_) => return None,
    };
    Some(Response { partial_success })
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3). Of the three forms of dates only the one
/// that may be sent today is read; with others the agent's own times count.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let date = u64::try_from(date.as_nanosecond()).ok()?;
    // Rounded up: at the named second, not before it.
    let left = date.saturating_sub(now.0);
    Some(Duration::from_secs(left.div_ceil(NANOS_PER_SEC)))
}

/// How long `RetryInfo` in `grpc-status-details-bin` says to wait.
fn retry_info(text: &str) -> Option<Duration> {
    let status = Status::decode(BASE64.decode(text.trim()).ok()?.as_slice()).ok()?;
    let is_wanted = |url: &str| url.rsplit('/').next() == Some("google.rpc.RetryInfo");
    let detail = status.details.iter().find(|detail| is_wanted(&detail.type_url))?;
    let delay = RetryInfo::decode(detail.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let whole = Duration::from_secs(u64::try_from(delay.seconds).unwrap_or(0));
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    Some(whole.saturating_add(Duration::from_nanos(nanos.unwrap_or(0).into())))
}

#[cfg(test)]
mod tests;

//! Events as messages of RFC 5424. In: native JSON, who says it, and what the message shall carry.
//! Out: a message within a bound, without line ends and without a frame around it.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::event::{
    mapping::{
        ecs,
        fields::{Fields, plain},
        ocsf, pairs,
        shrink::{self, Unfit},
    },
    model::Severity,
};

/// Facility: authorisation messages, private (RFC 5424 §6.2.1).
pub const AUTHPRIV: u8 = 10;
/// Private enterprise number that documentation uses (RFC 5612 §2).
pub const DOCUMENTATION: u32 = 32473;
/// Name of the application in the header.
pub const APPLICATION: &str = "scopewatch";
/// Longest names of application, host and message (RFC 5424 §6).
const LONGEST: (usize, usize, usize) = (48, 255, 32);
/// Longest name of a parameter (RFC 5424 §6.3.3).
const MAX_NAME: usize = 32;
/// Longest text for people at the end of structured data, in characters.
const MESSAGE: usize = 150;
/// Largest sequence number; behind it comes 1 (RFC 5424 §7.3.1).
const MAX_SEQUENCE: u64 = 2_147_483_647;

/// What a message carries.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// Structured data, and a few words for people.
    #[default]
    Sd,
    /// The event as it is.
    Json,
    /// OCSF 1.8.0.
    OcsfJson,
    /// Elastic Common Schema 9.
    EcsJson,
    /// ArcSight Common Event Format.
    Cef,
    /// QRadar Log Event Extended Format 2.0.
    Leef,
}

/// What messages say of where they come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sender {
    /// Facility, 0 to 23.
    pub facility: u8,
    /// Private enterprise number behind the name of the structured data.
    pub enterprise: u32,
    /// Name of the application.
    pub application: String,
    /// Process that sends.
    pub process: Option<u32>,
}

impl Default for Sender {
    fn default() -> Self {
        let application = APPLICATION.to_owned();
        Self { facility: AUTHPRIV, enterprise: DOCUMENTATION, application, process: None }
    }
}

const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 3,
        Severity::Critical => 2,
    }
}

/// The message that carries an event as `payload`, of at most `bound` bytes: without some fields if
/// need be.
///
/// # Errors
/// It is no event, or what must be kept of it is too large.
pub fn message(
    event: &[u8],
    payload: Payload,
    sender: &Sender,
    bound: usize,
) -> Result<String, Unfit> {
    let json: Value = serde_json::from_slice(event).map_err(|_| Unfit::Unmappable)?;
    // As it is, native JSON goes on byte for byte: that is what its hash was made of.
    if payload == Payload::Json
        && let Ok(text) = std::str::from_utf8(event)
    {
        let whole = Fields::of(&json).ok_or(Unfit::Unmappable)?;
        let message = framed(&whole, sender, text);
        if message.len() <= bound {
            return Ok(message);
        }
    }
    shrink::within(&json, bound, |json| write(json, payload, sender))
}

fn write(json: &Value, payload: Payload, sender: &Sender) -> Option<String> {
    let fields = Fields::of(json)?;
    Some(match payload {
        Payload::Sd => structured(&fields, sender),
        Payload::Json => framed(&fields, sender, &json.to_string()),
        Payload::OcsfJson => framed(&fields, sender, &ocsf::map(&fields).to_string()),
        Payload::EcsJson => framed(&fields, sender, &ecs::map(&fields).to_string()),
        Payload::Cef => framed(&fields, sender, &pairs::cef(&fields)),
        Payload::Leef => framed(&fields, sender, &pairs::leef(&fields)),
    })
}

/// The event as structured data.
pub fn structured(fields: &Fields<'_>, sender: &Sender) -> String {
    let mut line = header(fields, sender);
    // Writing to a String cannot fail.
    let _infallible = write!(line, "[scopewatch@{}", sender.enterprise);
    let rows = fields.rows().filter(|(row, _)| !row.syslog.is_empty());
    let named = rows.map(|(row, value)| (row.syslog.to_owned(), value));
    let rest = fields.rest().into_iter().filter(|(path, _)| is_name(path));
    for (name, value) in named.chain(rest) {
        parameter(&name, &plain(value), &mut line);
    }
    line.push(']');
    elements(fields, &mut line);
    // The byte order mark says that the text is UTF-8 (§6.4).
    line.push_str(" \u{feff}");
    line.extend(fields.message().chars().take(MESSAGE));
    line
}

/// A message around a payload. It has no byte order mark: neither JSON (RFC 8259 §8.1) nor readers
/// of CEF and LEEF take one, and §6.4 of RFC 5424 leaves octets without it to those who agree.
fn framed(fields: &Fields<'_>, sender: &Sender, payload: &str) -> String {
    let mut line = header(fields, sender);
    elements(fields, &mut line);
    line.push(' ');
    // Between the words of JSON a line end is a blank, and elsewhere there is none.
    line.extend(payload.chars().map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }));
    line
}

/// All before the structured data.
fn header(fields: &Fields<'_>, sender: &Sender) -> String {
    let (application, host, kind) = LONGEST;
    let priority = u32::from(sender.facility) * 8 + u32::from(severity(fields.severity));
    let time = fields.time.to_rfc3339();
    let host = word(fields.text("host.name").unwrap_or("-"), host);
    let application = word(&sender.application, application);
    let process = sender.process.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let kind = word(fields.kind, kind);
    format!("<{priority}>1 {time} {host} {application} {process} {kind} ")
}

/// What wrote the event, and its number: positions in a chain count from 0, these from 1.
fn elements(fields: &Fields<'_>, line: &mut String) {
    line.push_str("[origin software=\"scopewatch\"");
    if let Some(version) = fields.text("agent.version") {
        let version: String = version.chars().take(32).collect();
        parameter("swVersion", &version, line);
    }
    line.push(']');
    if let Some(seq) = fields.value("integrity.seq").and_then(Value::as_u64) {
        let _infallible = write!(line, "[meta sequenceId=\"{}\"]", seq % MAX_SEQUENCE + 1);
    }
}

fn parameter(name: &str, value: &str, line: &mut String) {
    let _infallible = write!(line, " {name}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | ']') {
            line.push('\\');
        }
        // Line ends would end the message where framing is by lines.
        line.push(if c.is_control() { ' ' } else { c });
    }
    line.push('"');
}

/// Whether structured data can have a parameter of this name.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '=' | ']' | '"');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain)
}

/// A part of the header: printable ASCII without spaces.
fn word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

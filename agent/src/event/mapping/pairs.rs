//! Formats of names and values: RFC 5424 structured data, CEF and LEEF 2.0. All three are bounded:
//! what does not fit is left out whole, what matters least first, and the line says so.

use std::fmt::Write as _;

use crate::event::{
    mapping::fields::{Fields, plain},
    model::Severity,
};

/// Longest line, in bytes: what receivers of RFC 5425 should take (§4.3.1).
pub const MAX_LINE: usize = 8192;
/// Room for the text at the end of a syslog line.
const MESSAGE: usize = 1200;
/// Longest name of a parameter (RFC 5424 §6.3.3).
const MAX_NAME: usize = 32;
/// Facility: authorisation messages, private (RFC 5424 §6.2.1).
const FACILITY: u64 = 10;
/// Private enterprise number that documentation uses (RFC 5612 §2).
const ENTERPRISE: u64 = 32473;

const fn syslog_severity(severity: Severity) -> u64 {
    match severity {
        Severity::Info => 6,
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 3,
        Severity::Critical => 2,
    }
}

/// Of CEF and LEEF, 0 to 10.
const fn ten(severity: Severity) -> u64 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 3,
        Severity::Medium => 6,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

/// The event as a message of RFC 5424.
pub fn syslog(fields: &Fields<'_>) -> String {
    let priority = FACILITY * 8 + syslog_severity(fields.severity);
    let host = header_word(fields.text("host.name").unwrap_or("-"), 255);
    let kind = header_word(fields.kind, 32);
    let time = fields.time.to_rfc3339();
    let mut line =
        format!("<{priority}>1 {time} {host} scopewatch - {kind} [scopewatch@{ENTERPRISE}");
    let rows = fields.rows().filter(|(row, _)| !row.syslog.is_empty());
    let named = rows.map(|(row, value)| (row.syslog.to_owned(), value));
    let rest = fields.rest().into_iter().filter(|(path, _)| path.len() <= MAX_NAME);
    let mut is_truncated = false;
    for (name, value) in named.chain(rest) {
        let mut pair = format!(" {name}=\"");
        escape(&plain(value), &['"', '\\', ']'], &mut pair);
        pair.push('"');
        if line.len() + pair.len() <= MAX_LINE - MESSAGE {
            line.push_str(&pair);
        } else {
            is_truncated = true;
        }
    }
    line.push_str(if is_truncated { " is_truncated=\"true\"] " } else { "] " });
    // The byte order mark says that the text is UTF-8 (§6.4).
    line.push('\u{feff}');
    let message = fields.message();
    line.extend(message.chars().take(MESSAGE / 8));
    line
}

/// A part of the header: printable ASCII without spaces.
fn header_word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// The event in CEF.
pub fn cef(fields: &Fields<'_>) -> String {
    let mut line = "CEF:0|scopewatch|scopewatch|".to_owned();
    for part in [env!("CARGO_PKG_VERSION"), fields.kind, &fields.message()] {
        let short: String = part.chars().take(512).collect();
        escape(&one_line(&short), &['\\', '|'], &mut line);
        line.push('|');
    }
    // Writing to a String cannot fail.
    let _infallible = write!(line, "{}|rt={}", ten(fields.severity), fields.time.as_millis());
    for (label, text) in [
        ("cs1Label", "client_id"),
        ("cs2Label", "token_fingerprint"),
        ("cs3Label", "scopes"),
        ("cs4Label", "issuer"),
        ("cs5Label", "token_state"),
        ("cn1Label", "http_status"),
    ] {
        let key = label.trim_end_matches("Label");
        if fields.rows().any(|(row, _)| row.cef == key) {
            let _infallible = write!(line, " {label}={text}");
        }
    }
    for (row, value) in fields.rows().filter(|(row, _)| !row.cef.is_empty()) {
        let mut pair = format!(" {}=", row.cef);
        let text = plain(value);
        for c in text.chars() {
            match c {
                '\n' => pair.push_str("\\n"),
                '\r' => pair.push_str("\\r"),
                '\\' | '=' => pair.extend(['\\', c]),
                c if c.is_control() => pair.push(' '),
                c => pair.push(c),
            }
        }
        if line.len() + pair.len() <= MAX_LINE {
            line.push_str(&pair);
        }
    }
    line
}

/// The event in LEEF 2.0, with tabs between attributes.
pub fn leef(fields: &Fields<'_>) -> String {
    let kind = one_line(fields.kind).replace('|', "_");
    let version = env!("CARGO_PKG_VERSION");
    let mut line = format!("LEEF:2.0|scopewatch|scopewatch|{version}|{kind}|x09|");
    let time = fields.time.as_millis();
    let _infallible = write!(line, "devTime={time}\tsev={}", ten(fields.severity));
    for (row, value) in fields.rows().filter(|(row, _)| !row.leef.is_empty()) {
        // LEEF has no escapes: what delimits is replaced.
        let pair = format!("\t{}={}", row.leef, one_line(&plain(value)));
        if line.len() + pair.len() <= MAX_LINE {
            line.push_str(&pair);
        }
    }
    line
}

/// `text` with a space for each control character.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn escape(text: &str, special: &[char], out: &mut String) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        // Line ends would end the message where framing is by lines.
        out.push(if c.is_control() { ' ' } else { c });
    }
}

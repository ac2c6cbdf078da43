//! Formats of names and values for one line: CEF and LEEF 2.0.

use std::fmt::Write as _;

use crate::event::{
    mapping::fields::{Fields, plain},
    model::Severity,
};

/// Longest line, in bytes: what receivers of RFC 5425 should take (§4.3.1).
pub const MAX_LINE: usize = 8192;

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
        line.push_str(&pair);
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
        let _infallible = write!(line, "\t{}={}", row.leef, one_line(&plain(value)));
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

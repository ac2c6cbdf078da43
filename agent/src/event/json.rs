//! An event as one line of JSON (RFC 8259), the form in which it is kept.

use std::fmt::Write;

use crate::{event::model::Event, text::is_hostile};

/// `event` as one line, without line end. Characters that a terminal might act on are escaped,
/// beyond what JSON asks for: people do look at logs with `cat`.
///
/// # Errors
///
/// None occur: the model has neither maps with keys that are no strings, nor fallible parts.
pub fn line(event: &Event) -> serde_json::Result<String> {
    let json = serde_json::to_string(event)?;
    if !json.contains(is_hostile) {
        return Ok(json);
    }
    // What is hostile can only stand inside strings, where its escape means the same.
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _infallible = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    Ok(escaped)
}

/// The event on a line.
///
/// # Errors
///
/// If the line is no JSON, or no event of a known type.
pub fn parse(line: &str) -> serde_json::Result<Event> {
    serde_json::from_str(line)
}

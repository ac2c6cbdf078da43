//! An event as one line of JSON (RFC 8259), the form in which it is kept.

use std::fmt::Write;

use serde::Serialize;

use crate::{event::model::Event, text::is_hostile};

/// Appends `event`, of whatever type, to `out` as one line, without line end. Characters that a terminal might act on
/// are escaped, beyond what JSON asks for: people do look at logs with `cat`.
///
/// # Errors
///
/// None occur: the model has neither maps with keys that are no strings, nor fallible parts.
pub fn append(event: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let start = out.len();
    serde_json::to_writer(&mut *out, event)?;
    let written = out.get(start..).unwrap_or_default();
    // Nothing hostile is within ASCII's printable part, which is nearly all that ever comes. All
    // bytes are looked at, as a loop without exits looks at many at once.
    let odd = written.iter().fold(false, |odd, byte| odd | !matches!(byte, b' '..=b'~'));
    if !odd {
        return Ok(());
    }
    let escaped = escaped(&String::from_utf8_lossy(written));
    out.truncate(start);
    out.extend_from_slice(escaped.as_bytes());
    Ok(())
}

/// What is hostile can only stand inside strings, where its escape means the same.
fn escaped(json: &str) -> String {
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
    escaped
}

/// [`append`] to a line of its own.
///
/// # Errors
///
/// As there.
#[cfg(test)]
pub fn line(event: &impl Serialize) -> serde_json::Result<String> {
    let mut line = Vec::new();
    append(event, &mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// The event on a line.
///
/// # Errors
///
/// If the line is no JSON, or no event of a known type.
pub fn parse(line: &str) -> serde_json::Result<Event> {
    serde_json::from_str(line)
}

//! An event as one line of JSON (RFC 8259), the form in which it is kept.

#[cfg(test)]
mod tests;
mod writer;

use serde::Serialize;

use self::writer::Writer;
use crate::event::model::Event;

/// Appends `event`, of whatever type, to `out` as one line, without line end; whether that is in
/// canonical form (RFC 8785). Characters that a terminal might act on are escaped.
///
/// # Errors
///
/// None occur: the model has neither maps with keys that are no strings, nor fallible parts. What
/// was appended is removed.
pub fn append(event: &impl Serialize, out: &mut String) -> serde_json::Result<bool> {
    let start = out.len();
    let mut writer = Writer::new(out);
    let written = event.serialize(&mut writer);
    let is_canonical = writer.is_canonical();
    if written.is_err() {
        out.truncate(start);
    }
    written.map(|()| is_canonical)
}

/// [`append`] to a line of its own.
///
/// # Errors
///
/// As there.
pub fn line(event: &impl Serialize) -> serde_json::Result<String> {
    let mut line = String::new();
    append(event, &mut line)?;
    Ok(line)
}

/// The event on a line.
///
/// # Errors
///
/// If the line is no JSON, or no event of a known type.
pub fn parse(line: &str) -> serde_json::Result<Event> {
    serde_json::from_str(line)
}

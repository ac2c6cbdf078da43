//! Events that are too large for a receiver, made smaller by whole fields. In: native JSON, and a way
//! to write it. Out: what was written, within the bound, or that it cannot be.
//!
//! Fields go in a fixed order until the rest fits: first those whose value is long, then all others;
//! each time those without a row of the table, then the table's from its end. The event says
//! `event.is_truncated` then. Bytes are never cut, so text stays text and JSON stays JSON.

use serde_json::{Value, json};

use crate::event::mapping::{
    fields::{Fields, put},
    table::ROWS,
};

/// Values of more bytes than this go before all others: one that somebody else made long must not
/// push out what stands behind it in the order.
const LONG: usize = 256;

/// What every event must keep: what makes it an event, and its place in the chain.
const KEPT: [&str; 12] = [
    "event.uid",
    "event.type",
    "event.is_truncated",
    "event.time",
    "event.observed_time",
    "event.severity",
    "event.schema",
    "host.name",
    "integrity.chain",
    "integrity.seq",
    "integrity.prev",
    "integrity.hash",
];

/// Why an event cannot be written for a receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// It is no event of a known form.
    Unmappable,
    /// What must be kept of it is larger than the bound.
    TooLarge,
}

/// Writes `event`, without as many fields as it takes to stay within `bound` bytes.
///
/// # Errors
/// `write` has no form for it, or what must be kept is too large.
pub fn within(
    event: &Value,
    bound: usize,
    write: impl Fn(&Value) -> Option<String>,
) -> Result<String, Unfit> {
    let mut text = write(event).ok_or(Unfit::Unmappable)?;
    if text.len() <= bound {
        return Ok(text);
    }
    let mut smaller = event.clone();
    if let Value::Object(members) = &mut smaller {
        put(members, "event.is_truncated", json!(true));
    }
    let order = order(&smaller);
    let mut next = order.iter();
    while text.len() > bound {
        // As many as are likely to suffice, since each try writes the whole event.
        let excess = text.len() - bound;
        let mut freed = 0;
        while freed < excess {
            let Some(path) = next.next() else { return finished(&smaller, bound, write) };
            freed += remove(&mut smaller, path);
        }
        text = write(&smaller).ok_or(Unfit::Unmappable)?;
    }
    Ok(text)
}

/// Nothing more can go: it fits now, or never.
fn finished(
    event: &Value,
    bound: usize,
    write: impl Fn(&Value) -> Option<String>,
) -> Result<String, Unfit> {
    let text = write(event).ok_or(Unfit::Unmappable)?;
    if text.len() <= bound { Ok(text) } else { Err(Unfit::TooLarge) }
}

/// Paths of fields that may go, the first first.
pub fn order(event: &Value) -> Vec<String> {
    let Some(fields) = Fields::of(event) else { return Vec::new() };
    let rest: Vec<_> = fields.rest();
    let rest = rest.into_iter().rev().map(|(path, value)| (path, size(value)));
    let rows = ROWS
        .iter()
        .rev()
        .filter_map(|row| Some((row.field.to_owned(), fields.value(row.field).map(size)?)));
    let may_go = rest.chain(rows).filter(|(path, _)| !KEPT.contains(&path.as_str()));
    let (long, short): (Vec<_>, Vec<_>) = may_go.partition(|(_, size)| *size > LONG);
    long.into_iter().chain(short).map(|(path, _)| path).collect()
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

/// Removes a field, and groups that are empty then; about how many bytes of text that frees.
fn remove(value: &mut Value, path: &str) -> usize {
    let Value::Object(members) = value else { return 0 };
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    if rest.is_empty() {
        return members.remove(name).map_or(0, |gone| size(&gone) + name.len());
    }
    let Some(group) = members.get_mut(name) else { return 0 };
    let freed = remove(group, rest);
    if group.as_object().is_some_and(serde_json::Map::is_empty) {
        members.remove(name);
    }
    freed
}

//! An event as a list of its fields. In: native JSON. Out: paths and values, those that have a row
//! of the table in its order, then the rest.

use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    event::{
        mapping::table::{ROWS, Row},
        model::Severity,
    },
    text::printable,
};

/// Deepest nesting of groups that is followed: events have three levels.
const MAX_DEPTH: usize = 8;

/// An event that is being mapped.
pub struct Fields<'a> {
    event: &'a Value,
    /// The type's name, such as `access`.
    pub kind: &'a str,
    /// How much attention it deserves.
    pub severity: Severity,
    /// When it happened.
    pub time: Timestamp,
    /// When the agent made it.
    pub observed: Timestamp,
}

impl<'a> Fields<'a> {
    /// `None` if `event` lacks what every event has.
    pub fn of(event: &'a Value) -> Option<Self> {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str);
        let time = |path: &str| Timestamp::from_rfc3339(text(path)?);
        Some(Self {
            event,
            kind: text("/event/type")?,
            severity: Severity::from_name(text("/event/severity")?)?,
            time: time("/event/time")?,
            observed: time("/event/observed_time")?,
        })
    }

    /// The value of a field, by its path with dots.
    pub fn value(&self, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(self.event, |value, name| value.get(name))
    }

    /// The text of a field.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        self.value(path).and_then(Value::as_str)
    }

    /// The status that the server answered with.
    pub fn status(&self) -> Option<u64> {
        self.value("http.status").and_then(Value::as_u64)
    }

    /// Fields that have a row, in the table's order.
    pub fn rows(&self) -> impl Iterator<Item = (&'static Row, &'a Value)> {
        ROWS.iter().filter_map(|row| Some((row, self.value(row.field)?)))
    }

    /// Fields that no row has, with their paths.
    pub fn rest(&self) -> Vec<(String, &'a Value)> {
        let mut leaves = Vec::new();
        collect(self.event, String::new(), MAX_DEPTH, &mut leaves);
        let known = ["event.time", "event.observed_time"];
        leaves.retain(|(path, _)| {
            !known.contains(&path.as_str()) && !ROWS.iter().any(|row| row.field == path)
        });
        leaves
    }

    /// The event in a few words, for people.
    pub fn message(&self) -> String {
        let method = self.text("http.method").unwrap_or("?");
        let path = self.text("http.path").unwrap_or("-");
        match (self.kind, self.status()) {
            ("access", Some(status)) => {
                format!("{} {} {status}", printable(method), printable(path))
            }
            ("access", None) => format!("{} {} without answer", printable(method), printable(path)),
            (kind, _) => printable(kind).into_owned(),
        }
    }
}

fn collect<'a>(
    value: &'a Value,
    path: String,
    depth: usize,
    leaves: &mut Vec<(String, &'a Value)>,
) {
    match value {
        Value::Object(members) if depth > 0 => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                collect(value, format!("{path}{dot}{name}"), depth - 1, leaves);
            }
        }
        _ => leaves.push((path, value)),
    }
}

/// Puts a value at a path with dots, making the objects on the way.
pub fn put(into: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            into.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            let inner = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// A value as plain text: lists with commas between.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

//! Events in the forms that receivers have. In: an event as native JSON. Out: the same in another
//! schema, by one table ([`table`]): a new field is one row of it. Pure.
//!
//! The formats of objects keep every field; those of pairs are bounded and keep what matters
//! ([`shrink`]). Messages of syslog carry any of them ([`syslog`]).

mod ecs;
mod fields;
mod ocsf;
pub mod otlp;
mod pairs;
mod shrink;
pub mod syslog;
pub mod table;

#[cfg(test)]
mod messages;
#[cfg(test)]
mod tests;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use self::shrink::Unfit;

use self::{fields::Fields, pairs::MAX_LINE, syslog::Sender};

/// How events are written for a receiver.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As they are: `docs/events.md`.
    #[default]
    Json,
    /// OCSF 1.8.0.
    Ocsf,
    /// Elastic Common Schema 9.
    Ecs,
    /// OpenTelemetry log records in OTLP/JSON.
    Otlp,
    /// RFC 5424 with structured data.
    Syslog,
    /// ArcSight Common Event Format.
    Cef,
    /// QRadar Log Event Extended Format 2.0.
    Leef,
}

impl Format {
    /// Appends `event`, without line end, to `out`; `false` if it has no form in this format.
    pub fn append(self, event: &[u8], out: &mut Vec<u8>) -> bool {
        if self == Self::Json {
            out.extend_from_slice(event);
            return true;
        }
        let Ok(json) = serde_json::from_slice::<Value>(event) else { return false };
        let bound = match self {
            Self::Syslog | Self::Cef | Self::Leef => MAX_LINE,
            Self::Json | Self::Ocsf | Self::Ecs | Self::Otlp => usize::MAX,
        };
        let Ok(text) = shrink::within(&json, bound, |json| self.write(json)) else { return false };
        out.extend_from_slice(text.as_bytes());
        true
    }

    fn write(self, event: &Value) -> Option<String> {
        let fields = Fields::of(event)?;
        Some(match self {
            Self::Json => event.to_string(),
            Self::Ocsf => ocsf::map(&fields).to_string(),
            Self::Ecs => ecs::map(&fields).to_string(),
            Self::Otlp => otlp::map(&fields).to_string(),
            Self::Syslog => syslog::structured(&fields, &Sender::default()),
            Self::Cef => pairs::cef(&fields),
            Self::Leef => pairs::leef(&fields),
        })
    }

    /// Appends events as lines until one has no form in this format; how many have one, and
    /// whether another had none.
    pub fn append_lines(
        self,
        events: &mut dyn Iterator<Item = &[u8]>,
        out: &mut Vec<u8>,
    ) -> (usize, bool) {
        let mut done = 0;
        for event in events {
            let before = out.len();
            if !self.append(event, out) {
                out.truncate(before);
                return (done, true);
            }
            out.push(b'\n');
            done += 1;
        }
        (done, false)
    }
}

//! What the agent says of itself, between the events of what it saw. In: what happened to it. Out:
//! events of type `agent.…` as JSON, with the same groups `event`, `host` and `agent` as all others.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::{
    clock::Timestamp,
    event::model::{Agent, Host, SCHEMA_VERSION, Severity, Time},
    names::named_enum,
};

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// The agent began a chain.
    #[serde(untagged)]
    Start {},
    /// The agent ends as it was asked to.
    #[serde(untagged)]
    Stop {},
    /// A signed statement of how far the chain has come.
    #[serde(untagged)]
    Checkpoint {
        /// The statement.
        checkpoint: Checkpoint,
    },
    /// Events are gone.
    #[serde(untagged)]
    Gap {
        /// Which, and why.
        gap: Gap,
    },
}

/// `checkpoint`
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Checkpoint {
    /// The signed note.
    pub note: String,
}

/// `gap`
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Gap {
    /// The chain that the events were of.
    pub chain: String,
    /// Which positions of it; none if they never had one.
    #[serde(flatten)]
    pub range: Option<Range>,
    /// How many they are: those between them that are not gone do not count.
    pub count: u64,
    /// Why.
    pub reason: Reason,
}

/// Positions in a chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Range {
    /// Of the first event.
    pub from: u64,
    /// Of the last event.
    pub to: u64,
}

named_enum! {
    /// Why events are gone.
    pub enum Reason {
        /// The spool's bound was reached.
        Bound = "bound",
        /// The disk did not take them.
        Disk = "disk",
        /// The disk did not take them in time.
        Stalled = "stalled",
        /// They are there, but without what looked like a token.
        Redacted = "redacted",
        /// They could not be put into the chain.
        Unlinked = "unlinked",
    }
}

#[derive(Serialize)]
struct Control<'a> {
    event: Meta<'a>,
    host: &'a Host,
    agent: &'a Agent,
    #[serde(flatten)]
    happened: &'a Happened,
}

#[derive(Serialize)]
struct Meta<'a> {
    uid: String,
    r#type: &'a str,
    time: Time,
    observed_time: Time,
    severity: Severity,
    schema: &'a str,
}

impl Happened {
    /// The event's type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Start {} => "agent.start",
            Self::Stop {} => "agent.stop",
            Self::Checkpoint { .. } => "agent.checkpoint",
            Self::Gap { .. } => "agent.gap",
        }
    }

    const fn severity(&self) -> Severity {
        match self {
            Self::Start {} | Self::Stop {} | Self::Checkpoint { .. } => Severity::Info,
            Self::Gap { .. } => Severity::High,
        }
    }

    /// The event, at position `seq` of `chain`.
    ///
    /// # Errors
    /// None occur: all of it can be written as JSON.
    pub fn to_json(
        &self,
        host: &Host,
        agent: &Agent,
        chain: &str,
        seq: u64,
        now: Timestamp,
    ) -> serde_json::Result<String> {
        let name = Sha256::new().chain_update(chain).chain_update(seq.to_be_bytes()).finalize();
        let bits = name.iter().take(10).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        serde_json::to_string(&Control {
            event: Meta {
                uid: Ulid::from_parts(now.as_millis(), bits).to_string(),
                r#type: self.type_name(),
                time: Time(now),
                observed_time: Time(now),
                severity: self.severity(),
                schema: SCHEMA_VERSION,
            },
            host,
            agent,
            happened: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_what_is_gone() {
        let host = Host { id: "1".into(), name: "h7".into(), boot_id: "b".into() };
        let agent = Agent { version: "0".into() };
        let chain = "h7/x".to_owned();
        let range = Some(Range { from: 3, to: 9 });
        let gap = Gap { chain, range, count: 5, reason: Reason::Bound };
        let at = Timestamp(1_795_341_871_118_204_000);
        let json = Happened::Gap { gap }.to_json(&host, &agent, "h7/x", 10, at).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["event"]["type"], "agent.gap");
        assert_eq!(json["event"]["severity"], "high");
        let expected = serde_json::json!(
            {"chain": "h7/x", "from": 3, "to": 9, "count": 5, "reason": "bound"}
        );
        assert_eq!(json["gap"], expected);
        let stop = Happened::Stop {}.to_json(&host, &agent, "h7/x", 11, at).unwrap();
        assert!(stop.ends_with(r#""agent":{"version":"0"}}"#), "{stop}");
    }
}

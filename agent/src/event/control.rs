//! What the agent says of itself, between the events of what it saw. In: what happened to it. Out:
//! events of type `agent.…` as JSON, with the same groups `event`, `host` and `agent` as all others.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use ulid::Ulid;

use crate::{
    clock::Timestamp,
    event::{
        group::group,
        json,
        model::{Agent, Host, SCHEMA_VERSION, Severity, Time},
    },
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
    /// How the agent is doing.
    #[serde(untagged)]
    Health {
        /// How.
        health: Box<Health>,
    },
    /// Events are gone.
    #[serde(untagged)]
    Gap {
        /// Which, and why.
        gap: Gap,
    },
}

group! {
    /// A signed statement of how far the chain has come, in events of type `agent.checkpoint`.
    pub struct Checkpoint {
        required {
            /// The signed note.
            note: String ["signed note", "C2SP tlog-checkpoint"],
        }
        optional {}
        list {}
    }
}

group! {
    /// Events that are gone, in events of type `agent.gap`.
    pub struct Gap {
        required {
            /// The chain that they were of.
            chain: String ["text", ""],
            /// How many they are: those between them that are not gone do not count.
            count: u64 ["count", ""],
            /// Why.
            reason: Reason ["one of", ""],
        }
        optional {
            /// Position in the chain of the first of them, if they had any.
            from: u64 ["position", ""],
            /// Position in the chain of the last of them.
            to: u64 ["position", ""],
        }
        list {}
    }
}

group! {
    /// How the agent is doing, in events of type `agent.health`; counts are since its start.
    pub struct Health {
        required {
            /// Time since the agent started.
            uptime_secs: u64 ["seconds", ""],
            /// What is captured.
            capture: CaptureHealth ["group", ""],
        }
        optional {
            /// What waits for sinks.
            spool: SpoolHealth ["group", ""],
            /// The host's clock, which expiry is judged by.
            clock: ClockHealth ["group", "adjtimex(2)"],
        }
        list {
            /// The sinks.
            sinks: SinkHealth ["group", ""],
            /// What is wrong, worst first, each in a sentence.
            problems: String ["text", ""],
        }
    }
}

group! {
    /// What is captured.
    pub struct CaptureHealth {
        required {
            /// Connections that were followed.
            connections: u64 ["count", ""],
            /// Exchanges that were seen.
            exchanges: u64 ["count", ""],
            /// Losses within connections.
            gaps: u64 ["count", ""],
            /// Bytes that were lost so, as far as their number is known.
            gap_bytes: u64 ["bytes", ""],
            /// Connections given up to make room.
            evicted: u64 ["count", ""],
            /// TLS connections that are not told.
            uncovered: u64 ["count", ""],
            /// Records that found no room between kernel and agent.
            ring_full: u64 ["count", ""],
            /// Records that could not be decoded.
            malformed: u64 ["count", ""],
        }
        optional {}
        list {}
    }
}

group! {
    /// What waits for sinks.
    pub struct SpoolHealth {
        required {
            /// Bytes that records take.
            bytes: u64 ["bytes", ""],
            /// Bytes that they may take.
            max_bytes: u64 ["bytes", ""],
            /// Events that are gone, of which events of type `agent.gap` told.
            gone: u64 ["count", ""],
        }
        optional {}
        list {}
    }
}

group! {
    /// The host's clock.
    pub struct ClockHealth {
        required {
            /// Whether something keeps it right.
            synchronised: bool ["", "adjtimex(2)"],
            /// By how much it may be wrong, as whoever keeps it right says.
            max_error_micros: u64 ["microseconds", "adjtimex(2)"],
        }
        optional {}
        list {}
    }
}

group! {
    /// A sink. What it was given is `delivered + dead + lost + pending`.
    pub struct SinkHealth {
        required {
            /// Its name in the configuration.
            name: String ["text", ""],
            /// Whether its last try succeeded.
            delivering: bool ["", ""],
            /// Records that it confirmed, over all starts of the agent.
            delivered: u64 ["count", ""],
            /// Records that it refused for good.
            dead: u64 ["count", ""],
            /// Records that were gone before it could have them.
            lost: u64 ["count", ""],
            /// Records that it does not have yet.
            pending: u64 ["count", ""],
            /// Tries that failed, since the start of the agent.
            retries: u64 ["count", ""],
        }
        optional {}
        list {}
    }
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
            Self::Health { .. } => "agent.health",
            Self::Gap { .. } => "agent.gap",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::Start {} | Self::Stop {} | Self::Checkpoint { .. } => Severity::Info,
            Self::Health { health } if health.problems.is_empty() => Severity::Info,
            Self::Health { .. } => Severity::Medium,
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
        json::line(&Control {
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

/// One of each, with every field.
#[cfg(test)]
pub(crate) fn sample() -> [Happened; 5] {
    let gap = Gap {
        chain: "h7/x".to_owned(),
        count: 5,
        reason: Reason::Bound,
        from: Some(3),
        to: Some(9),
    };
    let sink = SinkHealth {
        name: "siem".to_owned(),
        delivering: true,
        delivered: 9,
        dead: 1,
        lost: 2,
        pending: 3,
        retries: 4,
    };
    let capture = CaptureHealth {
        connections: 8,
        exchanges: 9,
        gaps: 1,
        gap_bytes: 100,
        evicted: 0,
        uncovered: 2,
        ring_full: 0,
        malformed: 0,
    };
    let health = Box::new(Health {
        uptime_secs: 60,
        capture,
        spool: Some(SpoolHealth { bytes: 4096, max_bytes: 1 << 30, gone: 5 }),
        clock: Some(ClockHealth { synchronised: true, max_error_micros: 900 }),
        sinks: vec![sink],
        problems: vec!["events are gone: see agent.gap".to_owned()],
    });
    let checkpoint = Checkpoint { note: "h7\n1\n\n- h7 sig\n".to_owned() };
    [
        Happened::Start {},
        Happened::Stop {},
        Happened::Checkpoint { checkpoint },
        Happened::Health { health },
        Happened::Gap { gap },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_what_is_gone() {
        let host = Host { id: "1".into(), name: "h7".into(), boot_id: "b".into() };
        let agent = Agent { version: "0".into() };
        let chain = "h7/x".to_owned();
        let (from, to) = (Some(3), Some(9));
        let gap = Gap { chain, from, to, count: 5, reason: Reason::Bound };
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

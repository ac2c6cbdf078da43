//! The board as `/status` shows it. In: what is on it. Out: JSON for people and scripts.

use std::{collections::BTreeMap, time::Instant};

use scopewatch_common::Counter;
use serde::Serialize;

use super::{
    board::{Board, Export, Libraries, Parts, Policy},
    clock::{Discipline, discipline},
    health::{kernel, problems},
};
use crate::{coverage::Coverage, sandbox::protocol::Tap};

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    uptime_secs: u64,
    problems: Vec<String>,
    policy: Option<&'a Policy>,
    clock: Option<Discipline>,
    libraries: Option<Libraries>,
    packets: Option<Tap>,
    coverage: Option<&'a Coverage>,
    flows: BTreeMap<&'static str, u64>,
    kernel: BTreeMap<&'static str, u64>,
    export: Option<&'a Export>,
}

/// All of it.
pub(super) fn status(board: &Board) -> String {
    let (parts, clock, now) = (board.read(), discipline(), Instant::now());
    let counters = Counter::ALL.into_iter();
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_secs: now.saturating_duration_since(board.started()).as_secs(),
        problems: problems(&parts, clock, now).into_iter().map(|it| it.what).collect(),
        policy: parts.policy.as_ref().map(|said| &said.what),
        clock,
        libraries: parts.libraries.as_ref().map(|said| said.what),
        packets: parts.packets,
        coverage: parts.capture.as_ref().and_then(|said| said.what.coverage.as_deref()),
        flows: flows(&parts),
        kernel: counters.map(|each| (each.name(), kernel(&parts, each))).collect(),
        export: parts.export.as_ref().map(|said| &said.what),
    };
    serde_json::to_string_pretty(&status).unwrap_or_default()
}

fn flows(parts: &Parts) -> BTreeMap<&'static str, u64> {
    let all = parts.all_flows();
    [
        ("connections", all.connections),
        ("exchanges", all.exchanges),
        ("evicted", all.evicted),
        ("idle", all.idle),
        ("gaps", all.gaps),
        ("gap_bytes", all.gap_bytes),
    ]
    .into()
}

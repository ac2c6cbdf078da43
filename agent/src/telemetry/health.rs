//! Whether all is well. In: the board, and the moment. Out: what is wrong, worst first, and the
//! group `health` of the events that tell of it.

use std::time::{Duration, Instant};

use scopewatch_common::Counter;

use super::{
    board::{Board, Export, Parts, Said},
    clock::{Discipline, discipline},
};
use crate::event::control::{CaptureHealth, ClockHealth, Health, SinkHealth, SpoolHealth};

/// How old what a stage says may be: each speaks once a second.
const STALE: Duration = Duration::from_secs(15);

/// By how much the clock may be wrong before expiry cannot be judged by it, in microseconds.
const MAX_CLOCK_ERROR_MICROS: u64 = 500_000;

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    /// One sentence.
    pub what: String,
    /// Whether the agent does not do its work: starting it anew may help.
    pub fatal: bool,
}

/// What is wrong at `now`.
pub(super) fn problems(parts: &Parts, clock: Option<Discipline>, now: Instant) -> Vec<Problem> {
    let fatal = |what| Problem { what, fatal: true };
    let other = |what| Problem { what, fatal: false };
    let mut found = Vec::new();
    found.extend(silence("capture", parts.capture.as_ref(), now).map(fatal));
    found.extend(silence("output", parts.export.as_ref(), now).map(fatal));
    found.extend(parts.export.iter().flat_map(|said| export_problems(&said.what)).map(other));
    if kernel(parts, Counter::RingFull) > 0 {
        found.push(other("the ring was full: records are lost".to_owned()));
    }
    if parts.policy.as_ref().is_some_and(|said| said.what.rejected) {
        found.push(other("the policy's newest version was rejected".to_owned()));
    }
    match clock {
        Some(clock) if !clock.synchronised => {
            found.push(other("the clock is not synchronised".to_owned()));
        }
        Some(clock) if clock.max_error_micros > MAX_CLOCK_ERROR_MICROS => {
            found.push(other("the clock may be wrong by more than half a second".to_owned()));
        }
        _ => {}
    }
    found
}

fn silence<T>(stage: &str, said: Option<&Said<T>>, now: Instant) -> Option<String> {
    let age = now.saturating_duration_since(said?.at);
    (age > STALE).then(|| format!("{stage} has not been heard of for {} s", age.as_secs()))
}

fn export_problems(export: &Export) -> Vec<String> {
    let failing = export.sinks.iter().filter(|sink| sink.progress.failing_since.is_some());
    let failing = failing.map(|sink| {
        let why = sink.progress.last_failure.as_deref().unwrap_or("unknown");
        format!("sink {} does not deliver: {why}", sink.counts.name)
    });
    let dead = export.sinks.iter().filter(|sink| sink.counts.dead > 0);
    let dead = dead.map(|sink| format!("sink {} refused records for good", sink.counts.name));
    let gone: u64 = export.gone.values().sum();
    let gone = (gone > 0).then(|| "events are gone: see agent.gap".to_owned());
    let key = export.signing_trouble.iter();
    let key = key.map(|why| format!("the signing key was not replaced as it should be: {why}"));
    failing.chain(dead).chain(gone).chain(key).collect()
}

/// A counter of the kernel half; zero where it has not told.
pub(super) fn kernel(parts: &Parts, counter: Counter) -> u64 {
    let counters = parts.kernel.as_ref().map_or(&[][..], |said| &said.what);
    counters.get(counter as usize).copied().unwrap_or(0)
}

/// The group `health` of an event at this moment.
#[must_use]
pub fn health(board: &Board) -> Health {
    let (parts, clock, now) = (board.read(), discipline(), Instant::now());
    let flows = parts.all_flows();
    let uncovered = parts.capture.as_ref().map_or(0, |said| said.what.uncovered.values().sum());
    let export = parts.export.as_ref().map(|said| &said.what);
    let sinks = export.map_or(&[][..], |export| &export.sinks).iter().map(|sink| SinkHealth {
        name: sink.counts.name.clone(),
        delivering: sink.progress.failing_since.is_none(),
        delivered: sink.counts.delivered,
        dead: sink.counts.dead,
        lost: sink.counts.lost,
        pending: sink.counts.pending,
        retries: sink.progress.retries,
    });
    Health {
        uptime_secs: now.saturating_duration_since(board.started()).as_secs(),
        capture: CaptureHealth {
            connections: flows.connections,
            exchanges: flows.exchanges,
            gaps: flows.gaps,
            gap_bytes: flows.gap_bytes,
            evicted: flows.evicted,
            uncovered,
            ring_full: kernel(&parts, Counter::RingFull),
            malformed: parts.capture.as_ref().map_or(0, |said| said.what.malformed),
        },
        spool: export.map(|export| SpoolHealth {
            bytes: export.spool_bytes,
            max_bytes: export.spool_max_bytes,
            gone: export.gone.values().sum(),
        }),
        clock: clock.map(|clock| ClockHealth {
            synchronised: clock.synchronised,
            max_error_micros: clock.max_error_micros,
        }),
        sinks: sinks.collect(),
        problems: problems(&parts, clock, now).into_iter().map(|problem| problem.what).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::control::Reason,
        spool::SinkCounts,
        telemetry::board::{Capture, Policy, Progress, Sink},
    };

    const WELL: Option<Discipline> = Some(Discipline { synchronised: true, max_error_micros: 900 });

    fn check(parts: &Parts, now: Instant, expected: &[(&str, bool)]) {
        let found = problems(parts, WELL, now);
        let found: Vec<_> = found.iter().map(|it| (it.what.as_str(), it.fatal)).collect();
        assert_eq!(found, expected);
    }

    fn sink(failing: bool, dead: u64) -> Sink {
        let (delivered, lost, pending) = (5, 0, 2);
        let counts = SinkCounts { name: "siem".to_owned(), delivered, dead, lost, pending };
        let failing_since = failing.then_some(crate::clock::Timestamp(1));
        let last_failure = Some("connection refused".to_owned());
        Sink { counts, progress: Progress { retries: 3, failing_since, last_failure } }
    }

    #[test]
    fn a_stage_that_fell_silent_is_fatal_and_one_that_never_spoke_is_none() {
        let start = Instant::now();
        let mut parts = Parts::default();
        check(&parts, start, &[]);
        parts.capture = Some(Said::at(Capture::default(), start));
        check(&parts, start + STALE, &[]);
        let late = start + STALE + Duration::from_secs(2);
        check(&parts, late, &[("capture has not been heard of for 17 s", true)]);
    }

    #[test]
    fn what_is_wrong_elsewhere_is_told_and_not_fatal() {
        let now = Instant::now();
        let mut parts = Parts::default();
        let gone = [(Reason::Bound, 4)].into();
        let sinks = vec![sink(true, 1)];
        let signing_trouble = Some("the disk is full".to_owned());
        let export = Export { sinks, gone, signing_trouble, ..Export::default() };
        parts.export = Some(Said::at(export, now));
        parts.policy = Some(Said::at(Policy { rejected: true, ..Policy::default() }, now));
        parts.kernel = Some(Said::at(vec![0, 0, 7], now));
        check(
            &parts,
            now,
            &[
                ("sink siem does not deliver: connection refused", false),
                ("sink siem refused records for good", false),
                ("events are gone: see agent.gap", false),
                ("the signing key was not replaced as it should be: the disk is full", false),
                ("the ring was full: records are lost", false),
                ("the policy's newest version was rejected", false),
            ],
        );
    }

    #[test]
    fn a_clock_that_nobody_keeps_right_is_told() {
        let now = Instant::now();
        let check = |synchronised, max_error_micros, expected| {
            let clock = Some(Discipline { synchronised, max_error_micros });
            let found = problems(&Parts::default(), clock, now);
            assert_eq!(found.first().map(|it| it.what.as_str()), expected);
        };
        check(true, 500_000, None);
        check(true, 500_001, Some("the clock may be wrong by more than half a second"));
        check(false, 0, Some("the clock is not synchronised"));
    }

    #[test]
    fn an_event_of_health_has_what_the_board_has() {
        let board = Board::default();
        board.say(|parts, now| {
            let export = Export { sinks: vec![sink(false, 0)], ..Export::default() };
            parts.export = Some(Said::at(export, now));
            let counts = crate::flow::table::Counts { exchanges: 9, ..Default::default() };
            parts.flows.insert(0, Said::at(counts, now));
            parts.flows.insert(1, Said::at(counts, now));
        });
        let told = health(&board);
        assert_eq!(told.capture.exchanges, 18);
        let [sink] = told.sinks.as_slice() else { panic!("{told:?}") };
        assert_eq!((sink.delivered, sink.pending, sink.delivering), (5, 2, true));
    }
}

//! The board as metrics. In: what is on it. Out: OpenMetrics text, which Prometheus reads.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. For each sink, what it was given is
//! what it delivered, refused (`dead`), never had (`lost`) and still has to come (`pending`).

use std::{
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use scopewatch_common::Counter;

use super::{
    board::{Export, Parts, Sink},
    clock::Discipline,
    health::kernel,
};

/// What Prometheus is told that it reads.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is told, at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    pub parts: Parts,
    pub clock: Option<Discipline>,
    pub started: Instant,
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Scrape {
    /// All of it as text.
    ///
    /// # Errors
    /// None occur: it is written to memory.
    pub(super) fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("scopewatch");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out { encoder };
        self.agent(&mut out)?;
        self.capture(&mut out)?;
        self.kernel(&mut out)?;
        match &self.parts.export {
            Some(said) => export(&said.what, &mut out),
            None => Ok(()),
        }
    }
}

impl Scrape {
    fn agent(&self, out: &mut Out<'_>) -> fmt::Result {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        out.gauges("build", "Always 1; the label tells the version", [(version, 1)])?;
        let since = SystemTime::now().checked_sub(self.started.elapsed());
        let since = since.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let since = since.map_or(0, |since| since.as_secs());
        out.gauge("start_time_seconds", "When the agent started, in Unix time", since)?;
        if let Some(policy) = &self.parts.policy {
            let labels = vec![("hash", policy.what.hash.as_str())];
            let help = "Always 1; the label names the policy in force";
            out.gauges("policy", help, [(labels, 1)])?;
            let rejected = policy.what.rejected.into();
            out.gauge("policy_rejected", "1 while the newest policy is not used", rejected)?;
        }
        if let Some(clock) = self.clock {
            let help = "1 if something keeps the host's clock right";
            out.gauge("clock_synchronised", help, clock.synchronised.into())?;
            let help = "By how much the clock may be wrong, in microseconds";
            out.gauge("clock_max_error_microseconds", help, clock.max_error_micros)?;
        }
        Ok(())
    }

    fn capture(&self, out: &mut Out<'_>) -> fmt::Result {
        let flows = self.parts.all_flows();
        for (name, help, value) in [
            ("connections", "Connections followed", flows.connections),
            ("exchanges", "Exchanges told", flows.exchanges),
            ("connections_evicted", "Connections given up to make room", flows.evicted),
            ("connections_idle", "Connections given up after being idle", flows.idle),
            ("connections_relieved", "Connections that held too much", flows.relieved),
            ("connection_limits", "Limits of connections that were hit", flows.limits_hit),
            ("contents_too_large", "Contents undone up to a limit", flows.contents_too_large),
            ("content_bombs", "Contents that swell too much", flows.content_bombs),
            ("gaps", "Losses within connections", flows.gaps),
            ("gap_bytes", "Bytes lost within connections, as far as known", flows.gap_bytes),
            ("skipped_bytes", "Bytes of bodies that nobody needed", flows.skipped_bytes),
        ] {
            out.counter(name, help, value)?;
        }
        let left_out = self.parts.left_out.values().sum();
        out.counter("sampled_out", "Calls without event, as none in their sample", left_out)?;
        if let Some(libraries) = &self.parts.libraries {
            let by = |state, count| (vec![("state", state)], count);
            let found = [by("probed", libraries.what.probed), by("left", libraries.what.left)];
            out.gauges("libraries", "Libraries and executables looked at", found)?;
        }
        let Some(capture) = &self.parts.capture else { return Ok(()) };
        let capture = &capture.what;
        out.counter("records", "Records taken from the kernel half", capture.records)?;
        out.counter("malformed_records", "Records that made no sense", capture.malformed)?;
        out.counter("tls_opened", "TLS connections opened by a secret", capture.wire.opened)?;
        out.counter("plain", "Connections without TLS told", capture.wire.plain)?;
        let uncovered = capture.uncovered.iter();
        let uncovered = uncovered.map(|(why, count)| (vec![("reason", why.as_str())], *count));
        out.counters("uncovered_connections", "TLS connections not told", uncovered)
    }

    fn kernel(&self, out: &mut Out<'_>) -> fmt::Result {
        let counters = Counter::ALL.into_iter();
        let counters =
            counters.map(|each| (vec![("counter", each.name())], kernel(&self.parts, each)));
        out.counters("kernel", "Counters of the kernel half", counters)
    }
}

fn export(export: &Export, out: &mut Out<'_>) -> fmt::Result {
    out.counter("events", "Events in the chain of this start", export.events)?;
    out.gauge("spool_bytes", "Bytes that records take", export.spool_bytes)?;
    out.gauge("spool_max_bytes", "Bytes that records may take", export.spool_max_bytes)?;
    let gone = export.gone.iter();
    let gone = gone.map(|(reason, count)| (vec![("reason", reason.as_str())], *count));
    out.counters("events_gone", "Events of which agent.gap told", gone)?;
    let sinks = &export.sinks;
    let records = sinks.iter().flat_map(|Sink { counts, .. }| {
        let each = [("delivered", counts.delivered), ("dead", counts.dead), ("lost", counts.lost)];
        let name = counts.name.as_str();
        each.map(|(outcome, count)| (vec![("sink", name), ("outcome", outcome)], count))
    });
    out.counters("sink_records", "Records by what became of them, over all starts", records)?;
    let given = sinks.iter().map(|Sink { counts, .. }| {
        let given = counts.delivered + counts.dead + counts.lost + counts.pending;
        (vec![("sink", counts.name.as_str())], given)
    });
    out.counters("sink_given", "Records that a sink is to have, over all starts", given)?;
    let pending = sinks.iter().map(|sink| (label(sink), sink.counts.pending));
    out.gauges("sink_pending", "Records that a sink does not have yet", pending)?;
    let failing =
        sinks.iter().map(|sink| (label(sink), sink.progress.failing_since.is_some().into()));
    out.gauges("sink_failing", "1 while a sink does not deliver", failing)?;
    let retries = sinks.iter().map(|sink| (label(sink), sink.progress.retries));
    out.counters("sink_retries", "Tries that failed", retries)
}

fn label(sink: &Sink) -> Labels<'_> {
    vec![("sink", sink.counts.name.as_str())]
}

/// Writes families of metrics.
struct Out<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(family)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(signed(value)).encode(family)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(signed(value)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The library's gauges are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spool::SinkCounts,
        telemetry::board::{Progress, Said},
    };

    #[test]
    fn each_sink_has_an_account_that_adds_up_and_names_are_escaped() {
        let name = "a\"b\\c\nd".to_owned();
        let counts = SinkCounts { name, delivered: 5, dead: 1, lost: 2, pending: 4 };
        let sinks = vec![Sink { counts, progress: Progress::default() }];
        let said = Said::at(Export { sinks, ..Export::default() }, Instant::now());
        let parts = Parts { export: Some(said), ..Parts::default() };
        let text = Scrape { parts, clock: None, started: Instant::now() }.render().unwrap();
        let sink = r#"sink="a\"b\\c\nd""#;
        for line in [
            format!(r#"scopewatch_sink_records_total{{{sink},outcome="delivered"}} 5"#),
            format!(r#"scopewatch_sink_records_total{{{sink},outcome="dead"}} 1"#),
            format!(r#"scopewatch_sink_records_total{{{sink},outcome="lost"}} 2"#),
            format!(r#"scopewatch_sink_given_total{{{sink}}} 12"#),
            format!(r#"scopewatch_sink_pending{{{sink}}} 4"#),
            format!(r#"scopewatch_sink_failing{{{sink}}} 0"#),
            "scopewatch_exchanges_total 0".to_owned(),
            "# EOF".to_owned(),
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
    }
}

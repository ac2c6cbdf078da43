//! Fewer events where the policy asks for fewer. In: `access` events with the `volume` of their
//! route. Out: the same events, one in so many of them, or one for all that are alike in a time.
//!
//! Told in full whatever the policy asks for: what the server or the policy denied, what the
//! policy and the server did not agree on, sensitive data, odd messages, what was not seen whole,
//! what is not over. Bounded by [`MAX_OPEN`] aggregates, of which the one idle longest goes first.

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    event::{
        group::group,
        model::{Event, EventType, ServerOutcome, Severity, Time},
        verdict::is_sensitive,
    },
    policy::{judgement::Verdict, outcome::Finding, place::Seconds, volume::Volume},
};

/// Aggregates that are open at once.
const MAX_OPEN: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

group! {
    /// What else an event stands for, where the policy's `volume` asks for fewer events.
    #[derive(Default)]
    pub struct Told {
        required {}
        optional {
            /// It stands for so many calls, of which it was picked without regard to what they are.
            sampled: u64 ["count", ""],
            /// It stands for so many calls, which agree in process, client address, route, method,
            /// status and credential. All else is told of the first of them.
            count: u64 ["count", ""],
            /// When the last of them began; `event.time` is when the first did.
            last: Time ["RFC 3339, UTC", "RFC 3339 §5.6"],
            /// Octets of all request bodies together.
            req_bytes: u64 ["bytes", ""],
            /// Octets of all response bodies together.
            resp_bytes: u64 ["bytes", ""],
        }
        list {}
    }
}

/// Lets events pass, or not.
pub struct Gate {
    open: LruCache<Key, Aggregate>,
    /// Calls without an event, as none in their sample.
    pub left_out: u64,
}

/// In what calls must agree to be told together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    pid: u32,
    service: String,
    route: Option<String>,
    method: Option<String>,
    status: Option<u16>,
    client: Option<IpAddr>,
    credential: Option<String>,
}

struct Aggregate {
    first: Event,
    /// When it is told.
    due: Timestamp,
    count: u64,
    last: Time,
    req_bytes: u64,
    resp_bytes: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: LruCache::new(MAX_OPEN), left_out: 0 }
    }
}

impl Gate {
    /// Takes an event of a call whose route asks for `volume`; what is to be told goes to `out`.
    pub fn take(&mut self, event: Event, volume: Volume, out: &mut impl FnMut(Event)) {
        match volume {
            Volume::Full => out(event),
            _ if is_remarkable(&event) => out(event),
            Volume::Sampled(rate) => self.sample(event, rate, out),
            Volume::Aggregate(window) => self.aggregate(event, window, out),
        }
    }

    fn sample(&mut self, mut event: Event, rate: u32, out: &mut impl FnMut(Event)) {
        // By name, so that a replay picks the same ones; names are digests, so none is favoured.
        if crc32fast::hash(event.event.uid.as_bytes()).is_multiple_of(rate.max(1)) {
            event.volume = Some(Told { sampled: Some(rate.into()), ..Told::default() });
            out(event);
        } else {
            self.left_out += 1;
        }
    }

    fn aggregate(&mut self, event: Event, window: Seconds, out: &mut impl FnMut(Event)) {
        let bytes = event
            .http
            .as_ref()
            .map_or((0, 0), |http| (http.req_bytes.unwrap_or(0), http.resp_bytes.unwrap_or(0)));
        let key = Key::of(&event);
        let (time, begun) = (event.event.time, event.event.time.0);
        let open = match self.open.get_mut(&key) {
            Some(open) => open,
            None => {
                let due = begun.plus(window.0.saturating_mul(NANOS_PER_SEC));
                let fresh = Aggregate {
                    first: event,
                    due,
                    count: 0,
                    last: time,
                    req_bytes: 0,
                    resp_bytes: 0,
                };
                if let Some((_, oldest)) = self.open.push(key.clone(), fresh) {
                    out(oldest.close());
                }
                let Some(open) = self.open.get_mut(&key) else { return };
                open
            }
        };
        open.count += 1;
        open.last = open.last.max(time);
        open.req_bytes = open.req_bytes.saturating_add(bytes.0);
        open.resp_bytes = open.resp_bytes.saturating_add(bytes.1);
    }

    /// Tells what is due at `now`.
    pub fn tick(&mut self, now: Timestamp, out: &mut impl FnMut(Event)) {
        if self.open.is_empty() {
            return;
        }
        let due = self.open.iter().filter(|(_, open)| open.due <= now);
        let due: Vec<_> = due.map(|(key, _)| key.clone()).collect();
        // The oldest first.
        for key in due.iter().rev() {
            if let Some(open) = self.open.pop(key) {
                out(open.close());
            }
        }
    }

    /// Tells all that is left.
    pub fn finish(&mut self, out: &mut impl FnMut(Event)) {
        self.tick(Timestamp(u64::MAX), out);
    }
}

impl Key {
    fn of(event: &Event) -> Self {
        let (route, http) = (event.route.as_ref(), event.http.as_ref());
        Self {
            pid: event.process.pid,
            service: route.map_or_else(String::new, |route| route.service.clone()),
            route: route.and_then(|route| route.id.clone()),
            method: http.and_then(|http| http.method.clone()),
            status: http.and_then(|http| http.status),
            client: event.client.as_ref().and_then(|client| client.ip),
            credential: event.credential.as_ref().and_then(|each| each.fp.clone()),
        }
    }
}

impl Aggregate {
    fn close(self) -> Event {
        let Self { mut first, due: _, count, last, req_bytes, resp_bytes } = self;
        if count > 1 {
            first.volume = Some(Told {
                count: Some(count),
                last: Some(last),
                req_bytes: Some(req_bytes),
                resp_bytes: Some(resp_bytes),
                ..Told::default()
            });
        }
        first
    }
}

/// Whether an event must not be one of many.
fn is_remarkable(event: &Event) -> bool {
    let authz = &event.authz;
    event.event.r#type != EventType::Access
        || event.event.severity > Severity::Info
        || authz.server_outcome != ServerOutcome::Allowed
        || authz.verdict == Some(Verdict::Deny)
        || authz.assessment.is_some_and(|finding| finding != Finding::Normal)
        || !event.observation.complete
        || event.route.as_ref().and_then(|route| route.sensitivity).is_some_and(is_sensitive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::sample::{event, exchange},
        http::message::Role,
    };

    fn call(nth: u64) -> Event {
        let mut event = event(&exchange(Role::Server, "GET", "/v1/orders", &[("host", "a")], 200));
        event.event.uid = format!("{nth:026}");
        event.event.time = Time(event.event.time.0.plus(nth * NANOS_PER_SEC));
        event
    }

    /// The events that become of `events`, and those that were left out.
    fn told(events: impl IntoIterator<Item = Event>, volume: Volume) -> (Vec<Event>, u64) {
        let (mut gate, mut out) = (Gate::default(), Vec::new());
        for event in events {
            let now = event.event.time.0;
            gate.tick(now, &mut |event| out.push(event));
            gate.take(event, volume, &mut |event| out.push(event));
        }
        gate.finish(&mut |event| out.push(event));
        (out, gate.left_out)
    }

    #[test]
    fn one_in_so_many_stands_for_the_others() {
        let (out, left_out) = told((0..1000).map(call), Volume::Sampled(10));
        assert_eq!(out.len() as u64 + left_out, 1000);
        assert!((50..150).contains(&out.len()), "{}", out.len());
        let sampled = |event: &Event| event.volume.as_ref().unwrap().sampled;
        assert!(out.iter().all(|event| sampled(event) == Some(10)));
        let (again, _) = told((0..1000).map(call), Volume::Sampled(10));
        assert_eq!(out, again, "a replay picks others");
    }

    #[test]
    fn calls_that_are_alike_are_told_together_and_those_that_are_not_apart() {
        let other = |nth| {
            let mut event = call(nth);
            event.http.as_mut().unwrap().status = Some(204);
            event
        };
        let calls = (0..120).map(|nth| if nth % 4 == 0 { other(nth) } else { call(nth) });
        let (out, left_out) = told(calls, Volume::Aggregate(Seconds(60)));
        let counts: Vec<_> =
            out.iter().map(|event| event.volume.as_ref().unwrap().count.unwrap()).collect();
        assert_eq!((counts.iter().sum::<u64>(), left_out), (120, 0));
        assert_eq!(counts, [15, 45, 15, 45]);
        let volume = out[1].volume.as_ref().unwrap();
        assert_eq!((volume.req_bytes, volume.resp_bytes), (Some(12 * 45), Some(345 * 45)));
        assert_eq!(volume.last.unwrap(), call(59).event.time);
        assert_eq!(out[1].event.time, call(1).event.time);
    }

    #[test]
    fn one_alone_is_told_as_it_is() {
        let (out, _) = told([call(0)], Volume::Aggregate(Seconds(60)));
        assert_eq!(out, [call(0)]);
    }

    #[test]
    fn what_deserves_attention_is_told_in_full() {
        let check = |change: fn(&mut Event)| {
            for volume in [Volume::Sampled(1_000_000), Volume::Aggregate(Seconds(60))] {
                let changed = || {
                    (0..3).map(|nth| {
                        let mut event = call(nth);
                        change(&mut event);
                        event
                    })
                };
                let (out, left_out) = told(changed(), volume);
                assert_eq!((out, left_out), (changed().collect(), 0));
            }
        };
        check(|event| event.authz.server_outcome = ServerOutcome::Denied);
        check(|event| event.authz.server_outcome = ServerOutcome::Unknown);
        check(|event| event.authz.verdict = Some(Verdict::Deny));
        check(|event| event.authz.assessment = Some(Finding::EnforcementGap));
        check(|event| event.authz.assessment = Some(Finding::PolicyDrift));
        check(|event| event.event.severity = Severity::Low);
        check(|event| event.event.r#type = EventType::ScopeCheck);
        check(|event| event.observation.complete = false);
    }

    #[test]
    fn too_many_kinds_of_calls_are_told_early_and_none_is_lost() {
        let calls = (0..5000).map(|nth| {
            let mut event = call(0);
            event.process = crate::event::shared::Shared::new(crate::event::model::Process {
                pid: nth,
                ..(*event.process).clone()
            });
            event
        });
        let (out, _) = told(calls, Volume::Aggregate(Seconds(60)));
        assert_eq!(out.len(), 5000);
    }
}

//! One call, two events: where both ends of a connection are on this host, each end tells of the
//! exchange. In: events in the order in which they were made. Out: [`Call`]s, in the order of
//! their first events. Pure; holds a bounded number of events.
//!
//! Two events belong together if they name the same addresses and the same position on the
//! connection, come from opposite ends, began within [`WINDOW`] and agree in what both saw. Ports
//! are used again, and an end that was attached late counts positions from another start: of
//! several candidates the nearest in time is taken, and disagreement rules one out.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    event::model::Event,
    http::message::Role,
};

/// Furthest apart that both ends see an exchange begin, in nanoseconds.
pub const WINDOW: u64 = 5 * NANOS_PER_SEC;
/// Most calls that wait for their other half; beyond it the oldest is given out as it is.
pub const MAX_PENDING: usize = 65_536;

/// A call, as seen from one end or both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// What the server's end saw.
    pub server: Option<Event>,
    /// What the client's end saw.
    pub client: Option<Event>,
}

impl Call {
    fn of(event: Event) -> Self {
        let mut call = Self { server: None, client: None };
        call.insert(event);
        call
    }

    fn insert(&mut self, event: Event) {
        match event.observation.role {
            Role::Server => self.server = Some(event),
            Role::Client => self.client = Some(event),
        }
    }

    /// What was seen, the server's end first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.server.iter().chain(&self.client)
    }
}

/// What both ends of an exchange have in common.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct Key {
    client: SocketAddr,
    server: SocketAddr,
    exchange: u64,
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        let (client, server) = (event.client.as_ref()?, event.server.as_ref()?);
        Some(Self {
            client: SocketAddr::new(client.ip?, client.port?),
            server: SocketAddr::new(server.ip?, server.port?),
            exchange: event.observation.exchange,
        })
    }
}

/// Pairs events as they come.
#[derive(Default)]
pub struct Pairer {
    /// Calls not yet given out, by the number of their first event.
    pending: BTreeMap<u64, Call>,
    /// Those of them that lack an end.
    halves: HashMap<Key, Vec<u64>>,
    pushed: u64,
    newest: Timestamp,
}

impl Pairer {
    /// Takes an event. Gives the calls that no later event can complete.
    pub fn push(&mut self, event: Event) -> Vec<Call> {
        self.newest = self.newest.max(event.event.observed_time.0);
        let key = Key::of(&event);
        match key.and_then(|key| self.take_half(key, &event)) {
            Some(half) => half.insert(event),
            None => self.add(key, event),
        }
        self.release()
    }

    /// Gives the calls that are left.
    #[must_use]
    pub fn finish(self) -> Vec<Call> {
        self.pending.into_values().collect()
    }

    /// The half that `event` completes, which then is none any more.
    fn take_half(&mut self, key: Key, event: &Event) -> Option<&mut Call> {
        let distance = |number: &u64| {
            let mut half = self.pending.get(number)?.events();
            half.next().filter(|half| agree(half, event)).map(|half| apart(half, event))
        };
        let candidates = self.halves.get(&key)?.iter();
        let near = candidates.filter_map(|number| Some((distance(number)?, *number)));
        let (_, number) = near.filter(|(apart, _)| *apart <= WINDOW).min()?;
        self.forget_half(key, number);
        self.pending.get_mut(&number)
    }

    fn add(&mut self, key: Option<Key>, event: Event) {
        let number = self.pushed;
        self.pushed = self.pushed.saturating_add(1);
        self.pending.insert(number, Call::of(event));
        if let Some(key) = key {
            self.halves.entry(key).or_default().push(number);
        }
    }

    fn release(&mut self) -> Vec<Call> {
        let mut released = Vec::new();
        while let Some(oldest) = self.pending.first_entry() {
            let made = oldest.get().events().map(|event| event.event.observed_time.0).max();
            let waited = self.newest.since(made.unwrap_or_default());
            if waited <= WINDOW && self.pending.len() <= MAX_PENDING {
                break;
            }
            let Some((number, call)) = self.pending.pop_first() else { break };
            if let Some(key) = call.events().next().and_then(Key::of) {
                self.forget_half(key, number);
            }
            released.push(call);
        }
        released
    }

    fn forget_half(&mut self, key: Key, number: u64) {
        if let Some(halves) = self.halves.get_mut(&key) {
            halves.retain(|each| *each != number);
            if halves.is_empty() {
                self.halves.remove(&key);
            }
        }
    }
}

fn apart(one: &Event, other: &Event) -> u64 {
    let (one, other) = (one.event.time.0, other.event.time.0);
    one.since(other).max(other.since(one))
}

/// Whether two events can tell of the same exchange: opposite ends, and nothing known to both
/// differs.
fn agree(one: &Event, other: &Event) -> bool {
    fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
        one.zip(other).is_none_or(|(one, other)| one == other)
    }
    let [a, b] = [one, other].map(|event| event.http.as_ref());
    let [fp_a, fp_b] =
        [one, other].map(|event| event.credential.as_ref().and_then(|each| each.fp.as_ref()));
    one.observation.role != other.observation.role
        && one.event.r#type == other.event.r#type
        && same(a.and_then(|http| http.method.as_ref()), b.and_then(|http| http.method.as_ref()))
        && same(a.and_then(|http| http.path.as_ref()), b.and_then(|http| http.path.as_ref()))
        && same(a.and_then(|http| http.status), b.and_then(|http| http.status))
        && same(fp_a, fp_b)
}

#[cfg(test)]
mod tests {
    use Role::{Client, Server};

    use super::*;
    use crate::event::{
        model::{EventType, Time},
        sample::{START, event, exchange},
    };

    /// An event `millis` after the start, with what tells it from others.
    fn seen(role: Role, millis: u64, index: u64, port: u16, path: &str) -> Event {
        let fields = [("authorization", "Bearer abc")];
        let mut event = event(&exchange(role, "GET", path, &fields, 200));
        let at = Time(START.plus(millis * 1_000_000));
        event.event.time = at;
        event.event.observed_time = at;
        event.observation.exchange = index;
        event.client.as_mut().unwrap().port = Some(port);
        event
    }

    /// `expected` is, for each call, when its server's and its client's end saw it.
    #[track_caller]
    fn check(events: Vec<Event>, expected: &[(Option<u64>, Option<u64>)]) {
        let mut pairer = Pairer::default();
        let mut calls: Vec<_> = events.into_iter().flat_map(|each| pairer.push(each)).collect();
        calls.extend(pairer.finish());
        let millis = |event: &Event| event.event.time.0.since(START) / 1_000_000;
        let times = calls
            .iter()
            .map(|call| (call.server.as_ref().map(millis), call.client.as_ref().map(millis)));
        assert_eq!(times.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_begin_is_paired_with_a_begin_only() {
        let begun = |mut event: Event| {
            event.event.r#type = EventType::AccessBegun;
            event
        };
        let [client, server] = [seen(Client, 0, 0, 1, "/a"), seen(Server, 1, 0, 1, "/a")];
        let events = vec![begun(client.clone()), server.clone(), begun(server), client];
        check(events, &[(Some(1), Some(0)), (Some(1), Some(0))]);
    }

    #[test]
    fn both_ends_of_an_exchange_are_one_call() {
        let [client, server] = [seen(Client, 0, 0, 1, "/a"), seen(Server, 1, 0, 1, "/a")];
        check(vec![client.clone(), server.clone()], &[(Some(1), Some(0))]);
        check(vec![server, client], &[(Some(1), Some(0))]);
    }

    #[test]
    fn exchanges_connections_and_ends_are_told_apart() {
        let client = seen(Client, 0, 0, 1, "/a");
        let apart = [(None, Some(0)), (Some(1), None)];
        check(vec![client.clone(), seen(Server, 1, 1, 1, "/a")], &apart);
        check(vec![client.clone(), seen(Server, 1, 0, 2, "/a")], &apart);
        check(vec![client.clone(), seen(Server, 1, 0, 1, "/b")], &apart);
        let again = seen(Client, 1, 0, 1, "/a");
        check(vec![client, again], &[(None, Some(0)), (None, Some(1))]);
    }

    #[test]
    fn another_token_or_status_is_another_call() {
        let client = seen(Client, 0, 0, 1, "/a");
        let apart = [(None, Some(0)), (Some(1), None)];
        let mut server = seen(Server, 1, 0, 1, "/a");
        server.http.as_mut().unwrap().status = Some(500);
        check(vec![client.clone(), server], &apart);
        let mut server = seen(Server, 1, 0, 1, "/a");
        server.credential.as_mut().unwrap().fp = Some("other".to_owned());
        check(vec![client.clone(), server], &apart);
        // What one end did not see does not tell them apart.
        let mut server = seen(Server, 1, 0, 1, "/a");
        server.http = None;
        check(vec![client, server], &[(Some(1), Some(0))]);
    }

    #[test]
    fn a_port_that_is_used_again_pairs_with_the_nearest() {
        check(
            vec![
                seen(Client, 0, 0, 1, "/a"),
                seen(Client, 3000, 0, 1, "/a"),
                seen(Server, 3001, 0, 1, "/a"),
                seen(Server, 1, 0, 1, "/a"),
            ],
            &[(Some(1), Some(0)), (Some(3001), Some(3000))],
        );
        check(
            vec![seen(Client, 0, 0, 1, "/a"), seen(Server, 5001, 0, 1, "/a")],
            &[(None, Some(0)), (Some(5001), None)],
        );
    }

    #[test]
    fn without_addresses_nothing_is_paired() {
        let mut server = seen(Server, 1, 0, 1, "/a");
        server.server.as_mut().unwrap().ip = None;
        check(vec![seen(Client, 0, 0, 1, "/a"), server], &[(None, Some(0)), (Some(1), None)]);
    }

    #[test]
    fn what_waits_is_bounded_by_time_and_number() {
        let mut pairer = Pairer::default();
        assert!(pairer.push(seen(Client, 0, 0, 1, "/a")).is_empty());
        assert_eq!(pairer.push(seen(Client, 5001, 1, 1, "/a")).len(), 1);
        assert_eq!((pairer.pending.len(), pairer.halves.len()), (1, 1));
        let template = seen(Client, 5001, 1, 1, "/a");
        for _ in 0..MAX_PENDING + 5 {
            pairer.push(Event { client: None, ..template.clone() });
        }
        assert_eq!((pairer.pending.len(), pairer.halves.len()), (MAX_PENDING, 0));
    }
}

//! Tests of whole connections. A [`Session`] is what was on the wire, what probes would have shown
//! and what the ends said; [`play`] feeds it to a connection in any order a test wants.

pub(crate) mod corpus;
mod loss;
pub(crate) mod pairs;
mod properties;
mod records;
mod secrets;

use super::{
    certificate::Certificate,
    open::Connection,
    output::{Negotiated, Offer, Output, SessionName, Side},
    pool::SecretPool,
    secret::{Digest, Label, Origin, Secret, SecretHit, Shown},
};
use crate::{clock::Timestamp, flow::chunk::Direction};

/// One recorded connection, observed at its client.
#[derive(Clone, Default)]
pub(crate) struct Session {
    pub flow: Vec<(Direction, Vec<u8>)>,
    pub hits: Vec<SecretHit>,
    /// What the client and the server said.
    pub client: Vec<u8>,
    pub server: Vec<u8>,
}

/// What came out of a connection.
#[derive(Default)]
struct Seen {
    client: Vec<u8>,
    server: Vec<u8>,
    offers: Vec<Offer>,
    negotiated: Vec<Negotiated>,
    certificates: Vec<(Side, Certificate)>,
    /// What was told of the client having no certificate.
    uncertified: Vec<bool>,
    /// Names of sessions that can be resumed, and of those that were.
    resumable: Vec<SessionName>,
    resumed: Vec<SessionName>,
    gaps: Vec<(Direction, Option<u64>)>,
    skipped: u64,
    closed: Vec<(Direction, bool)>,
}

impl Seen {
    fn drain(&mut self, connection: &mut Connection) {
        while let Some(output) = connection.next_output() {
            match output {
                Output::Offered(offer) => self.offers.push(*offer),
                Output::Negotiated(negotiated) => self.negotiated.push(negotiated),
                Output::Certificate { sender, certificate } => {
                    self.certificates.push((sender, *certificate));
                }
                Output::Uncertified(known) => self.uncertified.push(known),
                Output::Resumable { name, .. } => self.resumable.push(name),
                Output::Resumed(name) => self.resumed.push(name),
                Output::Data { direction, bytes, .. } => match direction {
                    Direction::Outbound => self.client.extend_from_slice(&bytes),
                    Direction::Inbound => self.server.extend_from_slice(&bytes),
                },
                Output::Skipped { bytes, .. } => self.skipped += bytes,
                Output::Gap { direction, at_most, .. } => self.gaps.push((direction, at_most)),
                Output::Alert { .. } => {}
                Output::Closed { direction, clean, .. } => self.closed.push((direction, clean)),
            }
        }
    }
}

/// Ends both directions.
fn end(connection: &mut Connection) {
    for direction in [Direction::Inbound, Direction::Outbound] {
        connection.end(direction, Timestamp(2));
    }
}

/// Feeds a session whose secrets are in the pool from the start.
fn play(session: &Session) -> (Connection, Seen) {
    let mut pool = SecretPool::new();
    session.hits.iter().for_each(|hit| pool.insert(hit.clone()));
    let (mut connection, mut seen) = (Connection::new(), Seen::default());
    for (at, (direction, bytes)) in (1..).zip(&session.flow) {
        connection.feed(*direction, Timestamp(at), bytes);
        connection.resolve(&pool);
        seen.drain(&mut connection);
    }
    end(&mut connection);
    seen.drain(&mut connection);
    (connection, seen)
}

/// Plays a session and compares what came out with what the ends said.
fn check(session: &Session) -> Seen {
    let (connection, seen) = play(session);
    assert_eq!(show(&seen.client), show(&session.client), "{:?}", connection.state());
    assert_eq!(show(&seen.server), show(&session.server), "{:?}", connection.state());
    assert_eq!(seen.gaps, []);
    assert_eq!(connection.held(), 0);
    seen
}

/// Bytes as a failing test should print them.
fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cut: String = text.chars().take(400).collect();
    format!("{} bytes: {}", bytes.len(), cut.escape_debug())
}

fn origin(pid: u32) -> Origin {
    Origin { pid, tid: pid, cgroup: 0, netns: 0 }
}

fn hit(shown: Shown) -> SecretHit {
    SecretHit { at: Timestamp(0), origin: origin(1), shown }
}

/// Reads a session from its text: one word and its hexadecimal arguments per line.
pub(crate) fn session(text: &str) -> Session {
    let mut session = Session::default();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["client", bytes] => session.flow.push((Direction::Outbound, unhex(bytes))),
            ["server", bytes] => session.flow.push((Direction::Inbound, unhex(bytes))),
            ["expect", "client", bytes] => session.client = unhex(bytes),
            ["expect", "server", bytes] => session.server = unhex(bytes),
            ["derive", label, parent, transcript] => {
                session.hits.push(hit(derivation(label, &unhex(parent), &unhex(transcript))));
            }
            ["keylog", label, random, secret] => {
                session.hits.extend(key_log(label, &unhex(random), &unhex(secret)).map(hit));
            }
            _ => panic!("cannot read {line}"),
        }
    }
    session
}

fn derivation(label: &str, parent: &[u8], transcript: &[u8]) -> Shown {
    Shown::Derivation {
        label: Label::from_derivation(label.replace('_', " ").as_bytes()).unwrap(),
        parent: Secret::new(parent).unwrap(),
        transcript: Digest::new(transcript),
    }
}

/// One line of a key log; labels that open nothing are left out.
fn key_log(label: &str, random: &[u8], secret: &[u8]) -> Option<Shown> {
    let (random, secret) = (random.try_into().unwrap(), Secret::new(secret).unwrap());
    if label == "CLIENT_RANDOM" {
        return Some(Shown::Master { master: secret, client_random: random, server_random: None });
    }
    let label = Label::from_key_log(label.as_bytes())?;
    Some(Shown::Traffic { label, secret, client_random: Some(random) })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

//! Whole connections, from frames that are made here by hand.

mod anomalies;
mod connection;
mod differential;
mod frames;
mod limits;
mod loss;
mod properties;

use super::{Connection, detect::PREFACE};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction::{self, Inbound, Outbound},
    http::{
        anomaly::Anomalies,
        message::{Exchange, Fields},
    },
};

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The client's direction: the observed process is a client in these tests unless stated.
const CLIENT: Direction = Outbound;
const SERVER: Direction = Inbound;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literals that touch no table. Values are short.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for string in [name, value] {
            block.push(u8::try_from(string.len()).ok().filter(|len| *len < 127).unwrap());
            block.extend(string.as_bytes());
        }
    }
    block
}

fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, flags | END_HEADERS, stream, &block(fields))
}

fn data(stream: u32, flags: u8, len: usize) -> Vec<u8> {
    frame(0, flags, stream, &vec![b'x'; len])
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", "a")];
    headers(stream, END_STREAM, &fields)
}

fn ok(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, &[(":status", "200")])
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// What both ends send first.
fn opening() -> Vec<(Direction, Vec<u8>)> {
    vec![(CLIENT, [PREFACE.as_slice(), &settings()].concat()), (SERVER, settings())]
}

/// A connection and what came of it.
#[derive(Default)]
struct Wire {
    connection: Connection,
    out: Vec<Exchange>,
}

impl Wire {
    /// A connection that is seen from its start.
    fn open() -> Self {
        let mut wire = Self::default();
        for (direction, bytes) in opening() {
            wire.feed(direction, &bytes);
        }
        wire
    }

    fn feed(&mut self, direction: Direction, bytes: &[u8]) {
        self.connection.feed(direction, Timestamp(7), bytes, &mut self.out);
        assert!(self.connection.buffered() <= super::BUFFERED_MAX);
    }

    fn gap(&mut self, direction: Direction, len: u64) {
        self.connection.gap(direction, Timestamp(7), len, &mut self.out);
    }

    fn finish(&mut self) {
        self.connection.finish(Timestamp(7), &mut self.out);
    }

    /// Takes the exchanges so far, one line each.
    fn lines(&mut self) -> Vec<String> {
        self.out.drain(..).map(|exchange| line(&exchange)).collect()
    }
}

/// `index: METHOD target +body -> status +body [notes] [anomalies] [resp:anomalies]`
fn line(exchange: &Exchange) -> String {
    let request = exchange.request.as_ref().map_or_else(
        || "?".to_owned(),
        |it| format!("{} {} +{}", it.method, it.target.as_str(), it.body_bytes),
    );
    let response = exchange
        .response
        .as_ref()
        .map_or_else(|| "?".to_owned(), |it| format!("{} +{}", it.status, it.body_bytes));
    let Anomalies { request: asked, response: told } = exchange.anomalies;
    let notes = exchange.notes.iter().map(|note| format!(" {}", note.as_str()));
    let asked = asked.iter().map(|anomaly| format!(" {anomaly}"));
    let told = told.iter().map(|anomaly| format!(" resp:{anomaly}"));
    let notes: Vec<_> = notes.chain(asked).chain(told).collect();
    format!("{}: {request} -> {response}{}", exchange.index, notes.concat())
}

fn texts(fields: &Fields) -> Vec<String> {
    let text = |octets| String::from_utf8_lossy(octets).into_owned();
    fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
}

/// Feeds a connection that is seen from its start, and compares what comes of it.
fn check(script: &[(Direction, Vec<u8>)], expected: &[&str]) {
    let mut wire = Wire::open();
    for (direction, bytes) in script {
        wire.feed(*direction, bytes);
    }
    wire.finish();
    assert_eq!(wire.lines(), expected);
    assert_eq!(wire.connection.counters(), super::Counters::default());
}

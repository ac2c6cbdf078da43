//! Valid HTTP/2 connections (RFC 9113): interleaved streams, padding, CONTINUATION, trailers,
//! dynamic tables that fill, shrink and evict (RFC 7541), and the frames that carry no message.

use std::collections::VecDeque;

use super::{Dice, End, Talk};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// Size of a dynamic table before anyone changes it (RFC 9113 §6.5.2).
const TABLE_SIZE: usize = 4096;

/// A message of one stream that is still to be sent.
struct Side {
    end: End,
    /// Header list, or trailers after the body.
    blocks: VecDeque<Vec<(String, String)>>,
    body: usize,
    is_begun: bool,
}

struct Stream {
    id: u32,
    sides: [Side; 2],
}

/// A connection of one to eight streams.
#[must_use]
pub fn talk(dice: &mut Dice) -> Talk {
    let mut talk = Talk { is_plain: true, ..Talk::default() };
    open(&mut talk);
    talk.requests = dice.below(8).saturating_add(1);
    let ids = (1_u32..).step_by(2).take(talk.requests);
    let mut streams: Vec<Stream> = ids.map(|id| stream(dice, id)).collect();
    let mut encoders = [Encoder::new(), Encoder::new()];
    // Streams begin in order; what follows is mixed.
    let mut begun = 0_usize;
    loop {
        let busy: Vec<usize> = (0..begun).filter(|nth| is_busy(&streams, *nth)).collect();
        if begun < streams.len() && (busy.is_empty() || dice.one_in(3)) {
            begun = begun.saturating_add(1);
            step(dice, &mut talk, &mut streams, begun.saturating_sub(1), 0, &mut encoders);
            continue;
        }
        let Some(&nth) = busy.get(dice.below(busy.len())) else { break };
        let server = dice.below(2);
        step(dice, &mut talk, &mut streams, nth, server, &mut encoders);
        if dice.one_in(6) {
            aside(dice, &mut talk, nth, &streams);
        }
    }
    if dice.one_in(4) {
        talk.say(End::Server, frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
    }
    talk
}

/// What both ends say first.
pub(super) fn open(talk: &mut Talk) {
    talk.say(End::Client, [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    talk.say(End::Server, frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
    talk.say(End::Client, frame(SETTINGS, ACK, 0, &[]));
}

fn is_busy(streams: &[Stream], nth: usize) -> bool {
    let has_more = |side: &Side| !side.blocks.is_empty() || side.body > 0;
    streams.get(nth).is_some_and(|stream| stream.sides.iter().any(has_more))
}

fn stream(dice: &mut Dice, id: u32) -> Stream {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut request = vec![
        field(":method", dice.pick(&["GET", "POST", "DELETE"]).unwrap_or("GET")),
        field(":scheme", "https"),
        field(":authority", "www.example.com"),
        field(":path", &format!("/api/{}", dice.byte())),
        field("authorization", dice.pick(&["Bearer a.b.c", "Bearer opaque"]).unwrap_or("x")),
    ];
    let mut response = vec![field(":status", dice.pick(&["200", "404", "500"]).unwrap_or("200"))];
    for nth in 0..dice.below(5) {
        let long = "v".repeat(dice.below(if nth == 4 { 2000 } else { 50 }));
        request.push(field(&format!("x-field-{nth}"), &long));
        response.push(field("custom-key", &long));
    }
    let mut side = |end, first: Vec<(String, String)>| {
        let mut blocks = VecDeque::from([first]);
        if dice.one_in(4) {
            blocks.push_back(vec![field("grpc-status", "0")]);
        }
        let body = if dice.one_in(2) { dice.below(20_000) } else { 0 };
        Side { end, blocks, body, is_begun: false }
    };
    Stream { id, sides: [side(End::Client, request), side(End::Server, response)] }
}

/// Sends the next part of a message: of the other one where this is complete.
fn step(
    dice: &mut Dice,
    talk: &mut Talk,
    streams: &mut [Stream],
    nth: usize,
    wanted: usize,
    encoders: &mut [Encoder; 2],
) {
    let Some(Stream { id, sides }) = streams.get_mut(nth) else { return };
    let has_more = |side: &Side| !side.blocks.is_empty() || side.body > 0;
    let [client, server] = sides;
    let answers = (wanted == 1 || !has_more(client)) && has_more(server);
    let [to_server, to_client] = encoders;
    let (side, encoder) = if answers { (server, to_client) } else { (client, to_server) };
    if side.is_begun && side.body > 0 {
        let len = dice.below(side.body.min(16_000)).saturating_add(1);
        side.body = side.body.saturating_sub(len);
        let flags = if side.body == 0 && side.blocks.is_empty() { END_STREAM } else { 0 };
        talk.say(side.end, padded(dice, DATA, flags, *id, &vec![b'd'; len]));
        return;
    }
    let Some(fields) = side.blocks.pop_front() else { return };
    side.is_begun = true;
    let flags = if side.body == 0 && side.blocks.is_empty() { END_STREAM } else { 0 };
    let block = encoder.encode(dice, &fields);
    talk.say(side.end, headers(dice, flags, *id, &block));
}

/// Something that belongs to no message.
fn aside(dice: &mut Dice, talk: &mut Talk, nth: usize, streams: &[Stream]) {
    let end = if dice.below(2) == 0 { End::Client } else { End::Server };
    let id = streams.get(nth).map_or(1, |stream| stream.id);
    let kind = dice.below(16);
    let bytes = match kind {
        0 => frame(PING, 0, 0, &[1; 8]),
        1 => frame(WINDOW_UPDATE, 0, id, &[0, 0, 1, 0]),
        2 => frame(PRIORITY, 0, id, &[0, 0, 0, 0, 16]),
        3 => frame(0xee, 0xff, id, b"unknown"),
        4 => frame(RST_STREAM, 0, id, &[0, 0, 0, 8]),
        // A promised GET of https and /, by the static table.
        5 => frame(PUSH_PROMISE, END_HEADERS, id, &[0, 0, 0, 2, 0x82, 0x87, 0x84]),
        6 => frame(SETTINGS, ACK, 0, &[]),
        _ => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
    };
    talk.is_plain &= kind != 4 && kind != 5;
    talk.say(end, bytes);
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = len.get(1..).unwrap_or_default().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn padded(dice: &mut Dice, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    if !dice.one_in(4) {
        return frame(kind, flags, stream, payload);
    }
    let padding = dice.byte();
    let mut content = vec![padding];
    content.extend_from_slice(payload);
    content.extend(vec![0; padding.into()]);
    frame(kind, flags | PADDED, stream, &content)
}

/// A header block in HEADERS and any number of CONTINUATIONs.
fn headers(dice: &mut Dice, flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let cuts = if dice.one_in(4) { dice.below(4).saturating_add(1) } else { 0 };
    let first = if cuts == 0 { block.len() } else { dice.below(block.len()) };
    let (head, mut rest) = block.split_at(first);
    let mut flags = if cuts == 0 { flags | END_HEADERS } else { flags };
    let mut content = head.to_vec();
    if dice.one_in(6) {
        flags |= WITH_PRIORITY;
        content.splice(0..0, [0, 0, 0, 0, 15]);
    }
    let mut frames = padded(dice, HEADERS, flags, stream, &content);
    for left in (0..cuts).rev() {
        let len = if left == 0 { rest.len() } else { dice.below(rest.len().saturating_add(1)) };
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        let flags = if left == 0 { END_HEADERS } else { 0 };
        frames.extend(frame(CONTINUATION, flags, stream, piece));
    }
    frames
}

/// One direction's compression.
struct Encoder {
    /// Newest first.
    table: VecDeque<(String, String)>,
    limit: usize,
}

impl Encoder {
    const fn new() -> Self {
        Self { table: VecDeque::new(), limit: TABLE_SIZE }
    }

    fn encode(&mut self, dice: &mut Dice, fields: &[(String, String)]) -> Vec<u8> {
        let mut block = Vec::new();
        if dice.one_in(10) {
            self.limit = dice.below(TABLE_SIZE.saturating_add(1));
            integer(&mut block, 0x20, 5, self.limit);
            self.evict();
        }
        for (name, value) in fields {
            self.field(dice, name, value, &mut block);
        }
        block
    }

    fn field(&mut self, dice: &mut Dice, name: &str, value: &str, block: &mut Vec<u8>) {
        let known = self.table.iter().position(|(n, v)| n == name && v == value);
        if let Some(slot) = known {
            return integer(block, 0x80, 7, slot.saturating_add(62));
        }
        // The static table's entries that occur here (RFC 7541, appendix A).
        let whole = match (name, value) {
            (":method", "GET") => 2,
            (":method", "POST") => 3,
            (":scheme", "https") => 7,
            (":status", "200") => 8,
            (":status", "404") => 13,
            (":status", "500") => 14,
            _ => 0,
        };
        if whole > 0 {
            return integer(block, 0x80, 7, whole);
        }
        let (mark, prefix) = match dice.below(4) {
            0 => (0x00, 4),
            1 => (0x10, 4),
            _ => (0x40, 6),
        };
        let index = match name {
            ":authority" => 1,
            ":path" => 4,
            "authorization" => 23,
            _ => {
                let slot = self.table.iter().position(|(n, _)| n == name);
                slot.map_or(0, |slot| slot.saturating_add(62))
            }
        };
        integer(block, mark, prefix, index);
        if index == 0 {
            text(block, name);
        }
        text(block, value);
        if mark == 0x40 {
            self.table.push_front((name.to_owned(), value.to_owned()));
            self.evict();
        }
    }

    /// RFC 7541 §4.
    fn evict(&mut self) {
        let size = |(name, value): &(String, String)| {
            name.len().saturating_add(value.len()).saturating_add(32)
        };
        while self.table.iter().map(size).sum::<usize>() > self.limit {
            self.table.pop_back();
        }
    }
}

/// RFC 7541 §5.1.
pub(super) fn integer(block: &mut Vec<u8>, mark: u8, prefix: u32, value: usize) {
    let most = (1_usize << prefix).saturating_sub(1);
    let low = |value: usize| value.to_le_bytes()[0];
    if value < most {
        return block.push(mark | low(value));
    }
    block.push(mark | low(most));
    let mut rest = value.saturating_sub(most);
    while rest >= 0x80 {
        block.push(low(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low(rest));
}

/// RFC 7541 §5.2. Some texts are Huffman-coded, as appendix C has them.
fn text(block: &mut Vec<u8>, text: &str) {
    let coded: Option<&[u8]> = match text {
        "www.example.com" => Some(b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
        "custom-key" => Some(b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f"),
        _ => None,
    };
    let (mark, octets) = coded.map_or((0, text.as_bytes()), |octets| (0x80, octets));
    integer(block, mark, 7, octets.len());
    block.extend_from_slice(octets);
}

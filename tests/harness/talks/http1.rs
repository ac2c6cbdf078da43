//! Valid HTTP/1.1 connections (RFC 9112): bodies with a length, chunked and until close, trailers,
//! interim answers, pipelining, upgrades and tunnels.

use super::{Dice, End, Talk};

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSIsInNjb3BlIjoib3JkZXJzOnJlYWQifQ.c2ln";

/// A connection of one to six exchanges.
#[must_use]
pub fn talk(dice: &mut Dice) -> Talk {
    let mut talk = Talk { is_plain: true, ..Talk::default() };
    let count = dice.below(6).saturating_add(1);
    let ending = dice.below(8);
    while talk.requests < count {
        let batch = dice.below(count.saturating_sub(talk.requests)).saturating_add(1);
        // Only the last one may change the protocol or leave its length open.
        let asked: Vec<Asked> = (1..=batch)
            .map(|nth| {
                let is_last = talk.requests.saturating_add(nth) == count;
                request(dice, &mut talk, if is_last { ending } else { 7 })
            })
            .collect();
        talk.requests = talk.requests.saturating_add(batch);
        for asked in asked {
            respond(dice, &mut talk, asked);
        }
    }
    talk
}

/// What was asked, as far as the answer depends on it.
#[derive(Clone, Copy)]
enum Asked {
    Usual,
    Head,
    UntilClose,
    Upgrade,
    Connect,
}

fn request(dice: &mut Dice, talk: &mut Talk, ending: usize) -> Asked {
    let asked = match ending {
        0 => Asked::UntilClose,
        1 => Asked::Upgrade,
        2 => Asked::Connect,
        _ if dice.one_in(6) => Asked::Head,
        _ => Asked::Usual,
    };
    let has_body = dice.one_in(3) && matches!(asked, Asked::Usual | Asked::UntilClose);
    let method = match asked {
        Asked::Head => "HEAD",
        Asked::Connect => "CONNECT",
        Asked::Upgrade => "GET",
        Asked::Usual | Asked::UntilClose if has_body => {
            dice.pick(&["POST", "PUT", "PATCH"]).unwrap_or("POST")
        }
        Asked::Usual | Asked::UntilClose => {
            dice.pick(&["GET", "DELETE", "OPTIONS"]).unwrap_or("GET")
        }
    };
    let target = match asked {
        Asked::Connect => "api.test:443".to_owned(),
        _ if dice.one_in(8) => format!("http://api.test/absolute/{}", dice.byte()),
        _ => format!("/api/orders/{}?page={}", dice.byte(), dice.byte()),
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: api.test\r\n");
    if !dice.one_in(4) {
        head.push_str(&format!("Authorization: Bearer {TOKEN}\r\n"));
    }
    for nth in 0..dice.below(6) {
        head.push_str(&format!("X-Field-{nth}: {}\r\n", "v".repeat(dice.below(40))));
    }
    if matches!(asked, Asked::Upgrade) {
        head.push_str("Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    let body = if has_body { framed(dice, &mut head) } else { Vec::new() };
    finish(talk, End::Client, head, body);
    asked
}

fn respond(dice: &mut Dice, talk: &mut Talk, asked: Asked) {
    if dice.one_in(8) {
        talk.say(End::Server, b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
    }
    match asked {
        Asked::Upgrade => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\n"
                .to_owned();
            finish(talk, End::Server, head, dice_frames(dice));
            talk.is_plain = false;
        }
        Asked::Connect => {
            finish(talk, End::Server, "HTTP/1.1 200 OK\r\n".to_owned(), dice_frames(dice));
            talk.is_plain = false;
        }
        Asked::UntilClose => {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n".to_owned();
            let len = dice.below(300);
            finish(talk, End::Server, head, dice.bytes(len));
            talk.pieces.push(super::Piece::Close(End::Server));
        }
        Asked::Head => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n".to_owned();
            finish(talk, End::Server, head, Vec::new());
        }
        Asked::Usual => {
            let statuses = ["200 OK", "201 Created", "401 Unauthorized", "404 Not Found", "204 x"];
            let status = dice.pick(&statuses).unwrap_or("200 OK");
            let mut head = format!("HTTP/1.1 {status}\r\nServer: test\r\n");
            let body = if status.starts_with("204") { Vec::new() } else { framed(dice, &mut head) };
            finish(talk, End::Server, head, body);
        }
    }
}

fn finish(talk: &mut Talk, end: End, mut head: String, body: Vec<u8>) {
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(body);
    talk.say(end, bytes);
}

/// What another protocol would say.
fn dice_frames(dice: &mut Dice) -> Vec<u8> {
    let len = dice.below(100);
    dice.bytes(len)
}

/// A body, with the fields that frame it appended to `head`.
fn framed(dice: &mut Dice, head: &mut String) -> Vec<u8> {
    let len = if dice.one_in(16) { dice.below(40_000) } else { dice.below(200) };
    // Long bodies need no chance of their own.
    let content = if len > 200 { vec![b'x'; len] } else { dice.bytes(len) };
    if dice.below(2) == 0 {
        head.push_str(&format!("Content-Length: {len}\r\n"));
        return content;
    }
    head.push_str("Transfer-Encoding: chunked\r\n");
    let mut body = Vec::new();
    let mut rest = content.as_slice();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(dice.below(rest.len()).saturating_add(1));
        let extension = if dice.one_in(6) { ";name=\"value\"" } else { "" };
        body.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
        rest = behind;
    }
    let trailer = if dice.one_in(4) { "Digest: none\r\n" } else { "" };
    body.extend(format!("0\r\n{trailer}\r\n").into_bytes());
    body
}

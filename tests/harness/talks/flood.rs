//! Connections that try to make an observer pile up: more of everything than anyone sends.

use super::{Dice, End, Talk, http2};

/// Streams, requests and frames of a flood.
const MANY: u32 = 2_000;

/// A flood. Nothing is promised about what can be read of it.
#[must_use]
pub fn talk(dice: &mut Dice) -> Talk {
    let mut talk = Talk { requests: 1, ..Talk::default() };
    let size = dice.below(4_000);
    let choice = dice.below(10);
    match choice {
        0 => endless_field(&mut talk, size),
        1 => pipeline(&mut talk, size),
        2 => chunk_extensions(&mut talk, size),
        _ => {
            http2::open(&mut talk);
            match choice {
                3 => open_streams(&mut talk, size, false),
                4 => open_streams(&mut talk, size, true),
                5 => continuations(&mut talk, size),
                6 => table(&mut talk, size),
                7 => bomb(&mut talk, size),
                8 => size_updates(&mut talk, size),
                _ => tall_frames(&mut talk),
            }
        }
    }
    talk
}

fn endless_field(talk: &mut Talk, size: usize) {
    talk.say(End::Client, b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec());
    talk.say(End::Server, b"HTTP/1.1 200 OK\r\nX: ".to_vec());
    for _ in 0..100 {
        talk.say(End::Client, vec![b'x'; size]);
        talk.say(End::Server, vec![b'y'; size]);
    }
}

fn pipeline(talk: &mut Talk, size: usize) {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(size));
    (0..MANY / 4).for_each(|_| talk.say(End::Client, head.clone().into_bytes()));
}

fn chunk_extensions(talk: &mut Talk, size: usize) {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;";
    talk.say(End::Client, head.to_vec());
    (0..100).for_each(|_| talk.say(End::Client, vec![b'e'; size]));
    talk.say(End::Client, b"\r\nx\r\n0\r\n".to_vec());
    (0..100).for_each(|_| talk.say(End::Client, [&vec![b't'; size][..], b": v\r\n"].concat()));
}

/// A literal field that is not indexed, `x` with a value of `size` octets.
fn field(size: usize) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0, 1, b'x'];
    http2::integer(&mut block, 0, 7, size);
    block.extend(vec![b'v'; size]);
    block
}

fn open_streams(talk: &mut Talk, size: usize, reset: bool) {
    let block = field(size);
    for id in (1_u32..).step_by(2).take(usize::try_from(MANY).unwrap_or(0)) {
        talk.say(End::Client, http2::frame(http2::HEADERS, http2::END_HEADERS, id, &block));
        if reset {
            talk.say(End::Client, http2::frame(http2::RST_STREAM, 0, id, &[0, 0, 0, 8]));
        }
    }
}

fn continuations(talk: &mut Talk, size: usize) {
    for end in [End::Client, End::Server] {
        talk.say(end, http2::frame(http2::HEADERS, 0, 1, &field(size)));
        for _ in 0..200 {
            talk.say(end, http2::frame(http2::CONTINUATION, 0, 1, &field(size)));
        }
    }
}

/// Tables that are to be 16 MiB large, and filled.
fn table(talk: &mut Talk, size: usize) {
    let settings = http2::frame(http2::SETTINGS, 0, 0, &[0, 1, 1, 0, 0, 0]);
    for end in [End::Client, End::Server] {
        talk.say(end.other(), settings.clone());
        for id in (1_u32..).step_by(2).take(200) {
            let mut block = Vec::new();
            if id == 1 {
                http2::integer(&mut block, 0x20, 5, 1 << 24);
            }
            block.extend([0x82, 0x40, 1, b'x']);
            http2::integer(&mut block, 0, 7, size);
            block.extend(vec![b'v'; size]);
            talk.say(end, http2::frame(http2::HEADERS, http2::END_HEADERS, id, &block));
        }
    }
}

/// Long header blocks that say little.
fn size_updates(talk: &mut Talk, size: usize) {
    let block = [&vec![0x20; size][..], &[0x82, 0x87, 0x84]].concat();
    for id in (1_u32..).step_by(2).take(usize::try_from(MANY).unwrap_or(0)) {
        talk.say(End::Client, http2::frame(http2::HEADERS, http2::END_HEADERS, id, &block));
    }
}

/// One long field in the table, named by single octets ever after.
fn bomb(talk: &mut Talk, size: usize) {
    let mut block = vec![0x40, 1, b'x'];
    http2::integer(&mut block, 0, 7, size);
    block.extend(vec![b'v'; size]);
    block.extend(vec![0xbe; 16_000]);
    for id in (1_u32..).step_by(2).take(50) {
        talk.say(End::Client, http2::frame(http2::HEADERS, http2::END_HEADERS, id, &block));
        block = vec![0xbe; 16_000];
    }
}

/// Frames that announce far more than comes.
fn tall_frames(talk: &mut Talk) {
    for end in [End::Client, End::Server] {
        talk.say(end, vec![0xff, 0xff, 0xff, http2::HEADERS, http2::END_HEADERS, 0, 0, 0, 1]);
        (0..100).for_each(|_| talk.say(end, vec![0x82; 10_000]));
    }
}

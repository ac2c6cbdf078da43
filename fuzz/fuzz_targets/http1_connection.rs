//! An HTTP/1.x connection under arbitrary bytes, gaps and ends: it must not panic, and must hold
//! no more than it says.
//!
//! Input: commands, each one byte. Its low bit is the direction, the next two what happens, and
//! the high five bits a length: of the bytes that follow (times eight), or of a gap.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scopewatch::{
    clock::Timestamp,
    flow::chunk::Direction,
    http1::{Connection, MAX_BUFFERED},
};

fuzz_target!(|input: &[u8]| {
    let mut connection = Connection::new();
    let mut out = Vec::new();
    let mut rest = input;
    while let Some((command, following)) = rest.split_first() {
        rest = following;
        let direction = if command & 1 == 0 { Direction::Outbound } else { Direction::Inbound };
        let len = usize::from(command >> 3);
        match command >> 1 & 0b11 {
            0 | 1 => {
                let (bytes, following) = rest.split_at(rest.len().min(len * 8));
                rest = following;
                connection.feed(direction, Timestamp(0), bytes, &mut out);
            }
            2 => connection.gap(direction, Timestamp(0), len as u64, &mut out),
            _ if len == 0 => connection.end(direction, Timestamp(0), &mut out),
            _ => connection.gap(direction, Timestamp(0), u64::MAX, &mut out),
        }
        assert!(connection.buffered() <= MAX_BUFFERED);
    }
    connection.finish(Timestamp(0), &mut out);
    assert_eq!(connection.buffered(), 0);
});

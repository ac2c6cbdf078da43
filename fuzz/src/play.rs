//! Connections as commands, and codecs that must not care how bytes were cut.

use scopewatch::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{detect, message::Exchange},
    http1, http2,
};

/// Something that happens in one direction.
#[derive(Clone)]
pub enum Step {
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64),
    End(Direction),
}

/// Commands, each one byte: its low bit is the direction, the next two what happens, and the high
/// five bits a length, of the bytes that follow (times eight) or of a gap.
pub fn steps(input: &[u8]) -> Vec<Step> {
    let (mut steps, mut rest) = (Vec::new(), input);
    while let Some((command, following)) = rest.split_first() {
        rest = following;
        let direction = if command & 1 == 0 { Direction::Outbound } else { Direction::Inbound };
        let len = usize::from(command >> 3);
        steps.push(match command >> 1 & 0b11 {
            0 | 1 => {
                let (bytes, following) = rest.split_at(rest.len().min(len * 8));
                rest = following;
                Step::Bytes(direction, bytes.to_vec())
            }
            2 => Step::Gap(direction, len as u64),
            _ if len == 0 => Step::End(direction),
            _ => Step::Gap(direction, u64::MAX),
        });
    }
    steps
}

/// The commands that feed `bytes` in turn.
pub fn commands(pieces: &[(Direction, &[u8])]) -> Vec<u8> {
    let mut input = Vec::new();
    for (direction, bytes) in pieces {
        for chunk in bytes.chunks(31 * 8) {
            let low = u8::from(*direction == Direction::Inbound);
            // A length that is no multiple of eight would take what follows: fill with the rest.
            let mut chunk = chunk;
            while chunk.len() >= 8 {
                let len = chunk.len() / 8;
                input.push(low | (len as u8) << 3);
                input.extend_from_slice(&chunk[..len * 8]);
                chunk = &chunk[len * 8..];
            }
            if !chunk.is_empty() {
                input.push(low | 1 << 3);
                input.extend_from_slice(chunk);
                input.resize(input.len() + 8 - chunk.len(), b'\n');
            }
        }
    }
    input
}

/// A codec.
pub trait Codec: Default {
    const HELD_MAX: usize;
    fn feed(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<Exchange>);
    fn gap(&mut self, direction: Direction, len: u64, out: &mut Vec<Exchange>);
    fn end(&mut self, direction: Direction, out: &mut Vec<Exchange>);
    fn finish(&mut self, out: &mut Vec<Exchange>);
    fn buffered(&self) -> usize;
}

macro_rules! codec {
    ($type:ty, $held_max:expr) => {
        impl Codec for $type {
            const HELD_MAX: usize = $held_max;
            fn feed(&mut self, direction: Direction, bytes: &[u8], out: &mut Vec<Exchange>) {
                self.feed(direction, Timestamp(0), bytes, out);
            }
            fn gap(&mut self, direction: Direction, len: u64, out: &mut Vec<Exchange>) {
                self.gap(direction, Timestamp(0), len, out);
            }
            fn end(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
                self.end(direction, Timestamp(0), out);
            }
            fn finish(&mut self, out: &mut Vec<Exchange>) {
                self.finish(Timestamp(0), out);
            }
            fn buffered(&self) -> usize {
                self.buffered()
            }
        }
    };
}

codec!(http1::Connection, http1::MAX_BUFFERED);
codec!(http2::Connection, http2::BUFFERED_MAX);
codec!(
    detect::Codec,
    if http1::MAX_BUFFERED > http2::BUFFERED_MAX {
        http1::MAX_BUFFERED
    } else {
        http2::BUFFERED_MAX
    }
);

/// Plays the steps, each piece of bytes cut into pieces of `cut`.
pub fn play<C: Codec>(steps: &[Step], cut: usize) -> Vec<Exchange> {
    let (mut codec, mut out) = (C::default(), Vec::new());
    let mut fed = 0;
    for step in steps {
        match step {
            Step::Bytes(direction, bytes) => {
                fed += bytes.len();
                for piece in bytes.chunks(cut) {
                    codec.feed(*direction, piece, &mut out);
                    assert!(codec.buffered() <= C::HELD_MAX);
                }
            }
            Step::Gap(direction, len) => codec.gap(*direction, *len, &mut out),
            Step::End(direction) => codec.end(*direction, &mut out),
        }
        assert!(codec.buffered() <= C::HELD_MAX);
    }
    codec.finish(&mut out);
    assert!(out.len() <= fed / 10 + steps.len() + 1, "{} exchanges of {fed} bytes", out.len());
    out
}

/// Plays the steps as they are, byte by byte, and with neighbours joined: all must say the same.
pub fn check<C: Codec>(steps: &[Step]) -> Vec<Exchange> {
    let whole = play::<C>(steps, usize::MAX);
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Bytes(last, before)), Step::Bytes(direction, bytes))
                if last == direction =>
            {
                before.extend_from_slice(bytes);
            }
            _ => joined.push(step.clone()),
        }
    }
    assert!(whole == play::<C>(steps, 1), "byte by byte gives other exchanges");
    assert!(whole == play::<C>(&joined, usize::MAX), "joined pieces give other exchanges");
    whole
}

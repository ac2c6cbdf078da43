//! What can happen to a connection: lies, losses and noise.

use super::{Dice, Piece, Talk};

/// Longest run that a piece is blown up to, in bytes.
const BLOWN_UP: usize = 80_000;

/// Damages `talk` in one place, sometimes with a part of `donor`.
pub fn damage(dice: &mut Dice, talk: &mut Talk, donor: &Talk) {
    let len = talk.pieces.len();
    let nth = dice.below(len);
    match dice.below(8) {
        0 => {
            talk.pieces.truncate(nth.saturating_add(1));
        }
        1 if len > 0 => {
            talk.pieces.remove(nth);
        }
        2 if len > 0 => {
            let other = dice.below(len);
            talk.pieces.swap(nth, other);
        }
        3 => reshape(dice, talk, nth, donor),
        _ => {
            let choice = dice.below(12);
            if let Some(Piece::Bytes(_, bytes)) = talk.pieces.get_mut(nth) {
                change(dice, bytes, choice);
            }
        }
    }
}

/// Changes what passes, when, and by whom.
fn reshape(dice: &mut Dice, talk: &mut Talk, nth: usize, donor: &Talk) {
    let Some(piece) = talk.pieces.get(nth).cloned() else { return };
    let end = match &piece {
        Piece::Bytes(end, _) | Piece::Gap(end, _) | Piece::Close(end) => *end,
    };
    let foreign = donor.pieces.get(dice.below(donor.pieces.len())).cloned();
    let made = match dice.below(6) {
        0 => Piece::Close(end),
        1 => Piece::Gap(end, u64::MAX),
        2 => Piece::Gap(end, u64::try_from(dice.below(100_000)).unwrap_or(1)),
        3 => piece,
        4 => foreign.unwrap_or(piece),
        _ => {
            if let (Some(Piece::Bytes(end, bytes)), range) = (talk.pieces.get_mut(nth), ..) {
                return lose(dice, *end, &bytes.drain(range).collect::<Vec<_>>(), talk, nth);
            }
            return;
        }
    };
    talk.pieces.insert(nth, made);
}

/// Puts bytes back with a gap in their middle, whose length is mostly right.
fn lose(dice: &mut Dice, end: super::End, bytes: &[u8], talk: &mut Talk, nth: usize) {
    let range = dice.range(bytes.len());
    let lost = if dice.one_in(4) { dice.below(70_000) } else { range.len() };
    let (before, after) = (bytes.get(..range.start), bytes.get(range.end..));
    let before = Piece::Bytes(end, before.unwrap_or_default().to_vec());
    let after = Piece::Bytes(end, after.unwrap_or_default().to_vec());
    let gap = Piece::Gap(end, u64::try_from(lost).unwrap_or(u64::MAX));
    talk.pieces.splice(nth..=nth, [before, gap, after]);
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, choice: usize) {
    let range = dice.range(bytes.len());
    match choice {
        0..=2 => {
            let bit = dice.below(8);
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte ^= 1_u8.rotate_left(u32::try_from(bit).unwrap_or(0));
            }
        }
        3 | 4 => {
            let interesting = b"\0\r\n \t:;,0f\x7f\x80\xff";
            let value = interesting.get(dice.below(interesting.len())).copied().unwrap_or(0);
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte = value;
            }
        }
        5 => drop(bytes.drain(range)),
        6 => {
            let copy = bytes.get(range.clone()).unwrap_or_default().to_vec();
            bytes.splice(range.end..range.end, copy);
        }
        7 => {
            let len = dice.below(40);
            bytes.splice(range.start..range.start, dice.bytes(len));
        }
        8 => renumber(dice, bytes, range.start),
        9 => {
            // A frame that lies about its length.
            for byte in bytes.iter_mut().take(3) {
                *byte = dice.byte();
            }
        }
        10 if dice.one_in(8) => {
            let copy = bytes.get(range.clone()).unwrap_or_default().to_vec();
            let times = BLOWN_UP.checked_div(copy.len()).unwrap_or(0);
            bytes.splice(range.end..range.end, copy.repeat(times));
        }
        _ => bytes.truncate(range.start),
    }
}

/// Replaces the next number, wherever it stands.
fn renumber(dice: &mut Dice, bytes: &mut Vec<u8>, from: usize) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let rest = bytes.get(from..).unwrap_or_default();
    let Some(start) = rest.iter().position(is_digit) else { return };
    let len = rest.iter().skip(start).take_while(|byte| is_digit(byte)).count();
    let start = from.saturating_add(start);
    let numbers =
        ["0", "1", "-1", "+5", "0x10", "4294967296", "18446744073709551615", "9e9", "1 1"];
    let number = dice.pick(&numbers).unwrap_or("0");
    bytes.splice(start..start.saturating_add(len), number.bytes());
}

//! Lines of keys: who follows from whom, and for what.

use proptest::{
    prelude::{Just, Strategy, any, prop},
    proptest,
};

use super::*;
use crate::integrity::{chain::Chain, checkpoint, note::Signer};

fn key(nth: u8) -> Signer {
    Signer::new("h7", &[nth; 32]).unwrap()
}

/// The chain of that start of the agent, at a size.
fn chain(run: u64, size: u64) -> Chain {
    let run = ulid::Ulid::from_parts(run, 0).to_bytes();
    let mut chain = Chain::new(crate::integrity::chain::name_of("h7", &run));
    (0..size).for_each(|_| chain.link("{}", &mut Vec::new()).unwrap());
    chain
}

/// What key `from` says of key `to`, at that place.
fn names(from: u8, to: u8, (run, size): (u64, u64)) -> String {
    checkpoint::sign(&key(from), &chain(run, size), Some(&key(to).verifying_key()), &[])
}

fn trusted<N: AsRef<str>>(pinned: u8, notes: &[N]) -> Trusted {
    let mut successions = Successions::new(vec![key(pinned).verifying_key()]);
    notes.iter().for_each(|note| successions.take_all(note.as_ref()));
    successions.conclude()
}

/// What a checkpoint that key `by` signs at that place is worth.
fn judged(trusted: &Trusted, by: u8, (run, size): (u64, u64)) -> Signature {
    let note = checkpoint::sign(&key(by), &chain(run, size), None, &[]);
    trusted.judge(&note, &Place::of(&Checkpoint::read(&note).unwrap()))
}

/// Keys 1 to 5, each naming the next.
fn line() -> Vec<String> {
    (1..5).map(|nth| names(nth, nth + 1, (u64::from(nth), 3))).collect()
}

#[test]
fn trust_goes_from_key_to_key_and_not_backwards() {
    let from_first = trusted(1, &line());
    let from_third = trusted(3, &line());
    for nth in 1..=5 {
        assert_eq!(judged(&from_first, nth, (9, 0)), Signature::Good, "{nth}");
        let expected = if nth < 3 { Signature::UnknownKey } else { Signature::Good };
        assert_eq!(judged(&from_third, nth, (9, 0)), expected, "{nth}");
    }
    assert_eq!((from_first.inherited(), from_third.inherited()), (4, 2));
    // One that is missing parts the line.
    let parted = trusted(1, &[&line()[..1], &line()[2..]].concat());
    assert_eq!(judged(&parted, 2, (9, 0)), Signature::Good);
    assert_eq!(judged(&parted, 4, (9, 0)), Signature::UnknownKey);
}

#[test]
fn a_late_key_does_not_speak_of_early_events() {
    let trusted = trusted(1, &line());
    // Key 3 was named in chain 2 behind 3 events.
    for (place, expected) in [
        ((1, 9), Signature::Early),
        ((2, 2), Signature::Early),
        ((2, 3), Signature::Early),
        ((2, 4), Signature::Good),
        ((3, 0), Signature::Good),
    ] {
        assert_eq!(judged(&trusted, 3, place), expected, "{place:?}");
        assert_eq!(judged(&trusted, 1, place), Signature::Good, "{place:?}");
    }
    // Nor does it name itself, or others, where it does not speak.
    let stolen = [names(5, 5, (1, 1)), names(5, 6, (1, 1)), names(5, 1, (9, 1))];
    let trusted = self::trusted(1, &[&line()[..], &stolen].concat());
    assert_eq!(judged(&trusted, 5, (2, 9)), Signature::Early);
    assert_eq!(judged(&trusted, 6, (9, 9)), Signature::UnknownKey);
    assert_eq!(judged(&trusted, 1, (1, 0)), Signature::Good);
}

#[test]
fn two_successors_of_one_key_are_both_trusted() {
    let fork = [names(1, 2, (1, 3)), names(1, 3, (2, 1)), names(3, 4, (2, 9))];
    let trusted = trusted(1, &fork);
    assert!((1..=4).all(|nth| judged(&trusted, nth, (3, 1)) == Signature::Good));
}

#[test]
fn a_key_vouches_for_none_of_another_host() {
    let other = Signer::new("h8", &[9; 32]).unwrap();
    let next = other.verifying_key();
    let direct = checkpoint::sign(&key(1), &chain(1, 1), Some(&next), &[]);
    // Its text is of the other host, its signature of this one.
    let text = Note::split(&direct).unwrap().text().replacen("/h7\n", "/h8\n", 1);
    let disguised = key(1).sign(text);
    let pinned = vec![key(1).verifying_key(), Signer::new("h8", &[8; 32]).unwrap().verifying_key()];
    let mut successions = Successions::new(pinned);
    successions.take_all(&(direct + &disguised));
    let trusted = successions.conclude();
    assert_eq!((trusted.inherited(), trusted.has(&next)), (0, false));
}

#[test]
fn a_forged_successor_is_not_trusted() {
    let note = names(1, 2, (1, 3));
    let (real, forged) = (key(2).verifying_key().to_line(), key(7).verifying_key().to_line());
    let trusted = trusted(1, &[note.replace(&real, &forged)]);
    assert_eq!(judged(&trusted, 7, (9, 0)), Signature::UnknownKey);
    assert_eq!(judged(&trusted, 2, (9, 0)), Signature::UnknownKey);
    let unchanged = checkpoint::sign(&key(1), &chain(1, 1), None, &[("dropped", "0")]);
    let changed = unchanged.replace("dropped 0", "dropped 1");
    let place = Place::of(&Checkpoint::read(&changed).unwrap());
    assert_eq!(trusted.judge(&changed, &place), Signature::Bad);
}

#[test]
fn a_damaged_note_costs_itself_alone() {
    let line = line();
    let torn: String = line[1].chars().take(200).collect();
    let file = format!("{}{torn}\n{}{}", line[0], line[1], line[2]);
    assert_eq!(trusted(1, &[file]).inherited(), 3);
}

#[test]
fn more_than_there_is_room_for_is_left_out_and_counted() {
    let mut successions = Successions::new(vec![key(1).verifying_key()]);
    successions.take_all(&line().concat());
    let junk = Note::split(&line()[0]).unwrap().text().to_owned();
    let said = Checkpoint::read(&line()[0]).unwrap();
    let flood = MAX_HELD / 4000 + 10;
    for nth in 0..flood {
        let note = format!("{junk}x {}\n\n\u{2014} scopewatch/h7 {nth}\n", "x".repeat(4000));
        successions.take(&note, &said);
    }
    assert!(successions.held <= MAX_HELD);
    let trusted = successions.conclude();
    assert_eq!(trusted.inherited(), 4);
    assert!(trusted.left_out() >= 10);
}

proptest! {
    #[test]
    fn the_order_of_notes_makes_no_difference(
        notes in prop::collection::vec((1_u8..7, 1_u8..7, (1_u64..4, 0_u64..4)), 0..12)
            .prop_flat_map(|notes| (Just(notes.clone()), Just(notes).prop_shuffle())),
    ) {
        let (one, other) = notes;
        let trusted = [one, other].map(|notes| {
            let notes: Vec<_> = notes.into_iter().map(|(from, to, at)| names(from, to, at)).collect();
            trusted(1, &notes)
        });
        for nth in 1..7 {
            let key = key(nth).verifying_key();
            assert_eq!(trusted[0].has(&key), trusted[1].has(&key));
            assert_eq!(trusted[0].since(&key), trusted[1].since(&key));
        }
    }

    #[test]
    fn any_file_of_notes_is_read_and_none_makes_a_key(
        file in any::<String>(),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = line().concat();
        let (at, cut) = (at.index(whole.len()), cut.index(whole.len()));
        // A piece that is missing, and something in its place.
        let (head, tail) = (&whole.as_bytes()[..at.min(cut)], &whole.as_bytes()[at.max(cut)..]);
        let damaged = [head, file.as_bytes(), tail].concat();
        let damaged = String::from_utf8_lossy(&damaged).into_owned();
        for text in [&file, &damaged] {
            let trusted = trusted(1, &[text]);
            let made = (1..=5).filter(|nth| trusted.has(&key(*nth).verifying_key())).count() as u64;
            assert_eq!(trusted.inherited() + 1, made);
        }
    }
}

//! Keys that are replaced, and crashes in between.

use std::{os::unix::fs::MetadataExt as _, time::SystemTime};

use proptest::{prelude::any, prop_assert_eq, proptest};
use tempfile::TempDir;

use super::*;
use crate::integrity::{
    chain::name_of,
    checkpoint::Checkpoint,
    succession::{Signature, Trusted},
};

/// A key file, and starts of the agent.
struct Bed {
    dir: TempDir,
    starts: u64,
}

impl Bed {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), starts: 0 }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Opens the key, which is as old as a key can be, in a new chain.
    fn start(&mut self) -> (SigningFile, Chain) {
        let path = self.at("signing.key");
        if let Ok(file) = File::options().read(true).open(&path) {
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let file = SigningFile::open(&path, "h7", Instant::now()).unwrap();
        self.starts += 1;
        let run = ulid::Ulid::from_parts(file.began_millis() + self.starts, 0).to_bytes();
        let mut chain = Chain::new(name_of("h7", &run));
        chain.link("{}", &mut Vec::new()).unwrap();
        (file, chain)
    }

    /// Starts, and replaces the key.
    fn replace(&mut self) -> SigningFile {
        if !self.at("signing.key").exists() {
            drop(self.start());
        }
        let (mut file, chain) = self.start();
        let now = Instant::now();
        assert!(file.is_due(now));
        file.checkpoint(&chain, &[], now);
        file.hand_over(now);
        assert_eq!(file.trouble(), None);
        file
    }

    /// What follows from the first key by the public files.
    fn trusted(&self) -> Trusted {
        let read = |name| read(&self.at(name)).unwrap();
        let public = read("signing.key.pub");
        let first = VerifyingKey::parse(public.lines().next().unwrap()).unwrap();
        let mut successions = Successions::new(vec![first]);
        successions.take_all(&read("signing.key.successions"));
        successions.conclude()
    }

    /// Whether what the key in the file signs now is trusted, and `.pub` still has one line.
    #[track_caller]
    fn check(&mut self) {
        let (mut file, mut chain) = self.start();
        chain.link("{}", &mut Vec::new()).unwrap();
        file.path = None;
        let note = file.checkpoint(&chain, &[], Instant::now());
        let place = Place::of(&Checkpoint::read(&note).unwrap());
        assert_eq!(self.trusted().judge(&note, &place), Signature::Good);
        let public = fs::read_to_string(self.at("signing.key.pub")).unwrap();
        assert_eq!(public.lines().count(), 1, "{public}");
    }
}

#[test]
fn a_key_is_replaced_and_follows_from_the_first_one() {
    let mut bed = Bed::new();
    // A key as it was before it was ever replaced.
    fs::write(bed.at("signing.key"), [5; 32]).unwrap();
    fs::set_permissions(bed.at("signing.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let first = Signer::new("h7", &[5; 32]).unwrap().verifying_key();
    for nth in 1..4 {
        let file = bed.replace();
        assert_eq!(bed.trusted().inherited(), nth);
        assert!(!file.is_due(Instant::now()) && file.is_due(Instant::now() + LIFE));
        bed.check();
    }
    let public = fs::read_to_string(bed.at("signing.key.pub")).unwrap();
    assert_eq!(public, format!("{}\n", first.to_line()));
    assert_eq!(fs::metadata(bed.at("signing.key")).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(bed.dir.path()).unwrap().count(), 3, "no draft stays");
}

#[test]
fn what_the_file_held_is_overwritten() {
    let mut bed = Bed::new();
    drop(bed.start());
    fs::hard_link(bed.at("signing.key"), bed.at("old")).unwrap();
    bed.replace();
    assert_eq!(fs::read(bed.at("old")).unwrap(), [0; 32]);
}

#[test]
fn a_new_key_signs_for_ten_minutes_even_if_the_agent_starts_again() {
    let bed = Bed::new();
    let now = Instant::now();
    for _ in 0..3 {
        let file = SigningFile::open(&bed.at("signing.key"), "h7", now).unwrap();
        assert!(!file.is_due(now) && file.is_due(now + RETRY));
    }
}

#[test]
fn a_crash_before_the_key_is_replaced_costs_nothing() {
    let mut bed = Bed::new();
    drop(bed.start());
    // The successor is named, and never came to be.
    let (mut file, chain) = bed.start();
    file.checkpoint(&chain, &[], Instant::now());
    drop(file);
    bed.check();
    // It is in a draft.
    fs::write(bed.at("signing.key.next"), [9; 32]).unwrap();
    fs::set_permissions(
        bed.at("signing.key.next"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    fs::hard_link(bed.at("signing.key.next"), bed.at("kept")).unwrap();
    bed.check();
    assert!(!bed.at("signing.key.next").exists());
    assert_eq!(fs::read(bed.at("kept")).unwrap(), [0; 32]);
    bed.replace();
    bed.check();
    assert_eq!(bed.trusted().inherited(), 2);
}

#[test]
fn a_crash_after_the_key_is_replaced_costs_nothing() {
    let mut bed = Bed::new();
    bed.replace();
    // The old one was not overwritten, and the agent did not come to sign with the new one.
    bed.check();
    bed.replace();
    bed.check();
}

proptest! {
    #[test]
    fn a_file_of_successions_that_ends_anywhere_goes_on(
        cut in any::<proptest::prelude::prop::sample::Index>(),
        tail in any::<Vec<u8>>(),
    ) {
        let mut bed = Bed::new();
        drop(bed.start());
        let (mut file, chain) = bed.start();
        // One that was appended without the key being replaced, as far as that came.
        file.checkpoint(&chain, &[], Instant::now());
        drop(file);
        let path = bed.at("signing.key.successions");
        let whole = fs::read(&path).unwrap();
        let mut torn = whole[..cut.index(whole.len())].to_vec();
        torn.extend(tail);
        fs::write(&path, torn).unwrap();
        bed.replace();
        prop_assert_eq!(fs::read(&path).unwrap().ends_with(b"\n"), true);
        bed.check();
    }
}

#[test]
fn what_cannot_be_replaced_signs_on_and_is_tried_again() {
    let mut bed = Bed::new();
    let check = |file: &mut SigningFile, chain: &Chain, expected: &str| {
        let (now, key) = (Instant::now(), file.verifying_key());
        let note = file.checkpoint(chain, &[], now);
        file.hand_over(now);
        assert!(file.trouble().unwrap().contains(expected), "{:?}", file.trouble());
        assert_eq!(file.verifying_key(), key);
        assert!(!note.is_empty() && !file.is_due(now) && file.is_due(now + RETRY));
    };
    let path = bed.at("signing.key.successions");
    drop(bed.start());
    let (mut file, chain) = bed.start();
    fs::create_dir(&path).unwrap();
    check(&mut file, &chain, "cannot open key file");
    fs::remove_dir(&path).unwrap();
    let full = File::create(&path).unwrap();
    full.set_len(MAX_SUCCESSIONS).unwrap();
    file.due = Instant::now();
    check(&mut file, &chain, "is full: put it aside");
    fs::remove_file(&path).unwrap();
    // Somebody put another key there, which is to be used from the next start on.
    fs::rename(bed.at("signing.key"), bed.at("aside")).unwrap();
    keyfile::bytes(&bed.at("signing.key")).unwrap();
    file.due = Instant::now();
    check(&mut file, &chain, "holds another key");
    fs::rename(bed.at("aside"), bed.at("signing.key")).unwrap();
    file.due = Instant::now();
    file.checkpoint(&chain, &[], Instant::now());
    file.hand_over(Instant::now());
    assert_eq!(file.trouble(), None);
    bed.check();
}

#[test]
fn a_key_whose_file_is_gone_has_a_successor_all_the_same() {
    let mut bed = Bed::new();
    drop(bed.start());
    let (mut file, chain) = bed.start();
    fs::remove_file(bed.at("signing.key")).unwrap();
    file.checkpoint(&chain, &[], Instant::now());
    file.hand_over(Instant::now());
    assert_eq!(file.trouble(), None);
    bed.check();
}

#[test]
fn a_key_that_does_not_follow_begins_a_line() {
    let mut bed = Bed::new();
    bed.replace();
    fs::remove_file(bed.at("signing.key.successions")).unwrap();
    let (file, _) = bed.start();
    let public = fs::read_to_string(bed.at("signing.key.pub")).unwrap();
    assert_eq!(public.lines().count(), 2);
    assert_eq!(public.lines().last(), Some(file.verifying_key().to_line().as_str()));
    for _ in 0..2 * MAX_BEGINNINGS {
        fs::remove_file(bed.at("signing.key")).unwrap();
        drop(bed.start());
    }
    let public = fs::read_to_string(bed.at("signing.key.pub")).unwrap();
    assert_eq!(public.lines().count(), MAX_BEGINNINGS);
}

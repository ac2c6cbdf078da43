//! What a pseudonym costs. In: names. Out: time for one that is new, by a key that forgot nobody and
//! by one that forgot a thousand, for one that was seen before, and time to forget one.
//!
//! `cargo bench -p scopewatch --bench subjects`

use divan::{Bencher, black_box};
use scopewatch::token::{pseudonym::Pseudonyms, subject::SubjectKey};
use zeroize::Zeroizing;

fn main() {
    divan::main();
}

const NAME: &str = "f1c4a7d2-0000-4000-8000-000000000000";

fn key(forgotten: usize) -> SubjectKey {
    let mut key = SubjectKey::new(Zeroizing::new([7; 32]));
    for each in 0..forgotten {
        key.forget(&each.to_string());
    }
    key
}

#[divan::bench(args = [0, 1000])]
fn of_a_new_name(bencher: Bencher<'_, '_>, forgotten: usize) {
    let key = key(forgotten);
    bencher.bench(|| key.pseudonym(black_box(NAME)));
}

#[divan::bench]
fn of_a_name_seen_before(bencher: Bencher<'_, '_>) {
    let pseudonyms = Pseudonyms::new(key(0));
    bencher.bench(|| pseudonyms.of(black_box(NAME)));
}

#[divan::bench(args = [0, 1000])]
fn forgetting(bencher: Bencher<'_, '_>, forgotten: usize) {
    bencher.with_inputs(|| key(forgotten)).bench_local_refs(|key| key.forget(black_box(NAME)));
}

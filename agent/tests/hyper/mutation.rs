//! Damage to bytes: single ones changed, taken out, put in, and stretches repeated.

use proptest::{
    prelude::{ProptestConfig, Strategy, any, prop, prop_oneof},
    sample::Index,
    test_runner::RngSeed,
};

/// The same cases in every run, unless `HYPER_SEED` asks for others: what hyper makes of rare
/// damage shall not fail somebody else's change.
pub fn config(cases: u32) -> ProptestConfig {
    let seed = std::env::var("HYPER_SEED").ok().and_then(|text| text.parse().ok());
    let rng_seed = RngSeed::Fixed(seed.unwrap_or(1));
    ProptestConfig { failure_persistence: None, rng_seed, ..ProptestConfig::with_cases(cases) }
}

#[derive(Clone, Debug)]
pub enum Mutation {
    Change(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
}

/// None in half of the cases.
pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop_oneof![prop::collection::vec(mutation(), 0..1), prop::collection::vec(mutation(), 1..4)]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let pieces: Vec<&[u8]> = vec![
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"\0",
        b"\x7f",
        b"\xff",
        b"#",
        b"0\r\n\r\n",
        b"\r\n ",
        b"chunked",
        b"\x82",
        b"\xbe",
        b"\0\0\0\x04\x01\0\0\0\0",
    ];
    let pieces: Vec<Vec<u8>> = pieces.into_iter().map(<[u8]>::to_vec).collect();
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Change(at, byte)),
        (any::<Index>(), 1_usize..6).prop_map(|(at, len)| Mutation::Remove(at, len)),
        (any::<Index>(), prop::sample::select(pieces))
            .prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), 1_usize..60).prop_map(|(at, len)| Mutation::Repeat(at, len)),
    ]
}

pub fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let stretch = |at: &Index, len: usize| {
            let start = at.index(bytes.len().max(1));
            start..bytes.len().min(start + len)
        };
        match mutation {
            Mutation::Change(at, byte) => stretch(at, 1).for_each(|at| bytes[at] = *byte),
            Mutation::Remove(at, len) => drop(bytes.drain(stretch(at, *len))),
            Mutation::Insert(at, piece) => {
                let start = stretch(at, 0).start;
                drop(bytes.splice(start..start, piece.iter().copied()));
            }
            Mutation::Repeat(at, len) => {
                let stretch = stretch(at, *len);
                let again = bytes[stretch.clone()].to_vec();
                drop(bytes.splice(stretch.end..stretch.end, again));
            }
        }
    }
}

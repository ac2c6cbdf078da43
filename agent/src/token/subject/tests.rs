//! Known values, and what must hold of any key, any names, and any bytes.

use std::collections::BTreeSet;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, proptest};
use zeroize::Zeroizing;

use super::{LEVELS, Node, SubjectKey, SubjectKeyError, bit, first_below, place, step, undecided};
use crate::token::testing::subject_key as key;

/// Pseudonyms of `names` by `key`.
fn all(key: &SubjectKey, names: &[String]) -> Vec<Option<String>> {
    names.iter().map(|name| key.pseudonym(name)).collect()
}

fn forget(key: &mut SubjectKey, names: &[String]) {
    for name in names {
        key.forget(name);
    }
}

#[test]
fn is_the_documented_function() {
    // python3:
    //   place = int.from_bytes(sha256(b"scopewatch/place/v1" + name).digest()[:8], "big")
    //   k = bytes([7]) * 32
    //   for level in range(64):
    //       k = sha256(b"scopewatch/step/v1" + bytes([place >> (63 - level) & 1]) + k).digest()
    //   urlsafe_b64encode(hmac.digest(k, b"scopewatch/subject/v2" + name, "sha256"))[:22]
    assert_eq!(key(7).pseudonym("alice").as_deref(), Some("rWG2Rt4GMlQ50tV3cNLV6u"));
    assert_eq!(key(7).pseudonym("").as_deref(), Some("cWMWdj9iTSqFPYICDUcy_X"));
    assert_eq!(key(8).pseudonym("alice").as_deref(), Some("rx20TxMHrJjd6gDbI74jnY"));
}

#[test]
fn what_was_forgotten_cannot_be_made_and_all_else_can() {
    let mut key = key(7);
    let [alice, bob] = ["alice", "bob"].map(|name| key.pseudonym(name));
    assert!(key.forget("alice"));
    assert_eq!((key.pseudonym("alice"), key.pseudonym("bob")), (None, bob));
    assert!(alice.is_some() && !key.forget("alice"), "forgotten once");
    assert_eq!(key.nodes.len(), usize::from(LEVELS), "one beside each step");
}

#[test]
fn no_node_that_is_left_is_above_what_was_forgotten() {
    let mut key = key(7);
    let alice = place("alice");
    let mut above = BTreeSet::from([[7; 32]]);
    let mut way = Zeroizing::new([7; 32]);
    for level in 0..LEVELS {
        way = step(&way, alice & bit(level) != 0);
        above.insert(*way);
    }
    key.forget("alice");
    assert!(key.nodes.values().all(|node| !above.contains(node.key.expose())));
    let bytes = key.encode();
    assert!(above.iter().all(|key| !bytes.windows(32).any(|window| window == key)));
}

#[track_caller]
fn refused(bytes: &[u8], reason: SubjectKeyError) {
    assert_eq!(SubjectKey::decode(bytes).err(), Some(reason));
}

#[test]
fn what_is_no_key_is_refused_for_a_reason() {
    refused(b"", SubjectKeyError::Other);
    refused(&[7; 32], SubjectKeyError::Other);
    let whole = key(7).encode();
    for length in 0..whole.len() {
        let reason = match length {
            ..26 => SubjectKeyError::Other,
            _ => SubjectKeyError::Damaged,
        };
        refused(&whole[..length], reason);
    }
    refused(&[&whole[..], &[0]].concat(), SubjectKeyError::Damaged);
}

/// The form of a key with these nodes, whether they make a tree or not.
fn form(nodes: &[(u8, u64)]) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    let mut bytes = b"scopewatch/subject-key/v1\n".to_vec();
    for (level, first) in nodes {
        bytes.push(*level);
        bytes.extend(first.to_be_bytes());
        bytes.extend([7; 32]);
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend(sum);
    bytes
}

#[test]
fn nodes_that_are_no_tree_are_refused() {
    let check = |nodes: &[(u8, u64)], is_tree: bool| {
        let read = SubjectKey::decode(&form(nodes));
        assert_eq!(read.err(), (!is_tree).then_some(SubjectKeyError::NoTree), "{nodes:?}");
    };
    let half = 1 << 63;
    check(&[(0, 0)], true);
    check(&[(1, 0), (1, half)], true);
    check(&[(64, u64::MAX)], true);
    check(&[], false);
    check(&[(65, 0)], false);
    check(&[(1, half), (1, 0)], false);
    check(&[(0, 0), (1, half)], false);
    check(&[(1, half), (64, u64::MAX)], false);
    check(&[(1, 1)], false);
    check(&[(1, 0), (1, 0)], false);
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-d]{0,3}|\\PC{0,8}", 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn forgetting_commutes_and_leaves_all_others(
        (names, shuffled) in names().prop_flat_map(|names| (Just(names.clone()), Just(names).prop_shuffle())),
        others in names(),
    ) {
        let (whole, mut one, mut other) = (key(9), key(9), key(9));
        forget(&mut one, &names);
        forget(&mut other, &shuffled);
        assert_eq!(one.encode(), other.encode());
        assert!(all(&one, &names).iter().all(Option::is_none));
        for name in others.iter().filter(|name| !names.contains(name)) {
            assert_eq!(one.pseudonym(name), whole.pseudonym(name));
            assert!(one.pseudonym(name).is_some());
        }
    }

    #[test]
    fn a_key_survives_its_form(names in names(), others in names()) {
        let mut key = key(5);
        forget(&mut key, &names);
        let bytes = key.encode();
        assert_eq!(bytes.len(), key.encoded_len());
        let read = SubjectKey::decode(&bytes).unwrap();
        assert_eq!(all(&read, &others), all(&key, &others));
        assert_eq!(*read.encode(), *bytes);
    }

    #[test]
    fn a_changed_byte_is_found(names in names(), at in any::<prop::sample::Index>(), by in 1..=u8::MAX) {
        let mut key = key(5);
        forget(&mut key, &names);
        let mut bytes = key.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        assert!(SubjectKey::decode(&bytes).is_err());
    }

    #[test]
    fn any_tree_is_read_as_it_is_written(nodes in prop::collection::vec((0..=66_u8, any::<u64>()), 0..6)) {
        let nodes: Vec<_> = nodes
            .into_iter()
            .map(|(level, place)| (level, first_below(place, level)))
            .collect::<std::collections::BTreeMap<_, _>>().into_iter().collect();
        let bytes = form(&nodes);
        if let Ok(key) = SubjectKey::decode(&bytes) {
            assert_eq!(*key.encode(), bytes);
            let ends = key.nodes.iter().map(|(first, Node { level, .. })| (*first, first | undecided(*level)));
            assert!(ends.clone().zip(ends.skip(1)).all(|((_, end), (next, _))| end < next));
        }
    }
}

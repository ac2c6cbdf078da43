//! The decoder against the examples of RFC 7541, a public corpus and another decoder.

use std::{collections::BTreeMap, fs::File, io::Read};

use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use serde_json::Value;

use super::{DecodeError, Decoder, Field, HuffmanError, LIST_SIZE_MAX, TABLE_SIZE_MAX, huffman};

type Owned = (Option<Vec<u8>>, Option<Vec<u8>>);

fn owned(field: Field<'_>) -> Owned {
    (field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec))
}

fn known(name: &str, value: &str) -> Owned {
    (Some(name.into()), Some(value.into()))
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> (Vec<Owned>, Result<(), DecodeError>) {
    let mut fields = Vec::new();
    let outcome = decoder.decode(block, &mut |field| fields.push(owned(field)));
    (fields, outcome)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Decodes blocks that share one context, and compares each with `name: value` lines.
fn check(blocks: &[(&str, &[&str])]) {
    let mut decoder = Decoder::default();
    for (hex, expected) in blocks {
        let expected: Vec<_> = expected.iter().map(|line| line.split_once(": ").unwrap()).collect();
        let expected: Vec<_> = expected.iter().map(|(name, value)| known(name, value)).collect();
        assert_eq!(decode(&mut decoder, &bytes(hex)), (expected, Ok(())), "{hex}");
    }
}

#[test]
fn rfc7541_c2_representations() {
    check(&[(
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        &["custom-key: custom-header"],
    )]);
    check(&[("040c 2f73 616d 706c 652f 7061 7468", &[":path: /sample/path"])]);
    check(&[("1008 7061 7373 776f 7264 0673 6563 7265 74", &["password: secret"])]);
    check(&[("82", &[":method: GET"])]);
}

#[test]
fn rfc7541_6_2_3_never_indexed_is_told() {
    let mut flags = Vec::new();
    let block = bytes("1008 7061 7373 776f 7264 0673 6563 7265 74 82 0401 2f");
    Decoder::default().decode(&block, &mut |field| flags.push(field.never_indexed)).unwrap();
    assert_eq!(flags, [true, false, false]);
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
        "cache-control: no-cache",
    ],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

#[test]
fn rfc7541_c3_requests_without_huffman() {
    check(&[
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0]),
        ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1]),
        ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUESTS[2]),
    ]);
}

#[test]
fn rfc7541_c4_requests_with_huffman() {
    check(&[
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0]),
        ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1]),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUESTS[2]),
    ]);
}

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

/// The examples presume a table of 256 octets, which a size update tells here.
#[test]
fn rfc7541_c5_responses_without_huffman_with_eviction() {
    check(&[
        (
            "3fe101 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65
             2e63 6f6d",
            RESPONSES[0],
        ),
        ("4803 3330 37c1 c0bf", RESPONSES[1]),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0
             5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851
             5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            RESPONSES[2],
        ),
    ]);
}

#[test]
fn rfc7541_c6_responses_with_huffman_with_eviction() {
    check(&[
        (
            "3fe101 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
             2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            RESPONSES[0],
        ),
        ("4883 640e ffc1 c0bf", RESPONSES[1]),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad
             94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160
             65c0 03ed 4ee5 b106 3d50 07",
            RESPONSES[2],
        ),
    ]);
}

#[test]
fn malformed_blocks_are_named_and_what_came_before_stays() {
    let get = known(":method", "GET");
    for (hex, error) in [
        ("82 40", DecodeError::Truncated),
        ("82 0105 61", DecodeError::Truncated),
        ("82 80", DecodeError::ZeroIndex),
        ("82 ffff ffff ffff 7f", DecodeError::Integer),
        ("82 20", DecodeError::LateResize),
        ("82 0181 00", DecodeError::Huffman(HuffmanError::Padding)),
        ("82 0184 ffff ffff", DecodeError::Huffman(HuffmanError::Eos)),
    ] {
        let (fields, outcome) = decode(&mut Decoder::default(), &bytes(hex));
        assert_eq!((&*fields, outcome), (std::slice::from_ref(&get), Err(error)), "{hex}");
    }
}

#[test]
fn rfc7541_5_2_padding_is_at_most_seven_ones() {
    let decode = |hex| {
        let mut out = Vec::new();
        huffman::decode(&bytes(hex), &mut out).map(|()| out)
    };
    assert_eq!(decode("1f").unwrap(), b"a");
    assert_eq!(decode("1e"), Err(HuffmanError::Padding));
    assert_eq!(decode("1fff"), Err(HuffmanError::Padding));
    assert_eq!(decode("ff"), Err(HuffmanError::Padding));
    assert_eq!(decode("").unwrap(), b"");
}

/// Octets are taken several at a time, the last ones by themselves. `f8` is `&`, in eight bits.
#[test]
fn rfc7541_5_2_a_string_ends_alike_whatever_its_length() {
    for before in 0..24 {
        let decode = |end: &str| {
            let mut out = Vec::new();
            let string = [vec![0xf8; before], bytes(end)].concat();
            huffman::decode(&string, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        let text = "&".repeat(before);
        assert_eq!(decode(""), Ok(text.clone()));
        assert_eq!(decode("1f"), Ok(text + "a"));
        assert_eq!(decode("1e"), Err(HuffmanError::Padding));
        assert_eq!(decode("ff"), Err(HuffmanError::Padding));
        assert_eq!(decode("ffffffff"), Err(HuffmanError::Eos));
    }
}

/// `authorization: secret` was indexed before we watched: later requests refer to it.
#[test]
fn who_joins_late_resolves_what_was_inserted_since_and_nothing_older() {
    let mut decoder = Decoder::default();
    decoder.forget();
    let unknown = (None, None);
    assert_eq!(decode(&mut decoder, &bytes("be")).0, std::slice::from_ref(&unknown));
    // x: 1 is inserted. The old entry moves on by one, whatever it is.
    assert_eq!(
        decode(&mut decoder, &bytes("400178 0131 be bf")).0,
        [known("x", "1"), known("x", "1"), unknown.clone()]
    );
    // An insertion whose name is an old entry's takes a slot.
    let nameless = (None, Some(b"2".to_vec()));
    assert_eq!(
        decode(&mut decoder, &bytes("7f00 0132 be bf c0")).0,
        [nameless.clone(), nameless, known("x", "1"), unknown]
    );
}

#[test]
fn after_a_malformed_block_older_entries_are_unknown() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &bytes("400178 0131")).1.unwrap();
    assert_eq!(decode(&mut decoder, &bytes("be 80")).0, [known("x", "1")]);
    assert_eq!(decode(&mut decoder, &bytes("be")).0, [(None, None)]);
}

#[test]
fn rfc7541_4_4_an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::default();
    // 3f 09 is a size update to 40: x: 1 fits, a value of 16 octets does not.
    decode(&mut decoder, &bytes("3f09 400178 0131 be")).1.unwrap();
    let long = format!("400178 10 {}", "61".repeat(16));
    decode(&mut decoder, &bytes(&long)).1.unwrap();
    assert_eq!(decode(&mut decoder, &bytes("be")).0, [(None, None)]);
}

/// Two updates at the start of a block are allowed: the smallest size meanwhile, and the last one.
#[test]
fn rfc7541_4_2_a_table_that_shrank_to_nothing_grows_again_empty() {
    let mut decoder = Decoder::default();
    decode(&mut decoder, &bytes("400178 0131 be")).1.unwrap();
    let (fields, outcome) = decode(&mut decoder, &bytes("20 3fe11f 400179 0132 be bf"));
    assert_eq!(outcome, Ok(()));
    assert_eq!(fields, [known("y", "2"), known("y", "2"), (None, None)]);
    // Nothing fits into a table of nothing.
    let (fields, _) = decode(&mut decoder, &bytes("20 40017a 0133 be"));
    assert_eq!(fields, [known("z", "3"), (None, None)]);
}

/// Header bomb: an indexed field of 4000 octets, then one octet for each repetition.
#[test]
fn a_header_bomb_gives_no_more_than_the_limit_and_keeps_the_table_exact() {
    let mut decoder = Decoder::default();
    let mut bomb = bytes(&format!("400178 7fa11e {}", "61".repeat(4000)));
    bomb.extend([0xbe; 10_000]);
    bomb.extend(bytes("400179 0132"));
    let mut emitted = 0;
    let outcome = decoder.decode(&bomb, &mut |field| emitted += field.value.unwrap().len());
    assert_eq!(outcome, Err(DecodeError::ListSize));
    assert!(emitted <= LIST_SIZE_MAX);
    assert_eq!(decode(&mut decoder, &bytes("be")).0, [known("y", "2")]);
}

#[test]
fn a_table_larger_than_kept_is_followed_with_its_oldest_entries_unknown() {
    let mut decoder = Decoder::default();
    // Size update to 2^20 + 30, then entries of 1 KiB each.
    let (mut block, entry) = (bytes("3fff ff3f"), format!("400178 7f8107 {}", "61".repeat(1024)));
    block.extend(bytes(&entry.repeat(100)));
    decode(&mut decoder, &block).1.unwrap();
    assert_eq!(decoder.capped(), 1);
    assert!(decoder.buffered() <= TABLE_SIZE_MAX + 4096);
    let (fields, _) = decode(&mut decoder, &bytes("be ff23"));
    assert_eq!((fields[0].1.as_ref().unwrap().len(), &fields[1]), (1024, &(None, None)));
}

/// Stories of the corpus: encoder and number, and the blocks with what they decode to.
fn stories(mut tell: impl FnMut(&str, &[(Vec<u8>, Vec<Owned>)])) {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpora/hpack/hpack-test-case.tar.xz");
    let archive = lzma_rust2::XzReader::new(File::open(path).unwrap(), false);
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        if !name.ends_with(".json") {
            continue;
        }
        let mut json = String::new();
        entry.read_to_string(&mut json).unwrap();
        let story: Value = serde_json::from_str(&json).unwrap();
        let cases: Vec<_> = story["cases"].as_array().unwrap().iter().map(case).collect();
        tell(&name, &cases);
    }
}

fn case(case: &Value) -> (Vec<u8>, Vec<Owned>) {
    let fields = case["headers"].as_array().unwrap().iter().map(|field| {
        let (name, value) = field.as_object().unwrap().iter().next().unwrap();
        known(name, value.as_str().unwrap())
    });
    (bytes(case["wire"].as_str().unwrap()), fields.collect())
}

/// Encoders of the corpus and their stories.
const ENCODERS: [(&str, usize); 11] = [
    ("go-hpack", 32),
    ("haskell-http2-linear", 32),
    ("haskell-http2-linear-huffman", 32),
    ("haskell-http2-naive", 32),
    ("haskell-http2-naive-huffman", 32),
    ("haskell-http2-static", 32),
    ("haskell-http2-static-huffman", 32),
    ("nghttp2", 32),
    ("nghttp2-16384-4096", 31),
    ("nghttp2-change-table-size", 31),
    ("node-http2-hpack", 32),
];

/// Each story is decoded whole, and once more by a decoder that joins in its middle.
#[test]
fn every_story_of_every_encoder_decodes_to_the_stated_fields() {
    let (mut counts, mut unknown) = (BTreeMap::<_, usize>::new(), 0);
    stories(|name, cases| {
        let encoder = name.split('/').next().unwrap().to_owned();
        *counts.entry(encoder).or_default() += 1;
        let (mut whole, mut late) = (Decoder::default(), Decoder::default());
        late.forget();
        for (seqno, (wire, expected)) in cases.iter().enumerate() {
            let (fields, outcome) = decode(&mut whole, wire);
            assert_eq!((&fields, outcome), (expected, Ok(())), "{name} case {seqno}");
            if seqno < cases.len() / 2 {
                continue;
            }
            let (fields, outcome) = decode(&mut late, wire);
            assert_eq!((fields.len(), outcome), (expected.len(), Ok(())), "{name} case {seqno}");
            for (field, truth) in fields.iter().zip(expected) {
                assert!(field.0.is_none() || field.0 == truth.0, "{name} case {seqno}");
                assert!(field.1.is_none() || field.1 == truth.1, "{name} case {seqno}");
                unknown += usize::from(field.0.is_none());
            }
        }
    });
    let counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counts, ENCODERS);
    assert!(unknown > 0, "no decoder that joined late missed anything");
}

/// Field lines as clients send them: few names, values that repeat.
fn header_list() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name = prop_oneof![
        Just(b":path".to_vec()),
        Just(b"authorization".to_vec()),
        Just(b"cookie".to_vec()),
        "[a-z-]{1,12}".prop_map(String::into_bytes),
    ];
    let value = prop_oneof![
        "[ab]{0,3}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    prop::collection::vec((name, value), 0..12)
}

proptest! {
    #[test]
    fn another_encoder_is_understood_from_the_start_and_never_misread_later(
        lists in prop::collection::vec(header_list(), 1..8),
        join in 0_usize..8,
    ) {
        let mut encoder = loona_hpack::Encoder::new();
        let (mut whole, mut late) = (Decoder::default(), Decoder::default());
        late.forget();
        for (at, list) in lists.iter().enumerate() {
            let block = encoder.encode(list.iter().map(|(name, value)| (&name[..], &value[..])));
            let truth: Vec<Owned> =
                list.iter().cloned().map(|(name, value)| (Some(name), Some(value))).collect();
            prop_assert_eq!(decode(&mut whole, &block), (truth.clone(), Ok(())));
            if at < join {
                continue;
            }
            let (fields, outcome) = decode(&mut late, &block);
            prop_assert_eq!((fields.len(), outcome), (truth.len(), Ok(())));
            for (field, truth) in fields.iter().zip(&truth) {
                prop_assert!(field.0.is_none() || field.0 == truth.0);
                prop_assert!(field.1.is_none() || field.1 == truth.1);
            }
        }
    }

    /// Where both accept a block they agree. The other decoder accepts more: see the exceptions.
    #[test]
    fn arbitrary_blocks_never_panic_and_another_decoder_agrees(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4),
    ) {
        let (mut ours, mut theirs) = (Decoder::default(), loona_hpack::Decoder::new());
        for block in &blocks {
            let (fields, outcome) = decode(&mut ours, block);
            let known_all = fields.iter().all(|(name, value)| name.is_some() && value.is_some());
            let (Ok(()), true, Ok(expected)) = (outcome, known_all, theirs.decode(block)) else {
                break;
            };
            let expected: Vec<Owned> =
                expected.into_iter().map(|(name, value)| (Some(name), Some(value))).collect();
            prop_assert_eq!(fields, expected);
        }
    }
}

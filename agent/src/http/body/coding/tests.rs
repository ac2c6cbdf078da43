//! What encoders make is undone; what they never make ends within bounds.

use std::io::Write as _;

use flate2::{
    Compression, GzBuilder,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use proptest::{
    prelude::{Just, any, prop},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::*;
use crate::http::body::sample::{Purpose, SAMPLE_MAX};

const NAMES: [&str; 5] = ["gzip", "deflate", "raw", "br", "zstd"];

/// `raw` is `deflate` without its wrapper.
fn encode(name: &str, plain: &[u8], level: u32) -> Vec<u8> {
    let compression = Compression::new(level.min(9));
    match name {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), compression);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), compression);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "raw" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), compression);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut coded = Vec::new();
            let window = 10 + level % 13;
            let mut encoder =
                ::brotli::CompressorWriter::new(&mut coded, 4096, level.min(11), window);
            encoder.write_all(plain).unwrap();
            drop(encoder);
            coded
        }
        "zstd" => ::zstd::bulk::compress(plain, i32::try_from(level).unwrap()).unwrap(),
        other => panic!("no encoder of {other}"),
    }
}

fn fields(codings: &[&str]) -> Fields {
    let mut fields = Fields::default();
    for name in codings {
        fields.push(b"content-encoding", name.replace("raw", "deflate").as_bytes());
    }
    fields
}

fn sample(bytes: &[u8]) -> Sample {
    let mut sample = Sample::new(Purpose::Form);
    sample.take(bytes);
    sample
}

#[track_caller]
fn check(codings: &[&str], coded: &[u8], expected: (&[u8], End)) {
    let sample = sample(coded);
    let decoded = undo(&sample, &fields(codings));
    assert!(decoded.octets() == expected.0, "{codings:?}: {} octets", decoded.octets().len());
    assert_eq!(decoded.end(), expected.1, "{codings:?}");
}

/// Some JSON, as servers send it.
fn json() -> Vec<u8> {
    let claim = |nth| format!("\"claim_{nth}\":\"{}\"", nth * 7919);
    let claims: Vec<_> = (0..300).map(claim).collect();
    format!("{{{}}}", claims.join(",")).into_bytes()
}

#[test]
fn every_coding_is_undone() {
    for name in NAMES {
        for plain in [&b""[..], b"a", &json()] {
            check(&[name], &encode(name, plain, 6), (plain, End::Whole));
        }
    }
}

#[test]
fn without_a_coding_the_body_is_as_sent() {
    check(&[], b"plain", (b"plain", End::Whole));
    check(&["identity"], b"plain", (b"plain", End::Whole));
    check(&["", " , "], b"plain", (b"plain", End::Whole));
    check(&["gzip"], b"", (b"", End::Whole));
}

#[test]
fn names_are_read_as_rfc9110_8_4_1_writes_them() {
    let coded = encode("gzip", b"x", 6);
    for name in ["GZip", "x-gzip", " gzip\t", "identity, gzip"] {
        check(&[name], &coded, (b"x", End::Whole));
    }
    for name in ["compress", "dcb", "gzip\u{b}", "gzip;q=1"] {
        check(&[name], &coded, (b"", End::Unknown));
    }
}

#[test]
fn codings_upon_each_other_are_undone_up_to_a_limit() {
    let plain = json();
    let once = encode("gzip", &plain, 6);
    let twice = encode("br", &once, 6);
    let thrice = encode("zstd", &twice, 6);
    check(&["gzip", "br"], &twice, (&plain, End::Whole));
    check(&["gzip, br", "zstd"], &thrice, (&plain, End::Whole));
    let more = encode("gzip", &thrice, 6);
    check(&["gzip", "br", "zstd", "gzip"], &more, (b"", End::Unknown));
}

#[test]
fn gzip_has_headers_of_all_kinds_and_several_members_rfc1952() {
    let mut named = GzBuilder::new()
        .filename("file")
        .comment("text")
        .extra(vec![1, 2, 3])
        .write(Vec::new(), Compression::fast());
    named.write_all(b"one ").unwrap();
    let named = named.finish().unwrap();
    check(
        &["gzip"],
        &[named.clone(), encode("gzip", b"two", 1)].concat(),
        (b"one two", End::Whole),
    );
    for cut in 1..named.len() {
        let sample = sample(&named[..cut]);
        assert_eq!(undo(&sample, &fields(&["gzip"])).end(), End::Cut, "{cut}");
    }
    // A header CRC, which no encoder here writes.
    let mut with_crc = encode("gzip", b"x", 6);
    with_crc[3] |= 2;
    with_crc.splice(10..10, [0, 0]);
    check(&["gzip"], &with_crc, (b"x", End::Whole));
}

#[test]
fn zstd_may_have_several_frames_and_such_to_skip_rfc8878() {
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let frames = [encode("zstd", b"one ", 1), skipped.clone(), encode("zstd", b"two", 19)].concat();
    check(&["zstd"], &frames, (b"one two", End::Whole));
    check(&["zstd"], &skipped[..10], (b"", End::Cut));
}

#[test]
fn what_follows_the_end_or_is_no_coding_is_malformed() {
    for name in NAMES {
        let coded = [encode(name, b"plain", 6), b"more".to_vec()].concat();
        check(&[name], &coded, (b"plain", End::Malformed));
    }
    for name in ["gzip", "zstd", "br"] {
        check(&[name], b"\xffno coding at all", (b"", End::Malformed));
    }
    let mut wrong = encode("gzip", b"plain", 6);
    let crc = wrong.len() - 8;
    wrong[crc] ^= 1;
    check(&["gzip"], &wrong, (b"plain", End::Malformed));
}

#[test]
fn bombs_end_at_the_ratio_or_at_the_bound() {
    let zeros = vec![0; 8 * 1024 * 1024];
    for name in NAMES {
        let sample = sample(&encode(name, &zeros, 9));
        let decoded = undo(&sample, &fields(&[name]));
        assert!(matches!(decoded.end(), End::Bomb | End::TooLarge | End::Cut), "{name}");
        assert!(decoded.octets().len() <= DECODED_MAX, "{name}");
        assert!(decoded.octets().len() <= (sample.bytes().len() * RATIO_MAX).max(RATIO_FREE));
    }
    let small = encode("gzip", &zeros[..1_000_000], 9);
    let outer = sample(&small);
    assert_eq!(undo(&outer, &fields(&["gzip"])).end(), End::Bomb);
    // A bomb within another.
    let nested = encode("br", &small, 9);
    let nested = sample(&nested);
    assert_eq!(undo(&nested, &fields(&["gzip", "br"])).end(), End::Bomb);
}

#[test]
fn limits_that_are_hit_are_counted() {
    let mut cuts = Cuts::default();
    let counted = |cuts: &Cuts| (cuts.contents_too_large, cuts.content_bombs);
    let bomb = sample(&encode("gzip", &vec![0; 1_000_000], 9));
    let _bomb = decode(&bomb, &fields(&["gzip"]), &mut cuts);
    assert_eq!(counted(&cuts), (0, 1));
    let large = sample(&encode("gzip", &noise(), 9));
    let _large = decode(&large, &fields(&["gzip"]), &mut cuts);
    assert_eq!(counted(&cuts), (1, 1));
    let honest = sample(&encode("gzip", b"plain", 9));
    let _honest = decode(&honest, &fields(&["gzip"]), &mut cuts);
    assert_eq!(counted(&cuts), (1, 1));
    let mut all = Cuts::default();
    all.join(&cuts);
    assert_eq!(counted(&all), (1, 1));
}

/// More than the bound, in runs of 16 by chance: some 20 octets of them to one of gzip.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut run = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        [b"abcdefgh"[(state >> 29) as usize]; 16]
    };
    (0..DECODED_MAX / 16 + 1000).flat_map(|_| run()).collect()
}

#[test]
fn what_is_larger_than_the_bound_is_left() {
    let noise = noise();
    let coded = encode("gzip", &noise, 9);
    assert!(coded.len() < SAMPLE_MAX, "{}", coded.len());
    check(&["gzip"], &coded, (&noise[..DECODED_MAX], End::TooLarge));
}

#[test]
fn a_zstd_window_beyond_rfc9659_is_refused() {
    // Frame header: no content size, window of 2^24.
    check(&["zstd"], &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x70, 1, 0, 0], (b"", End::TooLarge));
}

#[test]
fn a_cut_sample_gives_what_there_is() {
    let plain = json();
    let coded = encode("gzip", &plain, 6);
    let mut cut = sample(&coded[..coded.len() / 2]);
    cut.cut();
    let decoded = undo(&cut, &fields(&["gzip"]));
    assert_eq!(decoded.end(), End::Cut);
    assert!(!decoded.octets().is_empty() && plain.starts_with(decoded.octets()));
}

proptest! {
    #[test]
    fn what_encoders_make_is_undone(
        plain in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..2000),
            prop::collection::vec(0_u8..3, 0..2000),
            Just(json()),
        ],
        names in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..=CODINGS_MAX),
        level in 1_u32..12,
    ) {
        let coded = names.iter().fold(plain.clone(), |body, name| encode(name, &body, level));
        let sample = sample(&coded);
        let decoded = undo(&sample, &fields(&names));
        prop_assert_eq!(decoded.end(), End::Whole);
        prop_assert!(decoded.octets() == plain);
    }

    #[test]
    fn a_start_gives_a_start_and_is_never_whole(
        name in prop::sample::select(NAMES.to_vec()),
        keep in any::<prop::sample::Index>(),
    ) {
        let plain = json();
        let coded = encode(name, &plain, 6);
        let sample = sample(&coded[..=keep.index(coded.len() - 1)]);
        let decoded = undo(&sample, &fields(&[name]));
        prop_assert!(!decoded.is_whole());
        prop_assert!(plain.starts_with(decoded.octets()));
    }

    #[test]
    fn any_bytes_end_within_bounds(
        start in prop::sample::select(NAMES.to_vec()),
        kept in 0_usize..40,
        noise in prop::collection::vec(any::<u8>(), 0..400),
        names in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..=CODINGS_MAX),
    ) {
        let coded = encode(start, &json(), 3);
        let sample = sample(&[&coded[..kept], &noise].concat());
        let decoded = undo(&sample, &fields(&names));
        prop_assert!(decoded.octets().len() <= DECODED_MAX);
    }
}

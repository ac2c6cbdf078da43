//! What holds for any connection, any split, any interleaving and any bytes.

use std::collections::VecDeque;

use proptest::{
    prelude::{
        Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof,
        proptest,
    },
    sample::Index,
};

use super::{
    super::{
        BUFFERED_MAX, Connection, chain_to_end,
        detect::{PREFACE, longest_chain_to_end},
    },
    CLIENT, END_HEADERS, END_STREAM, SERVER, block, data, frame, line, settings, texts,
};
use crate::{clock::Timestamp, flow::chunk::Direction, http::message::Exchange};

/// What one stream does.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    token: String,
    upload: Option<usize>,
    download: Option<usize>,
    has_trailers: bool,
    /// Where the header block is continued.
    cut: Option<Index>,
}

fn call() -> impl Strategy<Value = Call> {
    let body = || prop::option::of(0_usize..600);
    ("/[a-c]{1,3}", "[st]{1,2}", body(), body(), any::<bool>(), prop::option::of(any::<Index>()))
        .prop_map(|(path, token, upload, download, has_trailers, cut)| Call {
            path,
            token,
            upload,
            download,
            has_trailers,
            cut,
        })
}

/// Indexes every field, `authorization` too, so that all depends on the table. It stays so small
/// that nothing is evicted and an index takes one octet.
#[derive(Default)]
struct Encoder {
    /// Newest first.
    table: VecDeque<(String, String)>,
}

impl Encoder {
    fn encode(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        fields.iter().flat_map(|(name, value)| self.encode_field(name, value)).collect()
    }

    fn encode_field(&mut self, name: &str, value: &str) -> Vec<u8> {
        let find = |(n, v): &(String, String)| n == name && v == value;
        if let Some(slot) = self.table.iter().position(find) {
            return vec![0x80 | u8::try_from(62 + slot).unwrap()];
        }
        let name_index = self.table.iter().position(|(n, _)| n == name);
        self.table.push_front((name.to_owned(), value.to_owned()));
        let field = block(&[(name, value)]);
        match name_index {
            // An index of six bits takes a second octet from 63 on.
            Some(0) => [&[0x40 | 62], &field[name.len() + 2..]].concat(),
            Some(slot) => {
                [&[0x7f, u8::try_from(slot - 1).unwrap()], &field[name.len() + 2..]].concat()
            }
            None => [&[0x40], &field[1..]].concat(),
        }
    }
}

/// Both directions of a connection that makes these calls; all begin before any body is sent.
fn wire(calls: &[Call]) -> [Vec<u8>; 2] {
    let mut encoders = [Encoder::default(), Encoder::default()];
    let mut wire = [[PREFACE.as_slice(), &settings()].concat(), settings()];
    for (call, stream) in calls.iter().zip((1..).step_by(2)) {
        let request = [(":method", "POST"), (":path", &call.path), ("authorization", &call.token)];
        let flags = if call.upload.is_none() { END_STREAM } else { 0 };
        let block = encoders[0].encode(&request);
        wire[0].extend(cut(call.cut, flags, stream, &block));
        let response = [(":status", "200"), ("server", &call.path)];
        let flags = if call.download.is_none() { END_STREAM } else { 0 };
        wire[1].extend(cut(call.cut, flags, stream, &encoders[1].encode(&response)));
    }
    for (call, stream) in calls.iter().zip((1..).step_by(2)) {
        wire[0].extend(call.upload.map(|len| data(stream, END_STREAM, len)).unwrap_or_default());
        let Some(len) = call.download else { continue };
        let flags = if call.has_trailers { 0 } else { END_STREAM };
        wire[1].extend(data(stream, flags, len));
        if call.has_trailers {
            let block = encoders[1].encode(&[("grpc-status", "0")]);
            wire[1].extend(cut(call.cut, END_STREAM, stream, &block));
        }
    }
    wire
}

fn cut(at: Option<Index>, flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let Some(at) = at else { return frame(1, flags | END_HEADERS, stream, block) };
    let (first, rest) = block.split_at(at.index(block.len()));
    [frame(1, flags, stream, first), frame(9, END_HEADERS, stream, rest)].concat()
}

/// All that an exchange says, in the order of requests.
fn told(mut exchanges: Vec<Exchange>) -> Vec<String> {
    exchanges.sort_by_key(|exchange| exchange.index);
    let fields = |exchange: &Exchange| {
        let request = exchange.request.as_ref().map(|it| texts(&it.fields));
        let response = exchange.response.as_ref();
        let response = response.map(|it| [texts(&it.fields), texts(&it.trailers)]);
        format!("{} {request:?} {response:?}", line(exchange))
    };
    exchanges.iter().map(fields).collect()
}

/// Feeds both directions in pieces: each step takes some bytes of one of them.
fn replay(wire: &[Vec<u8>; 2], steps: &[(bool, usize)]) -> Vec<Exchange> {
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    let mut rest = [wire[0].as_slice(), wire[1].as_slice()];
    let mut feed = |side: usize, len: usize| {
        let (piece, after) = rest[side].split_at(len.min(rest[side].len()));
        rest[side] = after;
        connection.feed(direction(side), Timestamp(7), piece, &mut out);
    };
    for (side, len) in steps {
        feed(usize::from(*side), *len);
    }
    feed(0, usize::MAX);
    feed(1, usize::MAX);
    connection.finish(Timestamp(7), &mut out);
    out
}

const fn direction(side: usize) -> Direction {
    if side == 0 { CLIENT } else { SERVER }
}

fn steps() -> impl Strategy<Value = Vec<(bool, usize)>> {
    prop::collection::vec((any::<bool>(), 0_usize..120), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_split_and_interleaving_gives_the_same_exchanges(
        calls in prop::collection::vec(call(), 1..6),
        steps in steps(),
    ) {
        let wire = wire(&calls);
        let exchanges = replay(&wire, &steps);
        prop_assert_eq!(exchanges.len(), calls.len());
        prop_assert!(exchanges.iter().all(|exchange| exchange.notes.is_empty()));
        prop_assert_eq!(told(exchanges), told(replay(&wire, &[])));
    }

    #[test]
    fn any_split_of_a_connection_joined_late_gives_the_same_exchanges(
        calls in prop::collection::vec(call(), 1..6),
        joins in (any::<Index>(), any::<Index>()),
        steps in steps(),
    ) {
        let wire = wire(&calls);
        let wire =
            [wire[0][joins.0.index(wire[0].len())..].to_vec(), wire[1][joins.1.index(wire[1].len())..].to_vec()];
        // The interleaving decides who is heard first, so it stays; only the splits differ.
        let whole = replay(&wire, &[(false, usize::MAX), (true, usize::MAX)]);
        let split: Vec<_> = [false, true]
            .into_iter()
            .flat_map(|side| {
                let lens = steps.iter().map(move |(_, len)| (side, *len));
                lens.chain([(side, usize::MAX)])
            })
            .collect();
        prop_assert_eq!(told(replay(&wire, &split)), told(whole));
    }

    /// Whatever is said about fields after losses, it was on the wire, on that stream.
    #[test]
    fn a_gap_never_invents_a_field_nor_claims_that_one_is_absent(
        calls in prop::collection::vec(call(), 1..8),
        gaps in prop::collection::vec((any::<bool>(), any::<Index>(), 1_usize..300), 1..4),
        chunk in 1_usize..200,
    ) {
        let wire = wire(&calls);
        for exchange in replay_with_gaps(&wire, &gaps, chunk) {
            let at = usize::try_from(exchange.index).unwrap();
            prop_assert!(at < calls.len());
            let Some(request) = &exchange.request else { continue };
            let call = &calls[at];
            let is_whole = exchange.notes.iter().all(|note| note.as_str() != "headers_incomplete");
            let token = request.fields.first("authorization");
            prop_assert!(token.is_none_or(|token| token == call.token.as_bytes()));
            prop_assert!(!is_whole || token.is_some());
            let target = request.target.as_str();
            prop_assert!(target == call.path || target.is_empty() && !is_whole);
            for (name, value) in exchange.response.iter().flat_map(|response| response.fields.iter()) {
                prop_assert_eq!((name, value), (&b"server"[..], call.path.as_bytes()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_pile_up(
        opening in prop::sample::select(vec![&PREFACE[..], b"", b"\0\0\0\x04\0\0\0\0\0"]),
        pieces in prop::collection::vec(
            (any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 0..40),
    ) {
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        connection.feed(CLIENT, Timestamp(7), opening, &mut out);
        for (is_server, is_gap, bytes) in &pieces {
            let direction = direction(usize::from(*is_server));
            connection.feed(direction, Timestamp(7), bytes, &mut out);
            if *is_gap {
                connection.gap(direction, Timestamp(7), bytes.len() as u64, &mut out);
            }
            prop_assert!(connection.buffered() <= BUFFERED_MAX);
        }
        connection.finish(Timestamp(7), &mut out);
    }

    /// Frames that are valid one by one, in an order that makes no sense.
    #[test]
    fn arbitrary_frames_neither_panic_nor_pile_up_however_they_are_cut(
        frames in prop::collection::vec(
            (any::<bool>(), 0_u8..11, any::<u8>(), 0_u32..9, arbitrary_payload()), 0..80),
    ) {
        let run = |most: usize| {
            let (mut connection, mut out) = (Connection::new(), Vec::new());
            connection.feed(CLIENT, Timestamp(7), PREFACE, &mut out);
            connection.feed(SERVER, Timestamp(7), &settings(), &mut out);
            for (is_server, kind, flags, stream, payload) in &frames {
                let stream = if matches!(kind, 4 | 6 | 7) { 0 } else { *stream };
                for piece in frame(*kind, *flags, stream, payload).chunks(most) {
                    let direction = direction(usize::from(*is_server));
                    connection.feed(direction, Timestamp(7), piece, &mut out);
                    assert!(connection.buffered() <= BUFFERED_MAX);
                }
            }
            connection.finish(Timestamp(7), &mut out);
            told(out)
        };
        prop_assert_eq!(run(1), run(usize::MAX));
    }
}

fn arbitrary_payload() -> impl Strategy<Value = Vec<u8>> {
    proptest::prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(
            prop::sample::select(vec![0x82_u8, 0x84, 0x88, 0xbe, 0x40, 1, 97]),
            0..60
        ),
        Just(vec![0; 8]),
        Just(vec![0; 4]),
    ]
}

/// Pieces of which chains, and what almost is one, are made.
fn chain_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(frame(6, 0, 0, &[0; 8])),
        4 => Just(settings()),
        2 => (0_usize..40).prop_map(|len| data(1, END_STREAM, len)),
        // A length that ends within what follows.
        1 => (1_usize..30).prop_map(|len| {
            let mut cut = data(1, END_STREAM, 30);
            cut.truncate(9 + len);
            cut
        }),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    /// What goes through the bytes once finds what a look from each place would.
    #[test]
    fn the_longest_chain_to_the_end_is_found(pieces in prop::collection::vec(chain_piece(), 0..12)) {
        let bytes = pieces.concat();
        let by_looking = (0..bytes.len()).find(|from| chain_to_end(&bytes[*from..]));
        prop_assert_eq!(longest_chain_to_end(&bytes), by_looking);
    }
}

/// Feeds both directions in turns, without the bytes in the gaps.
fn replay_with_gaps(
    wire: &[Vec<u8>; 2],
    gaps: &[(bool, Index, usize)],
    chunk: usize,
) -> Vec<Exchange> {
    let lost = wire.each_ref().map(|bytes| vec![false; bytes.len()]);
    let lost = gaps.iter().fold(lost, |mut lost, (side, from, len)| {
        let lost_here = &mut lost[usize::from(*side)];
        let from = from.index(lost_here.len());
        let to = lost_here.len().min(from + len);
        lost_here[from..to].fill(true);
        lost
    });
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    for at in (0..wire[0].len().max(wire[1].len())).step_by(chunk) {
        for side in [0, 1] {
            let end = wire[side].len().min(at + chunk);
            let start = at.min(end);
            let runs = lost[side][start..end].chunk_by(|a, b| a == b);
            runs.fold(start, |from, run| {
                if run[0] {
                    let len = run.len() as u64;
                    connection.gap(direction(side), Timestamp(7), len, &mut out);
                } else {
                    let bytes = &wire[side][from..from + run.len()];
                    connection.feed(direction(side), Timestamp(7), bytes, &mut out);
                }
                from + run.len()
            });
        }
    }
    connection.finish(Timestamp(7), &mut out);
    out
}

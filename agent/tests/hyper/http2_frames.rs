//! Messages of HTTP/2 as frames, in every form that RFC 9113 allows: with padding and priority, in
//! CONTINUATIONs, interleaved, between frames that do not concern them.

use loona_hpack::Encoder;
use proptest::{
    prelude::{Just, Strategy, any, prop},
    prop_oneof,
    sample::{Index, select},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

pub type Fields = Vec<(&'static str, &'static str)>;

/// A message, and how it is put into frames.
#[derive(Clone, Debug)]
pub struct Message {
    /// Header lists; all but the last one are interim.
    pub heads: Vec<Fields>,
    pub pieces: Vec<usize>,
    pub trailers: Option<Fields>,
    pub style: Style,
}

#[derive(Clone, Debug)]
pub struct Style {
    padding: Option<u8>,
    has_priority: bool,
    /// Where header blocks are continued.
    cut: Option<Index>,
}

pub fn style() -> impl Strategy<Value = Style> {
    (prop::option::of(0_u8..30), any::<bool>(), prop::option::of(any::<Index>()))
        .prop_map(|(padding, has_priority, cut)| Style { padding, has_priority, cut })
}

/// What each step sends: the next part of a message, or a frame besides.
#[derive(Clone, Debug)]
pub enum Step {
    Part(usize),
    Besides(Vec<u8>),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let besides = select(vec![
        frame(6, 0, 0, &[7; 8]),
        frame(8, 0, 0, &[0, 0, 1, 0]),
        frame(2, 0, 1, &[0, 0, 0, 0, 9]),
        frame(0xfa, 0xff, 5, b"unknown"),
        // SETTINGS_HEADER_TABLE_SIZE, up and down.
        frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]),
        frame(4, 0, 0, &[0, 1, 0, 0, 0x10, 0]),
        frame(4, 0, 0, &[0, 1, 0, 1, 0, 0]),
    ]);
    let step = prop_oneof![
        6 => (0_usize..60).prop_map(Step::Part),
        1 => besides.prop_map(Step::Besides),
    ];
    prop::collection::vec(step, 0..40)
}

/// Data of a message: pieces, often none.
pub fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(0_usize..1500, 1..4)]
}

/// SETTINGS, then the messages on streams 1, 3 and so on.
pub fn connection(messages: &[Message], steps: &[Step]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut bytes = frame(4, 0, 0, &[]);
    let mut next = vec![0; messages.len()];
    let parts = |message: &Message| {
        message.heads.len() + message.pieces.len() + usize::from(message.trailers.is_some())
    };
    let rest = std::iter::repeat(Step::Part(0));
    for step in steps.iter().cloned().chain(rest) {
        // Streams are opened in order (§5.1.1), so those behind the first unopened one wait.
        let opened = next.iter().take_while(|part| **part > 0).count();
        let open: Vec<usize> = (0..messages.len().min(opened + 1))
            .filter(|at| next[*at] < parts(&messages[*at]))
            .collect();
        if open.is_empty() {
            break;
        }
        match step {
            Step::Besides(frame) => bytes.extend(frame),
            Step::Part(choice) => {
                let at = open[choice % open.len()];
                let is_last = next[at] + 1 == parts(&messages[at]);
                let stream = u32::try_from(2 * at + 1).unwrap();
                bytes.extend(part(&mut encoder, &messages[at], next[at], stream, is_last));
                next[at] += 1;
            }
        }
    }
    bytes
}

fn part(
    encoder: &mut Encoder<'_>,
    message: &Message,
    at: usize,
    stream: u32,
    is_last: bool,
) -> Vec<u8> {
    let Message { heads, pieces, trailers, style } = message;
    let end = if is_last { END_STREAM } else { 0 };
    let piece = at.checked_sub(heads.len());
    if let Some(len) = piece.and_then(|piece| pieces.get(piece)) {
        return padded(style, DATA, end, stream, &vec![b'x'; *len]);
    }
    let fields = heads.get(at).or(trailers.as_ref()).unwrap();
    let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let block = encoder.encode(pairs);
    let Some(cut) = style.cut else {
        return headers(style, end | END_HEADERS, stream, &block);
    };
    let (first, rest) = block.split_at(cut.index(block.len() + 1));
    let continuation = frame(CONTINUATION, END_HEADERS, stream, rest);
    [headers(style, end, stream, first), continuation].concat()
}

fn headers(style: &Style, flags: u8, stream: u32, fragment: &[u8]) -> Vec<u8> {
    if !style.has_priority {
        return padded(style, HEADERS, flags, stream, fragment);
    }
    let payload = [&[0, 0, 0, 0, 16], fragment].concat();
    padded(style, HEADERS, flags | PRIORITY, stream, &payload)
}

fn padded(style: &Style, kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let Some(padding) = style.padding else { return frame(kind, flags, stream, content) };
    let payload = [&[padding], content, &vec![0; usize::from(padding)]].concat();
    frame(kind, flags | PADDED, stream, &payload)
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// How many HEADERS frames there are behind a preface.
pub fn count_heads(bytes: &[u8]) -> usize {
    let mut rest = bytes.strip_prefix(scopewatch::http2::PREFACE).unwrap_or_default();
    let mut count = 0;
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        count += usize::from(*kind == HEADERS);
        let len = u32::from_be_bytes([0, *a, *b, *c]);
        rest = payload.get(usize::try_from(len).unwrap()..).unwrap_or_default();
    }
    count
}

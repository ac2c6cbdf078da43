//! HTTP: heads, chunks, header compression, frames, and whole connections of any version.

use scopewatch::{
    flow::chunk::Direction,
    http::{detect::Codec as Detect, message::Exchange},
    http1,
    http2::{
        self, PREFACE,
        hpack::{DecodeError, Decoder, LIST_SIZE_MAX, SCRATCH_KEPT, TABLE_SIZE_MAX},
    },
};
use scopewatch_harness::talks::{self, Dice, End, Piece};

use crate::play::{Step, check, commands, steps};

const ASK: Direction = Direction::Outbound;
const TELL: Direction = Direction::Inbound;

/// A request's and a response's head: what is told of them stands in them.
pub fn head(input: &[u8]) {
    for (direction, start) in [(ASK, &b"GET "[..]), (TELL, b"HTTP/1.1 200 ")] {
        let whole = [start, input, b"\r\n\r\n"].concat();
        let told = check::<http1::Connection>(&[Step::Bytes(direction, whole.clone())]);
        for Exchange { request, response, .. } in told {
            let request = request.iter();
            let heads = request.clone().map(|it| &it.fields);
            for fields in heads.chain(response.iter().map(|it| &it.fields)) {
                assert!(fields.len() <= http1::MAX_FIELDS);
                for (name, value) in fields.iter() {
                    assert!(!name.contains(&b':') && !name.contains(&b'\n'));
                    assert!(!value.contains(&b'\n'));
                }
            }
            for request in request {
                assert!(request.method.len() <= http1::MAX_METHOD);
                let target = request.target.as_bytes();
                assert!(target.is_empty() || whole.windows(target.len()).any(|at| at == target));
            }
        }
    }
}

pub fn head_seeds() -> Vec<Vec<u8>> {
    [
        "/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x",
        "/a?b=c HTTP/1.1\nHost : a\n folded\nContent-Length: 5, 5\nTransfer-Encoding: chunked",
        "OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A chunked body, valid but for extensions and trailers that are as the input has them: its
/// length is told exactly, and the next request is found.
pub fn chunked(input: &[u8]) {
    let mut dice = Dice::of(input);
    let mut bytes = b"POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut total = 0;
    for _ in 0..dice.below(12) {
        let len = dice.below(400) + 1;
        let zeros = "0".repeat(dice.below(4));
        let extension: String =
            (0..dice.below(20)).map(|_| char::from(b'!' + dice.byte() % 90)).collect();
        let extension = if extension.is_empty() { extension } else { format!(";{extension}") };
        bytes.extend(format!("{zeros}{len:x}{extension}\r\n").into_bytes());
        bytes.extend(dice.bytes(len));
        bytes.extend(b"\r\n");
        total += len as u64;
    }
    bytes.extend(b"0\r\n");
    for nth in 0..dice.below(3) {
        bytes.extend(format!("Trailer-{nth}: {}\r\n", dice.byte()).into_bytes());
    }
    bytes.extend(b"\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    let told = check::<http1::Connection>(&[Step::Bytes(ASK, bytes.clone())]);
    let asked: Vec<_> = told.iter().filter_map(|exchange| exchange.request.as_ref()).collect();
    assert_eq!((asked[0].target.as_str(), asked[0].body_bytes), ("/one", total));
    assert_eq!(asked[1].target.as_str(), "/two");
    // And with whatever comes instead.
    let broken = dice.rest();
    bytes.splice(60.min(bytes.len())..60.min(bytes.len()), broken);
    check::<http1::Connection>(&[Step::Bytes(ASK, bytes)]);
}

pub fn http1(input: &[u8]) {
    check::<http1::Connection>(&steps(input));
}

pub fn http1_seeds() -> Vec<Vec<u8>> {
    let get = b"GET /a HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer t\r\n\r\n";
    let post =
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switching = b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nwhatever";
    let web =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web\r\nContent-Length: 28\r\n\r\n\
                \0\0\0\0\x02ab\x80\0\0\0\x10grpc-status: 7\r\n";
    let text = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web-text\r\n\
                 Transfer-Encoding: chunked\r\n\r\n28\r\nAAAAAAJhYg==gAAAABBncnBjLXN0YXR1czogNw0K\r\n\
                 0\r\nGrpc-Status: 7\r\n\r\n";
    vec![
        commands(&[(ASK, get), (TELL, ok), (ASK, get), (TELL, chunks)]),
        commands(&[(ASK, post), (ASK, get), (TELL, ok), (TELL, ok)]),
        commands(&[(ASK, upgrade), (TELL, switching)]),
        [&[0b101, 0b1111_1110][..], &commands(&[(ASK, get), (TELL, ok)])].concat(),
        commands(&[(ASK, post), (TELL, web), (ASK, get), (TELL, text)]),
    ]
}

/// Header blocks, each with its length in a byte before it.
pub fn hpack(input: &[u8]) {
    let (mut decoder, mut rest) = (Decoder::default(), input);
    while let Some((len, following)) = rest.split_first() {
        let (block, behind) = following.split_at(following.len().min(usize::from(*len)));
        rest = behind;
        let mut size = 0;
        let done = decoder.decode(block, &mut |field| {
            size += field.name.map_or(0, <[u8]>::len) + field.value.map_or(0, <[u8]>::len);
        });
        assert!(size <= LIST_SIZE_MAX);
        assert!(done != Err(DecodeError::ListSize) || !block.is_empty());
        assert!(decoder.buffered() <= TABLE_SIZE_MAX + 2 * SCRATCH_KEPT);
    }
}

pub fn hpack_seeds() -> Vec<Vec<u8>> {
    // RFC 7541, appendix C: three requests and three responses, with and without Huffman coding.
    [
        "14828684410f7777772e6578616d706c652e636f6d058286 84be58086e6f2d6361636865",
        "11828684418cf1e3c2e5f23a6ba0ab90f4ff0c828684be5886a8eb10649cbf",
        "46400a637573746f6d2d6b65790d637573746f6d2d686561646572040c2f73616d706c652f70617468",
        "203fe11f4003666f6f03626172be20be",
    ]
    .map(|text| crate::unhex(&text.replace(' ', "")))
    .to_vec()
}

/// Frames that make sense one by one. Each: kind, flags, stream and direction, length, payload.
pub fn frames(input: &[u8]) {
    let mut steps = vec![
        Step::Bytes(ASK, [&PREFACE[..], &frame(4, 0, 0, &[])].concat()),
        Step::Bytes(TELL, frame(4, 0, 0, &[])),
    ];
    let mut rest = input;
    while let [kind, flags, place, len, following @ ..] = rest {
        let (payload, behind) = following.split_at(following.len().min(usize::from(*len)));
        rest = behind;
        let direction = if place & 1 == 0 { ASK } else { TELL };
        let stream = if matches!(kind % 11, 4 | 6 | 7) { 0 } else { u32::from(place >> 1) };
        steps.push(match place {
            0xff => Step::Gap(direction, u64::from(*len)),
            _ => Step::Bytes(direction, frame(kind % 11, *flags, stream, payload)),
        });
    }
    check::<http2::Connection>(&steps);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn http2(input: &[u8]) {
    check::<http2::Connection>(&steps(input));
}

pub fn detect(input: &[u8]) {
    check::<Detect>(&steps(input));
}

pub fn http2_seeds() -> Vec<Vec<u8>> {
    let block = crate::unhex("828684410f7777772e6578616d706c652e636f6d");
    let ask = [&PREFACE[..], &frame(4, 0, 0, &[]), &frame(1, 5, 1, &block)].concat();
    let tell = [frame(4, 0, 0, &[]), frame(1, 4, 1, &[0x88]), frame(0, 1, 1, b"body")].concat();
    let late = [frame(0, 0, 1, b"rest"), frame(1, 5, 3, &block), frame(6, 0, 0, &[0; 8])].concat();
    vec![
        commands(&[(ASK, &ask), (TELL, &tell)]),
        [&[0b1111_1110][..], &commands(&[(ASK, &late), (TELL, &tell)])].concat(),
        http1_seeds().remove(0),
    ]
}

/// A valid connection of either version, made of the input, then damaged by it.
pub fn talk(input: &[u8]) {
    let mut dice = Dice::of(input);
    let mut made = talks::talk(&mut dice);
    let damages = dice.below(6);
    let donor = made.clone();
    (0..damages).for_each(|_| talks::damage::damage(&mut dice, &mut made, &donor));
    let direction = |end| if end == End::Client { ASK } else { TELL };
    let steps: Vec<Step> = made
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Bytes(end, bytes) => Step::Bytes(direction(*end), bytes.clone()),
            Piece::Gap(end, len) => Step::Gap(direction(*end), *len),
            Piece::Close(end) => Step::End(direction(*end)),
        })
        .collect();
    let told = check::<Detect>(&steps);
    if damages == 0 && made.is_plain {
        assert_eq!(told.len(), made.requests);
        assert!(told.iter().all(|it| it.notes.is_empty() && it.response.is_some()));
    }
}

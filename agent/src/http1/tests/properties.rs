//! What holds for every connection.

use std::ops::Range;

use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof},
    prop_assert, prop_assert_eq, proptest,
    sample::select,
};

use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::message::{Exchange, Fields, Request, Response},
    http1::{Connection, MAX_BUFFERED},
};

const ASK: Direction = Direction::Outbound;
const TELL: Direction = Direction::Inbound;

/// A request and its response, whole.
fn exchange() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let request = select(vec![
        "GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n\r\n",
        "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\nGET / HTTP/1",
        "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
        "PUT /d HTTP/1.1\r\nX: a\r\n b\r\nHost : h\nContent-Length: 1\r\n\r\na",
    ]);
    let response = select(vec![
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", ""),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 "),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0a\r\n0123456789\r\n0\r\n\r\n"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\na\r\n0\r\n\r\n",
        ),
    ]);
    (request, response).prop_map(|(request, (head, body))| {
        let body = if request.starts_with("HEAD") { "" } else { body };
        (request.as_bytes().to_vec(), format!("{head}{body}").into_bytes())
    })
}

/// Feeds `bytes` in pieces of lengths that `cuts` gives in turn.
fn feed_in_pieces(
    connection: &mut Connection,
    direction: Direction,
    bytes: &[u8],
    cuts: &mut impl Iterator<Item = usize>,
    out: &mut Vec<Exchange>,
) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(cuts.next().unwrap().clamp(1, rest.len()));
        connection.feed(direction, Timestamp(0), piece, out);
        rest = next;
    }
}

/// In the order of requests: interleavings may complete exchanges in different orders.
fn sorted(mut out: Vec<Exchange>) -> Vec<Exchange> {
    out.sort_by_key(|exchange| exchange.index);
    out
}

#[derive(Clone, Debug)]
enum Event {
    Bytes(Direction, Vec<u8>),
    Gap(Direction, u64),
    End(Direction),
}

/// Arbitrary events: pieces of HTTP, cut anywhere, garbage, gaps and ends.
fn event() -> impl Strategy<Value = Event> {
    let direction = any::<bool>().prop_map(|asks| if asks { ASK } else { TELL });
    let piece = select(vec![
        "GET /a HTTP/1.1\r\n",
        "POST /b HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404 No\n",
        "CONNECT h:1 HTTP/1.1\r\n",
        "Host: h\r\n",
        "Authorization : Bearer x\r\n folded\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "5\r\nabcde\r\n",
        "0\r\n\r\n",
        "\n",
        "no field\rat all\r\n",
    ]);
    let whole = select(vec![
        "GET /a HTTP/1.1\r\nHost: h\r\nCookie: k\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: z\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ]);
    let text = prop_oneof![piece, whole].prop_map(|text| text.as_bytes().to_vec());
    let cut = (text.clone(), 0_usize..40).prop_map(|(mut text, len)| {
        text.truncate(len);
        text
    });
    let bytes = prop_oneof![6 => text, 2 => cut, 1 => vec(any::<u8>(), 0..40)];
    (direction, bytes, 0_u8..20, prop_oneof![4 => 0_u64..12, 1 => Just(u64::MAX)]).prop_map(
        |(direction, bytes, choice, len)| match choice {
            0..17 => Event::Bytes(direction, bytes),
            17 | 18 => Event::Gap(direction, len),
            _ => Event::End(direction),
        },
    )
}

/// Lower-cased, with line ends as the spaces that they become in unfolded values.
fn comparable(bytes: &[u8]) -> Vec<u8> {
    let plain = bytes.iter().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        other => other.to_ascii_lowercase(),
    });
    plain.collect()
}

fn occurs(needle: &[u8], input: &[u8]) -> bool {
    needle.is_empty() || input.windows(needle.len()).any(|window| window == needle)
}

fn occur(fields: &Fields, input: &[u8]) -> bool {
    fields.iter().all(|(name, value)| occurs(name, input) && occurs(&comparable(value), input))
}

/// What is lost of a message: nothing, all, its start, its end, or its middle.
#[expect(clippy::single_range_in_vec_init, reason = "ranges are what is meant")]
fn kept(len: usize) -> impl Strategy<Value = Vec<Range<usize>>> {
    (0_u8..9, 0..=len, 0..=len).prop_map(move |(choice, a, b)| match choice {
        0..5 => vec![0..len],
        5 => vec![],
        6 => vec![a..len],
        7 => vec![0..a],
        _ => vec![0..a.min(b), a.max(b)..len],
    })
}

/// A request and its response, both marked with `index`, and what is captured of them.
#[derive(Clone, Debug)]
struct Marked {
    messages: [String; 2],
    kept: [Vec<Range<usize>>; 2],
}

fn marked(index: usize) -> impl Strategy<Value = Marked> {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"a\":\r\n\r\n5\r\n\"bc\"}\r\n0\r\n\r\n";
    let bodies =
        ["Content-Length: 12\r\n\r\n{\"abc\":\r\n12}", chunked, "Content-Length: 0\r\n\r\n"];
    (select(bodies.to_vec()), select(bodies.to_vec()))
        .prop_map(move |(request, response)| {
            [
                format!("POST /{index} HTTP/1.1\r\nHost: h\r\nUser-Agent: u\r\n{request}"),
                format!("HTTP/1.1 200 OK\r\nServer: s\r\nMark: /{index}\r\n{response}"),
            ]
        })
        .prop_flat_map(|messages| {
            let [request, response] = messages.each_ref().map(|message| kept(message.len()));
            (Just(messages), request, response)
        })
        .prop_map(|(messages, request, response)| Marked { messages, kept: [request, response] })
}

/// Feeds what is kept; missing bytes are told at once, or when the next bytes come.
struct Capture {
    connection: Connection,
    out: Vec<Exchange>,
    /// For each direction, bytes that are missing and not told yet.
    untold: [u64; 2],
}

impl Capture {
    fn feed(&mut self, side: usize, message: &str, kept: &[Range<usize>], late: bool) {
        let mut reached = 0;
        for range in kept {
            self.lose(side, range.start - reached, true);
            if !range.is_empty() {
                self.tell(side);
                let bytes = &message.as_bytes()[range.clone()];
                self.connection.feed([ASK, TELL][side], Timestamp(0), bytes, &mut self.out);
            }
            reached = range.end;
        }
        self.lose(side, message.len() - reached, late);
    }

    fn lose(&mut self, side: usize, len: usize, late: bool) {
        self.untold[side] += len as u64;
        if !late {
            self.tell(side);
        }
    }

    fn tell(&mut self, side: usize) {
        let len = std::mem::take(&mut self.untold[side]);
        self.connection.gap([ASK, TELL][side], Timestamp(0), len, &mut self.out);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_and_interleavings_do_not_change_the_exchanges(
        messages in vec(exchange(), 1..8),
        cuts in vec(1_usize..20, 1..40),
        lead in vec(0_usize..3, 1..10),
    ) {
        let mut whole = Connection::new();
        let mut expected = Vec::new();
        for (request, response) in &messages {
            whole.feed(ASK, Timestamp(0), request, &mut expected);
            whole.feed(TELL, Timestamp(0), response, &mut expected);
        }
        prop_assert_eq!(expected.len(), messages.len());

        let mut cut = Connection::new();
        let mut out = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut leads = lead.into_iter().cycle();
        let mut asked = 0;
        for (told, (_, response)) in messages.iter().enumerate() {
            let until = (told + 1 + leads.next().unwrap()).min(messages.len());
            for (request, _) in messages.iter().take(until).skip(asked) {
                feed_in_pieces(&mut cut, ASK, request, &mut cuts, &mut out);
            }
            asked = asked.max(until);
            feed_in_pieces(&mut cut, TELL, response, &mut cuts, &mut out);
        }
        prop_assert_eq!(sorted(out), sorted(expected));
    }

    #[test]
    fn cuts_do_not_change_what_is_made_of_garbage(
        events in vec(event(), 0..30),
        cuts in vec(1_usize..20, 1..40),
    ) {
        let mut cuts = cuts.into_iter().cycle();
        let run = |next: &mut dyn FnMut() -> usize| {
            let mut connection = Connection::new();
            let mut out = Vec::new();
            let mut sizes = std::iter::from_fn(|| Some(next()));
            for event in &events {
                match event {
                    Event::Bytes(direction, bytes) => {
                        feed_in_pieces(&mut connection, *direction, bytes, &mut sizes, &mut out);
                    }
                    Event::Gap(direction, len) => {
                        connection.gap(*direction, Timestamp(0), *len, &mut out);
                    }
                    Event::End(direction) => connection.end(*direction, Timestamp(0), &mut out),
                }
            }
            connection.finish(Timestamp(0), &mut out);
            (out, connection.counts(), connection.ending())
        };
        let whole = run(&mut || usize::MAX);
        prop_assert_eq!(run(&mut || cuts.next().unwrap()), whole);
    }

    #[test]
    fn garbage_is_held_within_bounds_and_no_field_is_invented(
        events in vec(event(), 0..60),
    ) {
        let mut connection = Connection::new();
        let mut out = Vec::new();
        let mut input = Vec::new();
        for event in &events {
            match event {
                Event::Bytes(direction, bytes) => {
                    connection.feed(*direction, Timestamp(0), bytes, &mut out);
                }
                Event::Gap(direction, len) => {
                    connection.gap(*direction, Timestamp(0), *len, &mut out);
                }
                Event::End(direction) => connection.end(*direction, Timestamp(0), &mut out),
            }
            prop_assert!(connection.buffered() <= MAX_BUFFERED);
        }
        connection.finish(Timestamp(0), &mut out);
        prop_assert_eq!(connection.buffered(), 0);
        for direction in [ASK, TELL] {
            for event in &events {
                match event {
                    Event::Bytes(of, bytes) if *of == direction => input.extend_from_slice(bytes),
                    Event::Bytes(..) | Event::Gap(..) | Event::End(_) => {}
                }
            }
            input.push(0);
        }
        let input = comparable(&input);
        for Exchange { request, response, .. } in &out {
            if let Some(Request { method, target, fields, .. }) = request {
                prop_assert!(occurs(&comparable(method.as_bytes()), &input));
                prop_assert!(occurs(&comparable(target.as_bytes()), &input));
                prop_assert!(occur(fields, &input));
            }
            if let Some(Response { status, fields, .. }) = response {
                prop_assert!(occurs(status.to_string().as_bytes(), &input));
                prop_assert!(occur(fields, &input));
            }
        }
    }

    #[test]
    fn whatever_is_lost_no_response_stands_beside_another_request(
        exchanges in (1_usize..10).prop_flat_map(|count| (0..count).map(marked).collect::<Vec<_>>()),
        late in vec(any::<bool>(), 1..10),
    ) {
        let connection = Connection::new();
        let mut capture = Capture { connection, out: Vec::new(), untold: [0; 2] };
        for (Marked { messages, kept }, late) in exchanges.iter().zip(late.iter().cycle()) {
            for side in [0, 1] {
                capture.feed(side, &messages[side], &kept[side], *late);
            }
        }
        capture.connection.finish(Timestamp(0), &mut capture.out);
        for Exchange { request, response, .. } in &capture.out {
            if let (Some(request), Some(response)) = (request, response) {
                prop_assert_eq!(
                    response.fields.first("mark"),
                    Some(request.target.as_bytes()),
                    "{:?}", capture.out.iter().map(super::render).collect::<Vec<_>>()
                );
            }
        }
        let losses = exchanges.iter().flat_map(|marked| marked.messages.iter().zip(&marked.kept));
        let is_whole = |(message, kept): (&String, &Vec<Range<usize>>)| {
            kept.iter().map(ExactSizeIterator::len).sum::<usize>() == message.len()
        };
        if losses.into_iter().all(is_whole) {
            prop_assert_eq!(capture.out.len(), exchanges.len());
        }
    }
}

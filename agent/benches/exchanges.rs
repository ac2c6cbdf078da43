//! What an exchange costs from detection to the codec's [`Exchange`].
//!
//! In: recorded connections of [`EXCHANGES`] exchanges. Out: for each kind the time of a whole
//! connection, exchanges (items) and bytes a second, and what was allocated; divide times and
//! allocations by [`EXCHANGES`]. The codec is a new one each time, so detection is in it.
//!
//! - *small*: two fields each way, a token of eight octets, a body of two.
//! - *typical*: 13 fields with a bearer token of 800 octets, answered by 12 fields of some 700
//!   octets and a body of 512. Identifiers and paths differ from call to call.
//!   In HTTP/2 the token is sent in full each time and never indexed, as by `h2` and nghttp2.
//! - *fresh tokens* (HTTP/2): as *typical*, with another token for each call, by clients that index
//!   all that they send, as Go's do: each token takes a fifth of the table, and drives others out.
//!
//! `cargo bench -p scopewatch --bench exchanges`

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "it stops where it fails")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use divan::{
    AllocProfiler, Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use h2::{client, server};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use scopewatch::{clock::Timestamp, flow::chunk::Direction, http::detect::Codec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Exchanges of one connection: enough that its beginning does not count, and as many as a client
/// makes that lives for a while.
const EXCHANGES: usize = 100;

/// Header list of one message.
type Fields = Vec<(&'static str, String)>;

/// What passes on a connection, in order.
type Recording = Vec<(Direction, Vec<u8>)>;

/// How much an exchange says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Size {
    Small,
    Typical,
    FreshTokens,
}

impl Size {
    fn path(self, nth: usize) -> String {
        match self {
            Self::Small => "/a".to_owned(),
            Self::Typical | Self::FreshTokens => format!("/v1/accounts/{nth:06}/orders?limit=50"),
        }
    }

    fn asks(self, nth: usize) -> Fields {
        if self == Self::Small {
            return vec![("authorization", "Bearer x".to_owned())];
        }
        let nonce = if self == Self::FreshTokens { nth } else { 0 };
        let token = format!("Bearer {}{nonce:04}", "eyJhbGciOiJSUzI1NiIs".repeat(40));
        [
            ("user-agent", "orders-client/4.2.1 (linux; amd64) reqwest/0.12"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip, br"),
            ("accept-language", "en-GB,en;q=0.8"),
            ("authorization", &token),
            ("cache-control", "no-cache"),
            ("x-request-id", &format!("6f1c2b1e-0d3a-4c55-9a7e-{nth:012}")),
            (
                "traceparent",
                &format!("00-4bf92f3577b34da6a3ce929d0e0e{nth:04}-00f067aa0ba902b7-01"),
            ),
            ("x-forwarded-for", "203.0.113.7, 198.51.100.23"),
            ("x-forwarded-proto", "https"),
            ("x-tenant", "acme-production"),
            ("if-none-match", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }

    fn tells(self, nth: usize) -> Fields {
        let len = self.body().to_string();
        if self == Self::Small {
            return vec![("content-length", len)];
        }
        [
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("server", "envoy"),
            ("content-type", "application/json; charset=utf-8"),
            ("content-length", &len),
            ("cache-control", "private, max-age=0, must-revalidate, no-transform"),
            ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4-gzip\""),
            ("vary", "Accept-Encoding, Origin, Authorization"),
            ("strict-transport-security", "max-age=63072000; includeSubDomains; preload"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
            ("x-content-type-options", "nosniff"),
            ("x-request-id", &format!("6f1c2b1e-0d3a-4c55-9a7e-{nth:012}")),
            ("x-envoy-upstream-service-time", "12"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
    }

    const fn body(self) -> usize {
        match self {
            Self::Small => 2,
            Self::Typical | Self::FreshTokens => 512,
        }
    }
}

fn main() {
    divan::main();
}

#[divan::bench(args = [Size::Small, Size::Typical])]
fn http1(bencher: Bencher<'_, '_>, size: Size) {
    replay(bencher, &text(size));
}

#[divan::bench(args = [Size::Small, Size::Typical, Size::FreshTokens])]
fn http2(bencher: Bencher<'_, '_>, size: Size) {
    if size == Size::FreshTokens {
        return replay(bencher, &indexed(size));
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let recording = runtime.build().expect("a runtime").block_on(frames(size));
    replay(bencher, &recording);
}

/// Feeds a recording to a new codec each time.
fn replay(bencher: Bencher<'_, '_>, recording: &[(Direction, Vec<u8>)]) {
    let run = |out: &mut Vec<_>| {
        let mut codec = Codec::new();
        for (direction, bytes) in recording {
            codec.feed(*direction, Timestamp(1), black_box(bytes), out);
        }
    };
    let mut told = Vec::new();
    run(&mut told);
    assert_eq!(told.len(), EXCHANGES, "not every exchange is told");
    let bytes: usize = recording.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut out = Vec::with_capacity(EXCHANGES);
    bencher.counter(ItemsCount::new(EXCHANGES)).counter(BytesCount::new(bytes)).bench_local(|| {
        run(&mut out);
        out.clear();
    });
}

/// HTTP/1.1: each message is one piece.
fn text(size: Size) -> Recording {
    let head = |start: String, fields: Fields| {
        let lines: String =
            fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{start}\r\n{lines}\r\n")
    };
    let exchange = |nth| {
        let mut asks = size.asks(nth);
        asks.insert(0, ("host", "api.example.test".to_owned()));
        let request = head(format!("GET {} HTTP/1.1", size.path(nth)), asks);
        let response = head("HTTP/1.1 200 OK".to_owned(), size.tells(nth));
        let response = [response.into_bytes(), vec![b'b'; size.body()]].concat();
        [(Direction::Outbound, request.into_bytes()), (Direction::Inbound, response)]
    };
    (0..EXCHANGES).flat_map(exchange).collect()
}

/// HTTP/2: what a client and a server of another implementation say, one call after the other.
async fn frames(size: Size) -> Recording {
    let recording = Arc::new(Mutex::new(Recording::new()));
    let (near, near_wire) = tokio::io::duplex(1 << 16);
    let (far, far_wire) = tokio::io::duplex(1 << 16);
    let (from_near, to_near) = tokio::io::split(near_wire);
    let (from_far, to_far) = tokio::io::split(far_wire);
    tokio::spawn(carry(from_near, to_far, Direction::Outbound, recording.clone()));
    tokio::spawn(carry(from_far, to_near, Direction::Inbound, recording.clone()));
    tokio::spawn(serve(far, size));
    let (mut client, connection) = client::handshake(near).await.expect("a connection");
    tokio::spawn(connection);
    for nth in 0..EXCHANGES {
        let mut request = Request::get(format!("https://api.example.test{}", size.path(nth)))
            .body(())
            .expect("a request");
        *request.headers_mut() = headers(size.asks(nth));
        let (response, _) = client.send_request(request, true).expect("it is sent");
        let mut body = response.await.expect("it is answered").into_body();
        while let Some(bytes) = body.data().await {
            let len = bytes.expect("a body").len();
            body.flow_control().release_capacity(len).expect("it was given");
        }
    }
    std::mem::take(&mut *recording.lock().expect("nobody panicked"))
}

async fn serve(io: DuplexStream, size: Size) {
    let mut connection = server::handshake(io).await.expect("a connection");
    let mut nth = 0;
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let mut response = Response::new(());
        *response.headers_mut() = headers(size.tells(nth));
        let mut stream = respond.send_response(response, false).expect("it is sent");
        stream.send_data(Bytes::from(vec![b'b'; size.body()]), true).expect("it is sent");
        nth += 1;
    }
}

fn headers(fields: Fields) -> HeaderMap {
    let field = |(name, value): (&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(&value).expect("a value"))
    };
    fields.into_iter().map(field).collect()
}

/// HTTP/2 by encoders that index whatever they send, one call after the other.
fn indexed(size: Size) -> Recording {
    let (mut asker, mut teller) = (loona_hpack::Encoder::new(), loona_hpack::Encoder::new());
    let block =
        |encoder: &mut loona_hpack::Encoder<'_>, pseudo: &[(&str, &str)], fields: Fields| {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let pseudo = pseudo.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            encoder.encode(pseudo.chain(fields))
        };
    let frame = |kind: u8, flags: u8, stream: usize, payload: &[u8]| {
        let len = u32::try_from(payload.len()).expect("a length").to_be_bytes();
        let stream = u32::try_from(stream).expect("a stream").to_be_bytes();
        [&len[1..], &[kind, flags], &stream, payload].concat()
    };
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..]].concat();
    let mut recording =
        vec![(Direction::Outbound, preface), (Direction::Inbound, frame(4, 0, 0, &[]))];
    for nth in 0..EXCHANGES {
        let (path, stream) = (size.path(nth), 2 * nth + 1);
        let pseudo = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "api.example.test"),
            (":path", path.as_str()),
        ];
        let asked = block(&mut asker, &pseudo, size.asks(nth));
        let told = block(&mut teller, &[(":status", "200")], size.tells(nth));
        let body = frame(0, 1, stream, &vec![b'b'; size.body()]);
        recording.push((Direction::Outbound, frame(1, 5, stream, &asked)));
        recording.push((Direction::Inbound, [frame(1, 4, stream, &told), body].concat()));
    }
    recording
}

/// Carries bytes from one end to the other and notes them.
async fn carry(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    direction: Direction,
    recording: Arc<Mutex<Recording>>,
) {
    let mut bytes = vec![0; 1 << 14];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        recording.lock().expect("nobody panicked").push((direction, bytes[..len].to_vec()));
        if to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}

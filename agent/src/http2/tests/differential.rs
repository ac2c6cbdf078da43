//! A real client and server talk through memory; what is seen on the way is what they said.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{CLIENT, SERVER, Wire, texts};
use crate::flow::chunk::Direction;

type Log = Arc<Mutex<Vec<(Direction, Vec<u8>)>>>;

/// The client's end, which notes what the client reads and writes.
struct Tap {
    io: DuplexStream,
    log: Log,
}

impl Tap {
    fn note(&self, direction: Direction, bytes: &[u8]) {
        self.log.lock().unwrap().push((direction, bytes.to_vec()));
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(SERVER, &buf.filled()[before..]);
        outcome
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(len)) = outcome {
            self.note(CLIENT, &bytes[..len]);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Answers each request with its body's length in octets of body, and a trailer.
async fn serve(io: DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let (mut body, mut len) = (request.into_body(), 0);
            while let Some(Ok(bytes)) = body.data().await {
                len += bytes.len();
                body.flow_control().release_capacity(bytes.len()).unwrap();
            }
            let response = Response::builder().status(201).header("x-path", path);
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from(vec![b'r'; len]), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("5"));
            stream.send_trailers(trailers).unwrap();
        });
    }
}

/// Makes `count` requests at once; the token of every other one is marked as sensitive.
async fn call(io: Tap, count: usize) {
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    let driver = tokio::spawn(connection);
    let calls = (0..count).map(|at| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut token = HeaderValue::from_str(&format!("Bearer {}", at / 4)).unwrap();
            token.set_sensitive(at % 2 == 0);
            let request = Request::post(format!("https://api.test/{at}"))
                .header("authorization", token)
                .header("x-long", "l".repeat(at * 600))
                .body(());
            client = client.ready().await.unwrap();
            let (response, mut stream) = client.send_request(request.unwrap(), false).unwrap();
            stream.send_data(Bytes::from(vec![b'q'; at * 1500]), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            while let Some(Ok(bytes)) = body.data().await {
                body.flow_control().release_capacity(bytes.len()).unwrap();
            }
            body.trailers().await.unwrap();
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    drop(client);
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_real_client_and_server_said_is_what_was_seen() {
    const COUNT: usize = 40;
    let log = Log::default();
    let (client, server) = tokio::io::duplex(3000);
    let server = tokio::spawn(serve(server));
    call(Tap { io: client, log: log.clone() }, COUNT).await;
    server.await.unwrap();
    let mut wire = Wire::default();
    for (direction, bytes) in log.lock().unwrap().iter() {
        wire.feed(*direction, bytes);
    }
    wire.out.sort_by_key(|exchange| exchange.index);
    for (at, exchange) in wire.out.iter().enumerate() {
        assert!(exchange.notes.is_empty());
        let (request, response) = (exchange.request.as_ref(), exchange.response.as_ref());
        let (request, response) = (request.unwrap(), response.unwrap());
        // Calls are concurrent: the path tells which this is.
        let call: usize = request.target.trim_start_matches('/').parse().unwrap();
        let long = format!("x-long: {}", "l".repeat(call * 600));
        let token = format!("authorization: Bearer {}", call / 4);
        assert_eq!(texts(&request.fields), ["host: api.test".to_owned(), token, long]);
        assert_eq!(request.body_bytes, (call * 1500) as u64);
        assert_eq!((response.status, response.body_bytes), (201, request.body_bytes));
        assert_eq!(texts(&response.fields), [format!("x-path: /{call}")]);
        assert_eq!(response.grpc_status(), Some(5));
        assert_eq!(exchange.index, at as u64);
    }
    assert_eq!(wire.out.len(), COUNT);
    assert_eq!(wire.connection.counters(), super::super::Counters::default());
}

//! A receiver that follows a script. In: acts, one for each request; when there are none left it
//! takes what it gets. Out: what it saw, decoded by the messages that the OpenTelemetry project
//! publishes.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    io::{self, Read as _},
    net::TcpListener as Bound,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    },
    common::v1::any_value::Value as Text,
    logs::v1::LogRecord,
};
use prost::Message as _;
use scopewatch::sinks::otlp::Protocol;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::Builder,
    time,
};
use tokio_rustls::TlsAcceptor;

/// What the server does with a request.
pub enum Act {
    Take,
    /// Takes it, and answers later.
    Slow(Duration),
    /// Says that it took all but so many.
    Partly(i64),
    /// Does not take it, with a status of HTTP and fields.
    Http(u16, Vec<(&'static str, String)>),
    /// Does not take it, with a status of gRPC, a message, and details.
    Grpc(u8, &'static str, Option<String>),
    /// Does not take it, and says 200 with this.
    Says(&'static [u8]),
    /// Takes it, and never answers.
    Hang,
    /// Takes it, and breaks off in the middle of its answer.
    BreakOff,
}

/// A request that the server saw.
pub struct Seen {
    pub at: Instant,
    pub fields: HeaderMap,
    pub records: Vec<LogRecord>,
    /// Whether the server kept the records.
    pub is_taken: bool,
}

#[derive(Default)]
struct State {
    script: VecDeque<Act>,
    seen: Vec<Seen>,
    /// Largest request, in bytes before compression.
    max_bytes: Option<usize>,
    connections: usize,
}

pub struct Server {
    pub port: u16,
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Server {
    pub fn start(protocol: Protocol, script: Vec<Act>) -> Self {
        Self::start_with(protocol, script, None)
    }

    pub fn start_with(protocol: Protocol, script: Vec<Act>, tls: Option<TlsAcceptor>) -> Self {
        let state = State { script: script.into(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let mut server = Self { port: 0, protocol, tls, state, running: None };
        server.restart();
        server
    }

    /// Begins to listen, on the same port if it did so before.
    pub fn restart(&mut self) {
        let listener = Bound::bind(("127.0.0.1", self.port)).expect("the port is free");
        self.port = listener.local_addr().expect("it has an address").port();
        let end = Arc::new(AtomicBool::new(false));
        let service = Service {
            protocol: self.protocol,
            tls: self.tls.clone(),
            state: Arc::clone(&self.state),
            end: Arc::clone(&end),
        };
        let thread = thread::spawn(move || service.run(listener));
        self.running = Some((end, thread));
    }

    /// Closes every connection and listens no longer.
    pub fn stop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            end.store(true, Ordering::Relaxed);
            thread.join().expect("the server ends well");
        }
    }

    /// Replaces what is to come.
    pub fn script(&self, script: Vec<Act>) {
        lock(&self.state).script = script.into();
    }

    pub fn limit(&self, max_bytes: usize) {
        lock(&self.state).max_bytes = Some(max_bytes);
    }

    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// Looks at the requests so far.
    pub fn seen<T>(&self, look: impl FnOnce(&[Seen]) -> T) -> T {
        look(&lock(&self.state).seen)
    }

    /// Uids of all records that were taken, in the order of their arrival.
    pub fn taken(&self) -> Vec<String> {
        self.seen(|seen| {
            let taken = seen.iter().filter(|seen| seen.is_taken);
            taken.flat_map(|seen| seen.records.iter().map(uid)).collect()
        })
    }

    /// Uids of all records that were taken since this was asked last; the requests are forgotten.
    pub fn drain(&self) -> Vec<String> {
        let seen = std::mem::take(&mut lock(&self.state).seen);
        let taken = seen.iter().filter(|seen| seen.is_taken);
        taken.flat_map(|seen| seen.records.iter().map(uid)).collect()
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.seen(<[Seen]>::len)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The text of an attribute.
pub fn text(record: &LogRecord, key: &str) -> Option<String> {
    let pair = record.attributes.iter().find(|pair| pair.key == key)?;
    match pair.value.clone()?.value? {
        Text::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

fn uid(record: &LogRecord) -> String {
    text(record, "log.record.uid").expect("every record has a uid")
}

#[derive(Clone)]
struct Service {
    protocol: Protocol,
    tls: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    end: Arc<AtomicBool>,
}

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

impl Service {
    fn run(self, listener: Bound) {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            listener.set_nonblocking(true).expect("it can be");
            let listener = TcpListener::from_std(listener).expect("it can be");
            while !self.end.load(Ordering::Relaxed) {
                let accepted = time::timeout(Duration::from_millis(10), listener.accept()).await;
                let Ok(Ok((stream, _))) = accepted else { continue };
                lock(&self.state).connections += 1;
                let service = self.clone();
                tokio::spawn(async move {
                    match service.tls.clone() {
                        None => service.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                service.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let is_grpc = self.protocol == Protocol::Grpc;
        let service = service_fn(move |request| {
            let service = self.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let stream = TokioIo::new(stream);
        // What the other end does to the connection is its own affair.
        if is_grpc {
            drop(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await);
        } else {
            drop(http1::Builder::new().serve_connection(stream, service).await);
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return self.status(400, &[]) };
        let bytes = plain(&head.headers, &body.to_bytes(), self.protocol);
        let request = match self.protocol {
            Protocol::HttpJson => serde_json::from_slice(&bytes).expect("OTLP/JSON"),
            _ => ExportLogsServiceRequest::decode(bytes.as_slice()).expect("protobuf"),
        };
        let (act, is_small) = {
            let mut state = lock(&self.state);
            let is_small = state.max_bytes.is_none_or(|max| bytes.len() <= max);
            let act = if is_small { state.script.pop_front() } else { None };
            (act.unwrap_or(Act::Take), is_small)
        };
        let scopes = request.resource_logs.into_iter().flat_map(|logs| logs.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records).collect();
        let takes =
            matches!(act, Act::Take | Act::Slow(_) | Act::Partly(_) | Act::Hang | Act::BreakOff);
        let (at, is_taken) = (Instant::now(), takes && is_small);
        lock(&self.state).seen.push(Seen { at, fields: head.headers, records, is_taken });
        if !is_small {
            return match self.protocol {
                Protocol::Grpc => self.grpc(8, "grpc: received message larger than max", None),
                _ => self.status(413, &[]),
            };
        }
        self.act(act).await
    }

    async fn act(&self, act: Act) -> Answer {
        match act {
            Act::Take => self.success(0),
            Act::Slow(time) => {
                time::sleep(time).await;
                self.success(0)
            }
            Act::Partly(rejected) => self.success(rejected),
            Act::Http(status, fields) => self.status(status, &fields),
            Act::Grpc(code, message, details) => self.grpc(code, message, details),
            Act::Says(body) => whole(Full::new(Bytes::from_static(body))),
            Act::Hang => pending().await,
            Act::BreakOff => {
                let broken = Broken(Some(Bytes::from_static(b"\0\0")));
                Response::new(UnsyncBoxBody::new(broken))
            }
        }
    }

    fn success(&self, rejected_log_records: i64) -> Answer {
        let error_message = "as the script has it".to_owned();
        let partial = ExportLogsPartialSuccess { rejected_log_records, error_message };
        let partial_success = (rejected_log_records != 0).then_some(partial);
        let response = ExportLogsServiceResponse { partial_success };
        let bytes = response.encode_to_vec();
        match self.protocol {
            Protocol::HttpProtobuf => with("content-type", "application/x-protobuf", bytes),
            Protocol::HttpJson => {
                let partial = response.partial_success.map_or_else(String::new, |partial| {
                    format!(
                        "\"partialSuccess\":{{\"rejectedLogRecords\":\"{}\"}}",
                        partial.rejected_log_records
                    )
                });
                with("content-type", "application/json", format!("{{{partial}}}").into_bytes())
            }
            Protocol::Grpc => {
                let length = u32::try_from(bytes.len()).expect("it is short").to_be_bytes();
                let frame = [&[0], length.as_slice(), &bytes].concat();
                trailed(frame, 0, "", None)
            }
        }
    }

    fn grpc(&self, code: u8, message: &'static str, details: Option<String>) -> Answer {
        trailed(Vec::new(), code, message, details)
    }

    fn status(&self, status: u16, fields: &[(&'static str, String)]) -> Answer {
        let mut answer = whole(Full::new(Bytes::from_static(b"as the script has it")));
        *answer.status_mut() = status.try_into().expect("a status");
        for (name, value) in fields {
            answer.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        answer
    }
}

fn whole(body: Full<Bytes>) -> Answer {
    Response::new(body.map_err(|never| match never {}).boxed_unsync())
}

fn with(name: &'static str, value: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = whole(Full::new(body.into()));
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

/// An answer of gRPC, with its status behind the body.
fn trailed(body: Vec<u8>, code: u8, message: &'static str, details: Option<String>) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    if let Some(details) = details {
        trailers.insert("grpc-status-details-bin", details.parse().expect("a value"));
    }
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let body = body.with_trailers(async move { Some(Ok(trailers)) }).boxed_unsync();
    let mut answer = Response::new(body);
    let media = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert("content-type", media);
    answer
}

/// The message in a body.
fn plain(fields: &HeaderMap, body: &[u8], protocol: Protocol) -> Vec<u8> {
    let (is_packed, bytes) = match protocol {
        Protocol::Grpc => {
            assert_eq!(fields["content-type"], "application/grpc");
            assert_eq!(fields["te"], "trailers");
            let length = u32::from_be_bytes(body[1..5].try_into().expect("four bytes"));
            assert_eq!(usize::try_from(length).ok(), Some(body.len() - 5));
            (body[0] == 1, &body[5..])
        }
        Protocol::HttpProtobuf => {
            assert_eq!(fields["content-type"], "application/x-protobuf");
            (fields.contains_key("content-encoding"), body)
        }
        Protocol::HttpJson => {
            assert_eq!(fields["content-type"], "application/json");
            (fields.contains_key("content-encoding"), body)
        }
    };
    if !is_packed {
        return bytes.to_owned();
    }
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
    plain
}

/// A body that breaks off behind its first part.
struct Broken(Option<Bytes>);

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(Some(match self.0.take() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err(io::ErrorKind::ConnectionReset.into()),
        }))
    }
}

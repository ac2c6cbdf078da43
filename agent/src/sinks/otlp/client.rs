//! The way to a receiver. In: bodies. Out: answers, over a connection that is kept as long as it is
//! good; what stands in files (certificates, keys, fields) is read for each connection.
//!
//! Bounds: one time for connecting and one for a request, both of the configuration; [`IDLE`] for a
//! connection that nobody uses, [`MAX_ANSWER`] bytes of an answer. Redirects are not followed.

use std::{
    io,
    pin::pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::{Builder, Runtime},
    task, time,
};
use tokio_rustls::TlsConnector;

use crate::{
    outbound::{self, TlsError},
    sinks::{
        delivery::Stop,
        otlp::{
            Options, Protocol,
            answer::Answer,
            headers::{Headers, HeadersError},
        },
    },
};

/// After which a connection that was not used is not trusted: servers close idle ones from there on.
const IDLE: Duration = Duration::from_secs(30);
/// Longest answer, in bytes: receivers have little to say.
const MAX_ANSWER: usize = 64 * 1024;
/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);
/// Times that a connection's own task is given to notice that the other end is gone.
const TURNS: usize = 3;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// There is no connection.
    #[error("{0} cannot be reached")]
    Connect(String, #[source] io::Error),
    /// The other end is not who it should be, or does not take us for who we are.
    #[error("no TLS with {0}")]
    Handshake(String, #[source] io::Error),
    /// Files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of fields cannot be used.
    #[error(transparent)]
    Headers(#[from] HeadersError),
    /// The connection broke, or no HTTP came.
    #[error("the connection broke off")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("there is no such request")]
    Request(#[from] http::Error),
    /// The answer is too long, or breaks off.
    #[error("the answer is longer than {MAX_ANSWER} bytes, or breaks off")]
    Body,
    /// It takes too long.
    #[error("the receiver takes longer than {} seconds", .0.as_secs())]
    Timeout(Duration),
    /// The agent ends.
    #[error("the agent ends")]
    Stopped,
    /// There are no threads or descriptors left.
    #[error("there is no runtime")]
    Runtime(#[source] io::Error),
}

/// Sends to one receiver.
pub struct Client {
    /// Made with the first request; `None` again when dropped.
    runtime: Option<Runtime>,
    connection: Option<Connection>,
}

struct Connection {
    sender: Sender,
    headers: Headers,
    last_used: Instant,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// A client that has no connection yet.
    pub const fn new() -> Self {
        Self { runtime: None, connection: None }
    }

    /// Gives the connection up: the next request is on a new one.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// The answer to `body`.
    ///
    /// # Errors
    /// There is none. Whether the receiver took what it was sent is not known then.
    pub fn ask(&mut self, options: &Options, body: &[u8], stop: &Stop) -> Result<Answer, NoAnswer> {
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => {
                let built = Builder::new_current_thread().enable_io().enable_time().build();
                built.map_err(NoAnswer::Runtime)?
            }
        };
        let connection = self.connection.take();
        let body = Bytes::copy_from_slice(body);
        let answer = runtime.block_on(exchange(options, connection, body, stop));
        self.runtime = Some(runtime);
        let (answer, connection) = answer?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection = None;
        // Looking up a name may hang, and cannot be ended: it is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Asks over the connection that was kept, if it is any good, or over a new one.
async fn exchange(
    options: &Options,
    kept: Option<Connection>,
    body: Bytes,
    stop: &Stop,
) -> Result<(Answer, Connection), NoAnswer> {
    if let Some(mut connection) = kept
        && connection.is_good().await
    {
        match within(options.timeout, stop, connection.ask(options, body.clone())).await {
            // The other end may just have closed it, which says nothing of the request.
            Err(NoAnswer::Http(_)) => {}
            answer => return Ok((answer?, connection)),
        }
    }
    let mut connection = within(options.timeout, stop, connect(options)).await?;
    let answer = within(options.timeout, stop, connection.ask(options, body)).await?;
    Ok((answer, connection))
}

/// What `work` comes to, if it does so in time and nobody says stop.
async fn within<T>(
    longest: Duration,
    stop: &Stop,
    work: impl Future<Output = Result<T, NoAnswer>>,
) -> Result<T, NoAnswer> {
    let (start, mut work) = (Instant::now(), pin!(work));
    loop {
        match time::timeout(GLANCE, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) if stop.is_set() => return Err(NoAnswer::Stopped),
            Err(_) if start.elapsed() >= longest => return Err(NoAnswer::Timeout(longest)),
            Err(_) => {}
        }
    }
}

async fn connect(options: &Options) -> Result<Connection, NoAnswer> {
    let headers = match &options.headers_file {
        Some(path) => Headers::read(path)?,
        None => Headers::default(),
    };
    let target = &options.endpoint;
    let at = format!("{}:{}", target.host, target.port);
    let stream = TcpStream::connect((outbound::bare(&target.host), target.port)).await;
    let stream = stream.map_err(|error| NoAnswer::Connect(at.clone(), error))?;
    // A request is written at once, and then waited for.
    let _ = stream.set_nodelay(true);
    let sender = if target.is_tls {
        let protocol = if options.protocol == Protocol::Grpc { "h2" } else { "http/1.1" };
        let connector = TlsConnector::from(options.tls.client(&[protocol])?);
        let stream = connector.connect(options.tls.name(&target.host)?, stream).await;
        speak(options, stream.map_err(|error| NoAnswer::Handshake(at, error))?).await?
    } else {
        speak(options, stream).await?
    };
    Ok(Connection { sender, headers, last_used: Instant::now() })
}

/// Begins HTTP on a stream. The connection's task ends with it; what it says, requests say too.
async fn speak<S>(options: &Options, stream: S) -> Result<Sender, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stream = TokioIo::new(stream);
    if options.protocol == Protocol::Grpc {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(async move { drop(connection.await) });
        return Ok(Sender::Http2(sender));
    }
    let (sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(Sender::Http1(sender))
}

impl Connection {
    /// Whether it can be asked again.
    async fn is_good(&mut self) -> bool {
        for _ in 0..TURNS {
            task::yield_now().await;
        }
        let is_open = match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        };
        is_open && self.last_used.elapsed() < IDLE
    }

    async fn ask(&mut self, options: &Options, body: Bytes) -> Result<Answer, NoAnswer> {
        let request = self.request(options, body)?;
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        self.last_used = Instant::now();
        read(response).await
    }

    fn request(&self, options: &Options, body: Bytes) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let target = &options.endpoint;
        let is_grpc = options.protocol == Protocol::Grpc;
        let uri = Uri::builder().path_and_query(target.path.as_str());
        let uri = if is_grpc {
            let scheme = if target.is_tls { "https" } else { "http" };
            uri.scheme(scheme).authority(target.authority.as_str())
        } else {
            uri
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.build()?;
        let fields = request.headers_mut();
        self.headers.add_to(fields);
        let agent = HeaderValue::from_static(concat!("scopewatch/", env!("CARGO_PKG_VERSION")));
        fields.entry(header::USER_AGENT).or_insert(agent);
        let media = HeaderValue::from_static(options.protocol.media_type());
        fields.insert(header::CONTENT_TYPE, media);
        let gzip = HeaderValue::from_static("gzip");
        if is_grpc {
            fields.insert(header::TE, HeaderValue::from_static("trailers"));
            let time = format!("{}S", options.timeout.as_secs().max(1));
            fields.insert("grpc-timeout", HeaderValue::try_from(time).map_err(http::Error::from)?);
            if options.gzip {
                fields.insert("grpc-encoding", gzip);
            }
        } else {
            let host = HeaderValue::try_from(target.authority.as_str());
            fields.insert(header::HOST, host.map_err(http::Error::from)?);
            if options.gzip {
                fields.insert(header::CONTENT_ENCODING, gzip);
            }
        }
        Ok(request)
    }
}

async fn read(response: http::Response<Incoming>) -> Result<Answer, NoAnswer> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|_| NoAnswer::Body)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let body = body.to_bytes().into();
    Ok(Answer { status: head.status, fields: head.headers, body, trailers })
}

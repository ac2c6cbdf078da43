//! Answers who asks how the agent is doing. In: requests on a loopback address or a Unix socket.
//! Out: `/metrics`, `/healthz`, `/status`; anything else is 404.
//!
//! Bounds: [`CONNECTIONS`] at once, one request each, [`TIMEOUT`] for all of it. It asks the board
//! only, so nobody can delay the stages by asking.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    runtime::{Builder, Runtime},
    sync::{Semaphore, oneshot},
    time,
};

use super::{
    board::Board,
    clock::discipline,
    health::problems,
    metrics::{self, Scrape},
    status::status,
};
use crate::outbound;

/// Connections at once.
const CONNECTIONS: usize = 32;
/// Longest that one may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listen {
    /// At an address of the loopback interface.
    Tcp(SocketAddr),
    /// At a Unix socket, which only its owner may use.
    Unix(PathBuf),
}

/// The server, on a thread of its own.
pub struct Server {
    /// Where it listens; the port is the real one.
    pub address: Listen,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Starts to answer.
    ///
    /// # Errors
    /// It cannot listen there, or a thread not be started.
    pub fn start(listen: &Listen, board: Board) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let (listener, address) = runtime.block_on(bind(listen))?;
        board.watch();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("status".into())
            .spawn(move || run(&runtime, listener, &board, stopped))?;
        Ok(Self { address, stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        let Self { address, stop, thread } = self;
        let _ = stop.send(());
        let _ = thread.join();
        if let Listen::Unix(path) = address {
            let _ = fs::remove_file(path);
        }
    }
}

async fn bind(listen: &Listen) -> io::Result<(Listener, Listen)> {
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            let address = Listen::Tcp(listener.local_addr()?);
            Ok((Listener::Tcp(listener), address))
        }
        Listen::Unix(path) => {
            remove_stale(path)?;
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
            Ok((Listener::Unix(listener), listen.clone()))
        }
    }
}

/// Removes a socket that an agent left which was killed; never a file, nor one that is listened at.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

fn run(runtime: &Runtime, listener: Listener, board: &Board, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        tokio::select! {
            () = accept(listener, board) => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: Listener, board: &Board) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let board = board.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| boxed(stream)),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| boxed(stream)),
        };
        match accepted {
            Ok(stream) => {
                tokio::spawn(async move {
                    let _ = time::timeout(TIMEOUT, serve(stream, board)).await;
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: others end.
            Err(error) => {
                tracing::debug!(%error, "status not served");
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Whoever asks.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn boxed(stream: impl Stream + 'static) -> Box<dyn Stream> {
    Box::new(stream)
}

async fn serve(stream: Box<dyn Stream>, board: Board) {
    let service = service_fn(|request| {
        let answered = answer(&request, &board);
        async move { Ok::<_, Infallible>(answered) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let _ = served.await;
}

fn answer(request: &Request<Incoming>, board: &Board) -> Response<String> {
    if !is_local(request) {
        return respond(
            StatusCode::FORBIDDEN,
            "text/plain",
            "not a name of this host\n".to_owned(),
        );
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let text = "only GET and HEAD\n".to_owned();
        return respond(StatusCode::METHOD_NOT_ALLOWED, "text/plain", text);
    }
    match request.uri().path() {
        "/healthz" => healthz(board),
        "/status" => respond(StatusCode::OK, "application/json", status(board)),
        "/metrics" => {
            let (parts, clock, started) = (board.read(), discipline(), board.started());
            match (Scrape { parts, clock, started }).render() {
                Ok(text) => respond(StatusCode::OK, metrics::CONTENT_TYPE, text),
                Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", String::new()),
            }
        }
        _ => respond(StatusCode::NOT_FOUND, "text/plain", "/metrics /healthz /status\n".to_owned()),
    }
}

/// Whether the request names this host: a page of another site, whose name was made to lead here,
/// does not.
fn is_local(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host else { return true };
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => bare,
        _ => host,
    };
    bare.is_empty() || outbound::is_this_host(&bare.to_ascii_lowercase())
}

fn healthz(board: &Board) -> Response<String> {
    let problems = problems(&board.read(), discipline(), Instant::now());
    let is_fatal = problems.iter().any(|problem| problem.fatal);
    let mut text = String::from(if is_fatal { "failed\n" } else { "ok\n" });
    for problem in problems {
        text.push_str(&problem.what);
        text.push('\n');
    }
    let status = if is_fatal { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    respond(status, "text/plain", text)
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let value = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        os::unix::net::UnixStream,
    };

    use super::*;
    use crate::telemetry::board::{Capture, Said};

    fn ask(mut stream: impl Read + Write, request: &str) -> String {
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn get(server: &Server, path: &str, host: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        match &server.address {
            Listen::Tcp(address) => ask(TcpStream::connect(address).unwrap(), &request),
            Listen::Unix(path) => ask(UnixStream::connect(path).unwrap(), &request),
        }
    }

    fn start(board: &Board) -> Server {
        Server::start(&Listen::Tcp("127.0.0.1:0".parse().unwrap()), board.clone()).unwrap()
    }

    #[test]
    fn who_asks_is_told_and_who_asks_for_else_is_not() {
        let server = start(&Board::default());
        let check = |path: &str, host: &str, status: &str, text: &str| {
            let answer = get(&server, path, host);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            assert!(answer.contains(text), "{answer}");
        };
        check("/healthz", "127.0.0.1:1", "200", "ok\n");
        check("/metrics", "localhost", "200", "scopewatch_exchanges_total 0\n");
        check("/status", "[::1]:9", "200", "\"uptime_secs\": 0");
        check("/", "localhost", "404", "/metrics");
        check("/status", "scopewatch.example", "403", "not a name");
        let Listen::Tcp(address) = server.address else { panic!() };
        let post = "POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        let answer = ask(TcpStream::connect(address).unwrap(), post);
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        server.stop();
    }

    #[test]
    fn a_stage_that_fell_silent_is_no_health() {
        let board = Board::default();
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(60)) else { return };
        board.say(|parts, _| parts.capture = Some(Said::at(Capture::default(), long_ago)));
        let server = start(&board);
        let answer = get(&server, "/healthz", "localhost");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("capture has not been heard of for 6"), "{answer}");
        server.stop();
    }

    #[test]
    fn a_socket_is_its_owners_alone_and_one_that_was_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.sock");
        let listen = Listen::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let server = Server::start(&listen, Board::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(get(&server, "/healthz", "localhost").starts_with("HTTP/1.1 200"));
        let second = Server::start(&listen, Board::default());
        assert_eq!(second.err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        server.stop();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_not_taken_for_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status.sock");
        fs::write(&path, "mine").unwrap();
        assert!(Server::start(&Listen::Unix(path.clone()), Board::default()).is_err());
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }

    #[test]
    fn who_connects_and_says_nothing_keeps_nobody_else_out() {
        let server = start(&Board::default());
        let Listen::Tcp(address) = server.address else { panic!() };
        let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert!(get(&server, "/healthz", "localhost").starts_with("HTTP/1.1 200"));
        drop(silent);
        server.stop();
    }
}

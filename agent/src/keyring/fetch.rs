//! Key sets from addresses that the policy names. In: an `https` address, or an `http` one on this
//! host. Out: the text that is there, and how long its server calls it fresh.
//!
//! Bounds: [`TIMEOUT`] for all of it, [`MAX_SET`] bytes; redirects are not followed, since keys from
//! elsewhere are not what the policy names.

use std::{io, path::Path, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time,
};
use tokio_rustls::TlsConnector;

use crate::{
    outbound::{self, Options, TlsError},
    token::keys::MAX_SET,
};

/// Longest that a fetch takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches key sets.
pub(super) struct Client {
    runtime: Runtime,
    /// Trusts the authorities of this host.
    tls: TlsConnector,
}

/// What was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub text: String,
    pub max_age: Option<Duration>,
}

/// Why nothing was.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("it is no https address, nor an http address on this host")]
    Address,
    #[error("its `ca_file` cannot be used")]
    Authorities(#[source] TlsError),
    #[error("its server cannot be reached")]
    Connect(#[source] io::Error),
    #[error("its server does not speak HTTP")]
    Http(#[source] hyper::Error),
    #[error("it answers {0}")]
    Status(u16),
    #[error("its answer is longer than {MAX_SET} bytes, or breaks off")]
    Body,
    #[error("its answer is no text")]
    Text,
    #[error("it takes longer than {} seconds", TIMEOUT.as_secs())]
    Timeout,
}

impl Client {
    /// A client that trusts the certificate authorities of this host, where it is told no others.
    ///
    /// # Errors
    /// The runtime, or TLS, cannot be set up.
    pub fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let config = Options::default().client(&[])?;
        Ok(Self { runtime, tls: TlsConnector::from(config) })
    }

    /// What is at `url` now, whose server the authorities in `ca_file` vouch for; read anew each
    /// time, so that a renewed file counts from the next fetch on.
    ///
    /// # Errors
    /// Nothing that can be used.
    pub fn get(&self, url: &str, ca_file: Option<&Path>) -> Result<Fetched, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Address)?;
        let tls = match ca_file {
            None => self.tls.clone(),
            Some(file) => {
                let own = Options { ca_file: Some(file.to_owned()), ..Options::default() };
                TlsConnector::from(own.client(&[]).map_err(FetchError::Authorities)?)
            }
        };
        let fetch = async {
            let answered = time::timeout(TIMEOUT, fetch(&tls, &uri)).await;
            answered.unwrap_or(Err(FetchError::Timeout))
        };
        self.runtime.block_on(fetch)
    }
}

async fn fetch(tls: &TlsConnector, uri: &Uri) -> Result<Fetched, FetchError> {
    let host = uri.host().ok_or(FetchError::Address)?;
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    if !is_https && (uri.scheme() != Some(&Scheme::HTTP) || !outbound::is_this_host(host)) {
        return Err(FetchError::Address);
    }
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let stream =
        TcpStream::connect((outbound::bare(host), port)).await.map_err(FetchError::Connect)?;
    if !is_https {
        return ask(stream, uri).await;
    }
    let name = Options::default().name(host).map_err(|_| FetchError::Address)?;
    ask(tls.connect(name, stream).await.map_err(FetchError::Connect)?, uri).await
}

async fn ask<S>(stream: S, uri: &Uri) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(FetchError::Http)?;
    // It ends with the exchange, whose outcome says all.
    tokio::spawn(async move { drop(connection.await) });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("scopewatch/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Address)?;
    let response = sender.send_request(request).await.map_err(FetchError::Http)?;
    if response.status() != 200 {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let max_age = max_age(&response);
    let body = Limited::new(response.into_body(), MAX_SET).collect().await;
    let body = body.map_err(|_| FetchError::Body)?.to_bytes();
    let text = String::from_utf8(body.into()).map_err(|_| FetchError::Text)?;
    Ok(Fetched { text, max_age })
}

/// How long the response is fresh (RFC 9111 §5.2.2).
fn max_age(response: &Response<Incoming>) -> Option<Duration> {
    let sent = response.headers().get(header::CACHE_CONTROL)?.to_str().ok()?;
    let mut directives = sent.split(',').map(|each| each.trim().to_ascii_lowercase());
    directives.find_map(|each| match each.split_once('=') {
        Some(("max-age", secs)) => secs.trim_matches('"').parse().ok().map(Duration::from_secs),
        None if each == "no-store" || each == "no-cache" => Some(Duration::ZERO),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Answers one request with `answer`. Out: its address.
    fn serve(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        format!("http://{address}/jwks")
    }

    fn get(answer: &str) -> Result<Fetched, FetchError> {
        Client::new().unwrap().get(&serve(answer.to_owned()), None)
    }

    #[test]
    fn a_set_is_fetched_with_what_its_server_says_of_its_age() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        let body = "\r\n5\r\n{\"key\r\n5\r\ns\":[]\r\n1\r\n}\r\n0\r\n\r\n";
        for (field, expected) in [
            ("", None),
            ("cache-control: public, max-age=300\r\n", Some(300)),
            ("cache-control: no-store\r\n", Some(0)),
        ] {
            let found = get(&format!("{head}{field}{body}")).unwrap();
            assert_eq!(found.text, "{\"keys\":[]}");
            assert_eq!(found.max_age.map(|age| age.as_secs()), expected);
        }
    }

    #[test]
    fn what_is_not_as_the_policy_has_it_is_not_fetched() {
        let client = Client::new().unwrap();
        for address in ["http://sso.example/jwks", "ftp://localhost/", "/jwks", "", "https://"] {
            assert!(matches!(client.get(address, None), Err(FetchError::Address)), "{address}");
        }
        let moved =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(get(moved), Err(FetchError::Status(302))));
        let long = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {0}\r\n\r\n{1}",
            MAX_SET + 1,
            "x".repeat(MAX_SET + 1)
        );
        assert!(matches!(get(&long), Err(FetchError::Body)));
        let short = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx";
        assert!(matches!(get(short), Err(FetchError::Body)));
        assert!(matches!(get("SSH-2.0\r\n"), Err(FetchError::Http(_))));
    }
}

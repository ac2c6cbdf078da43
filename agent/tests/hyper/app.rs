//! What hyper's ends do in these tests: note what they are given, and answer by a script.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::told::{Answered, Asked};

/// A body: pieces, then trailers. Hyper knows its length beforehand if it is sized.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub pieces: VecDeque<usize>,
    pub trailers: Option<HeaderMap>,
    pub is_sized: bool,
}

impl Script {
    /// Octets of it.
    pub fn len(&self) -> u64 {
        self.pieces.iter().sum::<usize>() as u64
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front().map(|len| Frame::data(vec![b'x'; len].into()));
        Poll::Ready(piece.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_sized { SizeHint::with_exact(self.len()) } else { SizeHint::default() }
    }
}

/// What a server was asked so far, in the order in which requests came.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Vec<Asked>>>);

impl Requests {
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    /// Notes a request and reads its body; `answer` is given its place.
    pub async fn serve(
        self,
        request: Request<Incoming>,
        answer: impl Fn(usize) -> Response<Script>,
    ) -> Result<Response<Script>, hyper::Error> {
        let (head, body) = request.into_parts();
        let at = {
            let mut all = self.0.lock().unwrap();
            all.push(Asked::given(&head));
            all.len() - 1
        };
        let (len, _) = read(body).await?;
        // What follows CONNECT is for the tunnel.
        self.0.lock().unwrap()[at].body = (head.method != Method::CONNECT).then_some(len);
        Ok(answer(at))
    }
}

/// What a client was answered, `None` where there was no response.
pub async fn answered(response: Result<Response<Incoming>, hyper::Error>) -> Option<Answered> {
    let (head, body) = response.ok()?.into_parts();
    let mut answered = Answered::given(&head);
    if let Ok((len, trailers)) = read(body).await {
        answered.body = Some(len);
        answered.add_trailers(&trailers);
    }
    Some(answered)
}

async fn read(mut body: Incoming) -> Result<(u64, HeaderMap), hyper::Error> {
    let (mut len, mut trailers) = (0, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => len += data.len() as u64,
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((len, trailers))
}

//! A pipe's end that notes what is read and written, and what the codec makes of it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use scopewatch::{
    clock::Timestamp,
    flow::chunk::Direction,
    http::{detect::Codec, message::Exchange},
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};

/// Most bytes that wait in the pipe: more than any connection of these tests sends.
pub const PIPE: usize = 1 << 20;

/// What passed the tap, in order. Inbound is what its owner read.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Passed>>);

type Passed = Vec<(Direction, Vec<u8>)>;

impl Log {
    pub fn note(&self, direction: Direction, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.lock().unwrap().push((direction, bytes.to_vec()));
        }
    }

    /// What the codec tells of all that passed, in the order of requests. At the end both
    /// directions close.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let (mut codec, mut out) = (Codec::new(), Vec::new());
        for (direction, bytes) in self.0.lock().unwrap().iter() {
            codec.feed(*direction, Timestamp(0), bytes, &mut out);
        }
        codec.end(Direction::Inbound, Timestamp(0), &mut out);
        codec.end(Direction::Outbound, Timestamp(0), &mut out);
        codec.finish(Timestamp(0), &mut out);
        out.sort_by_key(|exchange| exchange.index);
        out
    }
}

/// One end of a pipe for hyper.
pub struct Tap {
    io: DuplexStream,
    log: Log,
}

impl Tap {
    pub fn new(io: DuplexStream, log: &Log) -> Self {
        Self { io, log: log.clone() }
    }

    /// The end itself.
    pub fn into_inner(self) -> DuplexStream {
        self.io
    }
}

impl Read for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [0; 4096];
        let room = buf.remaining().min(space.len());
        let mut read = ReadBuf::new(&mut space[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        self.log.note(Direction::Inbound, read.filled());
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let len = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.log.note(Direction::Outbound, &bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Runs hyper's tasks on the runtime of the test.
#[derive(Clone)]
pub struct Spawn;

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}

/// Runs one connection. Time passes only when nothing else happens, so that [`idle`] and
/// [`read_some`] tell at once that an end waits for ever.
pub fn run<T>(connection: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(connection)
}

/// Returns when no task has anything left to do.
pub async fn idle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Appends what comes to `read`; false at the end, or when nothing will come any more.
pub async fn read_some(io: &mut DuplexStream, read: &mut Vec<u8>) -> bool {
    let wait = tokio::time::timeout(Duration::from_secs(1), io.read_buf(read));
    matches!(wait.await, Ok(Ok(1..)))
}

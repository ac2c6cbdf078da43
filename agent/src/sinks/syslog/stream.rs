//! A connection to a receiver that reads a stream: TCP, TLS over it, or a socket of this host. In:
//! frames. Out: whether the receiver's kernel has them all, or why not.
//!
//! Nothing here waits without a bound, nor for longer than a moment once it is told to end.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket,
        sockopt::{
            KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpNoDelay, TcpUserTimeout,
        },
    },
};
use rustls::ClientConnection;

use crate::{
    outbound,
    sinks::{
        delivery::Stop,
        syslog::{Address, acked},
    },
};

/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);
/// Shortest and longest pause between two looks at what is acknowledged.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// How long a new connection to another host must have lasted before anything counts as confirmed:
/// in TLS 1.3 a client's certificate is refused after the handshake, and receivers that refuse an
/// address close what they accepted.
const PROBATION: Duration = Duration::from_secs(1);
/// Seconds without traffic after which the peer is asked whether it is there, between two such
/// questions, and how many go unanswered before it is not.
const KEEP_ALIVE: (u32, u32, u32) = (30, 10, 3);

/// How long to wait for what, and whether at all.
#[derive(Clone, Debug)]
pub struct Patience {
    /// For a connection, by each address.
    pub connect: Duration,
    /// Without any progress.
    pub progress: Duration,
    /// Told to end.
    pub stop: Stop,
}

impl Patience {
    /// Whether it is told to end.
    fn stopped(&self) -> io::Result<()> {
        if self.stop.is_set() {
            return Err(io::Error::new(ErrorKind::Interrupted, "told to end"));
        }
        Ok(())
    }

    /// Waits until a descriptor is ready, but not beyond `until`.
    ///
    /// # Errors
    /// It is not, or it is told to end.
    pub fn wait(&self, fd: BorrowedFd<'_>, flags: PollFlags, until: Instant) -> io::Result<()> {
        loop {
            self.stopped()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(ErrorKind::TimedOut, "the receiver does not go on"));
            }
            let slice = PollTimeout::try_from(left.min(GLANCE)).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(fd, flags)], slice) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The connection.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    tls: Option<Box<ClientConnection>>,
    since: Instant,
}

#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl io::Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Unix(socket) => socket.read(into),
        }
    }
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Stream {
    /// Connects to the first of a name's addresses that answers, over TLS if there are options for
    /// it. Resolving the name takes as long as the system's resolver does.
    ///
    /// # Errors
    /// None answers in time, or the handshake fails.
    pub fn tcp(
        address: &Address,
        tls: Option<&outbound::Options>,
        patience: &Patience,
    ) -> io::Result<Self> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        // Files are read before anybody is bothered.
        let session = tls.map(|options| session(options, &address.host)).transpose()?;
        for address in (address.host.as_str(), address.port).to_socket_addrs()? {
            patience.stopped()?;
            match open(address, patience) {
                Ok(socket) => {
                    let mut stream = Self::new(Wire::Tcp(socket));
                    stream.tls = session.map(Box::new);
                    stream.shake_hands(patience)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to a socket of this host.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self::new(Wire::Unix(socket)))
    }

    fn new(wire: Wire) -> Self {
        Self { wire, tls: None, since: Instant::now() }
    }

    /// Looks whether the receiver is still there: what is written to a connection that it has
    /// closed is swallowed. What it says is of no interest.
    ///
    /// # Errors
    /// It has closed the connection, or broken it.
    pub fn check(&mut self) -> io::Result<()> {
        let mut scratch = [0; 1024];
        loop {
            let read = match &mut self.tls {
                Some(tls) => tls.read_tls(&mut self.wire),
                None => self.wire.read(&mut scratch),
            };
            match read {
                Ok(0) => return Err(closed()),
                Ok(_) => self.process()?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends bytes, as fast as the receiver takes them.
    ///
    /// # Errors
    /// It takes nothing for too long, or the connection is gone.
    pub fn send(&mut self, bytes: &[u8], patience: &Patience) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match &mut self.tls {
                Some(tls) => {
                    let taken = tls.writer().write(rest)?;
                    self.flush(patience)?;
                    taken
                }
                None => self.write(rest, patience)?,
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until the receiver's kernel has all that was sent. A socket of this host has it at
    /// once.
    ///
    /// # Errors
    /// It does not take it for too long, or the connection is gone.
    pub fn settle(&mut self, patience: &Patience) -> io::Result<()> {
        let (mut pause, longest) = PAUSE;
        let mut least = None;
        let mut progress = Instant::now();
        loop {
            let (left, probation) = match &self.wire {
                Wire::Tcp(socket) => (acked::outstanding(socket)?, PROBATION),
                Wire::Unix(_) => ((0, 0), Duration::ZERO),
            };
            // In this order: what broke the connection after it was acknowledged counts.
            self.check()?;
            if left == (0, 0) && self.since.elapsed() >= probation {
                return Ok(());
            }
            patience.stopped()?;
            if least.is_none_or(|least| left < least) {
                (least, progress) = (Some(left), Instant::now());
            } else if left != (0, 0) && progress.elapsed() >= patience.progress {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "the receiver acknowledges nothing",
                ));
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Writes some of `bytes`, once there is room for them.
    fn write(&mut self, bytes: &[u8], patience: &Patience) -> io::Result<usize> {
        let until = Instant::now() + patience.progress;
        loop {
            match self.wire.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    patience.wait(self.wire.as_fd(), PollFlags::POLLOUT, until)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) => return Err(closed()),
                other => return other,
            }
        }
    }

    /// Sends what TLS has to say.
    fn flush(&mut self, patience: &Patience) -> io::Result<()> {
        let mut until = Instant::now() + patience.progress;
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            match tls.write_tls(&mut self.wire) {
                Ok(0) => return Err(closed()),
                Ok(_) => until = Instant::now() + patience.progress,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    patience.wait(self.wire.as_fd(), PollFlags::POLLOUT, until)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Brings the handshake of TLS to its end.
    fn shake_hands(&mut self, patience: &Patience) -> io::Result<()> {
        let until = Instant::now() + patience.connect;
        loop {
            self.flush(patience)?;
            if self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking()) {
                self.since = Instant::now();
                return Ok(());
            }
            patience.wait(self.wire.as_fd(), PollFlags::POLLIN, until)?;
            self.check()?;
        }
    }

    /// Has TLS look at what was read.
    fn process(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let state = match tls.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // The other may want to know why; if not even that can be sent, so be it.
                let _unsaid = tls.write_tls(&mut self.wire);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        };
        if state.plaintext_bytes_to_read() > 0 {
            let mut unheard = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut unheard)?;
        }
        if state.peer_has_closed() { Err(closed()) } else { Ok(()) }
    }
}

/// A session that has not begun.
fn session(options: &outbound::Options, host: &str) -> io::Result<ClientConnection> {
    let name = options.name(host)?;
    ClientConnection::new(options.client(&[])?, name).map_err(io::Error::other)
}

/// Connects without blocking, as the time that a connection takes is the other's.
fn open(address: SocketAddr, patience: &Patience) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = TcpStream::from(socket(family, SockType::Stream, flags, None)?);
    setsockopt(&stream, TcpNoDelay, &true)?;
    setsockopt(&stream, KeepAlive, &true)?;
    let (idle, interval, count) = KEEP_ALIVE;
    setsockopt(&stream, TcpKeepIdle, &idle)?;
    setsockopt(&stream, TcpKeepInterval, &interval)?;
    setsockopt(&stream, TcpKeepCount, &count)?;
    let millis = u32::try_from(patience.progress.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&stream, TcpUserTimeout, &millis)?;
    match connect(std::os::fd::AsRawFd::as_raw_fd(&stream), &SockaddrStorage::from(address)) {
        Ok(()) => return Ok(stream),
        Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    patience.wait(stream.as_fd(), PollFlags::POLLOUT, Instant::now() + patience.connect)?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, "the receiver closed the connection")
}

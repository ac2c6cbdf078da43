//! A receiver of messages, whatever the way to it. In: messages. Out: how many were sent, and, where
//! that can be known, that the receiver's kernel has them.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, ToSocketAddrs as _, UdpSocket},
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    path::Path,
    time::Instant,
};

use nix::poll::PollFlags;

use crate::sinks::syslog::{
    Address, Framing, Target,
    stream::{Patience, Stream},
};

/// A way to a receiver that is open.
#[derive(Debug)]
pub enum Receiver {
    /// A stream, and how messages are told apart in it.
    Stream(Stream, Framing),
    /// UDP.
    Udp(UdpSocket),
    /// A socket of this host for datagrams.
    Local(UnixDatagram),
}

/// Why messages could not be sent, and how many were all the same.
#[derive(Debug)]
pub struct Failed {
    /// How many need not be sent again.
    pub sent: usize,
    /// Why no more.
    pub why: io::Error,
}

impl From<io::Error> for Failed {
    fn from(why: io::Error) -> Self {
        Self { sent: 0, why }
    }
}

impl Receiver {
    /// Opens the way to a target.
    ///
    /// # Errors
    /// There is none, or nobody at its end.
    pub fn open(target: &Target, patience: &Patience) -> io::Result<Self> {
        Ok(match target {
            Target::Udp(address) => Self::Udp(udp(address)?),
            Target::Tcp(address, framing) => {
                Self::Stream(Stream::tcp(address, None, patience)?, *framing)
            }
            Target::Tls(address, options) => {
                Self::Stream(Stream::tcp(address, Some(options), patience)?, Framing::Octet)
            }
            Target::Socket(path) => Self::local(path)?,
        })
    }

    fn local(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        match socket.connect(path) {
            Ok(()) => Ok(Self::Local(socket)),
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                Ok(Self::Stream(Stream::unix(path)?, Framing::Lf))
            }
            Err(error) => Err(error),
        }
    }

    /// Looks whether the receiver is still there, where that can be seen.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(stream, _) => stream.check(),
            Self::Udp(_) | Self::Local(_) => Ok(()),
        }
    }

    /// Sends messages. Of a stream that fails, none counts as sent.
    ///
    /// # Errors
    /// They cannot all be sent.
    pub fn send(
        &mut self,
        messages: impl Iterator<Item = impl AsRef<str>>,
        patience: &Patience,
    ) -> Result<(), Failed> {
        match self {
            Self::Stream(stream, framing) => {
                let mut bytes = Vec::new();
                messages.for_each(|message| framing.append(message.as_ref(), &mut bytes));
                Ok(stream.send(&bytes, patience)?)
            }
            Self::Udp(socket) => each(messages, |message| {
                socket.send(message)?;
                // On this host a refusal is known at once.
                socket.take_error()?.map_or(Ok(()), Err)
            }),
            Self::Local(socket) => each(messages, |message| local(socket, message, patience)),
        }
    }

    /// Waits until the receiver's kernel has what was sent, where that can be known.
    ///
    /// # Errors
    /// It does not take it.
    pub fn settle(&mut self, patience: &Patience) -> io::Result<()> {
        match self {
            Self::Stream(stream, _) => stream.settle(patience),
            Self::Udp(_) | Self::Local(_) => Ok(()),
        }
    }
}

impl Framing {
    /// Appends a message in its frame.
    pub fn append(self, message: &str, out: &mut Vec<u8>) {
        match self {
            Self::Octet => {
                out.extend_from_slice(message.len().to_string().as_bytes());
                out.push(b' ');
                out.extend_from_slice(message.as_bytes());
            }
            Self::Lf => {
                out.extend_from_slice(message.as_bytes());
                out.push(b'\n');
            }
        }
    }
}

fn each(
    messages: impl Iterator<Item = impl AsRef<str>>,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Failed> {
    for (sent, message) in messages.enumerate() {
        send(message.as_ref().as_bytes()).map_err(|why| Failed { sent, why })?;
    }
    Ok(())
}

/// Sends a datagram to a socket of this host, once there is room for it.
fn local(socket: &UnixDatagram, message: &[u8], patience: &Patience) -> io::Result<()> {
    let until = Instant::now() + patience.progress;
    loop {
        match socket.send(message) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                patience.wait(socket.as_fd(), PollFlags::POLLOUT, until)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}

fn udp(Address { host, port }: &Address) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host.as_str(), *port).to_socket_addrs()? {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let opened = any.parse::<SocketAddr>().map_err(io::Error::other).and_then(|any| {
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

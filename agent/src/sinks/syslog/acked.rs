//! How much of what was sent the peer's kernel has not acknowledged. In: a TCP socket. Out: zero,
//! or more.
//!
//! `TCP_INFO` says what `SIOCOUTQ` does, and is an option of a socket, which nix knows how to read
//! without any unsafe code of ours.

use std::{io, os::fd::AsFd};

use nix::sys::socket::GetSockOpt as _;

/// Bytes of the kernel's `struct tcp_info` up to its `tcpi_data_segs_out`: Linux 4.6 has them all.
const LENGTH: usize = 160;
/// Where `tcpi_unacked` is: segments under way.
const UNACKED: usize = 24;
/// Where `tcpi_notsent_bytes` is: bytes that were not sent even once.
const NOT_SENT: usize = 144;

#[derive(Clone, Copy, Debug)]
struct TcpInfo;

nix::getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; LENGTH],
    nix::sys::socket::sockopt::GetStruct<[u8; LENGTH]>
);

/// What the peer's kernel does not have: segments under way, and bytes behind them. Both fall to
/// zero.
///
/// # Errors
/// The socket is none of TCP.
pub fn outstanding(socket: &impl AsFd) -> io::Result<(u32, u32)> {
    let info = TcpInfo.get(socket)?;
    let at = |start: usize| {
        let bytes = info.get(start..).and_then(<[u8]>::first_chunk).copied();
        bytes.map_or(u32::MAX, u32::from_ne_bytes)
    };
    Ok((at(UNACKED), at(NOT_SENT)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn bytes_are_outstanding_until_the_peer_has_room_for_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        assert_eq!(outstanding(&sender).unwrap(), (0, 0));
        sender.set_nonblocking(true).unwrap();
        let chunk = [7; 65_536];
        let mut sent = 0;
        let mut last = Instant::now();
        while last.elapsed() < Duration::from_millis(200) {
            match sender.write(&chunk) {
                Ok(count) => (sent, last) = (sent + count, Instant::now()),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        let (segments, bytes) = outstanding(&sender).unwrap();
        assert!(segments > 0 || bytes > 0, "{sent} bytes found no room, and all are there");
        let reading = thread::spawn(move || {
            let mut left = sent;
            let mut buffer = vec![0; 65_536];
            while left > 0 {
                left -= receiver.read(&mut buffer).unwrap();
            }
            receiver
        });
        let start = Instant::now();
        while outstanding(&sender).unwrap() != (0, 0) {
            assert!(start.elapsed() < Duration::from_secs(20), "never acknowledged");
            thread::sleep(Duration::from_millis(1));
        }
        drop(reading.join().unwrap());
    }
}

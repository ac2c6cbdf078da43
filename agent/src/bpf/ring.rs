//! The ring's reading end. The kernel half wakes the reader only for control records and for a
//! backlog; data is found by polling, because a wake-up per record costs more than the record.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::bpf::BpfError;

/// Records on their way from the kernel half.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(in crate::bpf) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }

    /// Hands every record that is there to `consume`, at most `limit` of them; how many it were.
    /// A record is valid only during the call, as its memory goes back to the kernel.
    pub fn drain(&mut self, limit: usize, mut consume: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(record) = self.ring.next() else { break };
            consume(&record);
            count += 1;
        }
        count
    }

    /// Waits until the kernel half asks for attention, or `timeout` has passed.
    ///
    /// # Errors
    /// `poll` fails for a reason other than a signal.
    pub fn wait(&self, timeout: Duration) -> Result<(), BpfError> {
        wait_readable(self.ring.as_fd(), timeout).map_err(BpfError::Wait)
    }
}

fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

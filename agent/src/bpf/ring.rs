//! The ring's reading end. The kernel half wakes the reader only for control records and for a
//! backlog; data is found by polling, because a wake-up per record costs more than the record.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{Array, MapData, RingBuf},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::bpf::{BpfError, load::map_error};

/// Records on their way from the kernel half.
pub struct Ring {
    ring: RingBuf<MapData>,
    /// Its one entry tells the kernel half whether to wake the reader.
    waits: Array<MapData, u32>,
}

impl Ring {
    pub(in crate::bpf) fn of(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        let ring = ebpf.take_map("EVENTS").ok_or(BpfError::Missing("map EVENTS"))?;
        let ring = RingBuf::try_from(ring).map_err(|error| map_error("EVENTS", error))?;
        let waits = ebpf.take_map("READER_WAITS").ok_or(BpfError::Missing("map READER_WAITS"))?;
        let waits = Array::try_from(waits).map_err(|error| map_error("READER_WAITS", error))?;
        Ok(Self { ring, waits })
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

    /// Waits until the kernel half asks for attention, or `timeout` has passed. What came before it
    /// was told to ask ends the wait at once, as `poll` looks at the ring first.
    ///
    /// # Errors
    /// `poll` fails for a reason other than a signal, or the kernel half cannot be told.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), BpfError> {
        self.tell(true)?;
        let waited = wait_readable(self.ring.as_fd(), timeout).map_err(BpfError::Wait);
        self.tell(false)?;
        waited
    }

    fn tell(&mut self, waits: bool) -> Result<(), BpfError> {
        self.waits.set(0, u32::from(waits), 0).map_err(|error| map_error("READER_WAITS", error))
    }
}

fn wait_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

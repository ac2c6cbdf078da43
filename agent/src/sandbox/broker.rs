//! The broker: holds the loaded kernel half and the probes, carries out requests one at a time on
//! a thread of its own, so that slow attaching and detaching never holds up the drain.

use std::{
    num::NonZeroU32,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{
    bpf::{
        attach::Attachments,
        canary::{self, ReturnProbes},
        load::Kernel,
    },
    sandbox::protocol::{AttachmentId, Inode, Point, Refusal, Reply, Request},
};

/// Requests that may wait. Callers wait for their answers, so there are as many as threads.
const QUEUE: usize = 16;

/// How often the kernel half's log is passed on, where one was asked for.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// How often interfaces that have come are looked for, where packets are seen at interfaces.
const INTERFACES_INTERVAL: Duration = Duration::from_secs(1);

type Envelope = (Request, Sender<Reply>);

/// The way to the broker. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    requests: Sender<Envelope>,
}

/// Starts the broker's thread over a loaded kernel half.
///
/// # Errors
/// The thread cannot be started.
pub fn start(kernel: Kernel) -> std::io::Result<(Handle, thread::JoinHandle<()>)> {
    let (requests, queue) = bounded(QUEUE);
    let thread =
        thread::Builder::new().name("broker".into()).spawn(move || serve(kernel, &queue))?;
    Ok((Handle { requests }, thread))
}

impl Handle {
    /// Probes a file. See [`Request::Attach`].
    ///
    /// # Errors
    /// The broker refuses, or has ended.
    pub fn attach(
        &self,
        file: OwnedFd,
        inode: Inode,
        points: Vec<Point>,
        process: Option<NonZeroU32>,
    ) -> Result<AttachmentId, Refusal> {
        match self.call(Request::Attach { file, inode, points, process }) {
            Reply::Attached(id) => Ok(id),
            Reply::Refused(refusal) => Err(refusal),
            Reply::Counters(_) | Reply::Done => Err(Refusal::Gone),
        }
    }

    /// The kernel half's counters, in the order of `Counter::ALL`.
    ///
    /// # Errors
    /// The broker has ended.
    pub fn counters(&self) -> Result<Vec<u64>, Refusal> {
        match self.call(Request::Counters) {
            Reply::Counters(counters) => Ok(counters),
            Reply::Refused(refusal) => Err(refusal),
            Reply::Attached(_) | Reply::Done => Err(Refusal::Gone),
        }
    }

    /// Whether return probes are safe on this kernel: sends a child ahead to try one.
    #[must_use]
    pub fn test_return_probes(&self) -> ReturnProbes {
        let mut attached = None;
        let outcome = canary::test(|file, inode, points| {
            attached = self.attach(file, inode, points, None).ok();
            attached
        });
        if let Some(id) = attached {
            self.detach(id);
        }
        outcome
    }

    /// Removes the probes of one attachment, and waits until the kernel has done so.
    pub fn detach(&self, id: AttachmentId) {
        if let Reply::Refused(refusal) = self.call(Request::Detach(id)) {
            tracing::debug!(%refusal, "not detached");
        }
    }

    /// Lets go of everything; the counters as they then stand. The broker refuses whatever is asked
    /// of it from then on, and ends with its last handle.
    #[must_use]
    pub fn stop(&self) -> Vec<u64> {
        match self.call(Request::Stop) {
            Reply::Counters(counters) => counters,
            Reply::Attached(_) | Reply::Done | Reply::Refused(_) => Vec::new(),
        }
    }

    fn call(&self, request: Request) -> Reply {
        let (reply, answer) = bounded(1);
        if self.requests.send((request, reply)).is_err() {
            return Reply::Refused(Refusal::Gone);
        }
        answer.recv().unwrap_or(Reply::Refused(Refusal::Gone))
    }
}

fn serve(mut kernel: Kernel, queue: &Receiver<Envelope>) {
    let mut attachments = Attachments::default();
    let mut followed = Instant::now();
    loop {
        if kernel.has_interfaces() && followed.elapsed() >= INTERFACES_INTERVAL {
            kernel.follow_interfaces();
            followed = Instant::now();
        }
        let idle = match (kernel.logs(), kernel.has_interfaces()) {
            (true, _) => LOG_INTERVAL,
            (false, true) => INTERFACES_INTERVAL,
            (false, false) => Duration::MAX,
        };
        match queue.recv_timeout(idle) {
            Ok((request, reply)) => {
                let last = matches!(request, Request::Stop);
                let _ = reply.send(answer(&mut kernel, &mut attachments, request));
                if last {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => kernel.flush_log(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    attachments.release_all();
    kernel.flush_log();
    drop(kernel);
    refuse_all(queue);
}

/// Answers who asks too late, until nobody can: a request left in the queue would keep its asker
/// waiting for as long as the queue is there, which is for as long as there is an asker.
fn refuse_all(queue: &Receiver<Envelope>) {
    for (_, reply) in queue {
        let _ = reply.send(Reply::Refused(Refusal::Gone));
    }
}

fn answer(kernel: &mut Kernel, attachments: &mut Attachments, request: Request) -> Reply {
    match request {
        Request::Attach { file, inode, points, process } => attachments
            .attach(kernel, &file, inode, &points, process)
            .map_or_else(Reply::Refused, Reply::Attached),
        Request::Detach(id) => attachments.detach(id).map_or_else(Reply::Refused, |()| Reply::Done),
        Request::Counters => counters(kernel),
        Request::Stop => {
            attachments.release_all();
            counters(kernel)
        }
    }
}

fn counters(kernel: &Kernel) -> Reply {
    kernel.counters().map_or(Reply::Refused(Refusal::Gone), Reply::Counters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_the_broker_ends_is_refused_and_does_not_wait() {
        let (requests, queue) = bounded(QUEUE);
        let handle = Handle { requests };
        let late = handle.clone();
        let asker = thread::spawn(move || late.counters());
        while queue.is_empty() {
            thread::yield_now();
        }
        drop(handle);
        refuse_all(&queue);
        assert!(matches!(asker.join().unwrap(), Err(Refusal::Gone)));
    }
}

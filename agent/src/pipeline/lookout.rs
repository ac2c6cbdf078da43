//! A thread that looks at files while the agent runs. In: SIGHUP, the time, and whatever else gives
//! cause to look. Out: calls of [`Look::look`], which tells what it finds itself.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use signal_hook::consts::SIGHUP;

/// How often it looks: a `stat` for each of a few files.
pub const PERIOD: Duration = Duration::from_secs(2);
/// How often a signal is looked for.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// What it does.
pub trait Look: Send + 'static {
    /// Looks; `is_asked` if SIGHUP asked for it.
    fn look(&mut self, is_asked: bool);

    /// Whether there is cause to look before it is time.
    fn has_cause(&self) -> bool {
        false
    }
}

/// The thread.
pub struct Lookout {
    /// Nothing is sent: its end tells the thread to end.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Lookout {
    /// Starts it under a name.
    ///
    /// # Errors
    /// The thread cannot be started, or SIGHUP cannot be handled.
    pub fn start(name: &str, look: impl Look) -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&asked))?;
        let (stop, stopped) = bounded(0);
        let thread =
            thread::Builder::new().name(name.into()).spawn(move || run(look, &asked, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        let Self { stop, thread } = self;
        drop(stop);
        let _ = thread.join();
    }
}

fn run(mut look: impl Look, asked: &AtomicBool, stopped: &Receiver<()>) {
    let mut waited = Duration::ZERO;
    while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
        waited = waited.saturating_add(HEARTBEAT);
        let is_asked = asked.swap(false, Ordering::Relaxed);
        if is_asked || waited >= PERIOD || look.has_cause() {
            waited = Duration::ZERO;
            look.look(is_asked);
        }
    }
}

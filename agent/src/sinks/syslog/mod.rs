//! Events as syslog. In: records of the spool. Out: messages of RFC 5424 at a receiver, over UDP,
//! TCP, TLS (RFC 5425) or a socket of this host.
//!
//! What is confirmed is in the memory of the receiver's kernel, no more: syslog has no answer. So
//! the newest of it is kept ([`window`]), and sent again on the next connection. Over UDP nothing is
//! known of it at all.

mod acked;
mod receiver;
mod stream;
mod window;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Deserialize;

use self::{
    receiver::{Failed, Receiver},
    stream::Patience,
    window::Window,
};
use crate::{
    event::mapping::{
        Unfit,
        syslog::{DOCUMENTATION, Payload, Sender, message},
    },
    outbound,
    sinks::{Delivery, Refusal, Sink, delivery::Stop},
};

/// Smallest bound of a message: what every receiver takes (RFC 5424 §6.1).
pub const LEAST_BYTES: usize = 480;
/// Bytes after which a stream is waited for: what is confirmed need not be sent again.
const CHUNK: usize = 512 * 1024;
/// Shortest and longest time between two tries to send the window again while nothing new comes.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How a syslog sink is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where messages go.
    pub target: Target,
    /// What they carry.
    pub payload: Payload,
    /// What they say of where they come from.
    pub sender: Sender,
    /// Longest message, in bytes, without its frame.
    pub max_bytes: usize,
    /// Bytes that are sent again on a new connection, at most.
    pub resend_bytes: usize,
    /// How long an address may take to answer.
    pub connect_for: Duration,
    /// How long a receiver may make no progress.
    pub progress_within: Duration,
}

/// Where messages go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Datagrams, of which nobody knows what becomes.
    Udp(Address),
    /// A connection.
    Tcp(Address, Framing),
    /// A connection with TLS; its frames have their lengths (RFC 5425 §4.3).
    Tls(Address, outbound::Options),
    /// A socket of this host, of datagrams or of a stream.
    Socket(PathBuf),
}

/// A host and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How messages are told apart in a stream (RFC 6587 §3.4).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// By their length, before each.
    #[default]
    Octet,
    /// By a line end, behind each; none is in a message.
    Lf,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(Address { host, port }) => write!(f, "udp {host}:{port}"),
            Self::Tcp(Address { host, port }, _) => write!(f, "tcp {host}:{port}"),
            Self::Tls(Address { host, port }, _) => write!(f, "tls {host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The sink.
pub struct SyslogSink {
    options: Options,
    patience: Patience,
    receiver: Option<Receiver>,
    window: Window,
    /// Longest message that the way to the receiver takes, as far as is known.
    bound: usize,
    /// When to look for a receiver that went away though there is nothing new for it, and how long
    /// to wait after that.
    again: Option<(Instant, Duration)>,
}

/// Messages of some records, and why there are no more of them.
struct Gathered {
    messages: Vec<String>,
    end: End,
}

enum End {
    /// They are as many as are sent at once.
    Chunk,
    /// There are no more records.
    Last,
    /// The next record has no message.
    Refused(Refusal),
}

impl SyslogSink {
    /// A sink of these options; it connects when there is something to send.
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        options.sender.process = Some(std::process::id());
        let target = &options.target;
        if matches!(target, Target::Udp(_)) {
            tracing::warn!(%target, "syslog over UDP loses messages, and nobody can say which");
        }
        if options.sender.enterprise == DOCUMENTATION && options.payload == Payload::Sd {
            let number = DOCUMENTATION;
            tracing::warn!(%target, number, "enterprise_number is the one of documentation");
        }
        let patience = Patience {
            connect: options.connect_for,
            progress: options.progress_within,
            stop: Stop::default(),
        };
        // Datagrams that are lost are no reason to send others again.
        let kept = if matches!(target, Target::Udp(_)) { 0 } else { options.resend_bytes };
        let (window, bound) = (Window::new(kept), options.max_bytes);
        Self { options, patience, receiver: None, window, bound, again: None }
    }

    /// Messages of as many records as are sent at once.
    fn gather(&self, records: &mut dyn Iterator<Item = &[u8]>) -> Gathered {
        let Options { payload, sender, .. } = &self.options;
        let mut messages = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK {
            let Some(record) = records.next() else { return Gathered { messages, end: End::Last } };
            match message(record, *payload, sender, self.bound) {
                Ok(message) => {
                    bytes += message.len();
                    messages.push(message);
                }
                Err(unfit) => {
                    let refusal = match unfit {
                        Unfit::Unmappable => Refusal::Unmappable,
                        Unfit::TooLarge => Refusal::TooLarge,
                    };
                    return Gathered { messages, end: End::Refused(refusal) };
                }
            }
        }
        Gathered { messages, end: End::Chunk }
    }

    /// Sends messages and waits until they are confirmed, over a connection that is there or a new
    /// one.
    fn hand_over(&mut self, messages: &[String]) -> Result<(), Failed> {
        let mut receiver = self.connected()?;
        receiver.send(messages.iter(), &self.patience)?;
        receiver.settle(&self.patience)?;
        self.receiver = Some(receiver);
        self.again = None;
        Ok(())
    }

    /// A connection on which the window has been sent.
    fn connected(&mut self) -> Result<Receiver, Failed> {
        if let Some(mut receiver) = self.receiver.take() {
            match receiver.check() {
                Ok(()) => return Ok(receiver),
                Err(error) => self.lost(&error),
            }
        }
        let target = &self.options.target;
        let mut receiver = Receiver::open(target, &self.patience)?;
        let sent = receiver.send(self.window.messages(), &self.patience);
        sent.map_err(|Failed { why, .. }| Failed::from(why))?;
        let (messages, bytes) = self.window.size();
        tracing::info!(%target, again = messages, bytes, "connected");
        Ok(receiver)
    }

    fn lost(&self, why: &io::Error) {
        tracing::info!(target = %self.options.target, %why, "connection lost");
    }

    /// What became of messages that could not be handed over, `done` records after the first.
    fn failed(&mut self, done: usize, Failed { sent, why }: Failed) -> Delivery {
        let done = done + sent;
        if why.raw_os_error() != Some(libc::EMSGSIZE) {
            return Delivery::Retry { done, why, after: None };
        }
        if self.bound <= LEAST_BYTES {
            return Delivery::Reject { done, why: Refusal::TooLarge };
        }
        self.bound = (self.bound / 2).max(LEAST_BYTES);
        let why = io::Error::other(format!("too long a datagram; now at most {}", self.bound));
        Delivery::Retry { done, why, after: Some(Duration::ZERO) }
    }
}

impl Sink for SyslogSink {
    fn deliver(&mut self, records: &mut dyn Iterator<Item = &[u8]>) -> Delivery {
        let mut done = 0;
        loop {
            let Gathered { messages, end } = self.gather(records);
            if !messages.is_empty()
                && let Err(failed) = self.hand_over(&messages)
            {
                return self.failed(done, failed);
            }
            done += messages.len();
            messages.into_iter().for_each(|message| self.window.push(message));
            match end {
                End::Chunk => {}
                End::Last => return Delivery::Delivered,
                End::Refused(why) => return Delivery::Reject { done, why },
            }
        }
    }

    fn heed(&mut self, stop: &Stop) {
        self.patience.stop = stop.clone();
    }

    /// A receiver that dies may not have read what its kernel confirmed: the one that comes after it
    /// gets that, also if nothing else is to be said.
    fn idle(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            let Err(why) = receiver.check() else { return };
            self.receiver = None;
            self.lost(&why);
            self.again = Some((Instant::now(), AGAIN.0));
        }
        let Some((when, pause)) = self.again else { return };
        if Instant::now() < when || self.window.is_empty() {
            return;
        }
        if let Err(Failed { why, .. }) = self.hand_over(&[]) {
            tracing::debug!(target = %self.options.target, %why, "receiver not back");
            let next = pause.saturating_mul(2).min(AGAIN.1);
            self.again = Some((Instant::now() + pause, next));
        }
    }
}

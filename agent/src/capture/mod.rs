//! Stage 3, bytes to connections: where captured events come from.
//!
//! In: ring records, or a recording. Out: [`CaptureEvent`]s, in one order that replay repeats. A
//! live run and its replay differ only in who makes them.

pub mod live;
pub mod record;
pub mod recorder;
pub mod replay;
pub mod unbound;
pub mod unread;
pub mod wire;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    flow::chunk::{Attribution, Direction, Handshake, Socket},
    identity::process::Process,
};

/// Names one TLS session of one process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct SessionKey {
    /// Process id, in the initial namespace.
    pub pid: u32,
    /// Address of the library's session object.
    pub object: u64,
    /// Tells this session from an earlier one at the same address.
    pub generation: u64,
}

/// A process that holds an end of a connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// How it is known that it does.
    pub attribution: Attribution,
}

/// Something that was captured. `B` is how its bytes are held: borrowed from the ring, or owned.
/// Recordings have these by their number: new ones come last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CaptureEvent<B> {
    /// A process is named before anything of it is told.
    Process(Arc<Process>),
    /// Plaintext of a TLS call.
    Data {
        /// When the process had the bytes or handed them over.
        at: Timestamp,
        /// Whose they are.
        session: SessionKey,
        /// Which way they went.
        direction: Direction,
        /// Position of the first byte in this direction of the session.
        offset: u64,
        /// Bytes right after these that were not captured.
        lost: u64,
        /// The bytes; empty where only a loss is told.
        bytes: B,
    },
    /// The socket beneath a session is known.
    Socket {
        /// When it was found.
        at: Timestamp,
        /// The session.
        session: SessionKey,
        /// Its socket.
        socket: Socket,
        /// How it is known that the session's process holds it.
        attribution: Attribution,
        /// The process at the other end, where that is on this host and known.
        peer: Option<Holder>,
    },
    /// A session ended, or one direction of it.
    Close {
        /// When.
        at: Timestamp,
        /// The session.
        session: SessionKey,
        /// The direction that ended; `None` for both.
        direction: Option<Direction>,
    },
    /// A process ended.
    Exit {
        /// When.
        at: Timestamp,
        /// Process id.
        pid: u32,
    },
    /// Time has passed: what is idle may be given up.
    Tick {
        /// Now.
        at: Timestamp,
    },
    /// The session has no TLS: its bytes are as they passed.
    Plain {
        /// When it was found.
        at: Timestamp,
        /// The session.
        session: SessionKey,
    },
    /// What the session's handshake told so far: replaces what was told of it before.
    Handshake {
        /// When it was found.
        at: Timestamp,
        /// The session.
        session: SessionKey,
        /// All that is known.
        handshake: Arc<Handshake>,
    },
    /// Plaintext that was there and was not asked for: see [`Skip`].
    Skipped {
        /// When the process had the bytes or handed them over.
        at: Timestamp,
        /// Whose they are.
        session: SessionKey,
        /// Which way they went.
        direction: Direction,
        /// Position of the first byte in this direction of the session.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Who opened the session's connection sent a PROXY header first.
    Proxied {
        /// When it was found.
        at: Timestamp,
        /// The session.
        session: SessionKey,
        /// The client that the header names: the word of who sent it.
        client: IpAddr,
    },
}

impl CaptureEvent<&[u8]> {
    /// The event with its bytes copied, to outlive the ring's memory.
    #[must_use]
    pub fn to_owned(&self) -> CaptureEvent<Bytes> {
        self.with(|bytes| Bytes::copy_from_slice(bytes))
    }
}

impl CaptureEvent<Bytes> {
    /// The event with its bytes borrowed, as sinks take it.
    #[must_use]
    pub fn borrow(&self) -> CaptureEvent<&[u8]> {
        self.with(AsRef::as_ref)
    }
}

impl<B> CaptureEvent<B> {
    /// The event with its bytes held in another way.
    fn with<'a, C>(&'a self, hold: impl FnOnce(&'a B) -> C) -> CaptureEvent<C> {
        match *self {
            Self::Process(ref process) => CaptureEvent::Process(Arc::clone(process)),
            Self::Data { at, session, direction, offset, lost, ref bytes } => {
                CaptureEvent::Data { at, session, direction, offset, lost, bytes: hold(bytes) }
            }
            Self::Skipped { at, session, direction, offset, bytes } => {
                CaptureEvent::Skipped { at, session, direction, offset, bytes }
            }
            Self::Socket { at, session, socket, attribution, peer } => {
                CaptureEvent::Socket { at, session, socket, attribution, peer }
            }
            Self::Close { at, session, direction } => {
                CaptureEvent::Close { at, session, direction }
            }
            Self::Plain { at, session } => CaptureEvent::Plain { at, session },
            Self::Proxied { at, session, client } => CaptureEvent::Proxied { at, session, client },
            Self::Handshake { at, session, ref handshake } => {
                let handshake = Arc::clone(handshake);
                CaptureEvent::Handshake { at, session, handshake }
            }
            Self::Exit { at, pid } => CaptureEvent::Exit { at, pid },
            Self::Tick { at } => CaptureEvent::Tick { at },
        }
    }

    /// The session that the event is about; `None` where it concerns every worker.
    #[must_use]
    pub const fn session(&self) -> Option<SessionKey> {
        match self {
            Self::Data { session, .. }
            | Self::Skipped { session, .. }
            | Self::Socket { session, .. }
            | Self::Plain { session, .. }
            | Self::Proxied { session, .. }
            | Self::Handshake { session, .. }
            | Self::Close { session, .. } => Some(*session),
            Self::Process(_) | Self::Exit { .. } | Self::Tick { .. } => None,
        }
    }
}

/// Plaintext that need not be told: whoever reads the connection only counts it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skip {
    /// The session.
    pub session: SessionKey,
    /// The direction.
    pub direction: Direction,
    /// Position of the first byte that need not be told.
    pub from: u64,
    /// Position of the first byte that must be told again.
    pub until: u64,
}

/// Receives captured events in order.
pub trait EventSink {
    /// Takes one event.
    fn accept(&mut self, event: &CaptureEvent<&[u8]>);

    /// What need not be told from here on, of whichever session that is known.
    fn skippable(&mut self) -> Option<Skip> {
        None
    }
}

//! What crosses the boundary between the kernel half and the agent, and nothing else.
//!
//! The kernel half writes these records into one ring buffer; the agent reads them with checked
//! decoding (`capture/record.rs`). Every record begins with a [`Header`]; the kind says which
//! structure the header belongs to. Layouts are `repr(C)` without padding (zerocopy refuses any),
//! in native byte order, because both halves run on one machine.
//!
//! Integers from the ring become enums only by the checked conversions below: a value that this
//! build does not know is an error, never a transmute.
#![no_std]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the record layouts. Both halves are built together and the object is embedded, so a
/// mismatch means a corrupted ring, and the record is counted and skipped.
pub const ABI_VERSION: u16 = 4;

/// Payload capacities of a data record in bytes, smallest first. A record takes the smallest
/// class that holds its payload: ring space is what runs out first, and most reads are small.
/// The largest equals the longest plaintext of one TLS record (RFC 8446 §5.1).
pub const SIZE_CLASSES: [u32; 4] = [256, 1024, 4096, MAX_PAYLOAD];

/// Longest payload of one data record, in bytes.
pub const MAX_PAYLOAD: u32 = 16 * 1024;

/// Records that one call may fill. Beyond `MAX_RECORDS_PER_CALL * MAX_PAYLOAD` bytes (1 MiB) the
/// rest of a call is reported as not captured, because the kernel's verifier wants loops bounded.
pub const MAX_RECORDS_PER_CALL: u32 = 64;

/// Bytes of a process's short name, as the kernel keeps it (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// Bytes of an executable's path that an exec record carries.
pub const PATH_LEN: usize = 256;

/// What a record tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum RecordKind {
    /// Plaintext that a TLS call read or wrote: [`DataRecord`] and its payload.
    Data = 1,
    /// The socket beneath a TLS session became known: [`SocketRecord`].
    Socket = 2,
    /// A TLS session ended, wholly or in one direction: [`CloseRecord`].
    Close = 3,
    /// A process executed a new program: [`ExecRecord`].
    Exec = 4,
    /// A process ended: the [`Header`] alone.
    Exit = 5,
    /// A TCP segment of a connection that speaks TLS: [`SegmentRecord`] and its payload.
    Segment = 6,
    /// A session secret that a process derived: [`SecretRecord`].
    Secret = 7,
    /// Plaintext of a TLS call that was passed over, as the agent asked: a [`DataRecord`] without
    /// payload, whose `lost` says how much it is.
    Skipped = 8,
}

impl TryFrom<u8> for RecordKind {
    type Error = UnknownValue;

    fn try_from(value: u8) -> Result<Self, UnknownValue> {
        match value {
            1 => Ok(Self::Data),
            2 => Ok(Self::Socket),
            3 => Ok(Self::Close),
            4 => Ok(Self::Exec),
            5 => Ok(Self::Exit),
            6 => Ok(Self::Segment),
            7 => Ok(Self::Secret),
            8 => Ok(Self::Skipped),
            other => Err(UnknownValue(other)),
        }
    }
}

/// Which way bytes went, as the observed process saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Way {
    /// The process received them.
    In = 1,
    /// The process sent them.
    Out = 2,
    /// Both, in a close record: the session is gone.
    Both = 3,
}

impl TryFrom<u8> for Way {
    type Error = UnknownValue;

    fn try_from(value: u8) -> Result<Self, UnknownValue> {
        match value {
            1 => Ok(Self::In),
            2 => Ok(Self::Out),
            3 => Ok(Self::Both),
            other => Err(UnknownValue(other)),
        }
    }
}

/// A byte that is none of an enum's values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownValue(pub u8);

/// The start of every record.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`ABI_VERSION`] of the writer.
    pub abi: u16,
    /// A [`RecordKind`].
    pub kind: u8,
    /// A [`Way`], or 0 where the kind has none.
    pub way: u8,
    /// Process id, in the initial namespace.
    pub tgid: u32,
    /// Thread id, in the initial namespace.
    pub tid: u32,
    /// Must be zero.
    pub reserved: u32,
    /// Nanoseconds of `CLOCK_BOOTTIME`, or of `CLOCK_MONOTONIC` before Linux 5.8.
    pub time_ns: u64,
}

/// Names one TLS session of one process, for as long as the session object lives.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Session {
    /// Address of the library's session object in the process.
    pub object: u64,
    /// When the object was first seen (`time_ns` of that moment): tells a session from the next
    /// one that the allocator puts at the same address.
    pub generation: u64,
}

/// Plaintext of a TLS call. `len` payload bytes follow.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct DataRecord {
    /// Kind [`RecordKind::Data`], way in or out.
    pub header: Header,
    /// Whose bytes these are.
    pub session: Session,
    /// Position of the first payload byte in this direction of the session, counted from the
    /// first byte that the agent could have seen.
    pub offset: u64,
    /// Payload bytes in this record, at most [`MAX_PAYLOAD`].
    pub len: u32,
    /// Bytes of the same call after this payload that were not captured (a fault while reading
    /// the process's memory, or a call longer than the limit).
    pub lost: u32,
}

/// The socket beneath a session, as the kernel knows it. Addresses are in network byte order,
/// IPv4 in the first four bytes; ports are in host byte order.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct SocketRecord {
    /// Kind [`RecordKind::Socket`].
    pub header: Header,
    /// The session that was found on this socket; all zero where the record only tells whose the
    /// socket is: the thread has just derived a secret, or it is a connection of a listed port.
    pub session: Session,
    /// The kernel's socket cookie: unique for this boot.
    pub cookie: u64,
    /// Local address.
    pub local: [u8; 16],
    /// Remote address.
    pub remote: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Must be zero.
    pub reserved: u16,
    /// Inode number of the socket's network namespace, 0 if unknown.
    pub netns: u32,
    /// Must be zero.
    pub reserved2: u32,
    /// Short name of the thread, zero-terminated: names a process that was forked rather than
    /// executed, should it be gone before anyone looks.
    pub comm: [u8; COMM_LEN],
}

/// The end of a session, or of one direction of it.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct CloseRecord {
    /// Kind [`RecordKind::Close`]; the way says which direction ended.
    pub header: Header,
    /// The session that ended.
    pub session: Session,
}

/// A process executed a new program.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct ExecRecord {
    /// Kind [`RecordKind::Exec`].
    pub header: Header,
    /// Short name, zero-terminated.
    pub comm: [u8; COMM_LEN],
    /// Path given to `execve`, zero-terminated, cut at [`PATH_LEN`].
    pub path: [u8; PATH_LEN],
}

/// A piece of a TCP segment's payload, `len` bytes of which follow. A segment that is longer than
/// [`MAX_PAYLOAD`] (segmentation is offloaded) makes several records, each with the sequence number
/// of its own first byte. The ends are the socket's own, which under NAT differ from the packet's;
/// a listener has none, so there they are the packet's.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct SegmentRecord {
    /// Kind [`RecordKind::Segment`]; way in (received by a socket of this host) or out (sent by
    /// one). No process is known: `tgid` and `tid` are 0.
    pub header: Header,
    /// Cookie of the socket that received or sent the segment. For the first payload of a
    /// connection that is accepted late (`TCP_DEFER_ACCEPT`) it is the listener's.
    pub cookie: u64,
    /// Sender's address; IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Receiver's address; IPv4 as IPv4-mapped IPv6.
    pub destination: [u8; 16],
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Sequence number of the first payload byte of this record.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Payload bytes in this record.
    pub len: u32,
    /// Payload bytes of the same segment after these that were not captured.
    pub lost: u32,
    /// TCP flags (RFC 9293 §3.1), FIN in the lowest bit, and [`SegmentRecord::FIRST`].
    pub flags: u32,
    /// Inode number of the socket's network namespace, 0 if unknown.
    pub netns: u32,
    /// Lower half of the id of the socket's cgroup (v2), 0 if unknown. The upper half counts how often
    /// the lower was used up.
    pub cgroup: u32,
}

impl SegmentRecord {
    /// In `flags`: the socket that receives the segment had received nothing before it.
    pub const FIRST: u32 = 0x100;
}

/// Longest secret of a TLS key schedule: SHA-512 would give 64 bytes, SHA-384 gives 48.
pub const MAX_SECRET: usize = 64;

/// Which secret a [`SecretRecord`] holds, and what it belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum SecretKind {
    /// TLS 1.3: the handshake secret, and the hash of ClientHello to ServerHello.
    Handshake = 1,
    /// TLS 1.3: the master secret, and the hash of ClientHello to the server's Finished.
    Master = 2,
    /// TLS 1.3: the early secret, and the hash of the ClientHello.
    Early = 3,
    /// TLS 1.2 and older: the master secret, and the server's and the client's random.
    Tls12 = 4,
}

impl TryFrom<u8> for SecretKind {
    type Error = UnknownValue;

    fn try_from(value: u8) -> Result<Self, UnknownValue> {
        match value {
            1 => Ok(Self::Handshake),
            2 => Ok(Self::Master),
            3 => Ok(Self::Early),
            4 => Ok(Self::Tls12),
            other => Err(UnknownValue(other)),
        }
    }
}

/// A secret as a process handed it to its key derivation, and what identifies the session.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct SecretRecord {
    /// Kind [`RecordKind::Secret`].
    pub header: Header,
    /// A [`SecretKind`].
    pub kind: u8,
    /// Bytes of `secret` that count.
    pub secret_len: u8,
    /// Bytes of `context` that count.
    pub context_len: u8,
    /// Must be zero.
    pub reserved: [u8; 5],
    /// Lower half of the id of the process's cgroup (v2).
    pub cgroup: u32,
    /// Inode number of its network namespace, 0 if unknown.
    pub netns: u32,
    /// The secret.
    pub secret: [u8; MAX_SECRET],
    /// A transcript hash, or two randoms of 32 bytes each.
    pub context: [u8; 64],
}

/// What the kernel half does with the segments of a socket: values of a map by cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Capture {
    /// Copy them: the connection speaks TLS.
    Tls = 0x1_0000,
    /// The same, and tell of bare acknowledgements too.
    TlsAcks = 0x1_0001,
    /// The same as `Tls`, and pass over the records that lie before a sequence number.
    TlsSkips = 0x1_0002,
    /// Leave them: it doesn't, or the agent has no use for it.
    Ignored = 0x2_0000,
    /// Copy them: the connection speaks HTTP without TLS, on a port that is listed.
    Plain = 0x4_0000,
    /// The same, and tell of bare acknowledgements too.
    PlainAcks = 0x4_0001,
}

impl Capture {
    /// Bits of the values that have payloads copied.
    pub const COPIED: u32 = 0x5_0000;
    /// The one of them that says TLS.
    pub const TLS: u32 = 0x1_0000;
    /// With one of those: bare acknowledgements, too, make records. They are as frequent as
    /// segments and rarely of use, so they are told only while a reader lacks a segment.
    pub const ACKS: u32 = 0x0_0001;
    /// With [`Capture::Tls`]: one direction or both have an entry by [`stream_key`] that says up to
    /// which sequence number nothing but data comes that nobody wants.
    pub const SKIPS: u32 = 0x0_0002;
}

/// Names one direction of a socket's stream. Cookies are counted up from 1, so none is lost.
#[must_use]
pub const fn stream_key(cookie: u64, way: Way) -> u64 {
    cookie << 1 | matches!(way, Way::Out) as u64
}

/// Names one direction of a session: its object, its generation, and process and way.
#[must_use]
pub const fn session_stream_key(session: Session, tgid: u32, way: Way) -> [u64; 3] {
    let Session { object, generation } = session;
    [object, generation, (tgid as u64) << 1 | matches!(way, Way::Out) as u64]
}

/// Smallest fragment of a TLS record that is passed over unopened, in bytes, and shortest call that
/// is. Messages after the handshake (KeyUpdate, tickets) look like data from outside and must be
/// read; they are smaller.
pub const MIN_SKIPPED: u32 = 1024;

/// Payloads of a connection that are looked at for the start of TLS before it is ignored: proxy
/// preludes and upgrades like STARTTLS come first on some.
pub const MAX_UNDECIDED: u32 = 8;

/// Interfaces of the network namespace that can be looked at, where packets are seen there.
pub const MAX_INTERFACES: u32 = 4096;

/// Events that the kernel half counts, per CPU. The discriminant is the index in the map.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Counter {
    /// Data records written to the ring.
    DataRecords = 0,
    /// Payload bytes written to the ring.
    DataBytes = 1,
    /// Records that found the ring full. Bytes lost so are gaps in the stream's offsets.
    RingFull = 2,
    /// Payload bytes that found the ring full.
    RingFullBytes = 3,
    /// Reads of a process's memory that faulted.
    UserFault = 4,
    /// Bytes beyond [`MAX_RECORDS_PER_CALL`].
    CallTooLong = 5,
    /// Returns of a probed function whose entry was not seen.
    UnmatchedReturn = 6,
    /// Entries that could not be remembered because the table was full.
    CallTableFull = 7,
    /// Sessions that could not be remembered because the table was full.
    SessionTableFull = 8,
    /// Calls that returned an error or moved no bytes: their buffers were not read.
    EmptyCalls = 9,
    /// Control records (socket, close, exec, exit, secret) that found the ring full.
    ControlLost = 10,
    /// Segment records written to the ring.
    SegmentRecords = 11,
    /// Secret records written to the ring.
    SecretRecords = 12,
    /// Key derivations that were looked at and discarded.
    OtherDerivations = 13,
    /// Payload bytes that were passed over, as the agent asked.
    SkippedBytes = 14,
    /// Calls that never return, as their thread has ended.
    AbandonedCalls = 15,
}

impl Counter {
    /// Every counter, in index order.
    pub const ALL: [Self; 16] = [
        Self::DataRecords,
        Self::DataBytes,
        Self::RingFull,
        Self::RingFullBytes,
        Self::UserFault,
        Self::CallTooLong,
        Self::UnmatchedReturn,
        Self::CallTableFull,
        Self::SessionTableFull,
        Self::EmptyCalls,
        Self::ControlLost,
        Self::SegmentRecords,
        Self::SecretRecords,
        Self::OtherDerivations,
        Self::SkippedBytes,
        Self::AbandonedCalls,
    ];

    /// Name in metrics and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DataRecords => "data_records",
            Self::DataBytes => "data_bytes",
            Self::RingFull => "dropped_records",
            Self::RingFullBytes => "lost_bytes",
            Self::UserFault => "user_faults",
            Self::CallTooLong => "call_too_long_bytes",
            Self::UnmatchedReturn => "unmatched_returns",
            Self::CallTableFull => "call_table_full",
            Self::SessionTableFull => "session_table_full",
            Self::EmptyCalls => "empty_calls",
            Self::ControlLost => "dropped_control_records",
            Self::SegmentRecords => "segment_records",
            Self::SecretRecords => "secret_records",
            Self::OtherDerivations => "other_derivations",
            Self::SkippedBytes => "not_copied_bytes",
            Self::AbandonedCalls => "abandoned_calls",
        }
    }
}

// Both halves must agree on these; a change needs a new ABI_VERSION.
const _: () = {
    assert!(size_of::<Header>() == 24);
    assert!(size_of::<Session>() == 16);
    assert!(size_of::<DataRecord>() == 56);
    assert!(size_of::<SocketRecord>() == 112);
    assert!(size_of::<CloseRecord>() == 40);
    assert!(size_of::<ExecRecord>() == 296);
    assert!(size_of::<SegmentRecord>() == 96);
    assert!(size_of::<SecretRecord>() == 168);
};

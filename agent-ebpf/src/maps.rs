//! All state of the kernel half. Tables keyed by what processes do are least-recently-used: a full
//! one evicts what is stale instead of refusing what is new.

use core::arch::asm;

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use scopewatch_common::{Counter, MAX_INTERFACES, Way};

/// Records on their way to the agent. The agent sets the real size when it loads the object.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 * 1024 * 1024, 0);

/// Events counted per CPU, indexed by [`Counter`] within the one entry: every lookup is a branch
/// for the verifier.
#[map]
pub static COUNTERS: PerCpuArray<[u64; Counter::ALL.len()]> = PerCpuArray::with_max_entries(1, 0);

/// Names one call in progress. The stack pointer tells nested calls of one thread apart (a BIO
/// callback may write on another session), and finds the entry again at the return.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CallKey {
    pub pid_tgid: u64,
    pub stack: u64,
}

/// How a function tells how many bytes it moved.
#[repr(u8)]
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Length {
    /// A positive `int` return value (`SSL_read`, `SSL_write`).
    Returned = 1,
    /// Through a `size_t` pointer, when the return value is 1 (the `_ex` functions).
    Pointed = 2,
}

/// What is remembered of a call from its entry to its return.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    pub object: u64,
    pub buffer: u64,
    pub length_pointer: u64,
    pub entered_ns: u64,
    /// Stack pointer of the call around this one on the same thread, or 0.
    pub outer: u64,
    pub way: Way,
    pub length: Length,
    pub _pad: [u8; 6],
}

/// Calls in progress. Threads inside a TLS call are few; a read may block for hours, so nothing is
/// aged by time. Those of a thread that ends are taken out.
#[map]
pub static CALLS: LruHashMap<CallKey, Call> = LruHashMap::with_max_entries(32 * 1024, 0);

/// Stack pointer of the innermost TLS call that a thread is inside of. Changed by [`put_mark`] and
/// [`take_mark`] alone.
#[map]
pub static IN_CALL: LruHashMap<u64, u64> = LruHashMap::with_max_entries(32 * 1024, 0);

/// Names one session object of one process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SessionKey {
    pub tgid: u32,
    pub _pad: u32,
    pub object: u64,
}

/// What is known of a session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SessionState {
    pub generation: u64,
    /// Bytes moved so far in each direction, captured or not.
    pub offset_in: u64,
    pub offset_out: u64,
    /// Cookie of the socket beneath the session, 0 until one was seen.
    pub cookie: u64,
}

/// Sessions by object. An evicted session that moves bytes again comes back as a new generation.
#[map]
pub static SESSIONS: LruHashMap<SessionKey, SessionState> =
    LruHashMap::with_max_entries(64 * 1024, 0);

/// Session that a thread shook hands of last by a call that only does that. A call that moves data
/// may shake hands, too, and counts before this.
#[map]
pub static SHAKEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(32 * 1024, 0);

/// Threads that derived a TLS secret and have not used a socket since: the next one that they use
/// is an end of that connection. The value is the session whose handshake it was, or
/// [`NO_SESSION`]. Changed by [`put_mark`] and [`take_mark`] alone.
#[map]
pub static KEYED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(32 * 1024, 0);

/// In place of a session, where no call of it was seen: no object lies there.
pub const NO_SESSION: u64 = 1;

/// Slots that threads are spread over by their ids; a power of two.
const SLOTS: u32 = 4096;

/// For each slot, how many entries [`IN_CALL`] and [`KEYED`] have for its threads, or more: what is
/// evicted there stays counted here. Reading it costs a tenth of a lookup in those, and nearly all
/// that threads do with sockets is of no interest.
#[map]
static MARKED: Array<u64> = Array::with_max_entries(SLOTS, 0);

/// Whether a thread may have an entry in [`IN_CALL`] or [`KEYED`]; if not, it has none.
#[inline(always)]
pub fn is_marked(pid_tgid: u64) -> bool {
    // SAFETY: the verifier checked the pointer, and an array's slots outlive the program.
    MARKED.get_ptr(slot(pid_tgid)).is_some_and(|marks| unsafe { marks.read_volatile() } != 0)
}

/// Sets the current thread's entry in a table of marked threads; whether there was room.
#[inline(always)]
pub fn put_mark(table: &LruHashMap<u64, u64>, pid_tgid: u64, value: u64) -> bool {
    let is_new = table.get_ptr(pid_tgid).is_none();
    let is_put = table.insert(pid_tgid, value, 0).is_ok();
    if is_new && is_put {
        add_marks(pid_tgid, 1);
    }
    is_put
}

/// Removes the current thread's entry from a table of marked threads.
#[inline(always)]
pub fn take_mark(table: &LruHashMap<u64, u64>, pid_tgid: u64) {
    if table.remove(pid_tgid).is_ok() {
        add_marks(pid_tgid, -1);
    }
}

#[inline(always)]
const fn slot(pid_tgid: u64) -> u32 {
    pid_tgid as u32 & (SLOTS - 1)
}

/// Adds to a slot's count. Written out, as only the oldest of the atomic instructions is known to
/// every kernel.
#[inline(always)]
fn add_marks(pid_tgid: u64, by: i64) {
    if let Some(marks) = MARKED.get_ptr_mut(slot(pid_tgid)) {
        // SAFETY: the verifier checked the pointer, and an array's slots outlive the program.
        unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) marks, in(reg) by) };
    }
}

/// 1 while the reader waits to be woken, as the agent says; 0 while it comes by itself.
#[map]
static READER_WAITS: Array<u32> = Array::with_max_entries(1, 0);

/// Whether the reader waits to be woken.
#[inline(always)]
pub fn reader_waits() -> bool {
    // SAFETY: as in `is_marked`.
    READER_WAITS.get_ptr(0).is_some_and(|waits| unsafe { waits.read_volatile() } != 0)
}

/// Names one context of key derivation of one process (`EVP_PKEY_CTX *` of OpenSSL 1.1.1).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ContextKey {
    pub tgid: u32,
    pub _pad: u32,
    pub object: u64,
}

/// What a context was handed so far: where it lies in the process, never what it is. The caller
/// keeps it in place until the derivation is made.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Derivation {
    pub secret: u64,
    pub secret_len: u64,
    /// 1 once the label of a TLS key block was handed over, else 0.
    pub labelled: u64,
    /// The server's random, or 0 while it was not handed over.
    pub server: u64,
}

/// Derivations that are being prepared, which takes a thread microseconds.
#[map]
pub static DERIVATIONS: LruHashMap<ContextKey, Derivation> =
    LruHashMap::with_max_entries(16 * 1024, 0);

/// What to do with the segments of a socket, by its cookie: a `Capture`, or below that the number
/// of payloads that were looked at without a decision. The agent writes it, too.
#[map]
pub static DECISIONS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(256 * 1024, 0);

/// Where one direction of a socket stands among the records of its TLS. Kept in one word: when a
/// sender moves to another processor, two of them follow its stream at once, and neither must see
/// half of what the other wrote.
#[derive(Clone, Copy)]
pub struct Place {
    /// Sequence number of the next byte of a header.
    pub next: u32,
    /// Bytes of that header that came before, and how many, at most 4: segments may end within it.
    pub head: u32,
    pub have: u32,
    /// Whether the record before that header is passed over: [`Place::COPIED`], [`Place::PASSED`],
    /// or [`Place::LOST`] where the place is not known any more.
    pub state: u32,
}

impl Place {
    pub const LOST: u32 = 0;
    pub const COPIED: u32 = 1;
    pub const PASSED: u32 = 2;

    /// First six bits of every type of record (RFC 8446 §B.1): they need not be kept.
    const TYPE: u32 = 5;
    const TYPE_SHIFT: u32 = 26;

    /// Whether the bytes of a header may be those of one.
    #[inline(always)]
    pub fn is_plausible(&self) -> bool {
        self.have == 0 || self.aligned() >> Self::TYPE_SHIFT == Self::TYPE
    }

    /// The bytes of the header at the places that they have in a whole one's first four.
    #[inline(always)]
    fn aligned(&self) -> u32 {
        ((self.head as u64) << ((4 - self.have as u64 & 7) * 8)) as u32
    }

    /// The place in one word.
    #[inline(always)]
    pub fn word(&self) -> u64 {
        let rest = self.aligned() & ((1 << Self::TYPE_SHIFT) - 1);
        (self.next as u64) << 32
            | ((self.state & 3) as u64) << 29
            | ((self.have & 7) as u64) << Self::TYPE_SHIFT
            | rest as u64
    }

    /// The place that a word says.
    #[inline(always)]
    pub fn of(word: u64) -> Self {
        let have = (word >> Self::TYPE_SHIFT) as u32 & 7;
        let rest = word as u32 & ((1 << Self::TYPE_SHIFT) - 1);
        let aligned = (Self::TYPE << Self::TYPE_SHIFT | rest) as u64;
        let head = (aligned >> ((4 - have as u64 & 7) * 8)) as u32;
        Self { next: (word >> 32) as u32, head, have, state: (word >> 29) as u32 & 3 }
    }
}

/// Places, by `stream_key`: see [`Place::word`]. A stream whose place was evicted is copied from there
/// on.
#[map]
pub static PLACES: LruHashMap<u64, u64> = LruHashMap::with_max_entries(128 * 1024, 0);

/// Sequence numbers before which nothing but data comes that nobody wants, by `stream_key`. The
/// agent writes it.
#[map]
pub static SKIPS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16 * 1024, 0);

/// Positions before which a direction of a session has nothing that anybody wants, by
/// `session_stream_key`. The agent writes it.
#[map]
pub static UNREAD: LruHashMap<[u64; 3], u64> = LruHashMap::with_max_entries(16 * 1024, 0);

/// How many bytes come before the IP header in frames of an interface, by its index. The agent
/// writes it, for each interface before it looks there.
#[map]
pub static LINK_HEADERS: HashMap<u32, u32> = HashMap::with_max_entries(MAX_INTERFACES, 0);

/// Whether any port is listed for HTTP without TLS. A constant to the verifier, which drops all that
/// depends on it: without a list, none of it costs anything.
#[unsafe(no_mangle)]
static PLAIN_HTTP: Global<u32> = Global::new(0);

/// One bit for each port: set for those on which HTTP without TLS is captured.
#[map]
static PLAIN_PORTS: Array<u64> = Array::with_max_entries(1024, 0);

/// Sockets of listed ports whose process was told.
#[map]
pub static OWNED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(64 * 1024, 0);

/// Whether any port is listed.
#[inline(always)]
pub fn captures_plain() -> bool {
    PLAIN_HTTP.load() != 0
}

/// Whether a port is listed.
#[inline(always)]
pub fn is_plain_port(port: u16) -> bool {
    PLAIN_PORTS.get(u32::from(port) >> 6).is_some_and(|ports| (*ports >> (port & 63)) & 1 != 0)
}

/// Always empty: see `guard`.
#[map]
pub static NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Adds to a counter of this CPU. A uprobe may be preempted between read and write, so a count
/// may rarely miss another's addition; exact losses show in the streams' offsets.
#[inline(always)]
pub fn count(counter: Counter, by: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the verifier checked the pointer, and a per-CPU slot outlives the program.
        unsafe { (*counters)[counter as usize] += by };
    }
}

/// Adds to two counters of this CPU.
#[inline(always)]
pub fn count_two(first: Counter, by: u64, second: Counter, by_second: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe {
            (*counters)[first as usize] += by;
            (*counters)[second as usize] += by_second;
        }
    }
}

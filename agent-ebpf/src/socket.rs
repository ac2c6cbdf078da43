//! Which socket carries a TLS session: the one that a thread sends or receives on while it is
//! inside a call on that session, or right after it derived a secret of it. And whose the sockets of
//! listed ports are.
//!
//! Most socket traffic of a host is neither: one count is read, and that is all it costs.

use aya_ebpf::{
    EbpfContext, Global,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        bpf_probe_read_kernel,
        generated::{bpf_get_socket_cookie, bpf_probe_read_kernel as read_kernel},
    },
};
use aya_log_ebpf::debug;
use scopewatch_common::{Counter, RecordKind, Session, SocketRecord};

use crate::{
    call::session,
    emit::{header, wakeup},
    maps::{
        CALLS, CallKey, EVENTS, IN_CALL, KEYED, NO_SESSION, OWNED, captures_plain, count,
        is_marked, is_plain_port, take_mark,
    },
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

// Offsets in bytes within `struct sock`, set by the agent from the kernel's BTF.
#[unsafe(no_mangle)]
pub static SOCK_FAMILY: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_PROTOCOL: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_LOCAL_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_REMOTE_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_LOCAL_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_REMOTE_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_LOCAL_V6: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_REMOTE_V6: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_NET: Global<u32> = Global::new(0);
/// Offset of the namespace's inode number within `struct net`.
#[unsafe(no_mangle)]
pub static NET_INUM: Global<u32> = Global::new(0);

/// Offset of the cookie, which is 0 until someone asked for it.
#[unsafe(no_mangle)]
pub static SOCK_COOKIE: Global<u32> = Global::new(0);
/// 1 where programs that know a socket by its type may ask for its cookie (Linux 5.12). The verifier
/// sees the value, and does not look at what another kernel would refuse.
#[unsafe(no_mangle)]
static COOKIE_HELPER: Global<u8> = Global::new(0);

/// How a program came by a socket.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Pointer {
    /// As an argument whose type the verifier knows.
    Typed,
    /// As a number.
    Plain,
}

/// Whether anything may be learnt from the socket that the current thread uses: it is inside a call
/// on a session, or has just derived a secret, or the port may be a listed one.
#[inline(always)]
pub fn is_of_interest() -> bool {
    captures_plain() || is_marked(bpf_get_current_pid_tgid())
}

/// Binds the session that the thread is inside of, or has just derived a secret of, to the socket
/// that it uses, once; and tells whose the socket is if the thread has just derived a secret, or if
/// its port is listed.
#[inline(always)]
pub fn bind<C: EbpfContext>(ctx: &C, sock: *mut u8, pointer: Pointer) -> i32 {
    if !is_of_interest() {
        return 0;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: copied at once; only this thread writes its keys.
    let shaken = unsafe { KEYED.get(pid_tgid) }.copied();
    let keyed = shaken.is_some();
    let listed = captures_plain() && is_listed(sock);
    if (keyed || listed)
        && let Some(cookie) = cookie_of(sock, pointer)
    {
        introduce(sock, cookie, pid_tgid, keyed, listed);
    }
    // Not by a function that `call::shaking` shares: the verifier of 5.10 refuses what becomes of it.
    // SAFETY: values are copied at once; only this thread writes these keys.
    let inside = match unsafe { IN_CALL.get(pid_tgid) } {
        // SAFETY: as above.
        Some(&stack) => unsafe { CALLS.get(CallKey { pid_tgid, stack }) }.map(|call| call.object),
        None => shaken.filter(|&object| object != NO_SESSION),
    };
    let Some(object) = inside else { return 0 };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(state) = session(pid_tgid, object, now) else { return 0 };
    // SAFETY: the verifier checked the pointer.
    let (bound, generation) = unsafe { ((*state).cookie, (*state).generation) };
    if bound == 0 {
        // What is not told now, for want of room or of a cookie, is told when the socket is used next.
        let cookie = cookie_of(sock, pointer).unwrap_or(0);
        let session = Session { object, generation };
        if cookie == 0 || !tell(sock, cookie, pid_tgid, session, wakeup()) {
            return 0;
        }
        debug!(ctx, "session on socket {}", cookie);
        // SAFETY: the verifier checked the pointer.
        unsafe { (*state).cookie = cookie };
    }
    0
}

/// Tells whose a socket is: of a thread that derived a secret, and once of a listed port. What finds
/// no room is told when the socket is used next.
#[inline(always)]
fn introduce(sock: *mut u8, cookie: u64, pid_tgid: u64, keyed: bool, listed: bool) {
    let keyed = keyed && cookie != 0;
    // A socket from before the agent may have no cookie yet, but an answer will come for which its
    // process is wanted: it is told each time, until a packet has passed.
    let listed = listed && (cookie == 0 || OWNED.get_ptr(cookie).is_none());
    if !keyed && !listed {
        return;
    }
    let nobody = Session { object: 0, generation: 0 };
    // A connection of a listed port waits for its answer anyway, before it is told of.
    let flags = if keyed { wakeup() } else { BPF_RB_NO_WAKEUP as u64 };
    if !tell(sock, cookie, pid_tgid, nobody, flags) {
        return;
    }
    if keyed {
        take_mark(&KEYED, pid_tgid);
    }
    if listed && cookie != 0 {
        let _ = OWNED.insert(cookie, (pid_tgid >> 32) as u32, 0);
    }
}

/// Whether one of a socket's ports is listed.
#[inline(always)]
fn is_listed(sock: *const u8) -> bool {
    let local: u16 = field(sock, SOCK_LOCAL_PORT.load()).unwrap_or(0);
    let remote: u16 = field(sock, SOCK_REMOTE_PORT.load()).unwrap_or(0);
    is_plain_port(local) || is_plain_port(u16::from_be(remote))
}

/// The cookie of a socket of TCP, 0 if it has none yet; `None` for other sockets.
#[inline(always)]
fn cookie_of(sock: *mut u8, pointer: Pointer) -> Option<u64> {
    if field::<u16>(sock, SOCK_PROTOCOL.load()) != Some(IPPROTO_TCP) {
        return None;
    }
    if pointer == Pointer::Typed && COOKIE_HELPER.load() == 1 {
        // SAFETY: the argument of the program is a socket that is alive while it runs.
        return Some(unsafe { bpf_get_socket_cookie(sock.cast()) });
    }
    // The packet programs ask for it at the socket's first packet: none yet means none passed.
    field(sock, SOCK_COOKIE.load())
}

/// Emits which socket it is, of which session and process; whether it was told. `flags` say whether
/// the reader is woken: it names the process while that is surely still there.
#[inline(always)]
fn tell(sock: *mut u8, cookie: u64, pid_tgid: u64, session: Session, flags: u64) -> bool {
    let Some(mut slot) = EVENTS.reserve::<SocketRecord>(0) else {
        count(Counter::ControlLost, 1);
        return false;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: ring memory, 8-byte aligned, as long as the record; written in place because several
    // copies would not fit the stack.
    let described = unsafe {
        record.write_bytes(0, 1);
        (*record).header = header(RecordKind::Socket, 0, pid_tgid, bpf_ktime_get_boot_ns());
        (*record).session = session;
        (*record).cookie = cookie;
        (*record).comm = bpf_get_current_comm().unwrap_or_default();
        describe(record, sock)
    };
    if described.is_none() {
        slot.discard(BPF_RB_NO_WAKEUP as u64);
        return false;
    }
    slot.submit(flags);
    true
}

/// Fills in addresses and ports; `None` for a socket that has none of either kind.
///
/// # Safety
/// `record` can be written to.
#[inline(always)]
unsafe fn describe(record: *mut SocketRecord, sock: *const u8) -> Option<()> {
    let family: u16 = field(sock, SOCK_FAMILY.load())?;
    // SAFETY: fields of the caller's record.
    unsafe {
        let (local, remote) = (&raw mut (*record).local, &raw mut (*record).remote);
        match family {
            AF_INET => {
                read::<4>(local.cast(), sock, SOCK_LOCAL_V4.load())?;
                read::<4>(remote.cast(), sock, SOCK_REMOTE_V4.load())?;
            }
            AF_INET6 => {
                read::<16>(local.cast(), sock, SOCK_LOCAL_V6.load())?;
                read::<16>(remote.cast(), sock, SOCK_REMOTE_V6.load())?;
            }
            _ => return None,
        }
        let remote_port: u16 = field(sock, SOCK_REMOTE_PORT.load())?;
        let net: *const u8 = field(sock, SOCK_NET.load())?;
        (*record).local_port = field(sock, SOCK_LOCAL_PORT.load())?;
        (*record).remote_port = u16::from_be(remote_port);
        (*record).family = family;
        (*record).netns = field(net, NET_INUM.load()).unwrap_or(0);
    }
    Some(())
}

/// Copies `LEN` bytes from a structure of the kernel.
///
/// # Safety
/// `to` has room for them.
#[inline(always)]
pub unsafe fn read<const LEN: u32>(to: *mut u8, base: *const u8, offset: u32) -> Option<()> {
    let from = base.wrapping_add(offset as usize);
    // SAFETY: as the caller says; the helper checks the source and faults softly.
    let status = unsafe { read_kernel(to.cast(), LEN, from.cast()) };
    (status == 0).then_some(())
}

/// A field of a structure of the kernel; `None` where the address is wrong.
#[inline(always)]
pub fn field<T>(base: *const u8, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.ok()
}

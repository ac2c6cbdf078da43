//! Which socket carries a TLS session: the one that a thread sends or receives on while it is
//! inside a call on that session, or right after it derived a secret. And whose the sockets of
//! listed ports are.
//!
//! Most socket traffic of a host is neither: two lookups miss, and that is all it costs.

use aya_ebpf::{
    Global,
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        bpf_probe_read_kernel, generated::bpf_get_socket_cookie,
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use scopewatch_common::{RecordKind, Session, SocketRecord};

use crate::{
    call::session,
    emit::{control, header},
    maps::{CALLS, CallKey, IN_CALL, KEYED, OWNED, captures_plain, is_plain_port},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;

// Offsets in bytes within `struct sock`, set by the agent from the kernel's BTF.
#[unsafe(no_mangle)]
static SOCK_FAMILY: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_PROTOCOL: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_LOCAL_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_REMOTE_PORT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_LOCAL_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_REMOTE_V4: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_LOCAL_V6: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCK_REMOTE_V6: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub static SOCK_NET: Global<u32> = Global::new(0);
/// Offset of the namespace's inode number within `struct net`.
#[unsafe(no_mangle)]
pub static NET_INUM: Global<u32> = Global::new(0);

/// A thread sent on a socket: `(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    bind(&ctx)
}

/// A thread received on a socket: `(struct sock *sk, int ret, int flags)`.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    bind(&ctx)
}

/// Binds the session that the thread is inside of to the socket that it uses, once; and tells
/// whose the socket is if the thread has just derived a secret.
#[inline(always)]
fn bind(ctx: &BtfTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    if captures_plain() {
        let _ = own(ctx, pid_tgid);
    }
    if KEYED.get_ptr(pid_tgid).is_some()
        && let Some(mut record) = describe(ctx.arg(0))
    {
        let _ = KEYED.remove(pid_tgid);
        identify(ctx, &mut record, pid_tgid);
        control(record, BPF_RB_FORCE_WAKEUP as u64);
    }
    // SAFETY: values are copied at once; only this thread writes these keys.
    let Some(&stack) = (unsafe { IN_CALL.get(pid_tgid) }) else { return 0 };
    // SAFETY: as above.
    let Some(object) = (unsafe { CALLS.get(CallKey { pid_tgid, stack }) }).map(|call| call.object)
    else {
        return 0;
    };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(state) = session(pid_tgid, object, now) else { return 0 };
    // SAFETY: the verifier checked the pointer.
    let (bound, generation) = unsafe { ((*state).cookie, (*state).generation) };
    if bound != 0 {
        return 0;
    }
    let Some(mut record) = describe(ctx.arg(0)) else { return 0 };
    identify(ctx, &mut record, pid_tgid);
    record.session = Session { object, generation };
    let cookie = record.cookie;
    debug!(ctx, "session on socket {}", cookie);
    // Wakes the reader: it names the process while that is surely still there. What finds no room
    // is told again when the socket is used next.
    if control(record, BPF_RB_FORCE_WAKEUP as u64) {
        // SAFETY: the verifier checked the pointer.
        unsafe { (*state).cookie = cookie };
    }
    0
}

/// Tells once whose the socket is, if one of its ports is listed.
#[inline(always)]
fn own(ctx: &BtfTracePointContext, pid_tgid: u64) -> Option<()> {
    let sock: *mut u8 = ctx.arg(0);
    let local: u16 = field(sock, SOCK_LOCAL_PORT.load())?;
    let remote: u16 = field(sock, SOCK_REMOTE_PORT.load())?;
    if !is_plain_port(local) && !is_plain_port(u16::from_be(remote)) {
        return None;
    }
    // SAFETY: the tracepoint's argument is a socket that is alive while the program runs.
    let cookie = unsafe { bpf_get_socket_cookie(sock.cast()) };
    if OWNED.get_ptr(cookie).is_some() {
        return None;
    }
    let mut record = describe(sock)?;
    identify(ctx, &mut record, pid_tgid);
    // What finds no room is told again when the socket is used next.
    if control(record, BPF_RB_NO_WAKEUP as u64) {
        let _ = OWNED.insert(cookie, (pid_tgid >> 32) as u32, 0);
    }
    Some(())
}

/// Fills in which socket it is, of which process, and when.
#[inline(always)]
fn identify(ctx: &BtfTracePointContext, record: &mut SocketRecord, pid_tgid: u64) {
    let sock: *mut u8 = ctx.arg(0);
    // SAFETY: the tracepoint's argument is a socket that is alive while the program runs.
    record.cookie = unsafe { bpf_get_socket_cookie(sock.cast()) };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    record.header = header(RecordKind::Socket, 0, pid_tgid, now);
}

/// Addresses and ports of a TCP socket; `None` for any other kind.
#[inline(always)]
fn describe(sock: *const u8) -> Option<SocketRecord> {
    let family: u16 = field(sock, SOCK_FAMILY.load())?;
    let protocol: u16 = field(sock, SOCK_PROTOCOL.load())?;
    if protocol != IPPROTO_TCP {
        return None;
    }
    let (local, remote) = match family {
        AF_INET => {
            let local: [u8; 4] = field(sock, SOCK_LOCAL_V4.load())?;
            let remote: [u8; 4] = field(sock, SOCK_REMOTE_V4.load())?;
            (widen(local), widen(remote))
        }
        AF_INET6 => (field(sock, SOCK_LOCAL_V6.load())?, field(sock, SOCK_REMOTE_V6.load())?),
        _ => return None,
    };
    let remote_port: u16 = field(sock, SOCK_REMOTE_PORT.load())?;
    let net: *const u8 = field(sock, SOCK_NET.load())?;
    Some(SocketRecord {
        header: header(RecordKind::Socket, 0, 0, 0),
        session: Session { object: 0, generation: 0 },
        cookie: 0,
        local,
        remote,
        local_port: field(sock, SOCK_LOCAL_PORT.load())?,
        remote_port: u16::from_be(remote_port),
        family,
        reserved: 0,
        netns: field(net, NET_INUM.load()).unwrap_or(0),
        reserved2: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
    })
}

#[inline(always)]
fn widen(v4: [u8; 4]) -> [u8; 16] {
    [v4[0], v4[1], v4[2], v4[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[inline(always)]
fn field<T>(base: *const u8, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.ok()
}

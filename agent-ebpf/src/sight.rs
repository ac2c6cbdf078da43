//! The ways in which it is seen that a thread uses a socket. The agent attaches one of them: the first
//! that the kernel has.

use aya_ebpf::{
    Global,
    helpers::bpf_get_current_task,
    macros::{btf_tracepoint, fentry, kprobe},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext},
};

use crate::socket::{Pointer, bind, field, is_of_interest};

// Offsets in bytes on the way from a thread to the socket behind a descriptor, set by the agent
// from the kernel's BTF.
#[unsafe(no_mangle)]
static REGS_FIRST_ARGUMENT: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_FILES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FILES_TABLE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static TABLE_FILES: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static FILE_PRIVATE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCKET_FILE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SOCKET_SOCK: Global<u32> = Global::new(0);

/// A thread sent on a socket: `(struct sock *sk, int ret, int flags)`, Linux 6.4.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    bind(&ctx, ctx.arg(0), Pointer::Typed)
}

/// A thread received on a socket: `(struct sock *sk, int ret, int flags)`, Linux 6.4.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    bind(&ctx, ctx.arg(0), Pointer::Typed)
}

/// `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`
#[fentry(function = "tcp_sendmsg")]
pub fn enter_tcp_sendmsg(ctx: FEntryContext) -> i32 {
    bind(&ctx, ctx.arg(0), Pointer::Typed)
}

/// `int tcp_recvmsg(struct sock *sk, struct msghdr *msg, …)`
#[fentry(function = "tcp_recvmsg")]
pub fn enter_tcp_recvmsg(ctx: FEntryContext) -> i32 {
    bind(&ctx, ctx.arg(0), Pointer::Typed)
}

/// As [`enter_tcp_sendmsg`], for kernels that patch no functions.
#[kprobe]
pub fn probe_tcp_sendmsg(ctx: ProbeContext) -> i32 {
    ctx.arg(0).map_or(0, |sock| bind(&ctx, sock, Pointer::Plain))
}

/// As [`enter_tcp_recvmsg`], for kernels that patch no functions.
#[kprobe]
pub fn probe_tcp_recvmsg(ctx: ProbeContext) -> i32 {
    ctx.arg(0).map_or(0, |sock| bind(&ctx, sock, Pointer::Plain))
}

/// Any system call: `(struct pt_regs *regs, long id)`. Those that move bytes on a descriptor have it
/// as their first argument.
#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    let number: u64 = ctx.arg(1);
    if !moves_bytes(number) || !is_of_interest() {
        return 0;
    }
    let regs: *const u8 = ctx.arg(0);
    socket_of(regs).map_or(0, |sock| bind(&ctx, sock, Pointer::Plain))
}

/// Whether it is `read`, `write`, `readv`, `writev`, `sendto`, `recvfrom`, `sendmsg` or `recvmsg`
/// (`asm/unistd_64.h`). Programs of 32 bits have other numbers; their libraries are not probed.
#[inline(always)]
fn moves_bytes(number: u64) -> bool {
    matches!(number, 0 | 1 | 19 | 20 | 44..=47)
}

/// The socket behind the descriptor that is the first argument of the thread's system call.
#[inline(always)]
fn socket_of(regs: *const u8) -> Option<*mut u8> {
    let descriptor: u64 = field(regs, REGS_FIRST_ARGUMENT.load())?;
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let files: *const u8 = field(task, TASK_FILES.load())?;
    let table: *const u8 = field(files, FILES_TABLE.load())?;
    let entries: *const u8 = field(table, TABLE_FILES.load())?;
    // Beyond the table may lie anything; what is found there is not a socket's file.
    let file: *const u8 = field(entries.wrapping_add((descriptor as u32 as usize) * 8), 0)?;
    let socket: *const u8 = field(file, FILE_PRIVATE.load())?;
    let back: *const u8 = field(socket, SOCKET_FILE.load())?;
    if back != file {
        return None;
    }
    field(socket, SOCKET_SOCK.load())
}

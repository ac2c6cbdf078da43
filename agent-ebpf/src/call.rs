//! A TLS call from its entry to its return.
//!
//! Bytes are copied at the return: only then is it known how many a read delivered or a write
//! accepted, and that the call did not fail. The buffer of a failed read holds stale memory of
//! the application, so it is never touched.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, bpf_probe_read_user},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use scopewatch_common::{Counter, Session, Way};

use crate::{
    emit,
    maps::{
        CALLS, Call, CallKey, IN_CALL, KEYED, Length, SESSIONS, SHAKEN, SessionKey, SessionState,
        count, is_marked, put_mark, take_mark,
    },
};

/// Bytes that `ret` takes off the stack: at a return probe the stack pointer stands this much
/// above where it stood at the entry.
const RETURN_ADDRESS: u64 = 8;

/// Calls within one another that are forgotten with their thread. What lies around more is left to
/// be evicted.
const MAX_NESTED: u32 = 4;

/// Remembers a call at its first instruction, where the stack pointer is at the return address.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, way: Way, length: Length, length_pointer: u64) -> u32 {
    let (Some(object), Some(buffer)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the context of a uprobe holds the registers of the interrupted thread.
    let stack = unsafe { (*ctx.regs).rsp };
    // SAFETY: a helper without arguments.
    let entered_ns = unsafe { bpf_ktime_get_boot_ns() };

    let _ = session(pid_tgid, object, entered_ns);
    // Stacks grow down, so a call around this one has a higher stack pointer. Anything else was
    // left behind by a call that never returned.
    // SAFETY: the value is a plain integer, read once.
    let outer = match unsafe { IN_CALL.get(pid_tgid) } {
        Some(&outer) if outer > stack => outer,
        _ => 0,
    };
    let call =
        Call { object, buffer, length_pointer, entered_ns, outer, way, length, _pad: [0; 6] };
    if CALLS.insert(CallKey { pid_tgid, stack }, call, 0).is_err()
        || !put_mark(&IN_CALL, pid_tgid, stack)
    {
        count(Counter::CallTableFull, 1);
    }
    0
}

/// Takes up a call at its return and emits what it moved.
#[inline(always)]
pub fn leave(ctx: &RetProbeContext) -> u32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    // SAFETY: the context of a uprobe holds the registers of the interrupted thread.
    let stack = unsafe { (*ctx.regs).rsp }.wrapping_sub(RETURN_ADDRESS);
    let key = CallKey { pid_tgid, stack };
    // SAFETY: copied at once; only this thread writes this key, and it is here.
    let Some(call) = (unsafe { CALLS.get(key) }).copied() else {
        count(Counter::UnmatchedReturn, 1);
        return 0;
    };
    let _ = CALLS.remove(key);
    if call.outer == 0 {
        take_mark(&IN_CALL, pid_tgid);
    } else {
        put_mark(&IN_CALL, pid_tgid, call.outer);
    }

    let moved = moved_bytes(&call, ctx.ret());
    if moved == 0 {
        count(Counter::EmptyCalls, 1);
        return 0;
    }
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(state) = session(pid_tgid, call.object, now) else {
        count(Counter::SessionTableFull, 1);
        return 0;
    };
    // SAFETY: the verifier checked the pointer. Each direction of a session is used by one thread
    // at a time, as the library itself demands.
    let (generation, offset) = unsafe {
        let counter = match call.way {
            Way::In => &raw mut (*state).offset_in,
            Way::Out | Way::Both => &raw mut (*state).offset_out,
        };
        let offset = *counter;
        *counter = offset + moved;
        ((*state).generation, offset)
    };
    debug!(ctx, "{} bytes at offset {}", moved, offset);

    // A request sent counts from the moment of the call, an answer read from when it was there.
    let time_ns = match call.way {
        Way::In => now,
        Way::Out | Way::Both => call.entered_ns,
    };
    let session = Session { object: call.object, generation };
    let mut plaintext = emit::Plaintext {
        pid_tgid,
        time_ns,
        session,
        way: call.way,
        offset,
        buffer: call.buffer,
        len: moved,
    };
    emit::pass_over(&mut plaintext);
    if plaintext.len > 0 {
        emit::bytes(&plaintext);
    }
    0
}

/// Forgets what is remembered of the current thread, which ends: the calls that it is inside of do
/// not return, and another thread may come to have its id and its stack.
#[inline(always)]
pub fn abandon(pid_tgid: u64) {
    let _ = SHAKEN.remove(pid_tgid);
    if !is_marked(pid_tgid) {
        return;
    }
    // SAFETY: the value is a plain integer, read once.
    let mut stack = unsafe { IN_CALL.get(pid_tgid) }.copied().unwrap_or(0);
    for _ in 0..MAX_NESTED {
        let key = CallKey { pid_tgid, stack };
        // SAFETY: one field, copied at once; only this thread writes this key.
        let Some(outer) = (unsafe { CALLS.get(key) }).map(|call| call.outer) else { break };
        let _ = CALLS.remove(key);
        count(Counter::AbandonedCalls, 1);
        stack = outer;
    }
    take_mark(&IN_CALL, pid_tgid);
    take_mark(&KEYED, pid_tgid);
}

/// The session whose call the current thread is inside of, or that it shook hands of last.
#[inline(always)]
pub fn shaking(pid_tgid: u64) -> Option<u64> {
    // SAFETY: copied at once; only this thread writes its keys.
    unsafe {
        match IN_CALL.get(pid_tgid) {
            Some(&stack) => CALLS.get(CallKey { pid_tgid, stack }).map(|call| call.object),
            None => SHAKEN.get(pid_tgid).copied(),
        }
    }
}

/// Remembers whose handshake the current thread is about to make.
#[inline(always)]
pub fn shake(ctx: &ProbeContext) -> u32 {
    if let Some(object) = ctx.arg::<u64>(0) {
        let _ = SHAKEN.insert(bpf_get_current_pid_tgid(), object, 0);
    }
    0
}

/// Forgets a session, or notes that one direction of it ended.
#[inline(always)]
pub fn closed(ctx: &ProbeContext, way: Way) -> u32 {
    let Some(object) = ctx.arg::<u64>(0) else { return 0 };
    let pid_tgid = bpf_get_current_pid_tgid();
    let key = session_key(pid_tgid, object);
    // SAFETY: one field, copied at once.
    let Some(generation) = (unsafe { SESSIONS.get(key) }).map(|state| state.generation) else {
        return 0;
    };
    if way == Way::Both {
        let _ = SESSIONS.remove(key);
    }
    emit::close(pid_tgid, Session { object, generation }, way);
    0
}

/// Key of the session `object` of the process in `pid_tgid`.
#[inline(always)]
fn session_key(pid_tgid: u64, object: u64) -> SessionKey {
    SessionKey { tgid: (pid_tgid >> 32) as u32, _pad: 0, object }
}

/// The session that `object` stands for, begun `now` if there is none: the first call that needs a
/// handshake makes it itself, and the library clears the object at its start, within that call.
#[inline(always)]
pub fn session(pid_tgid: u64, object: u64, now: u64) -> Option<*mut SessionState> {
    let key = session_key(pid_tgid, object);
    if let Some(state) = SESSIONS.get_ptr_mut(key) {
        return Some(state);
    }
    let state = SessionState { generation: now, offset_in: 0, offset_out: 0, cookie: 0 };
    let _ = SESSIONS.insert(key, state, 0);
    SESSIONS.get_ptr_mut(key)
}

/// Bytes that a call moved: 0 for an error, for `WANT_READ` and its kin, and at the end of stream.
#[inline(always)]
fn moved_bytes(call: &Call, returned: i32) -> u64 {
    match call.length {
        Length::Returned if returned > 0 => returned as u64,
        Length::Pointed if returned == 1 => {
            // SAFETY: the helper checks the address and faults softly.
            match unsafe { bpf_probe_read_user(call.length_pointer as *const u64) } {
                // No buffer is longer than an int can say; a wild value is not believed.
                Ok(len) if len <= i32::MAX as u64 => len,
                _ => {
                    count(Counter::UserFault, 1);
                    0
                }
            }
        }
        Length::Returned | Length::Pointed => 0,
    }
}

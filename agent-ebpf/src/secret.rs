//! What the programs at key sites share: TLS's own labels, reads of the process's memory, and the
//! end of a secret's record.
//!
//! The functions that are probed serve password hashing, disk encryption and much else. What they
//! derive must not leave the kernel: a record is begun in the ring, but submitted only when it
//! carries a TLS label of the list below, and is wiped before it is discarded.

use aya_ebpf::{
    Global,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns, bpf_probe_read_user,
        generated::{bpf_get_current_cgroup_id, bpf_probe_read_user as read_user},
    },
    maps::ring_buf::RingBufEntry,
};
use scopewatch_common::{Counter, MAX_SECRET, RecordKind, SecretRecord};

use crate::{
    call::shaking,
    emit::{bounded, header},
    maps::{EVENTS, KEYED, NO_SESSION, count, put_mark},
    socket::{NET_INUM, field},
};

// Offsets in bytes on the way from a thread to its network namespace, set by the agent from the
// kernel's BTF.
#[unsafe(no_mangle)]
static TASK_NSPROXY: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static NSPROXY_NET: Global<u32> = Global::new(0);

/// The first eight bytes of a zero-padded name.
pub const fn name(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let mut at = 0;
    while at < text.len() {
        bytes[at] = text[at];
        at += 1;
    }
    u64::from_ne_bytes(bytes)
}

// Labels of RFC 8446 §7.1, by their first eight bytes; the lengths tell the rest.
pub const SERVER_HANDSHAKE: u64 = name(b"s hs tra");
pub const SERVER_APPLICATION: u64 = name(b"s ap tra");
pub const CLIENT_EARLY: u64 = name(b"c e traf");
/// Label of RFC 5246 §6.3.
pub const KEY_EXPANSION: u64 = name(b"key expa");

pub const SERVER_LABEL_LEN: u64 = 12;
pub const EARLY_LABEL_LEN: u64 = 11;
pub const KEY_EXPANSION_LEN: u64 = 13;
pub const RANDOM_LEN: u64 = 32;

/// A record of the current thread, begun in the ring: all zero but for its header.
#[inline(always)]
pub fn begin() -> Option<RingBufEntry<SecretRecord>> {
    let Some(mut slot) = EVENTS.reserve::<SecretRecord>(0) else {
        count(Counter::ControlLost, 1);
        return None;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: ring memory, 8-byte aligned, as long as the record; the helper has no arguments.
    unsafe {
        record.write_bytes(0, 1);
        (*record).header =
            header(RecordKind::Secret, 0, bpf_get_current_pid_tgid(), bpf_ktime_get_boot_ns());
    }
    Some(slot)
}

/// Notes where the thread is: connections of other processes are elsewhere.
///
/// # Safety
/// `record` can be written to.
#[inline(always)]
unsafe fn locate(record: *mut SecretRecord) {
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    let netns = field::<*const u8>(task, TASK_NSPROXY.load())
        .and_then(|proxy| field::<*const u8>(proxy, NSPROXY_NET.load()))
        .and_then(|net| field(net, NET_INUM.load()));
    // SAFETY: the caller's record; the helper has no arguments.
    unsafe {
        (*record).cgroup = bpf_get_current_cgroup_id() as u32;
        (*record).netns = netns.unwrap_or(0);
    }
}

/// Submits a record that is TLS's, and has the thread's next socket call tell whose connection it
/// is, and which session's. Discards any other: what is not TLS is not even left behind in the ring.
#[inline(always)]
pub fn end(mut slot: RingBufEntry<SecretRecord>, wanted: bool) {
    if wanted {
        count(Counter::SecretRecords, 1);
        // SAFETY: ring memory, as long as the record.
        unsafe { locate(slot.as_mut_ptr()) };
        slot.submit(BPF_RB_NO_WAKEUP as u64);
        let pid_tgid = bpf_get_current_pid_tgid();
        put_mark(&KEYED, pid_tgid, shaking(pid_tgid).unwrap_or(NO_SESSION));
    } else {
        // SAFETY: ring memory, as long as the record.
        unsafe { slot.as_mut_ptr().write_bytes(0, 1) };
        count(Counter::OtherDerivations, 1);
        slot.discard(BPF_RB_NO_WAKEUP as u64);
    }
}

/// Reads `len` bytes, at most a secret's length, of the process's memory; how many, 0 if they are
/// too many or cannot be read.
///
/// # Safety
/// `to` has room for `MAX_SECRET` bytes, or for `len` if that is constant.
#[inline(always)]
pub unsafe fn read(to: *mut u8, from: u64, len: u64) -> u8 {
    if len == 0 || len > MAX_SECRET as u64 {
        return 0;
    }
    let len = bounded::<{ MAX_SECRET as u32 }>(len);
    // SAFETY: as the caller says; the helper checks the source.
    match unsafe { read_user(to.cast(), len as u32, from as *const _) } {
        0 => len as u8,
        _ => 0,
    }
}

/// Eight bytes at `address`, which need not end with a zero.
#[inline(always)]
pub fn text_of(address: u64) -> u64 {
    // SAFETY: the helper checks the address and faults softly.
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or(0)
}

//! Records into the ring.
//!
//! A data record is reserved in the smallest size class that holds its payload and written in
//! place: uprobe programs can be preempted, so there is no scratch buffer per CPU. The reader
//! polls; it is woken only for control records that should not wait, and for a backlog.

use core::{arch::asm, ptr};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, generated::bpf_probe_read_user},
};
use scopewatch_common::{
    ABI_VERSION, CloseRecord, Counter, DataRecord, Header, MAX_PAYLOAD, MAX_RECORDS_PER_CALL,
    MIN_SKIPPED, RecordKind, SIZE_CLASSES, Session, Way, session_stream_key,
};

use crate::maps::{EVENTS, UNREAD, count, count_two, reader_waits};

/// What a call moved, and where it is in the process's memory.
pub struct Plaintext {
    pub pid_tgid: u64,
    pub time_ns: u64,
    pub session: Session,
    pub way: Way,
    pub offset: u64,
    pub buffer: u64,
    pub len: u64,
}

/// Header of a record of the current thread.
#[inline(always)]
pub fn header(kind: RecordKind, way: u8, pid_tgid: u64, time_ns: u64) -> Header {
    Header {
        abi: ABI_VERSION,
        kind: kind as u8,
        way,
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        reserved: 0,
        time_ns,
    }
}

/// Emits the bytes of a call, in as many records as it takes. Bytes that find no room are missing
/// from the offsets, by which the agent sees the gap.
///
/// Full records first, in a loop whose every turn looks alike to the verifier; the choice of a
/// size class comes once, after it. (The other way round, old verifiers run out of patience.)
#[inline(always)]
pub fn bytes(plaintext: &Plaintext) {
    let mut done: u64 = 0;
    for _ in 1..MAX_RECORDS_PER_CALL {
        if plaintext.len - done <= MAX_PAYLOAD as u64 {
            break;
        }
        record::<MAX_PAYLOAD>(plaintext, done, MAX_PAYLOAD as u64, 0);
        done += MAX_PAYLOAD as u64;
    }
    let rest = plaintext.len - done;
    let len = if rest > MAX_PAYLOAD as u64 { MAX_PAYLOAD as u64 } else { rest };
    let lost = rest - len;
    if lost > 0 {
        count(Counter::CallTooLong, lost);
    }
    if len <= SIZE_CLASSES[0] as u64 {
        record::<{ SIZE_CLASSES[0] }>(plaintext, done, len, lost);
    } else if len <= SIZE_CLASSES[1] as u64 {
        record::<{ SIZE_CLASSES[1] }>(plaintext, done, len, lost);
    } else if len <= SIZE_CLASSES[2] as u64 {
        record::<{ SIZE_CLASSES[2] }>(plaintext, done, len, lost);
    } else {
        record::<{ SIZE_CLASSES[3] }>(plaintext, done, len, lost);
    }
}

/// Takes from the bytes of a call what comes before the position up to which nobody wants them, and
/// tells of it by its length. Short calls are not worth the look.
#[inline(always)]
pub fn pass_over(plaintext: &mut Plaintext) {
    if plaintext.len < MIN_SKIPPED as u64 {
        return;
    }
    let tgid = (plaintext.pid_tgid >> 32) as u32;
    let key = session_stream_key(plaintext.session, tgid, plaintext.way);
    // SAFETY: a plain integer, read once.
    let until = unsafe { UNREAD.get(key) }.copied().unwrap_or(0);
    if until <= plaintext.offset {
        return;
    }
    let ahead = until - plaintext.offset;
    let passed = if ahead < plaintext.len { ahead } else { plaintext.len };
    let record = DataRecord {
        header: header(
            RecordKind::Skipped,
            plaintext.way as u8,
            plaintext.pid_tgid,
            plaintext.time_ns,
        ),
        session: plaintext.session,
        offset: plaintext.offset,
        len: 0,
        lost: passed as u32,
    };
    // Untold, it is a gap, as it would be if it had been copied and found no room.
    if control(record, BPF_RB_NO_WAKEUP as u64) {
        count(Counter::SkippedBytes, passed);
    }
    plaintext.offset += passed;
    plaintext.buffer += passed;
    plaintext.len -= passed;
}

/// Emits one data record of the size class `CLASS`.
#[inline(always)]
fn record<const CLASS: u32>(plaintext: &Plaintext, done: u64, len: u64, lost: u64) {
    let size = size_of::<DataRecord>() + CLASS as usize;
    let Some(mut slot) = EVENTS.reserve_bytes(size, 0) else {
        count_two(Counter::RingFull, 1, Counter::RingFullBytes, len);
        return;
    };
    let start = slot.as_mut_ptr();
    let copied = copy_from_user::<CLASS>(
        // SAFETY: the slot is as long as a record head and the class together.
        unsafe { start.add(size_of::<DataRecord>()) },
        len,
        plaintext.buffer + done,
    );
    let head = DataRecord {
        header: header(
            RecordKind::Data,
            plaintext.way as u8,
            plaintext.pid_tgid,
            plaintext.time_ns,
        ),
        session: plaintext.session,
        offset: plaintext.offset + done,
        len: copied as u32,
        lost: (len - copied + lost) as u32,
    };
    // SAFETY: ring memory is 8-byte aligned and at least a record head long.
    unsafe { ptr::write(start.cast::<DataRecord>(), head) };
    slot.submit(wakeup_on_backlog());
    if copied == 0 {
        count(Counter::UserFault, 1);
    } else {
        count_two(Counter::DataRecords, 1, Counter::DataBytes, copied);
    }
}

/// Copies `len` bytes, at most `CLASS`, from the process's memory; how many were copied: all, or
/// none after a fault.
#[inline(always)]
fn copy_from_user<const CLASS: u32>(to: *mut u8, len: u64, from: u64) -> u64 {
    let mut len = len;
    // The compiler knows that `len` fits the class and would drop the check below, without which
    // the verifier does not know it: hide the value from the compiler.
    // SAFETY: no instruction is emitted.
    unsafe { asm!("/* {0} */", inout(reg) len) };
    if len > CLASS as u64 {
        return 0;
    }
    // SAFETY: the destination holds CLASS bytes; the helper checks the source and faults softly.
    let status = unsafe { bpf_probe_read_user(to.cast(), len as u32, from as *const _) };
    if status == 0 { len } else { 0 }
}

/// `len`, which lies from 1 to `MAX`, a power of two, computed so that the oldest verifiers see it:
/// they forget what was compared once a value was on the stack, and do not learn that it is not 0.
#[inline(always)]
pub fn bounded<const MAX: u32>(len: u64) -> u64 {
    let mut len = len;
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!(
            "{len} += -1",
            "{len} &= {mask}",
            "{len} += 1",
            len = inout(reg) len,
            mask = const MAX.saturating_sub(1) as i32,
        );
    }
    len
}

/// Emits the end of a session or of one direction of it.
#[inline(always)]
pub fn close(pid_tgid: u64, session: Session, way: Way) {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let record =
        CloseRecord { header: header(RecordKind::Close, way as u8, pid_tgid, now), session };
    let _ = control(record, BPF_RB_NO_WAKEUP as u64);
}

/// Emits the end of the current process.
#[inline(always)]
pub fn exit() {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let record = header(RecordKind::Exit, 0, bpf_get_current_pid_tgid(), now);
    let _ = control(record, BPF_RB_NO_WAKEUP as u64);
}

/// Emits a control record, if there is room; `flags` say whether the reader is woken.
#[inline(always)]
pub fn control<T: 'static>(record: T, flags: u64) -> bool {
    let Some(mut slot) = EVENTS.reserve::<T>(0) else {
        count(Counter::ControlLost, 1);
        return false;
    };
    slot.write(record);
    slot.submit(flags);
    true
}

/// Wake the reader, if it waits for that: to wake who runs costs an interrupt.
#[inline(always)]
pub fn wakeup() -> u64 {
    if reader_waits() { BPF_RB_FORCE_WAKEUP as u64 } else { BPF_RB_NO_WAKEUP as u64 }
}

/// Wake the reader once a quarter of the ring is taken; until then it polls by itself.
#[inline(always)]
pub fn wakeup_on_backlog() -> u64 {
    if !reader_waits() {
        return BPF_RB_NO_WAKEUP as u64;
    }
    let taken = EVENTS.query(BPF_RB_AVAIL_DATA as u64);
    let size = EVENTS.query(BPF_RB_RING_SIZE as u64);
    if taken > size / 4 { BPF_RB_FORCE_WAKEUP as u64 } else { BPF_RB_NO_WAKEUP as u64 }
}

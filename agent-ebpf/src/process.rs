//! Processes that come and go.

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        bpf_probe_read_kernel, generated::bpf_probe_read_kernel_str,
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use scopewatch_common::{Counter, ExecRecord, PATH_LEN, RecordKind};

use crate::{
    call::abandon,
    emit,
    maps::{EVENTS, count},
};

/// Offset of `filename` within `struct linux_binprm`, set by the agent from the kernel's BTF.
#[unsafe(no_mangle)]
static BINPRM_FILENAME: Global<u32> = Global::new(0);

/// A process executed a program:
/// `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(mut slot) = EVENTS.reserve::<ExecRecord>(0) else {
        count(Counter::ControlLost, 1);
        return 0;
    };
    let record = slot.as_mut_ptr();
    // SAFETY: ring memory, 8-byte aligned, as long as the record; written in place because the
    // path would not fit the stack. Kernel memory is read by helpers that fault softly.
    unsafe {
        (&raw mut (*record).header).write(emit::header(
            RecordKind::Exec,
            0,
            pid_tgid,
            bpf_ktime_get_boot_ns(),
        ));
        (&raw mut (*record).comm).write(bpf_get_current_comm().unwrap_or([0; 16]));
        (&raw mut (*record).path[0]).write(0);
        let bprm: *const u8 = ctx.arg(2);
        let filename = bprm.wrapping_add(BINPRM_FILENAME.load() as usize).cast::<*const u8>();
        if let Ok(path) = bpf_probe_read_kernel(filename) {
            let to = (&raw mut (*record).path).cast();
            if bpf_probe_read_kernel_str(to, PATH_LEN as u32, path.cast()) < 0 {
                (&raw mut (*record).path[0]).write(0);
            }
        }
    }
    // Wakes the reader: libraries that only this process maps must be probed before it uses them.
    slot.submit(emit::wakeup());
    0
}

/// A thread ended: `(struct task_struct *p)`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(_ctx: BtfTracePointContext) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    abandon(pid_tgid);
    if pid_tgid >> 32 == pid_tgid & 0xffff_ffff {
        emit::exit();
    }
    0
}

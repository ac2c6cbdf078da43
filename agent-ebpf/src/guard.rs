//! Keeps uprobe programs off the kernel's private stacks.
//!
//! Since Linux 6.13 a program of this type whose stack reaches 64 bytes may run on a per-CPU
//! private stack. Uprobe programs can be preempted, so on a preemptible kernel two tasks can
//! share that stack, and the machine panics. A program with a reachable tail call keeps to the
//! kernel stack on every version: each uprobe program begins with [`stay_on_kernel_stack`].

use aya_ebpf::{EbpfContext, helpers::bpf_get_current_pid_tgid};

use crate::maps::NOWHERE;

/// Makes the calling program hold a tail call that the verifier thinks reachable. It is never
/// taken: only the idle task has process id 0, and it runs no user code; even then the target
/// table is empty, and an empty slot falls through.
#[inline(always)]
pub fn stay_on_kernel_stack<C: EbpfContext>(ctx: &C) {
    if bpf_get_current_pid_tgid() == 0 {
        // SAFETY: the context is the program's own and the table is a valid program array.
        unsafe { NOWHERE.tail_call(ctx, 0) };
    }
}

//! Are return probes safe on this kernel?
//!
//! Since Linux 6.11 a return probe makes a system call in the probed process, and until a later
//! fix a seccomp filter (as systemd's `SystemCallFilter=` installs) kills the process for it.
//! Before 6.11 a return probe crashes processes with a user shadow stack. Neither can be told from
//! the version, as distributions backport: so a child of our own is sent ahead. It puts itself
//! under a filter and calls a probed function; what becomes of it is the answer.

#![expect(unsafe_code, reason = "the child makes raw system calls and installs a seccomp filter")]

use std::{
    fs, io,
    os::fd::OwnedFd,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus},
};

use crate::sandbox::protocol::{Inode, Point, Program};

/// Hidden first argument by which the agent runs itself as the child.
pub const CHILD_ARGUMENT: &str = "__return-probe-canary";

/// Number of the system call that a return probe makes, on x86-64.
const SYS_URETPROBE: libc::c_long = 335;

/// What is known about return probes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReturnProbes {
    /// A filtered child came through, and so do processes with a shadow stack.
    Safe,
    /// The child died in its filter: services under one would, too.
    KilledByFilter,
    /// The kernel patches return addresses without the system call, and the processor has user
    /// shadow stacks, which would fault.
    BreaksShadowStacks,
    /// The test itself did not work, so nothing is known.
    Untested,
}

impl ReturnProbes {
    /// One sentence for `doctor` and `status`.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Safe => {
                "return probes are harmless here: a process under a seccomp filter survived one"
            }
            Self::KilledByFilter => {
                "a return probe kills processes under a seccomp filter on this kernel, so none is used"
            }
            Self::BreaksShadowStacks => {
                "a return probe crashes processes with a shadow stack on this kernel, so none is used"
            }
            Self::Untested => "the test of return probes did not work, so none is used",
        }
    }
}

/// Runs the child and judges. `attach` is asked to put a return probe at the place that it is
/// given; the caller removes it afterwards.
pub fn test<A>(attach: impl FnOnce(OwnedFd, Inode, Vec<Point>) -> Option<A>) -> ReturnProbes {
    let Some((file, inode, offset)) = own_function() else { return ReturnProbes::Untested };
    let points = vec![Point { offset, program: Program::SslReturn }];
    if attach(file, inode, points).is_none() {
        return ReturnProbes::Untested;
    }
    let outcome = |step: &str| Command::new("/proc/self/exe").args([CHILD_ARGUMENT, step]).status();
    judge(outcome("filter"), outcome("syscall"), has_user_shadow_stacks())
}

/// The verdict, from how the two children ended and whether the processor has shadow stacks.
fn judge(
    filtered: io::Result<ExitStatus>,
    syscall: io::Result<ExitStatus>,
    shadow_stacks: bool,
) -> ReturnProbes {
    let (Ok(filtered), Ok(syscall)) = (filtered, syscall) else { return ReturnProbes::Untested };
    match filtered.signal() {
        Some(libc::SIGSYS) => return ReturnProbes::KilledByFilter,
        Some(_) => return ReturnProbes::Untested,
        None if !filtered.success() => return ReturnProbes::Untested,
        None => {}
    }
    // Called from anywhere but its trampoline the call raises SIGILL; a kernel that lacks it
    // returns an error and the child ends by itself.
    let by_syscall = syscall.signal() == Some(libc::SIGILL);
    if shadow_stacks && !by_syscall { ReturnProbes::BreaksShadowStacks } else { ReturnProbes::Safe }
}

/// What the child does: never returns.
pub fn run_child(step: &str) -> ! {
    let code = match step {
        "filter" => i32::from(!(install_filter().is_ok() && probed(20) == 41)),
        // SAFETY: at worst the kernel ends this process, which exists for nothing else.
        "syscall" => i32::from(unsafe { libc::syscall(SYS_URETPROBE) } == 0),
        _ => 1,
    };
    // SAFETY: ends the process; nothing needs to be unwound, and the filter allows the call.
    unsafe { libc::_exit(code) }
}

/// The function that carries the probe. It must be called, not inlined, and do something.
#[inline(never)]
extern "C" fn probed(n: u64) -> u64 {
    std::hint::black_box(n).wrapping_mul(2).wrapping_add(1)
}

/// This program's file, and where in it [`probed`] is.
fn own_function() -> Option<(OwnedFd, Inode, u64)> {
    let address = probed as *const () as usize as u64;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let offset = maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        (start..end).contains(&address).then(|| address - start + offset)
    })?;
    let file = fs::File::open("/proc/self/exe").ok()?;
    let stat = nix::sys::stat::fstat(&file).ok()?;
    Some((file.into(), Inode { device: stat.st_dev, number: stat.st_ino }, offset))
}

/// A filter as strict services have: what ending needs is allowed, all else kills.
#[expect(
    clippy::cast_possible_truncation,
    reason = "constants of the kernel's interface, which libc types wider than the fields they go in"
)]
fn install_filter() -> io::Result<()> {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const EXIT_GROUP: u32 = libc::SYS_exit_group as u32;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        op(LOAD_NUMBER, 0, 0, 0),
        op(JUMP_IF_EQUAL, 0, 1, EXIT_GROUP),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: plain integers; the filter outlives the call, which copies it.
    let status = unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter, 0, 0)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn has_user_shadow_stacks() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        text.lines().any(|line| {
            line.starts_with("flags")
                && line.split_ascii_whitespace().any(|flag| flag == "user_shstk")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> io::Result<ExitStatus> {
        Ok(ExitStatus::from_raw(code << 8))
    }

    fn killed(signal: i32) -> io::Result<ExitStatus> {
        Ok(ExitStatus::from_raw(signal))
    }

    #[test]
    fn judges_by_what_became_of_the_children() {
        let check = |filtered, syscall, shadow, expected| {
            assert_eq!(judge(filtered, syscall, shadow), expected);
        };
        check(exited(0), killed(libc::SIGILL), true, ReturnProbes::Safe);
        check(exited(0), exited(0), false, ReturnProbes::Safe);
        check(exited(0), exited(0), true, ReturnProbes::BreaksShadowStacks);
        check(killed(libc::SIGSYS), killed(libc::SIGILL), false, ReturnProbes::KilledByFilter);
        check(killed(libc::SIGSEGV), exited(0), false, ReturnProbes::Untested);
        check(exited(1), exited(0), false, ReturnProbes::Untested);
        check(Err(io::ErrorKind::NotFound.into()), exited(0), false, ReturnProbes::Untested);
    }

    #[test]
    fn finds_its_own_function_in_its_own_file() {
        let (_, inode, offset) = own_function().unwrap();
        let len = fs::metadata("/proc/self/exe").unwrap().len();
        assert!(inode.number != 0 && offset > 0 && offset < len);
    }
}

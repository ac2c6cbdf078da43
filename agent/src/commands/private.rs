//! Keeps this process's memory to itself: it holds session keys and tokens.
//!
//! In: nothing. Out: a process that leaves no core, and whose memory is closed to the other
//! processes of its user (prctl(2), `PR_SET_DUMPABLE`; the super-user may still look).

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
};

/// Makes it so, for this process and its children.
///
/// # Errors
/// The kernel's word for what it refused; nothing that it allowed is undone.
pub(super) fn keep_private() -> nix::Result<()> {
    let core = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    prctl::set_dumpable(false).and(core)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use nix::sys::resource::getrlimit;

    use super::*;

    #[test]
    fn a_private_process_leaves_no_core_and_is_closed_to_its_user() {
        assert_eq!(prctl::get_dumpable(), Ok(true));
        keep_private().unwrap();
        assert_eq!(prctl::get_dumpable(), Ok(false));
        assert_eq!(getrlimit(Resource::RLIMIT_CORE), Ok((0, 0)));
        // What is not dumpable belongs to the super-user in /proc (proc(5)).
        assert_eq!(fs::metadata("/proc/self/mem").unwrap().uid(), 0);
    }
}

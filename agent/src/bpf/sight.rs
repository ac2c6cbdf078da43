//! How it is seen which socket a thread uses: one of the ways that kernels have, the best first.
//!
//! In: the loaded object, and the way that was asked for, if any. Out: the way that is used, and why
//! others are not.

use aya::{Btf as AyaBtf, Ebpf};

use crate::{
    bpf::{load::reason, program},
    sandbox::protocol::Sight,
};

/// The way that was taken, and what kept the agent from better ones.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// `None` where the kernel has none: then connections have no addresses.
    pub sight: Option<Sight>,
    /// Ways that were tried before, each with the kernel's word for its refusal.
    pub refused: Vec<(Sight, String)>,
}

/// Attaches the best way that the kernel has, or the one that is `wanted`.
pub(in crate::bpf) fn attach(ebpf: &mut Ebpf, btf: &AyaBtf, wanted: Option<Sight>) -> Taken {
    let mut taken = Taken::default();
    for sight in Sight::ALL.into_iter().filter(|sight| wanted.is_none_or(|it| it == *sight)) {
        match attach_one(ebpf, btf, sight) {
            Ok(()) => {
                taken.sight = Some(sight);
                break;
            }
            Err(reason) => taken.refused.push((sight, reason)),
        }
    }
    taken
}

/// Attaches each way but the one that is used, and lets go of it again.
pub(in crate::bpf) fn survey(ebpf: &mut Ebpf, btf: &AyaBtf, taken: &Taken) -> Vec<Surveyed> {
    let try_one = |sight: Sight| {
        if taken.sight == Some(sight) {
            return Ok(());
        }
        let tried = attach_one(ebpf, btf, sight);
        release(ebpf, sight);
        tried
    };
    Sight::ALL.into_iter().zip(Sight::ALL.map(try_one)).collect()
}

/// A way, and whether the kernel has it; if not, why.
pub type Surveyed = (Sight, Result<(), String>);

/// Attaches all programs of one way, or none.
fn attach_one(ebpf: &mut Ebpf, btf: &AyaBtf, sight: Sight) -> Result<(), String> {
    for &name in programs(sight) {
        let attached = program::load(ebpf, name, btf).and_then(|()| program::attach(ebpf, name));
        if let Err(error) = attached {
            release(ebpf, sight);
            return Err(reason(&error));
        }
    }
    Ok(())
}

fn release(ebpf: &mut Ebpf, sight: Sight) {
    for &name in programs(sight) {
        program::unload(ebpf, name);
    }
}

/// Programs of the kernel half that make up a way.
const fn programs(sight: Sight) -> &'static [&'static str] {
    match sight {
        Sight::Tracepoints => &["sock_send_length", "sock_recv_length"],
        Sight::Functions => &["enter_tcp_sendmsg", "enter_tcp_recvmsg"],
        Sight::Kprobes => &["probe_tcp_sendmsg", "probe_tcp_recvmsg"],
        Sight::SystemCalls => &["sys_enter"],
    }
}

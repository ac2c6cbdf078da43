//! Connections that are older than the agent: their secrets passed unseen, so their calls are
//! probed, only in the processes that hold them and only until they have ended.
//!
//! In: libraries that are not probed host-wide, processes that map them. Out: attachments that
//! come and go.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    num::NonZeroU32,
};

use crate::{
    binary::plan::AttachPlan,
    discover::sockets,
    sandbox::{
        broker::Handle,
        protocol::{AttachmentId, Inode},
    },
};

/// Processes that are probed for their old connections. Each costs something at every context
/// switch; beyond this many, a host is better served without what they still have to say.
const MAX_PROCESSES: usize = 1024;

/// Old connections, by the process that holds them.
#[derive(Default)]
pub struct Handover {
    /// Libraries whose calls may be probed, with an open file for each.
    libraries: HashMap<Inode, (File, AttachPlan)>,
    holders: HashMap<u32, Holder>,
}

struct Holder {
    old: HashSet<u64>,
    attachments: Vec<AttachmentId>,
    libraries: HashSet<Inode>,
}

impl Handover {
    /// Keeps a library for processes with old connections.
    pub fn keep(&mut self, inode: Inode, file: File, plan: AttachPlan) {
        self.libraries.insert(inode, (file, plan));
    }

    /// Gives up a library: its calls are to be probed in every process.
    pub fn give_up(&mut self, inode: Inode) -> Option<(File, AttachPlan)> {
        self.libraries.remove(&inode)
    }

    /// Probes `pid`, which maps the library, if it has connections now: they are older than the
    /// probes of the wire path, which must be in place already.
    pub fn take_over(&mut self, broker: &Handle, pid: u32, inode: Inode) {
        let Some((file, plan)) = self.libraries.get(&inode) else { return };
        let Some(process) = NonZeroU32::new(pid) else { return };
        if self.holders.get(&pid).is_some_and(|holder| holder.libraries.contains(&inode))
            || self.holders.len() >= MAX_PROCESSES
        {
            return;
        }
        let old = sockets::established(pid);
        if old.is_empty() {
            return;
        }
        let Ok(file) = file.try_clone() else { return };
        match broker.attach(file.into(), inode, plan.points(), Some(process)) {
            Ok(id) => {
                tracing::info!(pid, connections = old.len(), "probing calls until they have ended");
                let holder = self.holders.entry(pid).or_insert_with(|| Holder {
                    old: HashSet::new(),
                    attachments: Vec::new(),
                    libraries: HashSet::new(),
                });
                holder.old.extend(old);
                holder.attachments.push(id);
                holder.libraries.insert(inode);
            }
            Err(refusal) => tracing::warn!(pid, %refusal, "old connections are not seen"),
        }
    }

    /// Removes the probes of processes whose old connections have ended.
    pub fn release(&mut self, broker: &Handle) {
        self.holders.retain(|&pid, holder| {
            if !sockets::established(pid).is_disjoint(&holder.old) {
                return true;
            }
            tracing::info!(pid, "old connections have ended");
            holder.attachments.drain(..).for_each(|id| broker.detach(id));
            false
        });
    }
}

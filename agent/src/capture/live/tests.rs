//! Records become events: processes are named as long as they can be.

use scopewatch_common::{ABI_VERSION, Header, RecordKind, Session, SocketRecord};
use zerocopy::IntoBytes as _;

use super::*;

/// A host on which every process has ended by the time that it is looked at.
struct AllGone;

impl Enricher for AllGone {
    fn process(&self, _pid: u32) -> Option<Process> {
        None
    }
}

#[derive(Default)]
struct Named(Vec<(u32, String)>);

impl EventSink for Named {
    fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
        if let CaptureEvent::Process(process) = event {
            self.0.push((process.pid, process.comm.clone()));
        }
    }
}

#[test]
fn a_forked_process_that_is_gone_keeps_its_name() {
    let record = SocketRecord {
        header: Header {
            abi: ABI_VERSION,
            kind: RecordKind::Socket as u8,
            way: 0,
            tgid: 7,
            tid: 7,
            reserved: 0,
            time_ns: 1,
        },
        session: Session { object: 1, generation: 1 },
        cookie: 1,
        local: [127; 16],
        remote: [127; 16],
        local_port: 1,
        remote_port: 2,
        family: 2,
        reserved: 0,
        netns: 0,
        reserved2: 0,
        comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
    };
    let mut live = Live::new(AllGone, None);
    let mut named = Named::default();
    for _ in 0..2 {
        live.record(record.as_bytes(), &mut named);
    }
    assert_eq!(named.0, [(7, "worker".to_owned())]);
}

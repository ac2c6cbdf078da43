//! Marks of routes that change while connections are open: from the next request on, each is read by
//! the new ones.

use std::sync::Arc;

use super::Table;
use crate::http::body::{Wanted, route::MarkedRoute};

impl Table {
    /// Reads the bodies of requests on these routes, and of no other ones for their operations. All
    /// connections are gone through, which is done only where the marks are others than before.
    pub fn mark(&mut self, routes: &Arc<[MarkedRoute]>) {
        if self.wanted.routes == *routes {
            return;
        }
        self.wanted = Wanted { routes: Arc::clone(routes), ..self.wanted.clone() };
        for (_, flow) in &mut self.flows {
            flow.codec.read(&self.wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::{CaptureEvent, SessionKey},
        clock::{NANOS_PER_SEC, Timestamp},
        flow::{
            chunk::Direction::{self, Inbound, Outbound},
            table::{Limits, Seen},
        },
        http::{
            body::{Sample, route::Mark, sample::Purpose},
            operation::Protocol,
        },
        identity::process::Process,
    };

    const H1_ASKS: &[u8] = b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    const H1_TELLS: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    const H2_BEGINS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    const H2_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

    /// `POST /mcp` by HTTP/2, and 204.
    fn by_http2(stream: u8) -> [Vec<u8>; 2] {
        let head = [&[0, 0, 8, 1, 4, 0, 0, 0, stream][..], b"\x83\x87\x04\x04/mcp"].concat();
        let body = [&[0, 0, 2, 0, 1, 0, 0, 0, stream][..], b"{}"].concat();
        [[head, body].concat(), vec![0, 0, 1, 1, 5, 0, 0, 0, stream, 0x89]]
    }

    /// A table, and how far each direction of each session is.
    struct Rig {
        table: Table,
        offsets: [[u64; 2]; 3],
        seen: Vec<Seen>,
    }

    impl Rig {
        fn feed(&mut self, nth: usize, direction: Direction, bytes: &[u8]) {
            let offset = &mut self.offsets[nth][usize::from(direction == Outbound)];
            let event = CaptureEvent::Data {
                at: Timestamp(1),
                session: SessionKey { pid: 7, object: nth as u64 * 16, generation: 1 },
                direction,
                offset: *offset,
                lost: 0,
                bytes,
            };
            *offset += bytes.len() as u64;
            self.table.accept(&event, &mut self.seen);
        }

        fn ask(&mut self, nth: usize, [asks, tells]: [&[u8]; 2]) {
            self.feed(nth, Inbound, asks);
            self.feed(nth, Outbound, tells);
        }

        /// What the requests since the last call were read for.
        fn purposes(&mut self) -> Vec<Option<Purpose>> {
            let purpose = |seen: Seen| {
                let request = seen.exchange.request?;
                request.content.sample().map(Sample::purpose)
            };
            self.seen.drain(..).map(purpose).collect()
        }
    }

    #[test]
    fn connections_that_are_open_are_read_by_new_marks_from_the_next_request_on() {
        let limits = Limits { connections: 4, idle_nanos: NANOS_PER_SEC, held_bytes: 1 << 20 };
        let mut rig =
            Rig { table: Table::new(limits), offsets: Default::default(), seen: Vec::new() };
        let process = Process { started: Some(Timestamp(u64::MAX)), ..Process::unknown(7) };
        rig.table.accept(&CaptureEvent::Process(Arc::new(process)), &mut rig.seen);
        rig.ask(0, [H1_ASKS, H1_TELLS]);
        rig.ask(1, [H2_BEGINS, H2_SETTINGS]);
        let [asks, tells] = by_http2(1);
        rig.ask(1, [&asks, &tells]);
        assert_eq!(rig.purposes(), [None, None]);

        // One request is under way: it stays what it was.
        let (begun, rest) = H1_ASKS.split_at(H1_ASKS.len() - 1);
        rig.feed(0, Inbound, begun);
        let path = "/mcp".parse().unwrap();
        let mark = Mark::Operation(Protocol::Mcp);
        rig.table.mark(&[MarkedRoute { method: None, host: None, path, mark }].into());
        rig.ask(0, [rest, H1_TELLS]);
        assert_eq!(rig.purposes(), [None]);

        let marked = Some(Purpose::Operation(Protocol::Mcp));
        let [asks, tells] = by_http2(3);
        rig.ask(1, [&asks, &tells]);
        rig.ask(0, [H1_ASKS, H1_TELLS]);
        rig.ask(2, [H1_ASKS, H1_TELLS]);
        assert_eq!(rig.purposes(), [marked; 3]);

        rig.table.mark(&Arc::default());
        let [asks, tells] = by_http2(5);
        rig.ask(1, [&asks, &tells]);
        rig.ask(0, [H1_ASKS, H1_TELLS]);
        assert_eq!(rig.purposes(), [None, None]);
    }
}

//! Reads a recording back. The file may be damaged, cut or hostile: every length is bounded before
//! memory is taken, every frame is checked, and where the file stops making sense is said.

use std::io::{self, ErrorKind, Read};

use crate::capture::{
    CaptureEvent, EventSink,
    recorder::{MAGIC, MAX_FRAME, Preamble},
};

/// Why a recording could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Reading failed.
    #[error("cannot read the recording")]
    Read(#[from] io::Error),
    /// It does not begin as a recording does.
    #[error("this is not a scopewatch recording, or one of another version")]
    NotARecording,
    /// A frame is damaged.
    #[error("the recording is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset of the frame in the file.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a replay found at the end of the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// The last frame is whole.
    Complete,
    /// The file ends within a frame: its writer was cut off.
    Cut,
}

/// A recording that is being read.
pub struct Replay<R> {
    input: R,
    at: u64,
    buffer: Vec<u8>,
    /// What the recording says about the host.
    pub preamble: Preamble,
}

impl<R: Read> Replay<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn open(mut input: R) -> Result<Self, ReplayError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            Ok(()) | Err(_) => return Err(ReplayError::NotARecording),
        }
        let mut buffer = Vec::new();
        let mut at = MAGIC.len() as u64;
        if !frame(&mut input, &mut at, &mut buffer)? {
            return Err(ReplayError::NotARecording);
        }
        let preamble = postcard::from_bytes(&buffer).map_err(|_| ReplayError::NotARecording)?;
        Ok(Self { input, at, buffer, preamble })
    }

    /// Hands every event to `sink`, until the end or the first damaged frame.
    ///
    /// # Errors
    /// See [`ReplayError`]; events before the damage were handed on.
    pub fn run(mut self, sink: &mut impl EventSink) -> Result<End, ReplayError> {
        loop {
            let start = self.at;
            match frame(&mut self.input, &mut self.at, &mut self.buffer) {
                Ok(true) => {}
                Ok(false) => return Ok(End::Complete),
                Err(ReplayError::Read(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(End::Cut);
                }
                Err(error) => return Err(error),
            }
            let event: CaptureEvent<&[u8]> = postcard::from_bytes(&self.buffer)
                .map_err(|_| ReplayError::Damaged { at: start, what: "unknown content" })?;
            sink.accept(&event);
        }
    }
}

/// Reads one frame's content into `buffer`; `false` at the end of the file.
fn frame(input: &mut impl Read, at: &mut u64, buffer: &mut Vec<u8>) -> Result<bool, ReplayError> {
    let start = *at;
    let mut head = [0; 8];
    let got = read_up_to(input, &mut head)?;
    if got == 0 {
        return Ok(false);
    }
    if got < head.len() {
        return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    if len > MAX_FRAME {
        return Err(ReplayError::Damaged { at: start, what: "impossible length" });
    }
    buffer.resize(len as usize, 0);
    input.read_exact(buffer)?;
    if crc32fast::hash(buffer) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(ReplayError::Damaged { at: start, what: "checksum mismatch" });
    }
    *at += head.len() as u64 + u64::from(len);
    Ok(true)
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::{
        collection::vec,
        option,
        prelude::{
            Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
        },
        sample::Index,
    };

    use super::*;
    use crate::{
        capture::{Holder, SessionKey, recorder::Recorder},
        clock::Timestamp,
        flow::chunk::{
            Attribution, ClientCertificate, Direction, Handshake, ShownCertificate, Socket,
        },
        identity::{host::Host, process::Process},
    };

    #[derive(Default)]
    struct Collect(Vec<CaptureEvent<Bytes>>);

    impl EventSink for Collect {
        fn accept(&mut self, event: &CaptureEvent<&[u8]>) {
            self.0.push(event.to_owned());
        }
    }

    fn preamble() -> Preamble {
        let text = |s: &str| s.to_owned();
        Preamble { host: Host { id: text("h"), name: text("n"), boot_id: text("b") } }
    }

    fn any_event() -> impl Strategy<Value = CaptureEvent<Bytes>> {
        let at = any::<u64>().prop_map(Timestamp);
        let session = (any::<u32>(), any::<u64>(), any::<u64>())
            .prop_map(|(pid, object, generation)| SessionKey { pid, object, generation });
        let direction = prop_oneof![Just(Direction::Inbound), Just(Direction::Outbound)];
        let bytes = vec(any::<u8>(), 0..600).prop_map(Bytes::from);
        let data = (at.clone(), session.clone(), direction.clone(), any::<(u64, u64)>(), bytes)
            .prop_map(|(at, session, direction, (offset, lost), bytes)| CaptureEvent::Data {
                at,
                session,
                direction,
                offset,
                lost,
                bytes,
            });
        let address = any::<(std::net::IpAddr, u16)>().prop_map(std::net::SocketAddr::from);
        let socket = (at.clone(), session.clone(), address.clone(), address, any::<(u64, u32)>())
            .prop_map(|(at, session, local, remote, (cookie, netns))| CaptureEvent::Socket {
                at,
                session,
                socket: Socket { cookie, local, remote, netns },
                attribution: Attribution::KeyOnly,
                peer: Some(Holder { pid: netns, attribution: Attribution::SocketCall }),
            });
        let skipped = (at.clone(), session.clone(), direction.clone(), any::<(u64, u64)>())
            .prop_map(|(at, session, direction, (offset, bytes))| CaptureEvent::Skipped {
                at,
                session,
                direction,
                offset,
                bytes,
            });
        let text = option::of("[a-z.]{0,12}");
        let certificate =
            (any::<[u8; 32]>(), ".{0,12}", ".{0,12}").prop_map(|(thumbprint, subject, issuer)| {
                ClientCertificate { thumbprint, subject, issuer }
            });
        let shown = prop_oneof![
            Just(ShownCertificate::Unknown),
            certificate.prop_map(ShownCertificate::Certificate),
            Just(ShownCertificate::Nothing),
        ];
        let told = ((text.clone(), text.clone(), text.clone()), any::<bool>(), shown);
        let handshake = (at.clone(), session.clone(), told).prop_map(
            |(at, session, ((server_name, alpn, ja4), resumed, client_certificate))| {
                let (version, suite) = (alpn.clone(), ja4.clone());
                let handshake = Arc::new(Handshake {
                    server_name,
                    alpn,
                    version,
                    suite,
                    ja4,
                    resumed,
                    client_certificate,
                });
                CaptureEvent::Handshake { at, session, handshake }
            },
        );
        let proxied = (at.clone(), session.clone(), any::<std::net::IpAddr>())
            .prop_map(|(at, session, client)| CaptureEvent::Proxied { at, session, client });
        let close = (at.clone(), session, option::of(direction))
            .prop_map(|(at, session, direction)| CaptureEvent::Close { at, session, direction });
        let exit = (at.clone(), any::<u32>()).prop_map(|(at, pid)| CaptureEvent::Exit { at, pid });
        let process = any::<(u32, String)>().prop_map(|(pid, comm)| {
            CaptureEvent::Process(Arc::new(Process { comm, ..Process::unknown(pid) }))
        });
        prop_oneof![
            data,
            handshake,
            proxied,
            skipped,
            socket,
            close,
            exit,
            process,
            at.prop_map(|at| CaptureEvent::Tick { at })
        ]
    }

    fn borrowed(event: &CaptureEvent<Bytes>) -> Vec<u8> {
        postcard::to_allocvec(event).unwrap()
    }

    fn record(events: &[CaptureEvent<Bytes>]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut recorder = Recorder::start(&mut file, &preamble()).unwrap();
        for event in events {
            recorder.accept(&postcard::from_bytes(&borrowed(event)).unwrap());
        }
        recorder.finish().unwrap();
        file
    }

    fn replay(file: &[u8]) -> (Vec<CaptureEvent<Bytes>>, Result<End, ReplayError>) {
        let mut collect = Collect::default();
        let end = Replay::open(file).and_then(|replay| replay.run(&mut collect));
        (collect.0, end)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_recorded_is_replayed(events in vec(any_event(), 0..20)) {
            let (replayed, end) = replay(&record(&events));
            prop_assert_eq!(replayed, events);
            prop_assert_eq!(end.unwrap(), End::Complete);
        }

        #[test]
        fn a_cut_file_yields_what_is_before_the_cut(
            events in vec(any_event(), 1..8),
            cut in any::<Index>(),
        ) {
            let file = record(&events);
            let (replayed, _) = replay(&file[..cut.index(file.len())]);
            prop_assert!(events.starts_with(&replayed));
        }

        #[test]
        fn a_flipped_bit_is_noticed_or_harmless_but_yields_no_other_event(
            events in vec(any_event(), 1..8),
            at in any::<Index>(),
            bit in 0u8..8,
        ) {
            let mut file = record(&events);
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            let (replayed, _) = replay(&file);
            prop_assert!(events.starts_with(&replayed));
        }

        #[test]
        fn arbitrary_bytes_are_refused(mut file in vec(any::<u8>(), 0..300), magic: bool) {
            if magic {
                file.splice(0..0, MAGIC);
            }
            let (replayed, _) = replay(&file);
            prop_assert!(replayed.is_empty());
        }
    }

    #[test]
    fn another_file_is_not_a_recording() {
        assert!(matches!(replay(b"#!/bin/sh"), (_, Err(ReplayError::NotARecording))));
        assert!(matches!(replay(b""), (_, Err(ReplayError::NotARecording))));
    }
}

//! What an opened connection tells, as captured events seen from its observed end.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    capture::{
        CaptureEvent,
        wire::{
            attribution::Observed,
            flow::{Flow, sender, sent_by},
            resumption::{Clients, Server},
        },
    },
    clock::Timestamp,
    flow::chunk::{ClientCertificate, Direction, ShownCertificate, Socket, UNKNOWN_LOSS},
    tls::{
        certificate::Certificate,
        output::{self, Output},
    },
    wire::{Side, segment::FlowKey},
};

impl Flow {
    /// Tells of one thing learnt, as seen from the observed end; when it was.
    pub(super) fn tell(
        &mut self,
        output: Output,
        now: Timestamp,
        out: &mut Vec<CaptureEvent<Bytes>>,
    ) -> Option<Timestamp> {
        if let Output::Closed { .. } = output {
            self.live = self.live.saturating_sub(1);
        }
        let told = match &output {
            Output::Data { direction, offset, bytes, .. } => {
                Some((*direction, offset.saturating_add(bytes.len() as u64)))
            }
            Output::Skipped { direction, offset, bytes, .. } => {
                Some((*direction, offset.saturating_add(*bytes)))
            }
            _ => None,
        };
        if let Some((direction, end)) = told {
            *self.told.at(sender(direction)) = end;
        }
        let learnt = self.learn(&output);
        if let (true, Some(observed)) = (learnt, self.observed) {
            out.push(self.handshake_event(observed, now));
        }
        let observed = self.observed.as_mut()?;
        let session = observed.session;
        let mut data = |at, from: Direction, offset: u64, lost, bytes| {
            let direction = observed.sees(from);
            let before = observed.lost.at(sender(from));
            let event = CaptureEvent::Data {
                at,
                session,
                direction,
                offset: before.saturating_add(offset),
                lost,
                bytes,
            };
            if lost == UNKNOWN_LOSS {
                *before = before.saturating_add(UNKNOWN_LOSS);
            }
            out.push(event);
            Some(at)
        };
        match output {
            Output::Data { direction, at, offset, bytes } => data(at, direction, offset, 0, bytes),
            Output::Skipped { direction, at, offset, bytes } => {
                let offset = observed.lost.of(sender(direction)).saturating_add(offset);
                let direction = observed.sees(direction);
                out.push(CaptureEvent::Skipped { at, session, direction, offset, bytes });
                Some(at)
            }
            Output::Gap { direction, at, at_most: _ } => {
                let offset = self.told.of(sender(direction));
                data(at, direction, offset, UNKNOWN_LOSS, Bytes::new())
            }
            Output::Closed { direction, at, clean: _ } => {
                let direction = Some(observed.sees(direction));
                out.push(CaptureEvent::Close { at, session, direction });
                Some(at)
            }
            Output::Offered(_)
            | Output::Negotiated(_)
            | Output::Certificate { .. }
            | Output::Uncertified(_)
            | Output::Resumable { .. }
            | Output::Resumed(_)
            | Output::Alert { .. } => None,
        }
    }

    /// What a session's name stands for: the client's certificate is remembered under it, or known
    /// again by it. Any other output is told as it is.
    pub(super) fn recall(
        &self,
        output: Output,
        clients: &mut Clients,
        now: Timestamp,
    ) -> Option<Output> {
        match output {
            Output::Resumable { name, until } => {
                let known = self.handshake.client_certificate.certificate()?.clone();
                let ClientCertificate { thumbprint, subject, issuer } = known;
                let certificate = Certificate { thumbprint, subject, issuer };
                clients.note(self.server()?, (name, until), certificate);
                None
            }
            Output::Resumed(name) => {
                let certificate = clients.of(self.server()?, name, now)?;
                Some(Output::Certificate { sender: output::Side::Client, certificate })
            }
            other => Some(other),
        }
    }

    /// The end that serves.
    fn server(&self) -> Option<Server> {
        let end = match sender(self.tls.client()?.reverse()) {
            Side::A => self.key.source,
            Side::B => self.key.destination,
        };
        Some((self.key.netns, end))
    }

    /// Keeps what is learnt of the handshake; whether it was something.
    fn learn(&mut self, output: &Output) -> bool {
        let handshake = &mut self.handshake;
        match output {
            Output::Offered(offer) => {
                let handshake = Arc::make_mut(handshake);
                handshake.server_name.clone_from(&offer.server_name);
                handshake.ja4 = Some(offer.ja4.clone());
            }
            Output::Negotiated(chosen) => {
                let handshake = Arc::make_mut(handshake);
                let again = handshake.version.is_some();
                handshake.version = Some(chosen.version.as_str().to_owned());
                handshake.suite = Some(chosen.suite.name.to_owned());
                handshake.alpn = chosen.alpn.as_ref().map(|name| name.escape_ascii().to_string());
                handshake.resumed = chosen.resumed;
                // Each handshake authenticates anew. The first is known by the client's part already
                // if that was opened before the server's.
                if again || chosen.resumed {
                    handshake.client_certificate = ShownCertificate::Unknown;
                }
            }
            Output::Certificate { sender: output::Side::Client, certificate } => {
                let Certificate { thumbprint, subject, issuer } = (**certificate).clone();
                let certificate = ClientCertificate { thumbprint, subject, issuer };
                Arc::make_mut(handshake).client_certificate =
                    ShownCertificate::Certificate(certificate);
            }
            Output::Uncertified(known) => {
                let shown = if *known && !handshake.resumed {
                    ShownCertificate::Nothing
                } else {
                    ShownCertificate::Unknown
                };
                Arc::make_mut(handshake).client_certificate = shown;
            }
            _ => return false,
        }
        true
    }

    /// What the handshake told so far.
    pub(super) fn handshake_event(&self, observed: Observed, at: Timestamp) -> CaptureEvent<Bytes> {
        let (session, handshake) = (observed.session, Arc::clone(&self.handshake));
        CaptureEvent::Handshake { at, session, handshake }
    }

    /// The addresses, as the observed end has them.
    pub(super) fn socket_event(&self, observed: Observed) -> CaptureEvent<Bytes> {
        let Observed { session, side, attribution, peer, .. } = observed;
        let socket = self.socket(side);
        CaptureEvent::Socket { at: self.begun, session, socket, attribution, peer }
    }

    /// Whom the client, a proxy, speaks for, if it said so.
    pub(super) fn proxied_event(&self, observed: Observed) -> Option<CaptureEvent<Bytes>> {
        let (at, session) = (self.begun, observed.session);
        let client = self.proxied_for.filter(|_| self.tls.client() == Some(sent_by(Side::A)));
        client.map(|client| CaptureEvent::Proxied { at, session, client })
    }

    /// The addresses, as one end has them.
    pub(super) fn socket(&self, side: Side) -> Socket {
        let FlowKey { netns, source: a, destination: b } = self.key;
        let (local, remote) = match side {
            Side::A => (a, b),
            Side::B => (b, a),
        };
        let carrier = self.outer.map(|outer| outer.cookie);
        Socket {
            cookie: self.cookies.first().copied().or(carrier).unwrap_or(0),
            local: local.socket_addr(),
            remote: remote.socket_addr(),
            netns,
        }
    }
}

//! The steps of the handshake: what each message changes on a [`Connection`] (RFC 8446 §2 and §4,
//! RFC 5246 §7.3).

use super::{
    certificate::Certificate,
    handshake::{EncryptedExtensions, Message, MessageType, NewSessionTicket},
    hello::{ClientHello, ServerHello, TLS12, TLS13},
    ja4::ja4,
    lane::Mode,
    open::{Connection, Phase, Step},
    output::{Negotiated, Offer, Output, Reason, SessionName, Side},
    schedule::Transcript,
    secret::Stage,
    suite::{Suite, Version},
    tls12::{Handshake, MAX_HANDSHAKES},
    tls13::Tls13,
};
use crate::flow::chunk::Direction;

/// What the hellos leave for each other.
#[derive(Default)]
pub(super) struct Greeting {
    /// A ClientHello that no ServerHello has answered yet.
    offered: Option<(ClientHello, Vec<u8>)>,
    /// Transcript up to a HelloRetryRequest.
    retry: Option<Transcript>,
    /// TLS 1.3: what the server chose, until its extensions complete it.
    chosen: Option<Negotiated>,
    /// Whether early data that the server took is given up.
    pub early_lost: bool,
}

impl Greeting {
    /// Whether the server asked for another ClientHello and has not answered it yet.
    pub const fn retried(&self) -> bool {
        self.retry.is_some()
    }

    /// Whether that other ClientHello is still to come.
    pub const fn awaits_another(&self) -> bool {
        self.retry.is_some() && self.offered.is_none()
    }
}

impl Connection {
    /// Handles a message, or gives it back if the other direction must move first.
    pub(super) fn greet(
        &mut self,
        direction: Direction,
        message: Message,
    ) -> Result<Option<Message>, Reason> {
        match message.kind {
            MessageType::ClientHello => return self.client_hello(direction, message),
            MessageType::ServerHello => return self.server_hello(direction, message),
            _ if self.client.is_none() => return Ok(Some(message)),
            _ => {}
        }
        match &self.phase {
            Phase::Hello => Ok(Some(message)),
            Phase::Tls13(_) => self.message_tls13(direction, &message).map(|()| None),
            Phase::Tls12(_) => {
                self.message_tls12(direction, &message);
                Ok(None)
            }
        }
    }

    /// After a ChangeCipherSpec: puts the keys of the latest handshake into force in one direction
    /// (RFC 5246 §7.1). In TLS 1.3 it is told to middleboxes only (RFC 8446 §D.4).
    pub(super) fn turn(&mut self, direction: Direction) -> Result<Step, Reason> {
        let tls13 = self.is_tls13();
        let half = self.half_mut(direction);
        if tls13 {
            half.turning = false;
            return Ok(Step::Moved);
        }
        let Some(pending) = half.pending.take() else {
            let answered = matches!(self.phase, Phase::Tls12(_)) && self.greeting.offered.is_none();
            return if answered { Err(Reason::Unexpected) } else { Ok(Step::Waits) };
        };
        half.turning = false;
        half.current = Some(pending);
        half.lane.set_mode(Mode::Waiting(Stage::Master));
        Ok(Step::Moved)
    }

    /// Something of this direction was lost.
    pub(super) fn torn(&mut self, direction: Direction) -> Result<(), Reason> {
        let (side, retried) = (self.side(direction), self.greeting.retried());
        let lane = self.lane(direction);
        match lane.stage() {
            None if !lane.greeted || retried => return Err(Reason::HelloLost),
            Some(Stage::Early | Stage::Handshake) => {
                lane.unwanted = false;
                lane.set_mode(Mode::Waiting(Stage::Application));
            }
            None => self.await_pending(direction),
            Some(Stage::Application | Stage::Master) => {}
        }
        if side != Some(Side::Server) {
            return Ok(());
        }
        // The server would have said whether it takes early data.
        let undecided = matches!(&self.phase, Phase::Tls13(tls) if tls.early.is_none());
        let client = self.lane(direction.reverse());
        if undecided && client.stage() == Some(Stage::Early) {
            client.torn = true;
            client.set_mode(Mode::Waiting(Stage::Application));
        }
        Ok(())
    }

    /// TLS 1.2, after a loss in clear: the ChangeCipherSpec may be lost too, so the new keys count
    /// from the first record that they open.
    fn await_pending(&mut self, direction: Direction) {
        let half = self.half_mut(direction);
        if half.lane.torn && half.current.is_none() && half.pending.is_some() {
            half.current = half.pending.take();
            half.lane.set_mode(Mode::Waiting(Stage::Master));
        }
    }

    /// Goes on without early data whose secret did not come.
    pub(super) fn forgo_early(&mut self, direction: Direction) -> Step {
        match &self.phase {
            Phase::Tls13(tls) if tls.early.is_some() => {}
            _ => return Step::Waits,
        }
        self.greeting.early_lost = true;
        let lane = self.lane(direction);
        lane.unwanted = true;
        lane.set_mode(Mode::Waiting(Stage::Handshake));
        Step::Moved
    }

    fn client_hello(
        &mut self,
        direction: Direction,
        message: Message,
    ) -> Result<Option<Message>, Reason> {
        if self.client.is_some_and(|client| client != direction) {
            return Err(Reason::Unexpected);
        }
        if self.greeting.offered.is_some() {
            return Ok(Some(message));
        }
        let hello = ClientHello::parse(message.body())?;
        if self.client.is_none() {
            self.client = Some(direction);
            self.outputs.push_back(Output::Offered(Box::new(Offer {
                server_name: hello.server_name.clone(),
                alpn: hello.alpn.clone(),
                ja4: ja4(&hello),
                early_data: hello.early_data,
            })));
        }
        self.lane(direction).greeted = true;
        self.greeting.offered = Some((hello, message.bytes));
        Ok(None)
    }

    fn server_hello(
        &mut self,
        direction: Direction,
        message: Message,
    ) -> Result<Option<Message>, Reason> {
        if self.client == Some(direction) {
            return Err(Reason::Unexpected);
        }
        let Some((offer, bytes)) = self.greeting.offered.take() else {
            return Ok(Some(message));
        };
        let hello = ServerHello::parse(message.body())?;
        self.lane(direction).greeted = true;
        let version = match hello.version {
            TLS13 => Version::Tls13,
            TLS12 => Version::Tls12,
            other => return Err(Reason::Version(other)),
        };
        let suite = Suite::find(hello.suite).filter(|suite| suite.version == version);
        let suite = suite.ok_or(Reason::Suite(hello.suite))?;
        match version {
            Version::Tls13 => self.greet_tls13(direction, suite, &offer, &bytes, &hello, &message),
            Version::Tls12 => self.greet_tls12(direction, suite, &offer, hello)?,
        }
        Ok(None)
    }

    fn greet_tls13(
        &mut self,
        direction: Direction,
        suite: &'static Suite,
        offer: &ClientHello,
        offer_bytes: &[u8],
        hello: &ServerHello,
        message: &Message,
    ) {
        let retry = self.greeting.retry.take();
        let retried = retry.is_some();
        let mut transcript = retry.unwrap_or_else(|| Transcript::new(suite.hash));
        transcript.add(offer_bytes);
        let offered = transcript.digest();
        if hello.retry {
            transcript.fold_for_retry();
            transcript.add(&message.bytes);
            self.greeting.retry = Some(transcript);
            return;
        }
        transcript.add(&message.bytes);
        self.greeting.chosen = Some(Negotiated {
            version: Version::Tls13,
            suite,
            alpn: None,
            resumed: hello.pre_shared_key.is_some(),
        });
        let mut tls = Tls13::new(suite, transcript, offer.random, offered);
        let ticket = hello.pre_shared_key.and_then(|index| offer.tickets.get(usize::from(index)));
        tls.session = ticket.and_then(|ticket| SessionName::of_ticket(ticket));
        self.phase = Phase::Tls13(Box::new(tls));
        self.lane(direction).set_mode(Mode::Waiting(Stage::Handshake));
        let lane = self.lane(direction.reverse());
        lane.set_mode(Mode::Waiting(match (lane.torn, offer.early_data && !retried) {
            (true, _) => Stage::Application,
            (false, true) => Stage::Early,
            (false, false) => Stage::Handshake,
        }));
    }

    fn greet_tls12(
        &mut self,
        direction: Direction,
        suite: &'static Suite,
        offer: &ClientHello,
        hello: ServerHello,
    ) -> Result<(), Reason> {
        let resumed = !hello.session_id.is_empty() && hello.session_id == offer.session_id;
        if !matches!(self.phase, Phase::Tls12(_)) {
            self.phase = Phase::Tls12(Vec::new());
        }
        let Phase::Tls12(handshakes) = &mut self.phase else { return Ok(()) };
        if handshakes.len() >= MAX_HANDSHAKES {
            return Err(Reason::Renegotiations);
        }
        let index = handshakes.len();
        handshakes.push(Handshake {
            suite,
            client_random: offer.random,
            server_random: hello.random,
            encrypt_then_mac: hello.encrypt_then_mac,
            resumed,
            master: None,
        });
        self.half_mut(direction).pending = Some(index);
        self.half_mut(direction.reverse()).pending = Some(index);
        self.await_pending(direction.reverse());
        self.outputs.push_back(Output::Negotiated(Negotiated {
            version: Version::Tls12,
            suite,
            alpn: hello.alpn,
            resumed,
        }));
        Ok(())
    }

    fn message_tls12(&mut self, direction: Direction, message: &Message) {
        let half = self.half(direction);
        let (current, at) = (half.current, half.at);
        // What comes before ChangeCipherSpec belongs to the next handshake.
        let next = current.map_or(0, |current| current.saturating_add(1));
        match (message.kind, self.side(direction), current) {
            (MessageType::Certificate, ..) => {
                self.certificate(direction, next, Certificate::leaf_tls12(message.body()));
            }
            (MessageType::CertificateVerify, Some(Side::Client), _) => {
                self.authentication.verify(next);
            }
            (MessageType::ClientKeyExchange, Some(Side::Client), _) => {
                self.authentication.exchange(next);
            }
            (MessageType::Finished, Some(side), Some(current)) => {
                match side {
                    Side::Client => {
                        self.authentication.finish(current, at);
                        if self.authentication.went_without_tls12(current) {
                            self.outputs.push_back(Output::Uncertified(true));
                        }
                        self.tell_resumed_tls12(current);
                    }
                    // In a handshake with certificates it waits for the client's.
                    Side::Server => self.authentication.answer(current, at),
                }
                self.tell_proved();
            }
            _ => {}
        }
    }

    fn message_tls13(&mut self, direction: Direction, message: &Message) -> Result<(), Reason> {
        let Some(side) = self.side(direction) else { return Ok(()) };
        let stage = self.lane(direction).stage();
        let Phase::Tls13(tls) = &mut self.phase else { return Ok(()) };
        if (side, stage) == (Side::Server, Some(Stage::Handshake)) {
            tls.transcript.add(&message.bytes);
        }
        match (message.kind, side, stage) {
            (MessageType::EncryptedExtensions, Side::Server, Some(Stage::Handshake)) => {
                self.encrypted_extensions(direction, message)?;
            }
            // One that is shown later (RFC 8446 §4.6.2) is not told: what the server sends next
            // may have been on its way, so nothing says that it was taken.
            (MessageType::Certificate, _, Some(Stage::Handshake)) => {
                self.certificate(direction, 0, Certificate::leaf_tls13(message.body()));
            }
            (MessageType::CertificateVerify, Side::Client, Some(Stage::Handshake)) => {
                self.authentication.verify(0);
            }
            (MessageType::EndOfEarlyData, Side::Client, Some(Stage::Early)) => {
                self.lane(direction).set_mode(Mode::Waiting(Stage::Handshake));
            }
            (MessageType::Finished, _, Some(Stage::Handshake)) => {
                if side == Side::Server {
                    tls.finish();
                } else {
                    let session = tls.session;
                    let at = self.half(direction).at;
                    self.authentication.finish(0, at);
                    if self.authentication.went_without_tls13() {
                        self.outputs.push_back(Output::Uncertified(true));
                    }
                    self.tell_proved();
                    self.tell_resumed_tls13(session, at);
                }
                self.lane(direction).set_mode(Mode::Waiting(Stage::Application));
            }
            (MessageType::CertificateRequest, Side::Server, Some(Stage::Application)) => {
                self.authentication.doubt();
                self.outputs.push_back(Output::Uncertified(false));
            }
            (MessageType::NewSessionTicket, Side::Server, Some(Stage::Application)) => {
                // One that cannot be read is the peers' affair.
                if let Ok(ticket) = NewSessionTicket::parse(message.body()) {
                    self.ticket(&ticket, self.half(direction).at);
                }
            }
            (MessageType::KeyUpdate, _, Some(Stage::Application)) => {
                let lane = self.lane(direction);
                if let Mode::Open(keys) = &lane.mode
                    && let Some(updated) = keys.updated()
                {
                    lane.set_mode(Mode::Open(Box::new(updated)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn encrypted_extensions(
        &mut self,
        direction: Direction,
        message: &Message,
    ) -> Result<(), Reason> {
        let extensions = EncryptedExtensions::parse(message.body())?;
        if let Phase::Tls13(tls) = &mut self.phase {
            tls.early = Some(extensions.early_data);
        }
        if let Some(mut chosen) = self.greeting.chosen.take() {
            chosen.alpn = extensions.alpn;
            self.outputs.push_back(Output::Negotiated(chosen));
        }
        let client = self.lane(direction.reverse());
        if !extensions.early_data && client.stage() == Some(Stage::Early) {
            client.unwanted = true;
            client.set_mode(Mode::Waiting(Stage::Handshake));
        }
        Ok(())
    }

    /// Takes a certificate of the `handshake`th handshake. One that cannot be read is the peers'
    /// affair.
    fn certificate(
        &mut self,
        direction: Direction,
        handshake: usize,
        leaf: Result<Option<Certificate>, super::reader::Malformed>,
    ) {
        if leaf.is_err() {
            self.authentication.doubt();
        }
        let leaf = leaf.ok().flatten().map(Box::new);
        match self.side(direction) {
            Some(Side::Client) => self.authentication.claim(handshake, leaf),
            Some(sender @ Side::Server) => {
                let told = leaf.map(|certificate| Output::Certificate { sender, certificate });
                self.outputs.extend(told);
            }
            None => {}
        }
    }
}

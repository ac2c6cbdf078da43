//! Whether a client holds the key of the certificate that it shows, as far as who only listens can
//! tell.
//!
//! In: the messages by which a client authenticates itself (RFC 8446 §4.4, RFC 5246 §7.4.6 to
//! §7.4.9), and that the server went on. Out: the certificate, once; or that there was none. The signature is the server's
//! to check: anyone can show anybody's certificate, but a server that does not take the signature
//! under it ends the connection.
//!
//! Who resumes a session shows nothing again. Told are the names by which sessions are resumed of
//! clients that are proved, and by which name a client did: only who has a session's secret can.

use super::{
    certificate::Certificate,
    handshake::NewSessionTicket,
    open::{Connection, Phase},
    output::{Output, SessionName, Side},
    record::ContentType,
    secret::Stage,
    tls12::Handshake,
};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    flow::chunk::Direction,
};

/// What a client shows of itself, and how far it got with it.
#[derive(Default)]
pub(super) struct Authentication {
    claim: Option<Claim>,
    /// For which handshake the server last sent what comes after the client's Finished, and when.
    answered: Option<(usize, Timestamp)>,
    /// It showed a certificate, or it may have: never mind what became of that.
    may_have_shown: bool,
    /// For which handshake of TLS 1.2 it sent its share of the key: one that resumes has none.
    exchanged: Option<usize>,
    /// When the client had said what proves it, once that is proved.
    proved: Option<Timestamp>,
    /// Tickets of TLS 1.3 that are not told yet: when each came, and until when it is good.
    tickets: Vec<(Timestamp, SessionName, Timestamp)>,
}

/// Tickets that wait for a proof. Servers send one to four.
const MAX_TICKETS: usize = 8;

/// Longest life of a ticket of TLS 1.3 in seconds (RFC 8446 §4.6.1).
const MAX_TICKET_LIFE: u32 = 7 * 24 * 3600;

/// Longest life of a session of TLS 1.2 in nanoseconds (RFC 5246 §F.1.4).
const MAX_SESSION_LIFE: u64 = 24 * 3600 * NANOS_PER_SEC;

/// A certificate that is proved, of which handshake, and when the client had finished that.
struct Proved {
    certificate: Box<Certificate>,
    handshake: usize,
    at: Timestamp,
}

/// A certificate that was shown, and is not proved yet.
struct Claim {
    certificate: Box<Certificate>,
    /// Which handshake of the connection it is part of.
    handshake: usize,
    verified: bool,
    finished: Option<Timestamp>,
}

impl Authentication {
    /// The client shows a certificate, or none, in the `handshake`th handshake.
    pub fn claim(&mut self, handshake: usize, certificate: Option<Box<Certificate>>) {
        self.may_have_shown |= certificate.is_some();
        self.claim = certificate.map(|certificate| Claim {
            certificate,
            handshake,
            verified: false,
            finished: None,
        });
    }

    /// The client signs with the certificate's key.
    pub fn verify(&mut self, handshake: usize) {
        if let Some(claim) = self.claim.as_mut().filter(|claim| claim.handshake == handshake) {
            claim.verified = true;
        }
    }

    /// The client has finished the `handshake`th handshake.
    pub fn finish(&mut self, handshake: usize, at: Timestamp) {
        if let Some(claim) = self.claim.as_mut().filter(|claim| claim.handshake == handshake) {
            claim.finished = Some(at);
        }
    }

    /// Something of what the client sent was lost or not understood, or it was asked for a
    /// certificate when the handshake was over (RFC 8446 §4.6.2).
    pub const fn doubt(&mut self) {
        self.may_have_shown = true;
    }

    /// The client sends its share of the key (RFC 5246 §7.4.7).
    pub const fn exchange(&mut self, handshake: usize) {
        self.exchanged = Some(handshake);
    }

    /// Whether the client finished the `handshake`th handshake of TLS 1.2 without a certificate.
    pub fn went_without_tls12(&self, handshake: usize) -> bool {
        !self.may_have_shown && self.exchanged == Some(handshake)
    }

    /// Whether it finished that of TLS 1.3 without one; if it resumed a session, it never shows any.
    pub const fn went_without_tls13(&self) -> bool {
        !self.may_have_shown
    }

    /// The server sends what it sends when it is content with the client.
    pub const fn answer(&mut self, handshake: usize, at: Timestamp) {
        self.answered = Some((handshake, at));
    }

    /// The certificate, as soon as it is proved: the directions may be read in any order.
    fn take_proved(&mut self) -> Option<Proved> {
        let claim = self.claim.as_ref().filter(|claim| claim.verified)?;
        let finished = claim.finished?;
        let (answered, at) = self.answered?;
        let taken = answered == claim.handshake && at > finished;
        let Claim { certificate, handshake, .. } = self.claim.take_if(|_| taken)?;
        self.proved = Some(finished);
        Some(Proved { certificate, handshake, at: finished })
    }

    /// Keeps a ticket that came `at` a moment, until it is known whom it is for.
    fn keep(&mut self, at: Timestamp, name: SessionName, until: Timestamp) {
        if self.tickets.len() < MAX_TICKETS {
            self.tickets.push((at, name, until));
        }
    }

    /// Tickets that the server issued when the client had proved itself. One that came before stands
    /// for nobody (RFC 8446 §4.6.1: what the client shows later is no part of it).
    fn take_tickets(&mut self) -> Vec<Output> {
        let Some(proved) = self.proved else { return Vec::new() };
        let late = self.tickets.drain(..).filter(|(at, ..)| *at > proved);
        late.map(|(_, name, until)| Output::Resumable { name, until }).collect()
    }
}

impl Connection {
    /// Notes that a record was opened: data and tickets, but no alerts, show that a TLS 1.3 server
    /// goes on. One that speaks before it has heard its client out (RFC 8446 §2, "0.5-RTT") may
    /// have had them on their way; those that ask for certificates do not speak so early.
    pub(super) fn note_answer(
        &mut self,
        direction: Direction,
        content: ContentType,
        at: Timestamp,
    ) {
        let says = matches!(content, ContentType::ApplicationData | ContentType::Handshake);
        if says
            && matches!(self.phase, Phase::Tls13(_))
            && self.side(direction) == Some(Side::Server)
            && self.half(direction).lane.stage() == Some(Stage::Application)
        {
            self.authentication.answer(0, at);
            self.tell_proved();
        }
    }

    /// Tells of the client's certificate, if it is proved by now.
    pub(super) fn tell_proved(&mut self) {
        if let Some(Proved { certificate, handshake, at }) = self.authentication.take_proved() {
            self.outputs.push_back(Output::Certificate { sender: Side::Client, certificate });
            if let Phase::Tls12(handshakes) = &self.phase
                && let Some(name) = handshakes.get(handshake).and_then(Handshake::name)
            {
                let until = at.plus(MAX_SESSION_LIFE);
                self.outputs.push_back(Output::Resumable { name, until });
            }
        }
        self.outputs.extend(self.authentication.take_tickets());
    }

    /// Takes a ticket of TLS 1.3 that came `at` a moment.
    pub(super) fn ticket(&mut self, ticket: &NewSessionTicket<'_>, at: Timestamp) {
        let life = u64::from(ticket.lifetime.min(MAX_TICKET_LIFE)).saturating_mul(NANOS_PER_SEC);
        if let Some(name) = SessionName::of_ticket(ticket.ticket) {
            self.authentication.keep(at, name, at.plus(life));
            self.outputs.extend(self.authentication.take_tickets());
        }
    }

    /// The client has finished the `handshake`th handshake of TLS 1.2, for which it needs the secret
    /// of the session that it resumes, if it does.
    pub(super) fn tell_resumed_tls12(&mut self, handshake: usize) {
        if let Phase::Tls12(handshakes) = &self.phase
            && let Some(handshake) = handshakes.get(handshake).filter(|it| it.resumed)
        {
            self.outputs.extend(handshake.name().map(Output::Resumed));
        }
    }

    /// The same of TLS 1.3: the server has checked that the client has the secret of `session`, and
    /// tickets that come after stand for the same client.
    pub(super) fn tell_resumed_tls13(&mut self, session: Option<SessionName>, at: Timestamp) {
        if let Some(name) = session {
            self.authentication.proved = Some(at);
            self.outputs.push_back(Output::Resumed(name));
            self.outputs.extend(self.authentication.take_tickets());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Authentication, Certificate, MAX_TICKETS, SessionName};
    use crate::clock::Timestamp;

    /// Steps as `what`, `handshake`, `when`: `c` a certificate, `n` an empty one, `v` its
    /// signature, `f` the client's Finished, `a` the server goes on.
    #[track_caller]
    fn check(steps: &str, proved: bool) {
        let mut authentication = Authentication::default();
        let mut told = 0;
        for step in steps.split(' ') {
            let [what, handshake, at] = *step.as_bytes() else { panic!("{step}") };
            let index = usize::from(handshake - b'0');
            let at = Timestamp(u64::from(at - b'0'));
            match what {
                b'c' => {
                    authentication.claim(index, Some(Box::new(Certificate::of_der(b"c"))));
                }
                b'n' => authentication.claim(index, None),
                b'v' => authentication.verify(index),
                b'f' => authentication.finish(index, at),
                _ => authentication.answer(index, at),
            }
            told += usize::from(authentication.take_proved().is_some());
        }
        assert_eq!(told, usize::from(proved), "{steps}");
    }

    #[test]
    fn a_certificate_counts_once_the_server_went_on_after_its_proof() {
        check("c01 v01 f02 a03", true);
        check("c01 v01 f02 a03 a04", true);
        // The server's side was read first.
        check("a03 c01 v01 f02", true);
        // Said before it could know.
        check("a02 c01 v01 f02", false);
        check("a01 c01 v01 f02", false);
        check("c01 v01 f02", false);
        check("c01 f02 a03", false);
        check("v01 c01 f02 a03", false);
        check("c01 v01 a03", false);
        check("n01 v01 f02 a03", false);
    }

    #[test]
    fn a_ticket_stands_for_a_client_that_had_proved_itself_before_it_came() {
        let name = SessionName::of_ticket(b"ticket").unwrap();
        let told = |came: u64| {
            let mut authentication = Authentication::default();
            authentication.claim(0, Some(Box::new(Certificate::of_der(b"c"))));
            authentication.verify(0);
            authentication.keep(Timestamp(came), name, Timestamp(99));
            assert_eq!(authentication.take_tickets(), [], "nothing is proved");
            authentication.finish(0, Timestamp(5));
            authentication.answer(0, Timestamp(7));
            assert!(authentication.take_proved().is_some());
            authentication.take_tickets().len()
        };
        assert_eq!((told(4), told(5), told(6), told(8)), (0, 0, 1, 1));
        let mut authentication = Authentication::default();
        for _ in 0..=2 * MAX_TICKETS {
            authentication.keep(Timestamp(1), name, Timestamp(99));
        }
        assert_eq!(authentication.tickets.len(), MAX_TICKETS);
    }

    #[test]
    fn a_proof_counts_for_its_own_handshake_only() {
        check("c11 v11 f12 a13", true);
        check("c11 v11 f12 a03", false);
        check("c11 v01 f12 a13", false);
        check("c11 v11 f02 a13", false);
        check("c01 v01 n11 f12 a13", false);
    }
}

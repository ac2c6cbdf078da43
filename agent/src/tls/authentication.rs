//! Whether a client holds the key of the certificate that it shows, as far as who only listens can
//! tell.
//!
//! In: the messages by which a client authenticates itself (RFC 8446 §4.4, RFC 5246 §7.4.6 to
//! §7.4.9), and that the server went on. Out: the certificate, once; or that there was none. The signature is the server's
//! to check: anyone can show anybody's certificate, but a server that does not take the signature
//! under it ends the connection.

use super::{
    certificate::Certificate,
    open::{Connection, Phase},
    output::{Output, Side},
    record::ContentType,
    secret::Stage,
};
use crate::{clock::Timestamp, flow::chunk::Direction};

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
    fn take_proved(&mut self) -> Option<Box<Certificate>> {
        let claim = self.claim.as_ref().filter(|claim| claim.verified)?;
        let finished = claim.finished?;
        let (answered, at) = self.answered?;
        let taken = answered == claim.handshake && at > finished;
        self.claim.take_if(|_| taken).map(|claim| claim.certificate)
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
        let proved = self.authentication.take_proved();
        let sender = Side::Client;
        let told = proved.map(|certificate| Output::Certificate { sender, certificate });
        self.outputs.extend(told);
    }
}

#[cfg(test)]
mod tests {
    use super::{Authentication, Certificate};
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
    fn a_proof_counts_for_its_own_handshake_only() {
        check("c11 v11 f12 a13", true);
        check("c11 v11 f12 a03", false);
        check("c11 v01 f12 a13", false);
        check("c11 v11 f02 a13", false);
        check("c01 v01 n11 f12 a13", false);
    }
}

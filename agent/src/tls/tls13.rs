//! The key schedule of one TLS 1.3 connection, as far as hits have shown it (RFC 8446 §7.1).

use super::{
    output::{SessionName, Side},
    schedule::{Transcript, derive_secret, master_secret},
    secret::{Digest, Index, Label, Random, Secret, Shown, Stage},
    suite::Suite,
};

/// What is known of a connection's secrets.
pub(super) struct Tls13 {
    pub suite: &'static Suite,
    pub transcript: Transcript,
    /// Whether the server takes the early data that is offered; unknown until it says so.
    pub early: Option<bool>,
    /// The session that is resumed, if one is.
    pub session: Option<SessionName>,
    client_random: Random,
    /// Hash of the ClientHello that early data is derived over.
    offered: Digest,
    /// Hash of ClientHello to ServerHello.
    greeted: Digest,
    /// Hash of ClientHello to the server's Finished.
    finished: Option<Digest>,
    handshake: Option<Secret>,
    master: Option<Secret>,
}

/// A secret that may be the right one, and what follows if it is.
pub(super) struct Candidate {
    pub secret: Secret,
    parent: Option<(Secret, Digest)>,
}

impl Tls13 {
    /// A schedule whose transcript reaches up to the ServerHello.
    pub fn new(
        suite: &'static Suite,
        transcript: Transcript,
        client_random: Random,
        offered: Digest,
    ) -> Self {
        Self {
            suite,
            greeted: transcript.digest(),
            transcript,
            early: None,
            session: None,
            client_random,
            offered,
            finished: None,
            handshake: None,
            master: None,
        }
    }

    /// Notes that the transcript ends with the server's Finished here.
    pub fn finish(&mut self) {
        self.finished = Some(self.transcript.digest());
    }

    /// The traffic secret of a side, if it follows from what is known.
    pub fn secret(&self, side: Side, stage: Stage) -> Option<Secret> {
        let (parent, transcript) = match stage {
            Stage::Handshake => (self.handshake.as_ref()?, &self.greeted),
            Stage::Application => (self.master.as_ref()?, self.finished.as_ref()?),
            Stage::Early | Stage::Master => return None,
        };
        derive_secret(self.suite.hash, parent, label(side, stage)?, transcript)
    }

    /// What a hit may be indexed by that shows a secret of this stage.
    pub fn indexes(&self, stage: Stage) -> Vec<Index> {
        let transcript = match stage {
            Stage::Early => Some(self.offered),
            Stage::Handshake => Some(self.greeted),
            Stage::Application => self.finished,
            Stage::Master => None,
        };
        let parent = self.master.as_ref().filter(|_| stage == Stage::Application);
        let parent = parent.map(|master| Index::Parent(master.fingerprint()));
        let random = Some(Index::ClientRandom(self.client_random));
        [transcript.map(Index::Transcript), parent, random].into_iter().flatten().collect()
    }

    /// The secret of a side that a hit leads to.
    pub fn candidate(&self, side: Side, stage: Stage, shown: &Shown) -> Option<Candidate> {
        let wanted = label(side, stage)?;
        match shown {
            Shown::Derivation { label, parent, transcript: Some(transcript) }
                if label.stage() == stage && *label != Label::TrafficUpdate =>
            {
                let secret = derive_secret(self.suite.hash, parent, wanted, transcript)?;
                Some(Candidate { secret, parent: Some((parent.clone(), *transcript)) })
            }
            Shown::Derivation { label: Label::TrafficUpdate, parent, .. }
                if stage == Stage::Application =>
            {
                Some(Candidate { secret: parent.clone(), parent: None })
            }
            Shown::Traffic { label, secret, .. } if *label == wanted => {
                Some(Candidate { secret: secret.clone(), parent: None })
            }
            Shown::Derivation { .. } | Shown::Traffic { .. } | Shown::Master { .. } => None,
        }
    }

    /// Takes over what a candidate shows, once a record has proved it.
    pub fn learn(&mut self, stage: Stage, candidate: Candidate) {
        let Some((parent, transcript)) = candidate.parent else { return };
        match stage {
            Stage::Handshake if transcript == self.greeted => {
                self.master = master_secret(self.suite.hash, &parent);
                self.handshake = Some(parent);
            }
            Stage::Application => {
                self.master = Some(parent);
                self.finished = Some(transcript);
            }
            Stage::Early | Stage::Handshake | Stage::Master => {}
        }
    }
}

const fn label(side: Side, stage: Stage) -> Option<Label> {
    match (side, stage) {
        (Side::Client, Stage::Early) => Some(Label::ClientEarly),
        (Side::Client, Stage::Handshake) => Some(Label::ClientHandshake),
        (Side::Server, Stage::Handshake) => Some(Label::ServerHandshake),
        (Side::Client, Stage::Application) => Some(Label::ClientApplication),
        (Side::Server, Stage::Application) => Some(Label::ServerApplication),
        (Side::Server, Stage::Early) | (_, Stage::Master) => None,
    }
}

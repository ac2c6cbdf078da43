//! Which secret opens which direction: what a [`Connection`] waits for, and the trial of what it is
//! offered. A secret counts only when a record that lies ready has proved it.

use super::{
    lane::{Keys, Mode},
    open::{Connection, Phase},
    pool::SecretPool,
    secret::{Index, Need, Origin, Secret, SecretHit, Shown, Stage},
    tls12::Handshake,
    tls13::Candidate,
};
use crate::flow::chunk::Direction;

/// Processes remembered as ends of a connection: two, and forks that share them.
pub const MAX_ORIGINS: usize = 8;

enum Proof {
    Tls13(Candidate),
    Tls12(Secret),
}

impl Connection {
    /// What is waited for, the server's direction first. Empty unless a record lies ready that
    /// will prove or disprove what is offered.
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        self.waiting().into_iter().flatten().filter_map(|direction| self.need(direction))
    }

    /// Tries one hit on every direction that waits; whether it opened one.
    pub fn offer(&mut self, hit: &SecretHit) -> bool {
        let mut opened = false;
        for direction in self.waiting().into_iter().flatten() {
            opened |= self.try_hit(direction, hit);
        }
        if opened {
            self.run();
        }
        opened
    }

    /// Tries what the pool has and was not tried before, as long as that opens anything.
    pub fn resolve(&mut self, pool: &SecretPool) {
        loop {
            let mut opened = false;
            for direction in self.waiting().into_iter().flatten() {
                opened |= self.resolve_one(direction, pool);
            }
            if !opened {
                return;
            }
            self.run();
        }
    }

    /// Looks for others who derived the secret that first opened this connection: the other end may
    /// show it later than the first did. Who shows anything else under its index is no end of it.
    pub fn attribute(&mut self, pool: &SecretPool) {
        let Some((need, proof)) = self.proof.take() else { return };
        for (_, hit) in pool.candidates(&need, 0) {
            if hit.shown.same_knowledge(&proof) {
                self.witness(hit.origin);
            }
        }
        self.proof = Some((need, proof));
    }

    /// What names the session of the first hellos: different for any two connections, the same
    /// wherever one of them is seen. None until both hellos were.
    #[must_use]
    pub fn session(&self) -> Option<Index> {
        let indexes = match &self.phase {
            Phase::Hello => return None,
            Phase::Tls13(tls) => tls.indexes(Stage::Handshake),
            Phase::Tls12(handshakes) => handshakes.first()?.indexes(),
        };
        indexes.first().copied()
    }

    /// Who derived the secrets that opened this connection: its ends, as far as they are on this
    /// host and covered. At most [`MAX_ORIGINS`].
    #[must_use]
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Keys that follow from what is known already.
    pub(super) fn derived(&self, direction: Direction, stage: Stage) -> Option<Keys> {
        let side = self.side(direction)?;
        match &self.phase {
            Phase::Hello => None,
            Phase::Tls13(tls) => Keys::of_traffic(tls.suite, stage, tls.secret(side, stage)?),
            Phase::Tls12(handshakes) => handshakes.get(self.half(direction).current?)?.keys(side),
        }
    }

    /// The directions in which something may be waited for, the server's first.
    fn waiting(&self) -> Option<[Direction; 2]> {
        self.client.map(|client| [client.reverse(), client])
    }

    fn need(&self, direction: Direction) -> Option<Need> {
        let half = self.half(direction);
        let Mode::Waiting(stage) = half.lane.mode else { return None };
        if !half.lane.sealed || self.failed.is_some() {
            return None;
        }
        let indexes: Vec<Index> = match &self.phase {
            Phase::Hello => return None,
            // Whether early data was taken at all must be known first.
            Phase::Tls13(tls) if stage == Stage::Early && tls.early.is_none() => return None,
            Phase::Tls13(tls) => tls.indexes(stage),
            Phase::Tls12(handshakes) => handshakes.get(half.current?)?.indexes(),
        };
        Some(Need { stage, indexes, trial: !half.lane.torn })
    }

    fn resolve_one(&mut self, direction: Direction, pool: &SecretPool) -> bool {
        let Some(need) = self.need(direction) else { return false };
        let after = std::mem::replace(&mut self.half_mut(direction).seen, pool.latest());
        let opened = pool.candidates(&need, after).any(|(_, hit)| self.try_hit(direction, hit));
        if opened {
            self.half_mut(direction).seen = 0;
            self.attribute(pool);
        }
        opened
    }

    fn try_hit(&mut self, direction: Direction, hit: &SecretHit) -> bool {
        let Some(need) = self.need(direction).filter(|need| need.stage == hit.shown.stage()) else {
            return false;
        };
        let Some((keys, proof)) = self.candidate(direction, need.stage, &hit.shown) else {
            return false;
        };
        if !self.lane(direction).proves(&keys) {
            return false;
        }
        let current = self.half(direction).current;
        match (&mut self.phase, proof) {
            (Phase::Tls13(tls), Proof::Tls13(candidate)) => tls.learn(need.stage, candidate),
            (Phase::Tls12(handshakes), Proof::Tls12(master)) => {
                if let Some(handshake) = current.and_then(|index| handshakes.get_mut(index)) {
                    handshake.master = Some(master);
                }
            }
            _ => return false,
        }
        self.lane(direction).set_mode(Mode::Open(Box::new(keys)));
        self.witness(hit.origin);
        self.proof.get_or_insert((need, hit.shown.clone()));
        true
    }

    fn candidate(
        &self,
        direction: Direction,
        stage: Stage,
        shown: &Shown,
    ) -> Option<(Keys, Proof)> {
        let side = self.side(direction)?;
        match &self.phase {
            Phase::Hello => None,
            Phase::Tls13(tls) => {
                let candidate = tls.candidate(side, stage, shown)?;
                let keys = Keys::of_traffic(tls.suite, stage, candidate.secret.clone())?;
                Some((keys, Proof::Tls13(candidate)))
            }
            Phase::Tls12(handshakes) => {
                let master = Handshake::candidate(shown)?;
                let handshake = handshakes.get(self.half(direction).current?)?;
                Some((handshake.keys_of(side, &master)?, Proof::Tls12(master)))
            }
        }
    }

    fn witness(&mut self, origin: Origin) {
        if self.origins.len() < MAX_ORIGINS && !self.origins.contains(&origin) {
            self.origins.push(origin);
        }
    }
}

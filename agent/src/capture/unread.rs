//! Bodies that nobody reads, of the call path. In: what need not be told. Out: what the kernel half
//! is asked to tell by its length only, once each.

use scopewatch_common::Way;

use crate::{
    capture::{SessionKey, Skip},
    flow::chunk::Direction,
};

/// Least of a body, in bytes, that the kernel half is asked not to copy: to ask costs what copying
/// some thousand bytes does, and of a shorter one most has passed by then.
pub const MIN_UNWANTED: u64 = 32 * 1024;

/// A part of what a session's calls move that the kernel half need not copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unread {
    /// Whose calls.
    pub session: SessionKey,
    /// Which way the bytes go.
    pub way: Way,
    /// Position of the first byte that is wanted again.
    pub until: u64,
}

/// What is to be asked.
#[derive(Debug, Default)]
pub struct Requests {
    pending: Vec<Unread>,
    /// A body is told of with each of its pieces, one after another.
    last: Option<Unread>,
}

impl Requests {
    /// Takes what need not be told.
    pub fn skip(&mut self, skip: Skip) {
        let Skip { session, direction, from, until } = skip;
        let way = match direction {
            Direction::Inbound => Way::In,
            Direction::Outbound => Way::Out,
        };
        let unread = Unread { session, way, until };
        if until.saturating_sub(from) >= MIN_UNWANTED && self.last != Some(unread) {
            self.last = Some(unread);
            self.pending.push(unread);
        }
    }

    /// What the kernel half need not copy, since the last call.
    pub fn take(&mut self) -> impl Iterator<Item = Unread> {
        self.pending.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_asked_about_once_and_a_short_rest_never() {
        let session = SessionKey { pid: 1, object: 2, generation: 3 };
        let skip = |from, until| Skip { session, direction: Direction::Outbound, from, until };
        let mut requests = Requests::default();
        let end = 100 + MIN_UNWANTED;
        for from in [100, 101, end - 1] {
            requests.skip(skip(from, end));
        }
        requests.skip(skip(end - 10, end + 10));
        let unread = Unread { session, way: Way::Out, until: end };
        assert_eq!(requests.take().collect::<Vec<_>>(), [unread]);
        requests.skip(skip(end + 1, end + 1 + MIN_UNWANTED));
        assert_eq!(requests.take().count(), 1);
    }
}

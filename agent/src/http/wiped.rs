//! Octets that may hold credentials. In: anything. Out: the same, and nothing of it in memory once
//! it is dropped.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize as _;

/// A vector that is wiped when it is dropped, like one in `zeroize::Zeroizing`, if it ever had room
/// for anything. To wipe none is not free: it stores nothing at an address where nothing is, for
/// which processors with masked stores take some hundred cycles.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// None yet, with room for `capacity` octets: a vector that need not grow leaves nothing behind.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Moves the octets to where there is room for `capacity` of them, at least as many as there are:
    /// what they leave is wiped, which a vector that grows or shrinks by itself would not do.
    pub fn move_to(&mut self, capacity: usize) {
        let mut other = Self::with_capacity(capacity);
        other.extend_from_slice(self);
        *self = other;
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        if self.0.capacity() > 0 {
            self.0.zeroize();
        }
    }
}

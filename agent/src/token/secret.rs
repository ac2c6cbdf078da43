//! The wrapper that token bytes live in.

use zeroize::{Zeroize, Zeroizing};

/// A value that only `token/` can read, and that is wiped when dropped. It has no `Debug`,
/// `Display`, `Serialize` or `Clone`, so that later stages cannot leak it even by mistake.
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes a value out of circulation.
    pub fn new(value: impl Into<Zeroizing<T>>) -> Self {
        Self(value.into())
    }

    /// The value.
    pub(in crate::token) fn expose(&self) -> &T {
        &self.0
    }
}

//! What a receiver's kernel has confirmed and its process may not have read. In: messages, as they are
//! confirmed. Out: the newest of them, up to a bound of bytes, for the connection after this one.

use std::collections::VecDeque;

/// The messages.
#[derive(Debug, Default)]
pub struct Window {
    messages: VecDeque<String>,
    bytes: usize,
    bound: usize,
}

impl Window {
    /// Keeps at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { bound, ..Self::default() }
    }

    /// Takes a message; the oldest make room for it.
    pub fn push(&mut self, message: String) {
        if message.len() > self.bound {
            // It stands for itself and all before it: what is kept has no holes.
            self.messages.clear();
            self.bytes = 0;
            return;
        }
        self.bytes += message.len();
        self.messages.push_back(message);
        while self.bytes > self.bound {
            let Some(oldest) = self.messages.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    /// The messages, the oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(String::as_str)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many there are, and their bytes.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, proptest};

    use super::*;

    proptest! {
        #[test]
        fn the_newest_are_kept_without_holes(
            sizes in vec(0..40_usize, 0..60),
            bound in 0..100_usize,
        ) {
            let text = |(nth, size): (usize, &usize)| format!("{nth:02}").repeat(*size);
            let all: Vec<String> = sizes.iter().enumerate().map(text).collect();
            let mut window = Window::new(bound);
            all.iter().for_each(|message| window.push(message.clone()));
            let kept: Vec<&str> = window.messages().collect();
            let bytes: usize = kept.iter().map(|message| message.len()).sum();
            assert!(bytes <= bound && window.size() == (kept.len(), bytes));
            let newest = all.len() - kept.len();
            assert_eq!(all[newest..], kept);
            // One more would have been too much.
            let next = newest.checked_sub(1).map(|at| all[at].len());
            assert!(next.is_none_or(|next| bytes + next > bound));
        }
    }
}

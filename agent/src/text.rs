//! Text from traffic. In: strings that a peer chose. Out: strings of bounded length, with a record
//! of what was cut, and strings that a terminal shows but never obeys.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::{self, Write},
};

/// The fields of one observation whose content was cut to its limit, and content codings that were
/// undone up to a limit only.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cuts {
    fields: BTreeSet<&'static str>,
    /// Contents that were too large once their coding was undone.
    pub contents_too_large: u64,
    /// Contents of which a byte made too many.
    pub content_bombs: u64,
}

impl Cuts {
    /// `value`, at most `max` bytes of it, cut between characters. A cut is recorded as `field`.
    pub fn text(&mut self, field: &'static str, value: &str, max: usize) -> String {
        let kept = value.get(..value.floor_char_boundary(max)).unwrap_or_default();
        if kept.len() < value.len() {
            self.fields.insert(field);
        }
        kept.to_owned()
    }

    /// At most `max` of `items`. A cut is recorded as `field`.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        items: impl IntoIterator<Item = T>,
        max: usize,
    ) -> Vec<T> {
        let mut items = items.into_iter();
        let kept = items.by_ref().take(max).collect();
        if items.next().is_some() {
            self.fields.insert(field);
        }
        kept
    }

    /// Records that `field` was cut elsewhere.
    pub fn record(&mut self, field: &'static str) {
        self.fields.insert(field);
    }

    /// Adds what was cut elsewhere.
    pub fn join(&mut self, other: &Self) {
        let Self { fields, contents_too_large, content_bombs } = other;
        self.fields.extend(fields);
        self.contents_too_large = self.contents_too_large.saturating_add(*contents_too_large);
        self.content_bombs = self.content_bombs.saturating_add(*content_bombs);
    }

    /// Names of the fields that were cut, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().copied()
    }
}

/// Whether a terminal or a viewer might act on `c` instead of showing it: C0 and C1 controls,
/// separators that some viewers break lines at, and marks that reorder or hide text (Unicode
/// UAX #9 §2, and the "Trojan Source" set).
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Shows `text` on one line: what [`is_hostile`] is escaped as `\u{…}`, and text that is empty or
/// holds spaces, quotes or backslashes is quoted, so that a value cannot pose as two.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let quoted = text.is_empty() || text.contains(|c: char| c.is_whitespace() || c == '"');
    if !quoted && !text.contains(|c| c == '\\' || is_hostile(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 2);
    // Writing to a String cannot fail.
    let _infallible = write_escaped(&mut shown, text, quoted);
    Cow::Owned(shown)
}

fn write_escaped(out: &mut String, text: &str, quoted: bool) -> fmt::Result {
    let quote = if quoted { "\"" } else { "" };
    out.write_str(quote)?;
    for c in text.chars() {
        match c {
            c if is_hostile(c) => write!(out, "{}", c.escape_unicode())?,
            '"' | '\\' => write!(out, "\\{c}")?,
            c => out.write_char(c)?,
        }
    }
    out.write_str(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters_and_says_so() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.text("whole", "äb", 3), "äb");
        assert_eq!(cuts.text("half", "aä", 2), "a");
        assert_eq!(cuts.list("few", [1, 2, 3], 2), [1, 2]);
        assert_eq!(cuts.list("all", [1, 2], 2), [1, 2]);
        assert_eq!(cuts.iter().collect::<Vec<_>>(), ["few", "half"]);
    }

    #[test]
    fn a_terminal_cannot_be_told_what_to_do() {
        for (text, shown) in [
            ("orders:read", "orders:read"),
            ("", "\"\""),
            ("alice 200", "\"alice 200\""),
            ("a\"b", "\"a\\\"b\""),
            ("a\\u{1b}", "a\\\\u{1b}"),
            ("\x1b[2Jx", "\\u{1b}[2Jx"),
            ("a\r\nb", "\"a\\u{d}\\u{a}b\""),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
            ("\u{7f}\u{200b}", "\\u{7f}\\u{200b}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}

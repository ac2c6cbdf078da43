//! The short way to the canonical form, for JSON as the agent writes it: no white space, and strings
//! and numbers that need no other form. Members need not be in order; what is, is copied whole.
//!
//! In: JSON that anybody may have written. Out: its canonical form, or nothing, where the long way
//! has to say what it is or why it is none.

use memchr::memchr2;

use super::{MAX_DEPTH, MAX_INTEGER};

/// Appends the canonical form of `json`, without the outermost member that `leave_out` names.
pub(super) fn append(json: &str, leave_out: &str, out: &mut Vec<u8>) -> Option<()> {
    let text = json.as_bytes();
    if has_control(text) {
        return None;
    }
    let mut reader = Reader { text, at: 0, members: Vec::new() };
    reader.write_value(out, Some(leave_out.as_bytes()), 0)?;
    (reader.at == text.len()).then_some(())
}

/// Whether `json` is an object in canonical form that has no outermost member of that name.
pub(super) fn is_canonical_without(json: &str, name: &str) -> bool {
    let text = json.as_bytes();
    let mut reader = Reader { text, at: 0, members: Vec::new() };
    !has_control(text)
        && reader.peek() == Some(b'{')
        && reader.pass_object(Some(name.as_bytes()), 0) == Some(true)
        && reader.at == text.len()
}

/// All bytes are looked at, as a loop without exits looks at many at once.
fn has_control(text: &[u8]) -> bool {
    text.iter().fold(false, |control, byte| control | (*byte < b' '))
}

/// Whether a name of ASCII stands before another. Most differ at once.
pub(super) fn precedes(name: &[u8], other: &[u8]) -> bool {
    match (name, other) {
        ([a, ..], [b, ..]) if a != b => a < b,
        _ => name < other,
    }
}

/// A member of an object, by where it stands.
#[derive(Clone, Copy)]
struct Member {
    name: (usize, usize),
    value: usize,
    end: usize,
    /// Whether its value is canonical as it stands.
    is_canonical: bool,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Members of the objects that are being written, the outermost first.
    members: Vec<Member>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.takes(byte).then_some(())
    }

    /// Passes over a value; whether it is canonical as it stands, and not but for the order of
    /// members.
    fn pass(&mut self, depth: usize) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => self.pass_object(None, depth),
            b'[' => self.pass_array(depth),
            b'"' => self.string().map(|_| true),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    /// One with a member that is `unwanted` is not canonical.
    fn pass_object(&mut self, unwanted: Option<&[u8]>, depth: usize) -> Option<bool> {
        self.expect(b'{')?;
        let mut is_canonical = true;
        let mut before: Option<&[u8]> = None;
        if self.takes(b'}') {
            return Some(true);
        }
        loop {
            let name = self.name()?;
            is_canonical &= before.is_none_or(|before| precedes(before, name));
            is_canonical &= unwanted != Some(name);
            before = Some(name);
            is_canonical &= self.pass(depth + 1)?;
            if self.takes(b'}') {
                return Some(is_canonical);
            }
            self.expect(b',')?;
        }
    }

    fn pass_array(&mut self, depth: usize) -> Option<bool> {
        self.expect(b'[')?;
        if self.takes(b']') {
            return Some(true);
        }
        let mut is_canonical = true;
        loop {
            is_canonical &= self.pass(depth + 1)?;
            if self.takes(b']') {
                return Some(is_canonical);
            }
            self.expect(b',')?;
        }
    }

    /// A name and the colon behind it. Of ASCII: its order is that of its UTF-16 units.
    fn name(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.expect(b'"')?;
        let rest = self.text.get(self.at..)?;
        // As all names of events are; what is none, another way of reading finds out.
        let len = rest.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'_' | b'0'..=b'9'))?;
        let name = if rest.get(len) == Some(&b'"') {
            self.at += len + 1;
            rest.get(..len)?
        } else {
            self.at = start;
            self.string().filter(|name| name.is_ascii())?
        };
        self.expect(b':')?;
        Some(name)
    }

    /// A string without escapes; there are no control characters.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.text.get(self.at..)?;
        let len = memchr2(b'"', b'\\', rest)?;
        self.at += len;
        self.expect(b'"')?;
        rest.get(..len)
    }

    fn word(&mut self, word: &[u8]) -> Option<bool> {
        self.text.get(self.at..)?.starts_with(word).then_some(())?;
        self.at += word.len();
        Some(true)
    }

    /// A whole number that every reader takes for what it is.
    fn number(&mut self) -> Option<bool> {
        let is_negative = self.takes(b'-');
        let start = self.at;
        let mut value = 0_u64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        let is_tidy = match self.text.get(start..self.at)? {
            [] => false,
            [b'0'] => !is_negative,
            [first, ..] => *first != b'0',
        };
        let is_more = matches!(self.peek(), Some(b'.' | b'e' | b'E' | b'+' | b'-'));
        (is_tidy && !is_more && value <= MAX_INTEGER).then_some(true)
    }

    fn write_value(
        &mut self,
        out: &mut Vec<u8>,
        leave_out: Option<&[u8]>,
        depth: usize,
    ) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'{' => self.write_object(out, leave_out, depth),
            b'[' => self.write_array(out, depth),
            _ => self.copy(out, depth).map(drop),
        }
    }

    /// Copies a value, if it is canonical as it stands; else goes back to its start.
    fn copy(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<bool> {
        let start = self.at;
        let is_canonical = self.pass(depth)?;
        if is_canonical {
            out.extend_from_slice(self.text.get(start..self.at)?);
        } else {
            self.at = start;
        }
        Some(is_canonical)
    }

    fn write_array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if self.copy(out, depth)? {
            return Some(());
        }
        self.expect(b'[')?;
        out.push(b'[');
        loop {
            self.write_value(out, None, depth + 1)?;
            if self.takes(b']') {
                out.push(b']');
                return Some(());
            }
            self.expect(b',')?;
            out.push(b',');
        }
    }

    fn write_object(
        &mut self,
        out: &mut Vec<u8>,
        leave_out: Option<&[u8]>,
        depth: usize,
    ) -> Option<()> {
        let base = self.members.len();
        self.list(leave_out, depth)?;
        let end = self.at;
        let text = self.text;
        let name_of = |member: &Member| text.get(member.name.0..member.name.1).unwrap_or_default();
        let own = self.members.get_mut(base..)?;
        own.sort_unstable_by(|one, other| name_of(one).cmp(name_of(other)));
        if own.windows(2).any(|pair| matches!(pair, [a, b] if name_of(a) == name_of(b))) {
            return None;
        }
        out.push(b'{');
        for nth in base..self.members.len() {
            let Member { name, value, end, is_canonical } = *self.members.get(nth)?;
            if nth > base {
                out.push(b',');
            }
            // With the quotation marks, and the colon.
            let from = name.0.checked_sub(1)?;
            if is_canonical {
                out.extend_from_slice(text.get(from..end)?);
            } else {
                out.extend_from_slice(text.get(from..value)?);
                self.at = value;
                self.write_value(out, None, depth + 1)?;
            }
        }
        out.push(b'}');
        self.members.truncate(base);
        self.at = end;
        Some(())
    }

    /// Lists the members of an object but that which `leave_out` names.
    fn list(&mut self, leave_out: Option<&[u8]>, depth: usize) -> Option<()> {
        self.expect(b'{')?;
        if self.takes(b'}') {
            return Some(());
        }
        loop {
            let start = self.at + 1;
            let name = self.name()?;
            let value = self.at;
            let is_canonical = self.pass(depth + 1)?;
            if leave_out != Some(name) {
                let name = (start, start + name.len());
                self.members.push(Member { name, value, end: self.at, is_canonical });
            } else if !is_canonical {
                // It may have no canonical form, and will not be looked at again.
                return None;
            }
            if self.takes(b'}') {
                return Some(());
            }
            self.expect(b',')?;
        }
    }
}

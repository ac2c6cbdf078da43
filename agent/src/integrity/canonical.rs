//! JSON in its canonical form (RFC 8785, JCS): members sorted, no white space, one way to write
//! each string and number. In: JSON that anybody may have written. Out: bytes that are the same
//! for the same value, or why there are none.

mod tidy;

use std::{borrow::Cow, fmt::Write as _};

use serde_json::Value;

/// Deepest nesting that is read: events have four levels.
pub const MAX_DEPTH: usize = 64;

/// Largest integer that every reader of JSON takes for what it is (RFC 7493 §2.2).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why JSON has no canonical form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotCanonical {
    /// It is no JSON (RFC 8259).
    #[error("it is no JSON")]
    Syntax,
    /// Two members of an object have one name (RFC 7493 §2.3).
    #[error("a name stands twice in one object")]
    Duplicate,
    /// It is nested deeper than [`MAX_DEPTH`].
    #[error("it is nested too deeply")]
    Depth,
    /// A number is written in another way than the canonical one, so that digits that do not count
    /// could be changed unseen.
    #[error("a number is not in canonical form")]
    Number,
}

/// Appends the canonical form of `json` to `out`, without the members of the outermost object that
/// `leave_out` names.
///
/// # Errors
/// There is none; what was appended then means nothing.
pub fn append(json: &str, leave_out: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let start = out.len();
    if tidy::append(json, leave_out, out).is_some() {
        return Ok(());
    }
    out.truncate(start);
    append_any(json, leave_out, out)
}

/// Whether `json` is an object in its canonical form, and has no outermost member of that name. Of
/// one that is not found to be, [`append`] still makes the form.
#[must_use]
pub fn is_canonical_without(json: &str, name: &str) -> bool {
    tidy::is_canonical_without(json, name)
}

/// Whether a member of that name stands before another in canonical form. Both are of ASCII, whose order
/// is that of UTF-16 units.
#[must_use]
pub fn precedes(name: &str, other: &str) -> bool {
    tidy::precedes(name.as_bytes(), other.as_bytes())
}

/// The long way, which any JSON may go.
fn append_any(json: &str, leave_out: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let mut reader = Reader { text: json, at: 0 };
    reader.white_space();
    reader.value(out, Some(leave_out), 0)?;
    reader.white_space();
    if reader.at == json.len() { Ok(()) } else { Err(NotCanonical::Syntax) }
}

/// `json` with integers beyond [`MAX_INTEGER`] cut to it, and other numbers that are not canonical as
/// text; `None` if it is no JSON. What traffic made a number of must not cost the event.
#[must_use]
pub fn with_plain_numbers(json: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(json).ok()?;
    plain_numbers(&mut value);
    Some(value.to_string())
}

fn plain_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let most = i64::try_from(MAX_INTEGER).unwrap_or(i64::MAX);
            *value = match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => number.min(MAX_INTEGER).into(),
                (None, Some(number)) => number.max(most.saturating_neg()).into(),
                (None, None) => number.to_string().into(),
            };
        }
        Value::Array(values) => values.iter_mut().for_each(plain_numbers),
        Value::Object(members) => members.values_mut().for_each(plain_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// A member of an object: its name, and where in the output it stands.
struct Member<'a> {
    name: Cow<'a, str>,
    start: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotCanonical> {
        if self.takes(byte) { Ok(()) } else { Err(NotCanonical::Syntax) }
    }

    fn value(
        &mut self,
        out: &mut Vec<u8>,
        leave_out: Option<&str>,
        depth: usize,
    ) -> Result<(), NotCanonical> {
        if depth > MAX_DEPTH {
            return Err(NotCanonical::Depth);
        }
        match self.peek().ok_or(NotCanonical::Syntax)? {
            b'{' => self.object(out, leave_out, depth),
            b'[' => self.array(out, depth),
            b'"' => {
                let string = self.string()?;
                write_string(&string, out);
                Ok(())
            }
            b't' => self.word("true", out),
            b'f' => self.word("false", out),
            b'n' => self.word("null", out),
            _ => self.number(out),
        }
    }

    fn word(&mut self, word: &str, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(NotCanonical::Syntax);
        }
        self.at += word.len();
        out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), NotCanonical> {
        self.expect(b'[')?;
        out.push(b'[');
        self.white_space();
        if !self.takes(b']') {
            loop {
                self.white_space();
                self.value(out, None, depth + 1)?;
                self.white_space();
                if self.takes(b']') {
                    break;
                }
                self.expect(b',')?;
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    fn object(
        &mut self,
        out: &mut Vec<u8>,
        leave_out: Option<&str>,
        depth: usize,
    ) -> Result<(), NotCanonical> {
        self.expect(b'{')?;
        let start = out.len();
        let mut members: Vec<Member<'a>> = Vec::new();
        self.white_space();
        if !self.takes(b'}') {
            loop {
                self.white_space();
                let at = out.len();
                let name = self.string()?;
                write_string(&name, out);
                self.white_space();
                self.expect(b':')?;
                out.push(b':');
                self.white_space();
                self.value(out, None, depth + 1)?;
                if leave_out == Some(&*name) {
                    out.truncate(at);
                } else {
                    members.push(Member { name, start: at, end: out.len() });
                }
                self.white_space();
                if self.takes(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        sort(members, start, out)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, NotCanonical> {
        self.expect(b'"')?;
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        let plain = plain.ok_or(NotCanonical::Syntax)?;
        self.at += plain;
        let text = self.text.get(start..self.at).ok_or(NotCanonical::Syntax)?;
        if self.takes(b'"') {
            return Ok(Cow::Borrowed(text));
        }
        let mut text = text.to_owned();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            match rest.chars().next().ok_or(NotCanonical::Syntax)? {
                '"' => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                '\\' => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                ..='\u{1f}' => return Err(NotCanonical::Syntax),
                c => {
                    self.at += c.len_utf8();
                    text.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, NotCanonical> {
        let escaped = self.peek().ok_or(NotCanonical::Syntax)?;
        self.at += 1;
        Ok(match escaped {
            b'"' | b'\\' | b'/' => char::from(escaped),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let second = match first {
                    0xd800..=0xdbff => {
                        self.expect(b'\\')?;
                        self.expect(b'u')?;
                        Some(self.unit()?)
                    }
                    _ => None,
                };
                let mut decoded = char::decode_utf16([first].into_iter().chain(second));
                let c = decoded.next().and_then(Result::ok).ok_or(NotCanonical::Syntax)?;
                if decoded.next().is_some() {
                    return Err(NotCanonical::Syntax);
                }
                c
            }
            _ => return Err(NotCanonical::Syntax),
        })
    }

    fn unit(&mut self) -> Result<u16, NotCanonical> {
        let end = self.at.saturating_add(4);
        let digits = self.text.get(self.at..end).ok_or(NotCanonical::Syntax)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotCanonical::Syntax);
        }
        self.at = end;
        u16::from_str_radix(digits, 16).map_err(|_| NotCanonical::Syntax)
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        let end = self.at.saturating_add(length);
        let text = self.text.get(self.at..end).ok_or(NotCanonical::Syntax)?;
        self.at = end;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let first_of = |text: &str| text.bytes().next();
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let small = whole && digits.parse().is_ok_and(|value: u64| value <= MAX_INTEGER);
        let tidy = digits == "0" || first_of(digits) != Some(b'0');
        if small && tidy && text != "-0" && !digits.is_empty() {
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let value: f64 = text.parse().map_err(|_| NotCanonical::Syntax)?;
        let canonical = number(value).ok_or(NotCanonical::Syntax)?;
        if canonical != text {
            return Err(NotCanonical::Number);
        }
        out.extend_from_slice(canonical.as_bytes());
        Ok(())
    }
}

/// Puts the members that stand in `out` from `start` on in the order of their names' UTF-16 units
/// (RFC 8785 §3.2.3), with what belongs between them.
fn sort(mut members: Vec<Member<'_>>, start: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let by_units = |one: &Member<'_>, other: &Member<'_>| {
        if one.name.is_ascii() && other.name.is_ascii() {
            one.name.cmp(&other.name)
        } else {
            one.name.encode_utf16().cmp(other.name.encode_utf16())
        }
    };
    members.sort_by(by_units);
    if members.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name)) {
        return Err(NotCanonical::Duplicate);
    }
    let unsorted = out.split_off(start);
    out.push(b'{');
    for (nth, Member { start: from, end, .. }) in members.iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        let member = unsorted.get(from.saturating_sub(start)..end.saturating_sub(start));
        out.extend_from_slice(member.unwrap_or_default());
    }
    out.push(b'}');
    Ok(())
}

/// A string as ECMAScript's `JSON.stringify` writes it (RFC 8785 §3.2.2.2).
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.extend_from_slice(plain.as_bytes());
        let (byte, after) = special.split_at_checked(1).unwrap_or(("", ""));
        match byte {
            "\"" => out.extend_from_slice(b"\\\""),
            "\\" => out.extend_from_slice(b"\\\\"),
            "\u{8}" => out.extend_from_slice(b"\\b"),
            "\u{c}" => out.extend_from_slice(b"\\f"),
            "\n" => out.extend_from_slice(b"\\n"),
            "\r" => out.extend_from_slice(b"\\r"),
            "\t" => out.extend_from_slice(b"\\t"),
            other => {
                let code = other.bytes().next().unwrap_or_default();
                out.extend_from_slice(format!("\\u{code:04x}").as_bytes());
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// A number as ECMAScript writes it (ECMA-262 §6.1.6.1.20); `None` for what JSON cannot say.
fn number(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    if value == 0.0 {
        return Some("0".to_owned());
    }
    // Rust's shortest digits are ECMAScript's; only where the point stands differs.
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e')?;
    let digits = mantissa.replace('.', "");
    let point = exponent.parse::<i32>().ok()? + 1;
    let count = i32::try_from(digits.len()).ok()?;
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    match point {
        _ if count <= point && point <= 21 => {
            text.push_str(&digits);
            text.push_str(&zeros(point - count));
        }
        1..=21 => {
            let (whole, part) = digits.split_at_checked(usize::try_from(point).ok()?)?;
            let _infallible = write!(text, "{whole}.{part}");
        }
        -5..=0 => {
            let _infallible = write!(text, "0.{}{digits}", zeros(-point));
        }
        _ => {
            let (first, part) = digits.split_at_checked(1)?;
            let dot = if part.is_empty() { "" } else { "." };
            let sign = if point > 0 { "+" } else { "" };
            let _infallible = write!(text, "{first}{dot}{part}e{sign}{}", point - 1);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests;

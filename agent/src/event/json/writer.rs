//! JSON in canonical form (RFC 8785), written so in one pass. In: whatever serde describes. Out: its
//! JSON, and whether that is the canonical form: members in order, plain strings, whole numbers that
//! every reader takes for what they are. Where it is not, it is JSON that means the same. What is
//! JSON already is taken for canonical: of the parts of events, only `event/shared.rs` makes such.
//!
//! Characters that a terminal might act on are escaped, beyond what JSON asks for: people do look at
//! logs with `cat`. That, too, is then not the canonical form.

use std::{
    fmt::{Display, Write as _},
    mem,
};

use serde::ser::{self, Error as _, Serialize};
use serde_json::{Error, Result};

use crate::{
    integrity::canonical::{MAX_INTEGER, precedes},
    text::is_hostile,
};

/// What serde_json calls a value that is JSON already ([`serde_json::value::RawValue`]), as other
/// formats know it, too. A test of `event/shared.rs` notices if that ever changes.
const RAW: &str = "$serde_json::private::RawValue";

/// Writes one value.
pub(super) struct Writer<'o> {
    out: &'o mut String,
    is_canonical: bool,
    /// The next string is JSON.
    is_raw: bool,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    pub(super) const fn new(out: &'o mut String) -> Self {
        Self { out, is_canonical: true, is_raw: false }
    }

    /// Whether what was written is in canonical form.
    pub(super) const fn is_canonical(&self) -> bool {
        self.is_canonical
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        if is_plain(text.as_bytes()) {
            self.out.push_str(text);
        } else {
            self.escape(text);
        }
        self.out.push('"');
    }

    fn escape(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\t' => self.out.push_str("\\t"),
                '\n' => self.out.push_str("\\n"),
                '\u{c}' => self.out.push_str("\\f"),
                '\r' => self.out.push_str("\\r"),
                ..' ' => self.code(c),
                _ if is_hostile(c) => {
                    self.is_canonical = false;
                    self.code(c);
                }
                _ => self.out.push(c),
            }
        }
    }

    /// A character by its UTF-16 units.
    fn code(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _infallible = write!(self.out, "\\u{unit:04x}");
        }
    }

    fn integer(&mut self, value: impl itoa::Integer, magnitude: u64) {
        self.is_canonical &= magnitude <= MAX_INTEGER;
        self.out.push_str(itoa::Buffer::new().format(value));
    }

    fn float(&mut self, value: impl Serialize) -> Result<()> {
        self.is_canonical = false;
        self.out.push_str(&serde_json::to_string(&value)?);
        Ok(())
    }

    /// `{"variant":` of a value that goes on with `opening`.
    fn variant(&mut self, variant: &str, opening: &str) {
        self.out.push('{');
        self.string(variant);
        self.out.push(':');
        self.out.push_str(opening);
    }

    const fn parts(&mut self, ending: &'static str) -> Parts<'_, 'o> {
        Parts { writer: self, count: 0, previous: "", ending }
    }
}

/// Whether text stands for itself in JSON and on a terminal: printable ASCII without `"` and `\`.
/// Eight bytes are looked at together; a byte's highest bit tells.
pub(super) fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHEST: u64 = ONES * 0x80;
    let is_odd = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
        let delete = word.wrapping_add(ONES);
        (control | quote | backslash | delete | word) & HIGHEST != 0
    };
    let (words, rest) = text.as_chunks::<8>();
    let last = match (rest, text.last_chunk::<8>()) {
        ([], _) => false,
        (_, Some(last)) => is_odd(u64::from_le_bytes(*last)),
        (short, None) => {
            short.iter().any(|byte| !matches!(byte, b' '..=b'~' if !b"\"\\".contains(byte)))
        }
    };
    !last && !words.iter().any(|word| is_odd(u64::from_le_bytes(*word)))
}

impl<'w, 'o> ser::Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'w, 'o>;
    type SerializeTuple = Parts<'w, 'o>;
    type SerializeTupleStruct = Parts<'w, 'o>;
    type SerializeTupleVariant = Parts<'w, 'o>;
    type SerializeMap = Parts<'w, 'o>;
    type SerializeStruct = Parts<'w, 'o>;
    type SerializeStructVariant = Parts<'w, 'o>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.out.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<()> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<()> {
        self.integer(value, value.unsigned_abs());
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<()> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<()> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<()> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        self.integer(value, value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.float(value)
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.float(value)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.string(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        if mem::take(&mut self.is_raw) {
            self.out.push_str(value);
        } else {
            self.string(value);
        }
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.out.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.variant(variant, "");
        value.serialize(&mut *self)?;
        self.out.push('}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'w, 'o>> {
        self.out.push('[');
        Ok(self.parts("]"))
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'w, 'o>> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Parts<'w, 'o>> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'o>> {
        self.variant(variant, "[");
        Ok(self.parts("]}"))
    }

    /// Of names that are made at run time the order is not looked at.
    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'w, 'o>> {
        self.is_canonical = false;
        self.out.push('{');
        Ok(self.parts("}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'w, 'o>> {
        self.is_raw = name == RAW;
        if self.is_raw {
            return Ok(self.parts(""));
        }
        self.out.push('{');
        Ok(self.parts("}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'o>> {
        self.variant(variant, "{");
        Ok(self.parts("}}"))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<()> {
        self.out.push('"');
        let start = self.out.len();
        // Writing to a String fails only where the value cannot say what it is.
        write!(self.out, "{value}").map_err(Error::custom)?;
        if !self.out.get(start..).is_some_and(|text| is_plain(text.as_bytes())) {
            let text = self.out.split_off(start);
            self.escape(&text);
        }
        self.out.push('"');
        Ok(())
    }
}

/// What has parts, while it is written.
pub(super) struct Parts<'w, 'o> {
    writer: &'w mut Writer<'o>,
    count: usize,
    /// Name of the member before.
    previous: &'static str,
    ending: &'static str,
}

impl Parts<'_, '_> {
    fn separate(&mut self) {
        if self.count > 0 {
            self.writer.out.push(',');
        }
        self.count += 1;
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.separate();
        value.serialize(&mut *self.writer)
    }

    /// A member; that of raw JSON has no name.
    fn member<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
        if !self.writer.is_raw {
            let follows = self.count == 0 || precedes(self.previous, name);
            self.writer.is_canonical &= follows && name.is_ascii();
            self.separate();
            self.previous = name;
            self.writer.string(name);
            self.writer.out.push(':');
        }
        value.serialize(&mut *self.writer)
    }

    fn finish(self) -> Result<()> {
        self.writer.out.push_str(self.ending);
        Ok(())
    }
}

/// Implements a trait of serde's for [`Parts`], whose parts come one by one.
macro_rules! sequence {
    ($Trait:ident, $part:ident) => {
        impl ser::$Trait for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.element(value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    };
}

/// The same for parts that have names.
macro_rules! members {
    ($Trait:ident) => {
        impl ser::$Trait for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<()> {
                self.member(name, value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    };
}

sequence!(SerializeSeq, serialize_element);
sequence!(SerializeTuple, serialize_element);
sequence!(SerializeTupleStruct, serialize_field);
sequence!(SerializeTupleVariant, serialize_field);
members!(SerializeStruct);
members!(SerializeStructVariant);

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.separate();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        // Names are strings; numbers, which serde_json makes strings of, are in no event.
        if self.writer.out.as_bytes().get(start) == Some(&b'"') {
            Ok(())
        } else {
            Err(Error::custom("a name is no string"))
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.writer.out.push(':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}

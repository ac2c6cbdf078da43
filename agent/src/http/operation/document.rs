//! JSON documents of which a few values are read, and the rest is passed over.
//!
//! In: JSON, perhaps cut off. Out: what a [`Visit`] takes of it, up to where it can be read.
//! Nothing that is passed over is stored. Nesting is limited by `serde_json` (128 levels).

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use zeroize::Zeroizing;

use super::{Found, Text};

/// Members that are read, of whichever object they are.
const MEMBERS: [&str; 5] = ["method", "name", "operationName", "params", "query"];

/// Reads an object.
pub(super) trait Visit {
    /// Takes the value of `key`, one of [`MEMBERS`].
    ///
    /// # Errors
    /// What the value's reader reports.
    fn member<'de, M: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut M,
        found: &mut Found,
    ) -> Result<(), M::Error>;

    /// The object has ended, or cannot be read any further.
    fn end(self, found: &mut Found);
}

/// Reads a document that is one object, or a list of them, each by a new `V`.
pub(super) fn read<V: Visit + Default>(document: &[u8], found: &mut Found) {
    let mut json = serde_json::Deserializer::from_slice(document);
    let is_read = Objects::<V> { found, is_list: false, kind: Default::default() }
        .deserialize(&mut json)
        .and_then(|()| json.end());
    found.is_unsure |= is_read.is_err();
}

/// One object, or at the outermost level a list of them.
struct Objects<'a, V> {
    found: &'a mut Found,
    is_list: bool,
    kind: std::marker::PhantomData<V>,
}

impl<'de, V: Visit + Default> DeserializeSeed<'de> for Objects<'_, V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, V: Visit + Default> Visitor<'de> for Objects<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of objects")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        members(V::default(), map, self.found)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        if self.is_list {
            return Err(S::Error::custom("a list in a list"));
        }
        let mut next = || {
            list.next_element_seed(Objects::<V> { found: &mut *self.found, is_list: true, ..self })
        };
        while next()?.is_some() {}
        Ok(())
    }
}

/// Reads the members of an object by `visit`.
pub(super) fn members<'de, M: MapAccess<'de>>(
    mut visit: impl Visit,
    mut map: M,
    found: &mut Found,
) -> Result<(), M::Error> {
    let mut next = || -> Result<bool, M::Error> {
        let Some(key) = map.next_key::<Key>()? else { return Ok(false) };
        match MEMBERS.iter().find(|known| known.eq_ignore_ascii_case(&key.0)) {
            Some(known) => {
                // Only for recipients that compare keys without case it is the member.
                found.is_unsure |= **known != **key.0;
                visit.member(known, &mut map, found)?;
            }
            None => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(true)
    };
    let read = loop {
        match next() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    visit.end(found);
    read
}

/// A key, wiped.
struct Key(Text);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        String::deserialize(json).map(|key| Self(Zeroizing::new(key)))
    }
}

/// Sets `slot` to the map's next value if that is text. A second one may be the one that a
/// recipient takes.
pub(super) fn take_text<'de, M: MapAccess<'de>>(
    slot: &mut Option<Text>,
    map: &mut M,
    found: &mut Found,
) -> Result<(), M::Error> {
    match map.next_value::<Value>()? {
        Value(Some(text)) if slot.is_none() => *slot = Some(text),
        Value(_) => found.is_unsure = true,
    }
    Ok(())
}

/// As [`take_text`], where `null` is as good as nothing.
pub(super) fn take_text_or_null<'de, M: MapAccess<'de>>(
    slot: &mut Option<Text>,
    map: &mut M,
    found: &mut Found,
) -> Result<(), M::Error> {
    match map.next_value::<Option<Value>>()? {
        None => {}
        Some(Value(Some(text))) if slot.is_none() => *slot = Some(text),
        Some(Value(_)) => found.is_unsure = true,
    }
    Ok(())
}

/// A value: its text, if it is text.
struct Value(Option<Text>);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value(Some(Zeroizing::new(text.to_owned()))))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value(None))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value(None))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value(None))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value(None))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value(None))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Value, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value(None))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Value, S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value(None))
    }
}

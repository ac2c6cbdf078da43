//! Groups of fields that many events have in common: the host, the agent, processes. Each is held
//! once and encoded once, so that an event costs what it tells anew.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::json;

/// A value that is cheap to clone and cheap to write as JSON.
pub struct Shared<T> {
    value: Arc<T>,
    /// The value's JSON; `None` if it has none in canonical form, so that writing it tells why.
    json: Option<Arc<RawValue>>,
}

impl<T: Serialize> Shared<T> {
    /// Encodes a value.
    #[must_use]
    pub fn new(value: T) -> Self {
        let mut text = String::new();
        let is_canonical = json::append(&value, &mut text).is_ok_and(|canonical| canonical);
        let json = is_canonical.then(|| RawValue::from_string(text).ok()).flatten();
        Self { value: Arc::new(value), json: json.map(Arc::from) }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), json: self.json.clone() }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.json {
            Some(json) => json.serialize(serializer),
            None => self.value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de> + Serialize> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_its_value_does() {
        let value = vec!["a\"b".to_owned(), "\u{1b}".to_owned()];
        let shared = Shared::new(value.clone());
        let json = serde_json::to_string(std::slice::from_ref(&shared)).unwrap();
        assert_eq!(json, serde_json::to_string(&[value]).unwrap());
        assert_eq!(serde_json::from_str::<[Shared<Vec<String>>; 1]>(&json).unwrap(), [shared]);
    }
}

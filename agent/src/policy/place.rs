//! Where in a file something was written, and values that carry it along. In: YAML nodes. Out:
//! [`At`], so that whatever is refused or decides can be pointed at.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A place in a text: line and column, both from 1; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Self { line: number(location.line()), column: number(location.column()) }
    }
}

/// A value, and where it was written.
#[derive(Clone, Debug, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> At<T> {
    /// A value that nobody wrote.
    pub const fn nowhere(value: T) -> Self {
        Self { value, place: Place { line: 0, column: 0 } }
    }
}

/// Two policies that say the same are equal, however they are laid out.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(source)?;
        Ok(Self { value: spanned.value, place: spanned.referenced.into() })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A length of time, written as a whole number and a unit: `60s`, `10m`, `24h`, `30d`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seconds(pub u64);

/// What a length of time must look like.
const LENGTH: &str = "a number and one of s, m, h, d, such as 60s";

impl Seconds {
    fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let scale = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        let digits = text.strip_suffix(unit)?;
        let number: u64 =
            digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits)?.parse().ok()?;
        number.checked_mul(scale).map(Self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(source)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!("`{text}` is no length of time: {LENGTH}"))
        })
    }
}

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+[smhd]$" })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        let check = |text, expected: Option<u64>| {
            assert_eq!(Seconds::parse(text).map(|found| found.0), expected, "{text}");
        };
        check("60s", Some(60));
        check("10m", Some(600));
        check("24h", Some(86_400));
        check("2d", Some(172_800));
        check("60", None);
        check("s", None);
        check("-1s", None);
        check("+1s", None);
        check("", None);
        check("1.5h", None);
        check("213503982334602d", None);
        check("ß", None);
    }

    #[test]
    fn values_know_where_they_were_written() {
        #[derive(Deserialize)]
        struct Outer {
            inner: Vec<At<String>>,
        }
        let found: Outer = serde_saphyr::from_str("# c\ninner:\n  - a\n  - b\n").unwrap();
        let places: Vec<_> = found.inner.iter().map(|at| at.place.to_string()).collect();
        assert_eq!(places, ["3:5", "4:5"]);
    }
}

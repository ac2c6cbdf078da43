//! Parameters in the form `application/x-www-form-urlencoded`. In: a query, a fragment or a body.
//! Out: names and values, decoded. Values may be credentials: decoded copies are wiped.

use std::borrow::Cow;

use zeroize::Zeroizing;

/// Most parameters that are looked at: servers in common use take 1000 at most.
pub(in crate::token) const MAX_PARAMETERS: usize = 1024;

/// A value as sent, or decoded.
pub(in crate::token) enum Value<'a> {
    Sent(&'a [u8]),
    Decoded(Zeroizing<Vec<u8>>),
}

impl Value<'_> {
    /// A copy that outlives what it was sent in.
    pub(in crate::token) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Sent(bytes) => Value::Decoded(Zeroizing::new(bytes.to_vec())),
            Self::Decoded(bytes) => Value::Decoded(bytes),
        }
    }

    pub(in crate::token) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sent(bytes) => bytes,
            Self::Decoded(bytes) => bytes,
        }
    }
}

/// The parameters of `text`, in order; the name decoded, the value as sent.
pub(in crate::token) fn parameters(text: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, &[u8])> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs.take(MAX_PARAMETERS).map(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(equals).unwrap_or((pair, &[]));
        let name = match decoded(name) {
            Value::Sent(name) => Cow::Borrowed(name),
            Value::Decoded(name) => Cow::Owned(name.to_vec()),
        };
        (name, value.get(1..).unwrap_or_default())
    })
}

/// Undoes percent-encoding and `+` for a space; what is no valid encoding stays as it is.
pub(in crate::token) fn decoded(sent: &[u8]) -> Value<'_> {
    if memchr::memchr2(b'%', b'+', sent).is_none() {
        return Value::Sent(sent);
    }
    let mut decoded = Zeroizing::new(Vec::with_capacity(sent.len()));
    let mut rest = sent;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.split_first_chunk::<2>().filter(|_| first == b'%');
        let byte =
            escaped.and_then(|([high, low], after)| Some((hex(*high)? << 4 | hex(*low)?, after)));
        let plain = if first == b'+' { b' ' } else { first };
        let (byte, next) = byte.unwrap_or((plain, after));
        decoded.push(byte);
        rest = next;
    }
    Value::Decoded(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = parameters(text.as_bytes())
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(decoded(value).bytes()).into_owned();
                (String::from_utf8_lossy(&name).into_owned(), value)
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn parameters_are_read_and_decoded() {
        check("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check("access%5Ftoken=a%2Bb+c&x", &[("access_token", "a+b c"), ("x", "")]);
        check("&&a==&%zz=%4", &[("a", "="), ("%zz", "%4")]);
        check("", &[]);
    }

    #[test]
    fn no_more_are_read_than_servers_take() {
        assert_eq!(parameters("a&".repeat(5000).as_bytes()).count(), MAX_PARAMETERS);
    }
}

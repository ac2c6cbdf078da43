//! The last look at an event before it is hashed and kept. In: its JSON. Out: the same, or one with
//! `{token}` in the place of every text that has the shape of a token. Nothing should ever be found:
//! tokens end before an event is made. Shapes are those that are certain: JWTs and issuers' prefixes.

use serde_json::Value;

use crate::token::shape::{TOKEN, is_token};

/// `json` without tokens; `None` if it had none, which is what is to be expected.
#[must_use]
pub fn without_tokens(json: &str) -> Option<String> {
    if !holds_token(json) {
        return None;
    }
    let mut value: Value = serde_json::from_str(json).ok()?;
    replace(&mut value).then(|| value.to_string())
}

/// Whether a token begins at any place where one could.
fn holds_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let mut previous = b' ';
    for (at, byte) in bytes.iter().copied().enumerate() {
        let begins = is_word(byte) && !is_word(previous);
        previous = byte;
        if begins && text.get(at..).is_some_and(begins_token) {
            return true;
        }
    }
    false
}

/// Whether a text begins with a token: only its first word is looked at.
fn begins_token(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let length = text.bytes().position(|byte| !is_part(char::from(byte))).unwrap_or(text.len());
    // No token is shorter; most words are.
    length >= 16 && text.get(..length).is_some_and(is_token)
}

/// Replaces every text that holds a token; whether there was one.
fn replace(value: &mut Value) -> bool {
    match value {
        Value::String(text) if holds_token(text) => {
            TOKEN.clone_into(text);
            true
        }
        // All of them: the first hit is not the last.
        Value::Array(values) => {
            values.iter_mut().filter_map(|it| replace(it).then_some(())).count() > 0
        }
        Value::Object(members) => {
            members.values_mut().filter_map(|it| replace(it).then_some(())).count() > 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_wherever_they_stand() {
        let check = |token: &str| {
            for around in ["TOKEN", "/a/TOKEN", "x=TOKEN&y", "a TOKEN b", "Bearer TOKEN"] {
                let text = around.replace("TOKEN", token);
                let json =
                    serde_json::json!({"a": 1, "b": ["x", text], "c": {"d": "y"}}).to_string();
                let clean = without_tokens(&json).unwrap();
                assert_eq!(clean, r#"{"a":1,"b":["x","{token}"],"c":{"d":"y"}}"#, "{around}");
            }
        };
        check("eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl");
        check("ghp_16C7e42F292c6912E7710c838347Ae178B4a");
    }

    #[test]
    fn what_events_hold_stays() {
        let json = r#"{"fp":"JV_FuX74lUCZgqvsrOJei4","uid":"01KAXQ0000000000000000000A","path":"/v1/{token}","exe":"/usr/bin/npm_packages_overview"}"#;
        assert_eq!(without_tokens(json), None);
    }
}

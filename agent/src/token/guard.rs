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

/// Shortest text that is looked at, in bytes: no token is shorter, and most words are.
const SHORTEST: usize = 16;

/// Whether a token begins at any place where one could.
fn holds_token(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0_usize;
    // From behind: a byte that is in no token rules out all places up to it at once.
    while let Some(window) = bytes.get(at..at.saturating_add(SHORTEST)) {
        if let Some(last) = window.iter().rposition(|byte| !is_part(*byte)) {
            at += last + 1;
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !is_part(*byte)).unwrap_or(rest.len());
        if text.get(at..at + length).is_some_and(run_holds_token) {
            return true;
        }
        at += length;
    }
    false
}

/// Whether a token begins at a word of a text that has nothing but what tokens have.
fn run_holds_token(run: &str) -> bool {
    let mut previous = b'.';
    run.bytes().enumerate().any(|(at, byte)| {
        let begins = byte != b'.' && previous == b'.';
        previous = byte;
        begins && run.get(at..).is_some_and(|rest| rest.len() >= SHORTEST && is_token(rest))
    })
}

/// Whether a byte may be in a token: looked up, as every byte of every event is asked for.
fn is_part(byte: u8) -> bool {
    PARTS.get(usize::from(byte)).copied().unwrap_or(false)
}

const PARTS: [bool; 256] = {
    let mut parts = [false; 256];
    let mut rest = parts.as_mut_slice();
    let mut byte = 0_u8;
    while let [part, others @ ..] = rest {
        *part = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        byte = byte.wrapping_add(1);
        rest = others;
    }
    parts
};

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
    use proptest::prelude::proptest;

    use super::*;

    /// The same, without haste: every word is looked at by itself.
    fn holds_token_plainly(text: &str) -> bool {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let begins = |at: usize| {
            let before = text.get(..at).unwrap().chars().next_back();
            !before.is_some_and(is_word)
        };
        text.char_indices().filter(|(at, c)| is_word(*c) && begins(*at)).any(|(at, _)| {
            let rest = text.get(at..).unwrap();
            let length = rest.bytes().position(|byte| !is_part(byte)).unwrap_or(rest.len());
            length >= SHORTEST && is_token(rest.get(..length).unwrap())
        })
    }

    proptest! {
        #[test]
        fn no_place_is_passed_over(
            before in "[a-zA-Z0-9_.é\"/-]{0,40}",
            token in "(eyJ[a-z0-9]{0,14}|ghp_[a-z0-9]{0,14}|glpat-[a-z0-9]{0,14})",
            after in "[a-zA-Z0-9_.é\"/-]{0,40}",
        ) {
            let text = format!("{before}{token}{after}");
            assert_eq!(holds_token(&text), holds_token_plainly(&text), "{text}");
        }
    }

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

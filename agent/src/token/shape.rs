//! What secrets look like. In: text that may be shown. Out: whether it must not be. Errs on the
//! side of hiding: a word that reads like random characters is taken for a secret.
//!
//! What it cannot see: secrets shorter than [`MIN_SECRET`], and those that read like words.

use crate::token::opaque::prefix_class;

/// Stands where a token stood.
pub const TOKEN: &str = "{token}";

/// Shortest text that is suspected for looking random, in bytes.
pub const MIN_SECRET: usize = 16;

/// Least that must follow an issuer's prefix, in bytes: `npm_packages` is a word.
const MIN_BODY: usize = 12;
/// Longest word or number that is believed to be one, in bytes.
const MAX_WORD: usize = 24;
const MAX_NUMBER: usize = 10;

/// Whether `text` is a JWT or starts with an issuer's prefix.
#[must_use]
pub fn is_token(text: &str) -> bool {
    is_jwt(text) || is_prefixed(text)
}

/// Whether `text` holds what looks like a secret, at its start or after a separator.
#[must_use]
pub fn holds_secret(text: &str) -> bool {
    let is_separator = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let after = text.match_indices(is_separator).filter_map(|(at, found)| {
        let start = at.checked_add(found.len())?;
        text.get(start..)
    });
    std::iter::once(text).chain(after).any(|rest| {
        let run = rest.split(is_separator).next().unwrap_or_default();
        is_token(rest) || run.len() >= MIN_SECRET && !reads_like_words(run)
    })
}

/// Shows `text` word by word, with [`TOKEN`] in place of words that hold secrets.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let words = text.split(' ').map(|word| if holds_secret(word) { TOKEN } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// `eyJ` is how base64url writes `{"`; sixteen characters of it are no word.
fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.len() >= MIN_SECRET
}

fn is_prefixed(text: &str) -> bool {
    let body = prefix_class(text).and_then(|class| text.strip_prefix(class.prefix));
    body.is_some_and(|body| body.len() >= MIN_BODY && body.bytes().any(|b| b.is_ascii_digit()))
}

/// Whether every piece between `-`, `_` and camel humps is a word or a number, as in
/// `getUserProfile-v2` or `x86_64`. Random base64url of 16 characters fails all but rarely: it
/// has a digit before a letter, or two capitals before a small letter.
fn reads_like_words(run: &str) -> bool {
    run.split(['-', '_']).all(|piece| {
        let bytes = piece.as_bytes();
        let digits = bytes.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let letters = bytes.len().saturating_sub(digits);
        let (word, _) = bytes.split_at_checked(letters).unwrap_or((bytes, &[]));
        let humped = |three: &[u8]| match three {
            [a, b, c] => a.is_ascii_uppercase() && b.is_ascii_uppercase() && c.is_ascii_lowercase(),
            _ => false,
        };
        letters <= MAX_WORD
            && digits <= MAX_NUMBER
            && word.iter().all(u8::is_ascii_alphabetic)
            && !word.windows(3).any(humped)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(without_secrets(text), shown);
    }

    #[test]
    fn words_are_shown() {
        check("", "");
        check("internationalization", "internationalization");
        check("getUserProfileById2", "getUserProfileById2");
        check("how-to-build-a-rocket-in-2024", "how-to-build-a-rocket-in-2024");
        check("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-gnu");
        check("npm_packages_overview", "npm_packages_overview");
        let browser = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/120.0.0.0 Safari/537.36";
        check(browser, browser);
    }

    #[test]
    fn secrets_are_not() {
        check("a 9f86d081884c7d659a2feaa0c55ad015 b", "a {token} b");
        check("key=Zm9vYmFyYmF6cXV4MTIzNDU2;x", "{token}");
        check("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "{token}");
        check("bot/ya29.a0AfH6SMBx1234", "{token}");
        check("ya29.a0AfH6SMBx1234", "{token}");
        check("glpat-abcdefghijk1", "{token}");
        check("4111111111111111", "{token}");
    }

    proptest! {
        #[test]
        fn random_characters_are_never_shown(
            secret in "[A-Za-z0-9]{6,16}[0-9][A-Z][a-z][A-Za-z0-9_-]{10,40}",
            around in "[a-z =/;:.]{0,10}",
        ) {
            assert!(!without_secrets(&format!("{around}{secret}{around}")).contains(&secret));
        }
    }
}

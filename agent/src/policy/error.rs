//! What is wrong with a policy or with a document that it imports. Every message says where, and
//! what to write instead where that can be told.

use std::{fmt, sync::Arc};

use crate::{policy::place::Place, text::printable};

/// A problem, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Located {
    /// The file, as the policy or the command line names it.
    pub file: Arc<str>,
    /// Where in it.
    pub at: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// `FILE:LINE:COLUMN: what is wrong`, as editors read it.
impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, problem } = self;
        if at.line == 0 {
            write!(f, "{file}: {problem}")
        } else {
            write!(f, "{file}:{at}: {problem}")
        }
    }
}

impl std::error::Error for Located {}

/// All that is wrong; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Located>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, located) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{located}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    /// A key that no policy has.
    #[error("unknown key `{}`{}", printable(key), hint(nearest.as_deref()))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known one that looks most like it.
        nearest: Option<String>,
    },
    /// A word where only certain words may stand.
    #[error("`{}` is none of {}{}", printable(word), words(allowed), hint(nearest.as_deref()))]
    UnknownWord {
        /// The word.
        word: String,
        /// What may stand there.
        allowed: Vec<&'static str>,
        /// The known one that looks most like it.
        nearest: Option<String>,
    },
    /// A key that must be there.
    #[error("`{0}` is missing")]
    MissingKey(&'static str),
    /// The text is no YAML or JSON, or a value has another type.
    #[error("{0}")]
    Syntax(String),
    /// The text is longer than any policy.
    #[error("it is longer than {limit} bytes")]
    TooLong {
        /// The bound, in bytes.
        limit: usize,
    },
    /// A file that the policy names cannot be read.
    #[error("cannot read `{}`: {reason}", printable(path))]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// A version of the format that this agent does not know.
    #[error("version {0} of the format is not known: write `version: 1`")]
    Version(u64),
    /// A name that stands for two things.
    #[error("{what} `{}` is there already", printable(id))]
    Duplicate {
        /// What it names.
        what: &'static str,
        /// The name.
        id: String,
    },
    /// A name that stands for nothing.
    #[error("there is no {what} `{}`{}", printable(id), hint(nearest.as_deref()))]
    Unresolved {
        /// What it should name.
        what: &'static str,
        /// The name.
        id: String,
        /// The known one that looks most like it.
        nearest: Option<String>,
    },
    /// More than there may be.
    #[error("there are {count} {what}, at most {limit} may be")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A template of a path that is none.
    #[error("`{}` is no template of a path: {why}", printable(template))]
    Template {
        /// The template.
        template: String,
        /// Why it is none.
        why: &'static str,
    },
    /// A network that is none.
    #[error("`{}` is no network: write an address and a length, such as 10.0.0.0/8", printable(.0))]
    Network(String),
    /// A parameter that the route's template does not have.
    #[error("the path of this route has no parameter `{}`", printable(.0))]
    NoParameter(String),
    /// A value that may not be there, or not so.
    #[error("{0}")]
    Invalid(&'static str),
    /// A reference of an OpenAPI document that leads nowhere.
    #[error("the reference `{}` {why}", printable(reference))]
    Reference {
        /// The reference.
        reference: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A document of another kind or version.
    #[error("this is no OpenAPI document of version 3.0, 3.1 or 3.2{}", found(.0.as_deref()))]
    NotOpenApi(Option<String>),
    /// A scope that an operation needs and no scheme of the document defines.
    #[error(
        "operation {} needs the scope `{}`, which no scheme defines",
        printable(operation),
        printable(scope)
    )]
    UndefinedScope {
        /// The operation.
        operation: String,
        /// The scope.
        scope: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |word| format!(", did you mean `{}`?", printable(word)))
}

fn found(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!(", but of `{}`", printable(version)))
}

fn words(allowed: &[&str]) -> String {
    allowed.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl From<&serde_saphyr::Error> for Problem {
    fn from(error: &serde_saphyr::Error) -> Self {
        use serde_saphyr::Error;
        match error {
            Error::SerdeUnknownField { field, expected, .. } => {
                Self::UnknownKey { key: field.clone(), nearest: nearest(field, expected) }
            }
            Error::SerdeUnknownVariant { variant, expected, .. } => {
                Self::unknown_word(variant, expected)
            }
            Error::SerdeMissingField { field, .. } => Self::MissingKey(field),
            // Without its place, which stands before it, and on one line.
            other => {
                let text = other.to_string();
                let text = text.split(" at line ").next().unwrap_or_default();
                Self::Syntax(text.split_whitespace().collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl Problem {
    /// A word that is none of `allowed`.
    #[must_use]
    pub fn unknown_word(word: &str, allowed: &[&'static str]) -> Self {
        let nearest = nearest(word, allowed);
        Self::UnknownWord { word: word.to_owned(), allowed: allowed.to_vec(), nearest }
    }
}

/// Longest word that a similar one is looked for.
const MAX_WORD: usize = 64;

/// The one of `known` that is likely meant by `word`.
#[must_use]
pub fn nearest<S: AsRef<str>>(word: &str, known: &[S]) -> Option<String> {
    let close =
        |other: &str| Some(distance(word, other)).filter(|it| *it <= word.len().div_ceil(3));
    let ranked = known.iter().map(AsRef::as_ref).filter(|other| other.len() <= MAX_WORD);
    let ranked = ranked.filter(|_| word.len() <= MAX_WORD);
    let best = ranked.filter_map(|other| Some((close(other)?, other))).min()?;
    Some(best.1.to_owned())
}

/// Edits that turn one word into the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let above = *cell;
            let replaced = diagonal.saturating_add(usize::from(a != *b));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = std::mem::replace(cell, left);
        }
        if let Some(first) = row.first_mut() {
            *first = i.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (from, to, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("scops", "scopes", 1),
            ("kitten", "sitting", 3),
            ("", "ab", 2),
            ("ab", "", 2),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn only_what_is_similar_is_proposed() {
        assert_eq!(nearest("scops", &["roles", "scopes"]).as_deref(), Some("scopes"));
        assert_eq!(nearest("xyz", &["roles", "scopes"]), None);
        assert_eq!(nearest(&"a".repeat(1000), &["a"]), None);
    }
}

//! Patterns in which `*` stands for any text. In: a pattern of the policy, and text that a peer
//! chose. Out: whether it matches. Time is bounded by the product of both lengths.

/// A pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Glob(String);

impl Glob {
    /// The pattern written `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        rest.ends_with(last)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let check = |pattern: &str, yes: &[&str], no: &[&str]| {
            let glob = Glob::new(pattern);
            yes.iter().for_each(|text| assert!(glob.matches(text), "{pattern} {text}"));
            no.iter().for_each(|text| assert!(!glob.matches(text), "{pattern} {text}"));
        };
        check("web", &["web"], &["", "webs", "a web"]);
        check("batch-*", &["batch-", "batch-1"], &["batch", "a-batch-1"]);
        check("*.service", &["a.service", ".service"], &["a.service.d"]);
        check("a*b*c", &["abc", "a1b2c", "abbc"], &["ac", "acb", "ab"]);
        check("a*a", &["aa", "aba"], &["a"]);
        check("*", &["", "x"], &[]);
        check("", &[""], &["x"]);
        check("**", &["", "x"], &[]);
    }
}

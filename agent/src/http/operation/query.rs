//! GraphQL documents, as far as they tell what is done: of each operation its type, its name and
//! its outermost fields, which are what a server executes; of each fragment the same fields.
//!
//! In: a document. Out: [`Definition`]s, up to where it can be read. Everything below the
//! outermost fields is passed over: braces and parentheses that balance.

/// Most operations and fragments that are read of a document.
const DEFINITIONS_MAX: usize = 64;

/// Most fields and spreads that are kept of one of them.
const SELECTIONS_MAX: usize = 64;

/// Deepest nesting of inline fragments around an outermost field.
const INLINE_MAX: usize = 8;

/// Types of operations (GraphQL §2.3).
const TYPES: [&str; 3] = ["mutation", "query", "subscription"];

/// An operation or a fragment.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Definition<'a> {
    /// The operation's type; `None` for a fragment.
    pub kind: Option<&'a str>,
    pub name: Option<&'a str>,
    /// The outermost fields, by their names, whatever their aliases are.
    pub fields: Vec<&'a str>,
    /// The fragments whose fields are outermost, too.
    pub spreads: Vec<&'a str>,
}

/// What is defined in a document.
#[derive(Default)]
pub(super) struct Document<'a> {
    pub definitions: Vec<Definition<'a>>,
    /// Whether it was read to its end.
    pub is_whole: bool,
}

impl<'a> Document<'a> {
    /// Reads `text` as far as it can be read.
    pub(super) fn read(text: &'a str) -> Self {
        let mut document = Self::default();
        let mut parser = Parser { lexer: Lexer { rest: text }, peeked: None };
        document.is_whole = document.read_all(&mut parser).is_some();
        document
    }

    /// `None` where the document is none, or goes beyond a limit.
    fn read_all(&mut self, parser: &mut Parser<'a>) -> Option<()> {
        while let Some(token) = parser.peek() {
            if self.definitions.len() >= DEFINITIONS_MAX {
                return None;
            }
            self.definitions.push(Definition::default());
            let read = parser.definition(token, self.definitions.last_mut()?);
            if read.is_none() {
                // Also what has been understood of it.
                let is_known = self.definitions.last().is_some_and(|it| it.kind.is_some());
                self.definitions
                    .truncate(self.definitions.len().saturating_sub(usize::from(!is_known)));
                return None;
            }
        }
        Some(())
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    peeked: Option<Token<'a>>,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<Token<'a>> {
        if self.peeked.is_none() {
            self.peeked = self.lexer.next();
        }
        self.peeked
    }

    fn next(&mut self) -> Option<Token<'a>> {
        self.peeked.take().or_else(|| self.lexer.next())
    }

    /// Takes the next token if it is `wanted`.
    fn take(&mut self, wanted: Token<'_>) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.peeked = None;
        }
        is_there
    }

    fn take_name(&mut self) -> Option<&'a str> {
        match self.peek()? {
            Token::Name(name) => {
                self.peeked = None;
                Some(name)
            }
            _ => None,
        }
    }

    /// An executable definition (GraphQL §2.2); servers execute no other.
    fn definition(&mut self, first: Token<'a>, into: &mut Definition<'a>) -> Option<()> {
        match first {
            Token::Punctuator(b'{') => into.kind = Some("query"),
            Token::Name("fragment") => {
                self.peeked = None;
                into.name = Some(self.take_name()?);
                self.take(Token::Name("on")).then_some(())?;
                self.take_name()?;
            }
            Token::Name(word) => {
                into.kind = Some(TYPES.iter().find(|kind| **kind == word)?);
                self.peeked = None;
                into.name = self.take_name();
                if self.peek() == Some(Token::Punctuator(b'(')) {
                    self.pass()?;
                }
            }
            Token::Punctuator(_) | Token::Value | Token::Bad => return None,
        }
        self.directives()?;
        self.selections(into, 0)
    }

    /// A set of outermost selections (GraphQL §2.4).
    fn selections(&mut self, into: &mut Definition<'a>, depth: usize) -> Option<()> {
        self.take(Token::Punctuator(b'{')).then_some(())?;
        while !self.take(Token::Punctuator(b'}')) {
            if into.fields.len().saturating_add(into.spreads.len()) >= SELECTIONS_MAX {
                return None;
            }
            if self.take(Token::Punctuator(b'.')) {
                self.spread(into, depth)?;
                continue;
            }
            let mut name = self.take_name()?;
            if self.take(Token::Punctuator(b':')) {
                name = self.take_name()?;
            }
            into.fields.push(name);
            if self.peek() == Some(Token::Punctuator(b'(')) {
                self.pass()?;
            }
            self.directives()?;
            if self.peek() == Some(Token::Punctuator(b'{')) {
                self.pass()?;
            }
        }
        Some(())
    }

    /// A fragment spread or an inline fragment (GraphQL §2.8), after its first dot.
    fn spread(&mut self, into: &mut Definition<'a>, depth: usize) -> Option<()> {
        let dot = Token::Punctuator(b'.');
        (self.take(dot) && self.take(dot) && depth < INLINE_MAX).then_some(())?;
        match self.take_name() {
            Some("on") => drop(self.take_name()?),
            Some(name) => {
                into.spreads.push(name);
                return self.directives();
            }
            None => {}
        }
        self.directives()?;
        self.selections(into, depth.saturating_add(1))
    }

    fn directives(&mut self) -> Option<()> {
        while self.take(Token::Punctuator(b'@')) {
            self.take_name()?;
            if self.peek() == Some(Token::Punctuator(b'(')) {
                self.pass()?;
            }
        }
        Some(())
    }

    /// Passes over what is in braces or parentheses, the first of which is next.
    fn pass(&mut self) -> Option<()> {
        let mut depth = 0_u32;
        loop {
            match self.next()? {
                Token::Punctuator(b'{' | b'(' | b'[') => depth = depth.saturating_add(1),
                Token::Punctuator(b'}' | b')' | b']') => depth = depth.saturating_sub(1),
                Token::Bad => return None,
                Token::Punctuator(_) | Token::Name(_) | Token::Value => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// What a document is made of (GraphQL §2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'a> {
    Name(&'a str),
    Punctuator(u8),
    /// A number or string.
    Value,
    /// None of these, or a string that does not end.
    Bad,
}

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    /// Passes over `len` bytes, which end between characters.
    fn skip(&mut self, len: usize) -> &'a str {
        let (skipped, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, ""));
        self.rest = rest;
        skipped
    }

    /// Passes over bytes up to one that is not `wanted`.
    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let len = self.rest.bytes().position(|byte| !wanted(byte)).unwrap_or(self.rest.len());
        self.skip(len)
    }

    /// A string (GraphQL §2.9.4), of which the opening quote is next: whether it ends.
    fn string(&mut self) -> bool {
        if self.rest.starts_with("\"\"\"") {
            return self.block_string();
        }
        let mut is_escaped = false;
        for (at, byte) in self.rest.bytes().enumerate().skip(1) {
            match byte {
                b'\n' | b'\r' => return false,
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    self.skip(at.saturating_add(1));
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    fn block_string(&mut self) -> bool {
        let mut from = 3;
        while let Some(found) = self.rest.get(from..).and_then(|rest| rest.find("\"\"\"")) {
            let at = found.saturating_add(from);
            let end = at.saturating_add(3);
            if !self.rest.get(from..at).is_some_and(|before| before.ends_with('\\')) {
                self.skip(end);
                return true;
            }
            from = end;
        }
        false
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b','));
            match self.rest.strip_prefix('\u{feff}') {
                Some(rest) => self.rest = rest,
                None if self.rest.starts_with('#') => {
                    self.skip_while(|byte| !matches!(byte, b'\r' | b'\n'));
                }
                None => break,
            }
        }
        let first = *self.rest.as_bytes().first()?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        Some(match first {
            b'_' | b'A'..=b'Z' | b'a'..=b'z' => Token::Name(self.skip_while(is_word)),
            b'0'..=b'9' | b'-' => {
                self.skip_while(|byte| is_word(byte) || matches!(byte, b'-' | b'+' | b'.'));
                Token::Value
            }
            b'"' if self.string() => Token::Value,
            b'!' | b'$' | b'&' | b'(' | b')' | b'.' | b':' | b'=' | b'@' | b'[' | b']' | b'{'
            | b'|' | b'}' => {
                self.skip(1);
                Token::Punctuator(first)
            }
            _ => {
                self.rest = "";
                Token::Bad
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects definitions as `kind name: fields ...spreads`, and whether the document was read.
    #[track_caller]
    fn check(text: &str, expected: &[&str], is_whole: bool) {
        let document = Document::read(text);
        let show = |it: &Definition<'_>| {
            let spreads = it.spreads.iter().map(|name| format!("...{name}"));
            let selections: Vec<_> =
                it.fields.iter().map(|name| (*name).to_owned()).chain(spreads).collect();
            let kind = it.kind.unwrap_or("fragment");
            format!("{kind} {}: {}", it.name.unwrap_or("-"), selections.join(" "))
        };
        let shown: Vec<_> = document.definitions.iter().map(show).collect();
        assert_eq!(shown, expected, "{text}");
        assert_eq!(document.is_whole, is_whole, "{text}");
    }

    #[test]
    fn operations_have_types_names_and_outermost_fields() {
        check("{ user { id } }", &["query -: user"], true);
        check("query Q($a: In = {x: [1]}) @d(a: 1) { a b }", &["query Q: a b"], true);
        check("mutation { one(a: {b: 2}) { c } two }", &["mutation -: one two"], true);
        check(
            "subscription S { tick(every: 1.5e+3) @skip(if: true) { at } }",
            &["subscription S: tick"],
            true,
        );
        check("{ query mutation fragment on }", &["query -: query mutation fragment on"], true);
        check("query query { a }", &["query query: a"], true);
    }

    #[test]
    fn an_alias_hides_no_field() {
        check("{ harmless: deleteAll, x : y(a: 1) { z: w } }", &["query -: deleteAll y"], true);
    }

    #[test]
    fn fragments_hide_no_field() {
        check(
            "{ ... on Query { a } ... @include(if: $x) { b } ... { c } ...F @d }",
            &["query -: a b c ...F"],
            true,
        );
        check(
            "query { ...F } fragment F on Query @d { deleteAll ...G }",
            &["query -: ...F", "fragment F: deleteAll ...G"],
            true,
        );
        check(
            "fragment query on T { a } query Q { ...query }",
            &["fragment query: a", "query Q: ...query"],
            true,
        );
    }

    #[test]
    fn strings_and_comments_hide_nothing() {
        check("\u{feff}# mutation M {\n query,\nQ { mutation }", &["query Q: mutation"], true);
        let strings = r#"query Q { a(x: "}\" {", y: """ } \""" " """, z: "") { b } c }"#;
        check(strings, &["query Q: a c"], true);
        check(r#"{ a(x: """""") b }"#, &["query -: a b"], true);
    }

    #[test]
    fn what_does_not_parse_is_read_up_to_there() {
        check("query A { a b {", &["query A: a b"], false);
        check("query A { a } }", &["query A: a"], false);
        check("query A { a(x: \"", &["query A: a"], false);
        check("query A { a } \u{a0}", &["query A: a"], false);
        check("type T { a: Int }", &[], false);
        check("fragment F on", &[], false);
        check("nonsense", &[], false);
        check("", &[], true);
        check("query", &["query -: "], false);
        check("{ a(x: \"\\\n\") }", &["query -: a"], false);
    }

    #[test]
    fn limits_end_the_reading() {
        let fields = format!("{{ {} }}", "a ".repeat(SELECTIONS_MAX + 1));
        let document = Document::read(&fields);
        assert_eq!((document.definitions[0].fields.len(), document.is_whole), (64, false));
        let many = "query A { a }".repeat(DEFINITIONS_MAX + 1);
        let document = Document::read(&many);
        assert_eq!((document.definitions.len(), document.is_whole), (64, false));
        let deep = |depth| format!("{}a{}", "{ ... ".repeat(depth) + "{", "}".repeat(depth + 1));
        assert!(Document::read(&deep(INLINE_MAX)).is_whole);
        assert!(!Document::read(&deep(INLINE_MAX + 1)).is_whole);
        assert!(
            Document::read(&format!("{{ a {} }}", "{b".repeat(9999) + &"}".repeat(9999))).is_whole
        );
    }
}

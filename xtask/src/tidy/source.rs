//! A file as the rules see it.
//!
//! In: path and text. Out: the text's lines three times: as they are, with only its code, with only
//! its comments; and the paths that it imports. Lines keep their numbers throughout.

use std::collections::BTreeSet;

/// The files of the repository.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeSet<String>,
    dirs: BTreeSet<String>,
}

impl Tree {
    /// A tree of `files`, relative to its root.
    pub fn new(files: BTreeSet<String>) -> Self {
        let mut dirs = BTreeSet::from([String::new()]);
        for file in &files {
            let ends = file.match_indices('/').map(|(end, _)| end);
            dirs.extend(ends.filter_map(|end| file.get(..end)).map(str::to_owned));
        }
        Self { files, dirs }
    }

    /// All files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// Whether a file or directory stands at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains(path) || self.dirs.contains(path)
    }
}

/// A file.
#[derive(Debug)]
pub struct Source<'text> {
    /// Where it stands, relative to the root.
    pub path: &'text str,
    /// All of it.
    pub text: &'text str,
    /// Rust code without comments and without the insides of literals.
    pub code: String,
    /// The comments of Rust code, doc comments included.
    pub comments: String,
}

impl<'text> Source<'text> {
    /// Takes `text` apart if it is Rust.
    pub fn new(path: &'text str, text: &'text str) -> Self {
        let (code, comments) = if path.ends_with(".rs") { split(text) } else { Default::default() };
        Self { path, text, code, comments }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The code before its test module; none of a file that is all tests.
    pub fn product_code(&self) -> &str {
        if self.is_all_tests() {
            return "";
        }
        let begins_tests = |(start, mark): &(usize, &str)| {
            let after = self.code.get(start + mark.len()..).unwrap_or_default().trim_start();
            // `mod tests;` stands at a file's head, and product code follows.
            let module =
                after.strip_prefix("mod ").and_then(|name| name.trim_start().split_once(' '));
            module.is_some_and(|(_, body)| body.trim_start().starts_with('{'))
        };
        let tests = self.code.match_indices("#[cfg(test)]").find(begins_tests);
        tests.and_then(|(start, _)| self.code.get(..start)).unwrap_or(&self.code)
    }

    /// Whether no line of it is part of a product.
    pub fn is_all_tests(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }
}

/// What the lexer stands in.
#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment(u32),
    Text,
    RawText(usize),
}

/// Code and comments of Rust `text`, each with everything else blanked.
fn split(text: &str) -> (String, String) {
    let mut code = String::with_capacity(text.len());
    let mut comments = String::with_capacity(text.len());
    let mut state = State::Code;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, next) = step(state, rest);
        let length = length.max(first.len_utf8());
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        // Quotes and comment marks belong to what they open and close.
        let within = if next == State::Code { state } else { next };
        for character in token.chars() {
            let blank = if character == '\n' { '\n' } else { ' ' };
            let is_comment = matches!(within, State::LineComment | State::BlockComment(_));
            code.push(if within == State::Code { character } else { blank });
            comments.push(if is_comment { character } else { blank });
        }
        state = next;
        rest = after;
    }
    (code, comments)
}

/// Length in bytes of the token that `rest` begins with, and the state after it.
fn step(state: State, rest: &str) -> (usize, State) {
    match state {
        State::Code => step_code(rest),
        State::LineComment if rest.starts_with('\n') => (1, State::Code),
        State::BlockComment(1) if rest.starts_with("*/") => (2, State::Code),
        State::BlockComment(depth) if rest.starts_with("*/") => (2, State::BlockComment(depth - 1)),
        State::BlockComment(depth) if rest.starts_with("/*") => (2, State::BlockComment(depth + 1)),
        State::Text if rest.starts_with('\\') => (2, State::Text),
        State::Text if rest.starts_with('"') => (1, State::Code),
        State::RawText(hashes) if closes_raw(rest, hashes) => (1 + hashes, State::Code),
        unchanged => (1, unchanged),
    }
}

fn step_code(rest: &str) -> (usize, State) {
    if rest.starts_with("//") {
        return (2, State::LineComment);
    }
    if rest.starts_with("/*") {
        return (2, State::BlockComment(1));
    }
    if rest.starts_with('"') {
        return (1, State::Text);
    }
    if let Some(hashes) = opens_raw(rest) {
        return (2 + hashes, State::RawText(hashes));
    }
    // A quote character is no string: `'"'` and `'\"'` are taken as one token.
    for quote in ["'\"'", "'\\\"'"] {
        if rest.starts_with(quote) {
            return (quote.len(), State::Code);
        }
    }
    // An identifier is one token, lest its last letter be taken for the `r` of a raw string.
    let word = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    (word.max(1), State::Code)
}

/// The number of `#` in a raw string's opening.
fn opens_raw(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after.get(hashes..)?.starts_with('"').then_some(hashes)
}

fn closes_raw(rest: &str, hashes: usize) -> bool {
    let Some(after) = rest.strip_prefix('"') else { return false };
    after.len() - after.trim_start_matches('#').len() >= hashes
}

/// Whether `character` may stand in an identifier.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `line` has `word` as whole identifiers.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|before| before.chars().next_back());
        let after = line.get(start + word.len()..).and_then(|after| after.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The paths that `use` declarations in `code` import, each with its line, groups taken apart.
pub fn imports(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for (start, _) in code.match_indices("use ") {
        let (before, from) = code.split_at_checked(start).unwrap_or((code, ""));
        let opens = before.trim_end_matches(' ').chars().next_back();
        let is_declaration =
            opens.is_none_or(|last| "\n;{})".contains(last)) || before.ends_with("pub ");
        let body = from.strip_prefix("use ").and_then(|from| from.split_once(';'));
        if let (true, Some((body, _))) = (is_declaration, body) {
            let line = before.matches('\n').count() + 1;
            expand("", body, &mut |path| paths.push((line, path)));
        }
    }
    paths
}

/// Hands every path of the use tree `tree` to `found`.
fn expand(prefix: &str, tree: &str, found: &mut impl FnMut(String)) {
    for branch in branches(tree) {
        match branch.split_once('{') {
            Some((head, group)) => {
                let group = group.trim_end().strip_suffix('}').unwrap_or(group);
                expand(&format!("{prefix}{}", head.trim()), group, found);
            }
            None => {
                let path = branch.split(" as ").next().unwrap_or_default().trim();
                found(format!("{prefix}{path}"));
            }
        }
    }
}

/// The parts of `tree` between commas outside of braces.
fn branches(tree: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let parts = tree.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.filter(|part| !part.trim().is_empty()).collect()
}

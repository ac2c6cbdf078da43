//! Templates of paths. In: text such as `/v1/orders/{order_id}/**`. Out: [`Template`], which tells
//! whether a path is like it, what its parameters are, and how specific it is.

use std::{borrow::Cow, cmp::Reverse};

use crate::policy::path::{self, MAX_SEGMENTS, Path};

/// Longest template, in bytes.
pub const MAX_TEMPLATE: usize = 2048;

/// A template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    text: String,
    pub(super) segments: Vec<Segment>,
    /// Whether a slash follows the last segment.
    pub trailing_slash: bool,
}

/// What a segment of a path must be like.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// Any text; `Some` names it.
    One(Option<String>),
    /// These pieces, one after another.
    Pieces(Vec<Piece>),
    /// Any number of segments.
    Rest,
}

/// A piece of a segment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Piece {
    /// This text.
    Literal(String),
    /// Any text, at least a character; `Some` names it.
    Any(Option<String>),
}

/// How specific a template is: the greater goes first.
pub type Specificity = (usize, usize, bool, Vec<bool>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// It is none; the text says why.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_TEMPLATE {
            return Err("it is longer than 2048 bytes");
        }
        let Some(inner) = text.strip_prefix('/') else { return Err("it must begin with `/`") };
        if text.contains(['?', '#', ';', '\\']) || text.contains("//") {
            return Err("none of ? # ; \\ // is part of a normalised path");
        }
        let mut names = Vec::new();
        let mut segments = Vec::new();
        for part in inner.split('/') {
            segments.push(segment(part, &mut names)?);
        }
        let empty = Segment::Literal(String::new());
        let trailing_slash = segments.last() == Some(&empty);
        if trailing_slash {
            segments.pop();
        }
        if segments.len() >= MAX_SEGMENTS {
            return Err("it has more than 63 segments");
        }
        if segments.iter().filter(|segment| **segment == Segment::Rest).count() > 1 {
            return Err("`**` may stand in it once");
        }
        let trailing_slash = trailing_slash && !segments.is_empty();
        Ok(Self { text: text.to_owned(), segments, trailing_slash })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it ends with `**`, which takes a trailing slash or none.
    #[must_use]
    pub fn ends_open(&self) -> bool {
        self.segments.last() == Some(&Segment::Rest)
    }

    /// What it is but for the names of its parameters: templates that agree in it are like the same
    /// paths.
    #[must_use]
    pub fn shape(&self) -> (Vec<Segment>, bool) {
        (self.segments.iter().map(Segment::unnamed).collect(), self.trailing_slash)
    }

    /// Names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().flat_map(Segment::names)
    }

    /// Values of its parameters in `path`; `None` if the path is not like it.
    #[must_use]
    pub fn capture(&self, path: &Path<'_>) -> Option<Vec<(&str, String)>> {
        let rest = self.segments.iter().position(|segment| *segment == Segment::Rest);
        let mut found = Vec::new();
        let given = &path.segments;
        let Some(rest) = rest else {
            (given.len() == self.segments.len()).then_some(())?;
            for (segment, text) in self.segments.iter().zip(given) {
                segment.capture(text, &mut found)?;
            }
            return Some(found);
        };
        let after = self.segments.len().checked_sub(rest.checked_add(1)?)?;
        let tail = given.len().checked_sub(after).filter(|tail| *tail >= rest)?;
        let head = self.segments.iter().take(rest).zip(given);
        let end = self.segments.iter().skip(rest.checked_add(1)?).zip(given.iter().skip(tail));
        for (segment, text) in head.chain(end) {
            segment.capture(text, &mut found)?;
        }
        Some(found)
    }

    /// How specific it is: the longest literal first, then most literal segments, none of `**`,
    /// literals further left.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        let lengths = self.segments.iter().map(Segment::literal_length);
        let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
        let count = self.segments.iter().filter(|segment| literal(segment)).count();
        let order = self.segments.iter().map(literal).collect();
        (lengths.sum(), count, !self.segments.contains(&Segment::Rest), order)
    }

    /// For sorting: the most specific first.
    #[must_use]
    pub fn rank(&self) -> Reverse<Specificity> {
        Reverse(self.specificity())
    }
}

impl Segment {
    fn unnamed(&self) -> Self {
        let piece = |piece: &Piece| match piece {
            Piece::Any(_) => Piece::Any(None),
            Piece::Literal(_) => piece.clone(),
        };
        match self {
            Self::One(_) => Self::One(None),
            Self::Pieces(pieces) => Self::Pieces(pieces.iter().map(piece).collect()),
            Self::Literal(_) | Self::Rest => self.clone(),
        }
    }

    /// Whether `text` is like it, which is never asked of [`Segment::Rest`].
    fn capture<'t>(&'t self, text: &str, found: &mut Vec<(&'t str, String)>) -> Option<()> {
        match self {
            Self::Literal(literal) => (literal == text).then_some(()),
            Self::One(name) => {
                found.extend(name.as_deref().map(|name| (name, text.to_owned())));
                Some(())
            }
            Self::Pieces(pieces) => capture_pieces(pieces, text, found),
            Self::Rest => None,
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::One(name) => name.as_deref().into_iter().collect(),
            Self::Pieces(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Any(name) => name.as_deref(),
                    Piece::Literal(_) => None,
                })
                .collect(),
            Self::Literal(_) | Self::Rest => Vec::new(),
        }
    }

    fn literal_length(&self) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Pieces(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(text) => text.len(),
                    Piece::Any(_) => 0,
                })
                .sum(),
            Self::One(_) | Self::Rest => 0,
        }
    }

    /// It with its literals in lower case, for servers that do not tell cases apart.
    #[must_use]
    pub(super) fn folded(&self) -> Self {
        match self {
            Self::Literal(text) => Self::Literal(text.to_ascii_lowercase()),
            Self::Pieces(pieces) => Self::Pieces(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Literal(text) => Piece::Literal(text.to_ascii_lowercase()),
                        Piece::Any(name) => Piece::Any(name.clone()),
                    })
                    .collect(),
            ),
            Self::One(_) | Self::Rest => self.clone(),
        }
    }
}

/// Whether `text` is made of `pieces`; each name gets the shortest text that lets the rest match.
pub(super) fn capture_pieces<'t>(
    pieces: &'t [Piece],
    text: &str,
    found: &mut Vec<(&'t str, String)>,
) -> Option<()> {
    let mut rest = text;
    let mut open: Option<Option<&str>> = None;
    for (nth, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Any(name) => open = Some(name.as_deref()),
            Piece::Literal(literal) => {
                let is_last = nth.saturating_add(1) == pieces.len();
                let (value, after) = match open {
                    None => ("", rest.strip_prefix(literal.as_str())?),
                    Some(_) if is_last => (rest.strip_suffix(literal.as_str())?, ""),
                    Some(_) => rest.split_once(literal.as_str())?,
                };
                if let Some(name) = open.take() {
                    (!value.is_empty()).then_some(())?;
                    found.extend(name.map(|name| (name, value.to_owned())));
                }
                rest = after;
            }
        }
    }
    match open {
        Some(name) => {
            (!rest.is_empty()).then_some(())?;
            found.extend(name.map(|name| (name, rest.to_owned())));
            Some(())
        }
        None => rest.is_empty().then_some(()),
    }
}

fn segment(part: &str, names: &mut Vec<String>) -> Result<Segment, &'static str> {
    match part {
        "**" => return Ok(Segment::Rest),
        "*" => return Ok(Segment::One(None)),
        "." | ".." => return Err("dot segments are no part of a normalised path"),
        _ => {}
    }
    let mut pieces = pieces(part, names)?;
    match pieces.as_mut_slice() {
        [] => Ok(Segment::Literal(String::new())),
        [Piece::Literal(text)] => Ok(Segment::Literal(std::mem::take(text))),
        [Piece::Any(name)] => Ok(Segment::One(name.take())),
        _ => Ok(Segment::Pieces(pieces)),
    }
}

fn pieces(part: &str, names: &mut Vec<String>) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = part;
    while let Some(start) = rest.find(['{', '}', '*']) {
        let (literal, marked) = rest.split_at_checked(start).unwrap_or((rest, ""));
        if !literal.is_empty() {
            pieces.push(Piece::Literal(decoded(literal)));
        } else if matches!(pieces.last(), Some(Piece::Any(_))) {
            return Err("two parameters follow each other");
        }
        if let Some(after) = marked.strip_prefix('*') {
            pieces.push(Piece::Any(None));
            rest = after;
            continue;
        }
        let Some((name, after)) = marked.strip_prefix('{').and_then(|it| it.split_once('}')) else {
            return Err("a brace is not closed, or not opened");
        };
        if name.is_empty() || name.contains('{') {
            return Err("a parameter has no name");
        }
        if names.iter().any(|other| other == name) {
            return Err("two parameters have one name");
        }
        names.push(name.to_owned());
        pieces.push(Piece::Any(Some(name.to_owned())));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(decoded(rest)));
    }
    Ok(pieces)
}

/// Literals are compared with what was decoded.
fn decoded(literal: &str) -> String {
    let whole = format!("/{literal}");
    let path = path::read(&whole).paths.into_iter().next();
    let text = path.and_then(|path| path.segments.into_iter().next()).map(Cow::into_owned);
    text.unwrap_or_else(|| literal.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, path: &str, expected: Option<&[(&str, &str)]>) {
        let template = Template::parse(template).unwrap();
        let read = path::read(path);
        let found = template.capture(&read.paths[0]);
        let found = found.as_ref().map(|found| {
            found.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>()
        });
        assert_eq!(found.as_deref(), expected, "{template:?} {path}");
    }

    #[test]
    fn parameters_are_captured_decoded() {
        check("/", "/", Some(&[]));
        check("/v1/orders/{id}", "/v1/orders/7", Some(&[("id", "7")]));
        check("/v1/orders/{id}", "/v1/orders/a%20b", Some(&[("id", "a b")]));
        check("/v1/orders/{id}", "/v1/orders", None);
        check("/v1/{a}/x/{b}", "/v1/1/x/2", Some(&[("a", "1"), ("b", "2")]));
        check("/f/{name}.json", "/f/a.b.json", Some(&[("name", "a.b")]));
        check("/f/{name}.json", "/f/.json", None);
        check("/m/{a}:{b}", "/m/x:y:z", Some(&[("a", "x"), ("b", "y:z")]));
        check("/m/get-*", "/m/get-x", Some(&[]));
        check("/a b", "/a%20b", Some(&[]));
        check("/*/x", "/1/x", Some(&[]));
    }

    #[test]
    fn two_stars_stand_for_any_number_of_segments() {
        for path in ["/v1", "/v1/a", "/v1/a/b/c", "/v1/"] {
            check("/v1/**", path, Some(&[]));
        }
        check("/v1/**", "/v2/a", None);
        check("/v1/**/{last}", "/v1/a/b/c", Some(&[("last", "c")]));
        check("/v1/**/{last}", "/v1", None);
        check("/**", "/", Some(&[]));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "", "v1", "/a//b", "/a?b", "/{", "/}", "/{}", "/{a}{b}", "/{a}/{a}", "/**/**", "/..",
            "/a;b",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse(&"/a".repeat(64)).is_err());
    }

    #[test]
    fn the_longest_literal_goes_first() {
        let mut all =
            ["/**", "/{a}/{b}", "/v1/{b}", "/v1/**", "/v1/{b}.x", "/v1/orders", "/{a}/v1"]
                .map(|text| Template::parse(text).unwrap());
        all.sort_by_key(Template::rank);
        let order: Vec<_> = all.iter().map(Template::as_str).collect();
        assert_eq!(
            order,
            ["/v1/orders", "/v1/{b}.x", "/v1/{b}", "/{a}/v1", "/v1/**", "/{a}/{b}", "/**"]
        );
    }
}

//! The path of a request target as servers may read it. In: a target as it was sent. Out:
//! [`Readings`]: the path normalised once, and every other way in which a server in use may read
//! it. A rule for a path is reached by all of them, so that no spelling dodges it.
//!
//! Bounds: [`MAX_SEGMENTS`] segments; [`MAX_READINGS`] readings; as much memory as readings times
//! the target's length.

use std::borrow::Cow;

/// Most segments that are told apart; the rest is one segment. Deeper templates are refused.
pub const MAX_SEGMENTS: usize = 64;
/// Most readings of one path.
pub const MAX_READINGS: usize = 6;

/// A path, split: what stands between slashes, decoded.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Path<'a> {
    /// Segments. The root has none.
    pub segments: Vec<Cow<'a, str>>,
    /// Whether a slash follows the last one.
    pub trailing_slash: bool,
}

/// A path in every way in which it may be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Readings<'a> {
    /// The normalised one first; never empty.
    pub paths: Vec<Path<'a>>,
    /// Whether it is written in a way that servers may read differently.
    pub is_odd: bool,
}

/// The path and query of a request target in origin or absolute form (RFC 9112 §3.2); `None` for
/// other forms.
#[must_use]
pub fn split_target(target: &str) -> Option<(&str, Option<&str>)> {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    let resource = if target.starts_with('/') {
        target
    } else {
        let (_, rest) = target.split_once("://")?;
        let (_, resource) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
        resource
    };
    let (path, query) = match resource.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (resource, None),
    };
    Some((if path.is_empty() { "/" } else { path }, query))
}

/// Reads a path, which begins with a slash.
#[must_use]
pub fn read(path: &str) -> Readings<'_> {
    if is_plain(path) {
        return Readings { paths: vec![plain(path)], is_odd: false };
    }
    let decoded = decode(path);
    let mut readings = Readings { is_odd: decoded.is_odd || is_odd(path), paths: Vec::new() };
    match &decoded.text {
        // Nothing was escaped: whatever is read of it stands in the path itself.
        Cow::Borrowed(text) => readings.add_all(path, text, |found| found),
        Cow::Owned(text) => readings.add_all(path, text, Path::into_owned),
    }
    readings
}

impl<'a> Readings<'a> {
    /// `keep` makes of what was read of `decoded` what outlives it. Ways that cannot read it
    /// otherwise than one before them are not gone.
    fn add_all<'t>(
        &mut self,
        path: &'a str,
        decoded: &'t str,
        keep: impl Fn(Path<'t>) -> Path<'a>,
    ) {
        self.add(normalise(decoded), &keep);
        // Split before decoding, with dots and parameters as they are.
        self.add(literal(path), |found| found);
        // Decoded again, by a server behind one that decoded already; twice is what is in use.
        if decoded.contains('%') {
            let again = decode(decoded);
            if again.text != decoded {
                self.is_odd = true;
                self.add(normalise(&again.text), Path::into_owned);
            }
        }
        // Parameters kept, dots resolved, and the other way round.
        if decoded.contains([';', '\\', '?', '#', '\0']) {
            self.add(with_dots_resolved(decoded), &keep);
        }
        if decoded.contains(';') || path.contains('%') {
            self.add(with_parameters_stripped(decoded), &keep);
        }
    }

    fn add<'t>(&mut self, path: Path<'t>, keep: impl Fn(Path<'t>) -> Path<'a>) {
        if self.paths.len() < MAX_READINGS && !self.paths.contains(&path) {
            self.paths.push(keep(path));
        }
    }
}

impl<'a> Path<'a> {
    fn new() -> Self {
        Self { segments: Vec::with_capacity(8), trailing_slash: false }
    }

    fn into_owned<'b>(self) -> Path<'b> {
        let segments = self.segments.into_iter().map(|it| Cow::Owned(it.into_owned())).collect();
        Path { segments, trailing_slash: self.trailing_slash }
    }

    /// Appends a segment. Those beyond the limit become part of the last one.
    fn push(&mut self, segment: Cow<'a, str>) {
        let is_full = self.segments.len() >= MAX_SEGMENTS;
        match self.segments.last_mut() {
            Some(last) if is_full => {
                let last = last.to_mut();
                last.push('/');
                last.push_str(&segment);
            }
            _ => self.segments.push(segment),
        }
    }
}

/// Whether every server reads the path alike.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let special = |b: &u8| b"%;\\?#".contains(b) || !b.is_ascii_graphic();
    !bytes.iter().any(special)
        && !path.contains("//")
        && !path.contains("/.")
        && bytes.iter().filter(|b| **b == b'/').count() <= MAX_SEGMENTS
}

fn plain(path: &str) -> Path<'_> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let (inner, trailing_slash) = match inner.strip_suffix('/') {
        Some(inner) => (inner, true),
        None => (inner, false),
    };
    let mut segments = Vec::with_capacity(8);
    if !inner.is_empty() {
        segments.extend(inner.split('/').map(Cow::Borrowed));
    }
    Path { segments, trailing_slash }
}

/// Whether an undecoded path has what servers treat differently.
fn is_odd(path: &str) -> bool {
    let dots = |segment: &str| segment == "." || segment == "..";
    path.contains("//")
        || path.contains([';', '\\', '?', '#'])
        || path.split('/').any(dots)
        || path.bytes().any(|b| b.is_ascii_control())
        || path.bytes().filter(|b| *b == b'/').count() > MAX_SEGMENTS
}

struct Decoded<'a> {
    text: Cow<'a, str>,
    is_odd: bool,
}

/// Undoes percent-encoding once. Odd is to encode what needs no encoding (RFC 3986 §2.3), what
/// structures a path, and what is no text.
fn decode(path: &str) -> Decoded<'_> {
    if !path.contains('%') {
        return Decoded { text: Cow::Borrowed(path), is_odd: false };
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut is_odd = false;
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            if let Some((byte, after)) = escape(after) {
                let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                is_odd |= unreserved || b"/\\;%?#".contains(&byte) || byte.is_ascii_control();
                bytes.push(byte);
                rest = after;
                continue;
            }
            is_odd = true;
        }
        bytes.push(first);
        rest = after;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Decoded { text: Cow::Owned(text), is_odd },
        Err(error) => {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Decoded { text: Cow::Owned(text), is_odd: true }
        }
    }
}

fn escape(after: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = after.split_first_chunk::<2>()?;
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    let byte = u8::try_from(high?.checked_mul(16)?.checked_add(low?)?).ok()?;
    Some((byte, after))
}

/// Parameters stripped, backslashes turned, empty segments and dots resolved.
fn normalise(decoded: &str) -> Path<'_> {
    let cut = decoded.split(['?', '#', '\0']).next().unwrap_or_default();
    resolve(cut, &['/', '\\'], without_parameters)
}

fn with_dots_resolved(decoded: &str) -> Path<'_> {
    resolve(decoded, &['/'], |segment| segment)
}

fn with_parameters_stripped(decoded: &str) -> Path<'_> {
    let mut path = Path::new();
    let inner = decoded.strip_prefix('/').unwrap_or(decoded);
    let segments = inner.split('/').map(without_parameters);
    segments.for_each(|segment| path.push(Cow::Borrowed(segment)));
    end(path)
}

/// Segments split before they are decoded, with everything else left as it was sent.
fn literal(path: &str) -> Path<'_> {
    let mut found = Path::new();
    let inner = path.strip_prefix('/').unwrap_or(path);
    inner.split('/').for_each(|segment| found.push(decode(segment).text));
    end(found)
}

/// An empty last segment is a trailing slash.
fn end(mut path: Path<'_>) -> Path<'_> {
    if path.segments.last().is_some_and(|last| last.is_empty()) {
        path.segments.pop();
        path.trailing_slash = !path.segments.is_empty();
    }
    path
}

/// Removes empty segments and dot segments (RFC 3986 §5.2.4); `read` makes of each segment, between
/// `slashes`, what is looked at.
fn resolve<'a>(whole: &'a str, slashes: &[char], read: fn(&str) -> &str) -> Path<'a> {
    let mut path = Path::new();
    let mut last_is_dots = false;
    for segment in whole.split(slashes).map(read) {
        last_is_dots = matches!(segment, "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                path.segments.pop();
            }
            _ => path.push(Cow::Borrowed(segment)),
        }
    }
    path.trailing_slash = !path.segments.is_empty() && (whole.ends_with(slashes) || last_is_dots);
    path
}

fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop, prop_oneof, proptest};

    use super::*;

    /// Every way gone to its end, with all copied.
    fn all_ways(path: &str) -> Readings<'_> {
        let decoded = decode(path);
        let again = decode(&decoded.text);
        let turned = |text: &str| normalise(&text.replace('\\', "/")).into_owned();
        let second = again.text != decoded.text;
        let ways = [
            Some(turned(&decoded.text)),
            Some(literal(path).into_owned()),
            second.then(|| turned(&again.text)),
            Some(with_dots_resolved(&decoded.text).into_owned()),
            Some(with_parameters_stripped(&decoded.text).into_owned()),
        ];
        let is_odd = decoded.is_odd || is_odd(path) || second;
        let mut all = Readings { paths: Vec::new(), is_odd };
        ways.into_iter().flatten().for_each(|way| all.add(way, |found| found));
        all
    }

    proptest! {
        #[test]
        fn no_way_is_left_out_that_reads_a_path_otherwise(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("/"), Just("a"), Just("B"), Just("."), Just(".."), Just("/../"), Just(";"),
                    Just(";x"), Just("\\"), Just("%2f"), Just("%2e"), Just("%252e"), Just("%3b"),
                    Just("%25"), Just("%"), Just("%00"), Just("%3f"), Just("%23"), Just("%5c"),
                    Just("%41"), Just("%ff"), Just("é"), Just("#"), Just("//"),
                ],
                0..12,
            ),
        ) {
            let path = format!("/{}", parts.concat());
            assert_eq!(read(&path), all_ways(&path), "{path}");
        }
    }

    fn shown(path: &Path<'_>) -> String {
        let slash = if path.trailing_slash { "/" } else { "" };
        format!("/{}{slash}", path.segments.join("|"))
    }

    #[track_caller]
    fn check(path: &str, normal: &str, is_odd: bool) {
        let found = read(path);
        assert_eq!((shown(&found.paths[0]), found.is_odd), (normal.to_owned(), is_odd), "{path}");
        assert!(found.paths.len() <= MAX_READINGS);
    }

    #[test]
    fn ordinary_paths_have_one_reading() {
        for path in ["/", "/v1/orders", "/v1/orders/", "/a.b/c:d@e/~x", "/a%20b/%C3%A9"] {
            let found = read(path);
            assert!(!found.is_odd, "{path}");
            assert_eq!(found.paths.len(), 1, "{path}");
        }
    }

    #[test]
    fn odd_spellings_are_normalised_and_noted() {
        check("/v1//orders", "/v1|orders", true);
        check("/v1/./orders", "/v1|orders", true);
        check("/v1/x/../orders", "/v1|orders", true);
        check("/v1/orders/..", "/v1/", true);
        check("/../../v1", "/v1", true);
        check("/v1;a=b/orders;c", "/v1|orders", true);
        check("/v1/%6frders", "/v1|orders", true);
        check("/v1%2Forders", "/v1|orders", true);
        check("/v1/%2e%2E/orders", "/orders", true);
        check("/v1\\orders", "/v1|orders", true);
        check("/v1%5corders", "/v1|orders", true);
        check("/v1/orders%00.png", "/v1|orders", true);
        check("/v1#orders", "/v1", true);
        check("/v1?orders", "/v1", true);
        check("/v1/orders%3Fx", "/v1|orders", true);
        check("/v1/100%", "/v1|100%", true);
        check("/v1/%ff", "/v1|\u{fffd}", true);
    }

    #[test]
    fn what_is_encoded_twice_is_read_once_and_twice() {
        let found = read("/v1/%256frders");
        let all: Vec<_> = found.paths.iter().map(shown).collect();
        assert!(found.is_odd && all.contains(&"/v1|orders".to_owned()), "{all:?}");
        assert_eq!(all[0], "/v1|%6frders");
    }

    #[test]
    fn targets_of_all_forms_have_their_path() {
        assert_eq!(split_target("/a?b#c"), Some(("/a", Some("b"))));
        assert_eq!(split_target("https://h/a"), Some(("/a", None)));
        assert_eq!(split_target("https://h?x"), Some(("/", Some("x"))));
        assert_eq!(split_target("https://h"), Some(("/", None)));
        assert_eq!(split_target("*"), None);
        assert_eq!(split_target("h:443"), None);
        assert_eq!(split_target(""), None);
    }

    #[test]
    fn deep_paths_are_bounded() {
        let deep = "/a".repeat(500);
        let found = read(&deep);
        assert_eq!(found.paths[0].segments.len(), MAX_SEGMENTS);
        assert!(found.is_odd);
    }
}

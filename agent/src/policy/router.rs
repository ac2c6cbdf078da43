//! Which routes a path leads to. In: a service's templates, and a path. Out: the routes whose
//! template is like it, the most specific first. Its cost grows with the path's length, not with
//! the number of routes.
//!
//! Ours, and not a crate: `**` within a template, parts of segments, two names for one parameter,
//! and the next best route where a better one is for other methods are each beyond what there is.

use std::{borrow::Cow, collections::HashMap};

use crate::policy::{
    path::Path,
    template::{Piece, Segment, Template, capture_pieces},
};

/// A tree over the segments of templates. Routes are numbers, the most specific the lowest.
#[derive(Clone, Debug, Default)]
pub struct Router {
    exact: Tree,
    /// With literals in lower case.
    folded: Tree,
    /// Whether some template has a literal with upper case.
    has_upper: bool,
}

#[derive(Clone, Debug)]
struct Tree(Vec<Node>);

#[derive(Clone, Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, usize>,
    pieces: Vec<(Vec<Piece>, usize)>,
    one: Option<usize>,
    rest: Option<usize>,
    /// Routes whose template ends here.
    routes: Vec<usize>,
}

impl Default for Tree {
    fn default() -> Self {
        Self(vec![Node::default()])
    }
}

impl Router {
    /// A router of templates, which stand in the order of their rank.
    pub fn new(templates: &[&Template]) -> Self {
        let mut router = Self::default();
        for (route, template) in templates.iter().enumerate() {
            let folded: Vec<Segment> = template.segments.iter().map(Segment::folded).collect();
            router.has_upper |= folded != template.segments;
            router.exact.insert(&template.segments, route);
            router.folded.insert(&folded, route);
        }
        router
    }

    /// Routes that `path` leads to, the most specific first.
    #[must_use]
    pub fn find(&self, path: &Path<'_>) -> Vec<usize> {
        self.exact.find(&path.segments)
    }

    /// Routes that `path` leads to where cases are not told apart; `None` if that is no other
    /// question.
    #[must_use]
    pub fn find_folded(&self, path: &Path<'_>) -> Option<Vec<usize>> {
        let upper = |segment: &Cow<'_, str>| segment.bytes().any(|b| b.is_ascii_uppercase());
        if !self.has_upper && !path.segments.iter().any(upper) {
            return None;
        }
        let lower = |segment| match segment {
            segment if upper(segment) => Cow::Owned(segment.to_ascii_lowercase()),
            segment => Cow::Borrowed(segment.as_ref()),
        };
        let segments: Vec<Cow<'_, str>> = path.segments.iter().map(lower).collect();
        Some(self.folded.find(&segments))
    }
}

impl Tree {
    fn insert(&mut self, segments: &[Segment], route: usize) {
        let mut at = 0;
        for segment in segments {
            at = self.child(at, segment);
        }
        if let Some(node) = self.0.get_mut(at) {
            node.routes.push(route);
        }
    }

    /// The child of node `at` for `segment`, made if it is not there.
    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let new = self.0.len();
        let Some(node) = self.0.get_mut(at) else { return at };
        let child = match segment {
            Segment::Literal(text) => *node.literals.entry(text.as_str().into()).or_insert(new),
            Segment::One(_) => *node.one.get_or_insert(new),
            Segment::Rest => *node.rest.get_or_insert(new),
            Segment::Pieces(pieces) => match node.pieces.iter().find(|(it, _)| it == pieces) {
                Some((_, child)) => *child,
                None => {
                    node.pieces.push((pieces.clone(), new));
                    new
                }
            },
        };
        if child == new {
            self.0.push(Node::default());
        }
        child
    }

    fn find(&self, segments: &[Cow<'_, str>]) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(0, segments, &mut found);
        found.sort_unstable();
        // `**` may match in more than one way.
        found.dedup();
        found
    }

    /// Visits each node once for each position in the path, at most: templates have one `**`.
    fn walk(&self, at: usize, segments: &[Cow<'_, str>], found: &mut Vec<usize>) {
        let Some(node) = self.0.get(at) else { return };
        if let Some(rest) = node.rest {
            for skipped in 0..=segments.len() {
                self.walk(rest, segments.get(skipped..).unwrap_or_default(), found);
            }
        }
        let Some((first, after)) = segments.split_first() else {
            found.extend(&node.routes);
            return;
        };
        if let Some(child) = node.literals.get(first.as_ref()) {
            self.walk(*child, after, found);
        }
        for (pieces, child) in &node.pieces {
            if capture_pieces(pieces, first, &mut Vec::new()).is_some() {
                self.walk(*child, after, found);
            }
        }
        if let Some(child) = node.one {
            self.walk(child, after, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

    use super::*;
    use crate::policy::path;

    fn of(templates: &[Template]) -> Router {
        Router::new(&templates.iter().collect::<Vec<_>>())
    }

    fn router(templates: &[&str]) -> (Router, Vec<Template>) {
        let mut all: Vec<_> = templates.iter().map(|it| Template::parse(it).unwrap()).collect();
        all.sort_by_key(Template::rank);
        (of(&all), all)
    }

    #[track_caller]
    fn check(templates: &[&str], path: &str, expected: &[&str]) {
        let (router, all) = router(templates);
        let read = path::read(path);
        let found: Vec<_> =
            router.find(&read.paths[0]).iter().map(|route| all[*route].as_str()).collect();
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn the_most_specific_route_goes_first() {
        let all =
            ["/v1/**", "/v1/orders/{id}", "/v1/orders/special", "/v1/{kind}/special", "/v1/orders"];
        check(
            &all,
            "/v1/orders/special",
            &["/v1/orders/special", "/v1/{kind}/special", "/v1/orders/{id}", "/v1/**"],
        );
        check(&all, "/v1/orders/7", &["/v1/orders/{id}", "/v1/**"]);
        check(&all, "/v1/orders", &["/v1/orders", "/v1/**"]);
        check(&all, "/v1", &["/v1/**"]);
        check(&all, "/v2", &[]);
    }

    #[test]
    fn parts_of_segments_are_told_apart() {
        let all = ["/f/{a}.json", "/f/{a}.xml", "/f/{a}", "/f/get:{b}"];
        check(&all, "/f/x.json", &["/f/{a}.json", "/f/{a}"]);
        check(&all, "/f/get:1", &["/f/get:{b}", "/f/{a}"]);
    }

    #[test]
    fn case_is_told_apart_unless_asked_otherwise() {
        let (upper, _) = router(&["/v1/Refunds"]);
        let at = |text| path::read(text).paths.remove(0);
        assert_eq!(upper.find(&at("/v1/refunds")), [0; 0]);
        assert_eq!(upper.find_folded(&at("/V1/refunds")), Some(vec![0]));
        let (lower, _) = router(&["/v1/refunds"]);
        assert_eq!(lower.find_folded(&at("/v1/refunds")), None);
    }

    fn segment() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just("a-1"), Just("{x}"), Just("a-{x}"), Just("**")]
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_each_template_by_itself_finds(
            templates in prop::collection::vec(prop::collection::vec(segment(), 0..5), 1..20),
            path in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("a-1")], 0..6),
        ) {
            let texts: Vec<String> = templates.iter().map(|it| format!("/{}", it.join("/"))).collect();
            // Parameters of one template need names of their own.
            let named = texts.iter().map(|text| {
                text.split('/').enumerate().map(|(n, it)| it.replace("x", &format!("x{n}"))).collect::<Vec<_>>().join("/")
            });
            let mut all: Vec<_> = named.filter_map(|text| Template::parse(&text).ok()).collect();
            all.sort_by_key(Template::rank);
            let path = format!("/{}", path.join("/"));
            let read = path::read(&path);
            let expected: Vec<usize> = (0..all.len()).filter(|nth| all[*nth].capture(&read.paths[0]).is_some()).collect();
            assert_eq!(of(&all).find(&read.paths[0]), expected);
        }
    }
}

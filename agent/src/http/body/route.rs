//! Routes whose bodies are to be read, as policy marks them.
//!
//! In: marks, made once from a policy; then the head of each request. Out: what the first route
//! that fits is marked as. A mark decides only what is read: a route that fits too much costs the
//! sampling of a body, so that paths are compared after everything that a server may undo.

use std::{borrow::Cow, str::FromStr};

use thiserror::Error;

use crate::http::{operation::Protocol, path};

/// Most segments of a path that are compared; no API has as many, and a longer path fits nothing.
pub const SEGMENTS_MAX: usize = 64;

/// Requests whose bodies are read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MarkedRoute {
    /// The method; `None` for any.
    pub method: Option<Box<str>>,
    /// The host that is asked for, in lower case and without port; `*.` before it for its
    /// subdomains. `None` for any.
    pub host: Option<Box<str>>,
    /// The path.
    pub path: Template,
    /// What is read.
    pub mark: Mark,
}

/// What a route's bodies are read for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mark {
    /// The operation that a request names.
    Operation(Protocol),
    /// Credentials in a form (RFC 6750 §2.2), where the request has one.
    Form,
}

/// A path with places that anything may fill.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(Box<[Segment]>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Literal(Box<str>),
    /// One segment, whatever it is.
    Any,
    /// All that follow, at least none.
    Rest,
}

/// A text is no path template.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BadTemplate {
    /// It has no slash before it.
    #[error("a path template begins with a slash")]
    NoSlash,
    /// It goes on after `**`.
    #[error("in a path template, nothing follows `**`")]
    AfterRest,
    /// It has more than [`SEGMENTS_MAX`] segments.
    #[error("a path template has at most {SEGMENTS_MAX} segments")]
    TooLong,
}

impl FromStr for Template {
    type Err = BadTemplate;

    /// `/v1/{tenant}/mcp`: `{name}` and `*` stand for one segment, `**` at the end for all that
    /// follow.
    fn from_str(text: &str) -> Result<Self, BadTemplate> {
        if !text.starts_with('/') {
            return Err(BadTemplate::NoSlash);
        }
        let segments: Vec<_> = text.split('/').filter(|text| !text.is_empty()).collect();
        if segments.len() > SEGMENTS_MAX {
            return Err(BadTemplate::TooLong);
        }
        let is_rest = |text: &&str| *text == "**";
        if segments.iter().rev().skip(1).any(is_rest) {
            return Err(BadTemplate::AfterRest);
        }
        let segment = |text: &&str| match *text {
            "**" => Segment::Rest,
            "*" => Segment::Any,
            text if text.starts_with('{') && text.ends_with('}') => Segment::Any,
            text => Segment::Literal(text.into()),
        };
        Ok(Self(segments.iter().map(segment).collect()))
    }
}

impl Template {
    fn fits(&self, segments: &[Cow<'_, str>]) -> bool {
        let mut given = segments.iter();
        for segment in &self.0 {
            let fits = match (segment, given.next()) {
                (Segment::Rest, _) => return true,
                (Segment::Any, Some(_)) => true,
                (Segment::Literal(text), Some(given)) => given == text.as_ref(),
                (Segment::Any | Segment::Literal(_), None) => false,
            };
            if !fits {
                return false;
            }
        }
        given.next().is_none()
    }
}

/// What the first of `routes` that fits the request is marked as.
#[must_use]
pub fn mark(
    routes: &[MarkedRoute],
    method: &str,
    host: Option<&str>,
    target: &str,
) -> Option<Mark> {
    if routes.is_empty() {
        return None;
    }
    let segments = segments(target)?;
    let fits = |route: &&MarkedRoute| {
        route.method.as_deref().is_none_or(|wanted| wanted == method)
            && route.host.as_deref().is_none_or(|wanted| host.is_some_and(|it| is_host(wanted, it)))
            && route.path.fits(&segments)
    };
    routes.iter().find(fits).map(|route| route.mark)
}

/// Whether `host` is `wanted`, or below it if that begins with `*.`.
fn is_host(wanted: &str, host: &str) -> bool {
    match wanted.strip_prefix("*.") {
        Some(parent) => {
            let name = host.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.'));
            name.is_some_and(|name| !name.is_empty())
        }
        None => wanted == host,
    }
}

/// The segments of a target's path as a server may read them: percent-encoding undone, empty and
/// dot segments removed (RFC 3986 §5.2.4, §6.2.2). `None` if there are too many.
fn segments(target: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut segments = Vec::new();
    for segment in path::of_target(target).split('/') {
        let decoded = path::percent_decoded(segment);
        let segment = match String::from_utf8(decoded) {
            Ok(text) if text == segment => Cow::Borrowed(segment),
            Ok(text) => Cow::Owned(text),
            Err(_) => Cow::Borrowed(segment),
        };
        match segment.as_ref() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ if segments.len() >= SEGMENTS_MAX => return None,
            _ => segments.push(segment),
        }
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MCP: Mark = Mark::Operation(Protocol::Mcp);

    #[track_caller]
    fn check(template: &str, target: &str, expected: bool) {
        let path = template.parse().unwrap();
        let routes = [MarkedRoute { method: None, host: None, path, mark: MCP }];
        let found = mark(&routes, "POST", None, target);
        assert_eq!(found.is_some(), expected, "{template} {target}");
    }

    #[test]
    fn templates_fit_whole_paths() {
        check("/mcp", "/mcp", true);
        check("/mcp", "/mcp?session=1#x", true);
        check("/mcp", "https://api.example:8443/mcp?x", true);
        check("/mcp", "/mcp/more", false);
        check("/mcp", "/mc", false);
        check("/mcp", "/MCP", false);
        check("/mcp", "", false);
        check("/v1/{tenant}/mcp", "/v1/acme/mcp", true);
        check("/v1/*/mcp", "/v1/acme/mcp", true);
        check("/v1/{tenant}/mcp", "/v1/mcp", false);
        check("/v1/**", "/v1", true);
        check("/v1/**", "/v1/a/b", true);
        check("/v1/**", "/v2/a", false);
        check("/**", "/", true);
        check("/", "/", true);
        check("/", "*", false);
    }

    #[test]
    fn a_path_written_otherwise_does_not_escape_its_mark() {
        for target in ["//mcp", "/mcp/", "/./mcp", "/a/../mcp", "/%6dcp", "/../mcp"] {
            check("/mcp", target, true);
        }
        check("/mcp", &"/a".repeat(SEGMENTS_MAX + 1), false);
        check("/**", &"/a".repeat(SEGMENTS_MAX), true);
    }

    #[test]
    fn method_and_host_must_fit_if_they_are_named() {
        let route = |method: Option<&str>, host: Option<&str>| MarkedRoute {
            method: method.map(Into::into),
            host: host.map(Into::into),
            path: "/graphql".parse().unwrap(),
            mark: Mark::Operation(Protocol::Graphql),
        };
        let check = |route: MarkedRoute, host, expected: bool| {
            assert_eq!(mark(&[route], "POST", host, "/graphql").is_some(), expected);
        };
        check(route(Some("POST"), None), None, true);
        check(route(Some("GET"), None), None, false);
        check(route(None, Some("api.example")), Some("api.example"), true);
        check(route(None, Some("api.example")), Some("other.example"), false);
        check(route(None, Some("api.example")), None, false);
        check(route(None, Some("*.example")), Some("api.example"), true);
        check(route(None, Some("*.example")), Some("example"), false);
        check(route(None, Some("*.example")), Some("badexample"), false);
    }

    #[test]
    fn the_first_route_that_fits_decides() {
        let route = |path: &str, mark| {
            let path = path.parse().unwrap();
            MarkedRoute { method: None, host: None, path, mark }
        };
        let routes = [route("/a/b", Mark::Form), route("/a/**", MCP)];
        assert_eq!(mark(&routes, "POST", None, "/a/b"), Some(Mark::Form));
        assert_eq!(mark(&routes, "POST", None, "/a/c"), Some(MCP));
        assert_eq!(mark(&routes, "POST", None, "/c"), None);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let check = |text: &str, error| assert_eq!(Template::from_str(text), Err(error), "{text}");
        check("", BadTemplate::NoSlash);
        check("mcp", BadTemplate::NoSlash);
        check("/a/**/b", BadTemplate::AfterRest);
        check(&"/a".repeat(SEGMENTS_MAX + 1), BadTemplate::TooLong);
    }
}

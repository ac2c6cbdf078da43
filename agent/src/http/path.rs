//! Request targets, fit to be kept. In: a target as it was sent, and the `Host` field. Out:
//! [`Target`]: where the request went, without identifiers, secrets or query values.
//!
//! Everything that leaves is printable ASCII and bounded.

use std::borrow::Cow;

use crate::{
    text::Cuts,
    token::shape::{TOKEN, holds_secret},
};

/// Longest path kept, in bytes; longer ones lose whole segments at their end.
pub const MAX_PATH: usize = 1024;
/// Most query keys kept.
pub const MAX_QUERY_KEYS: usize = 32;
/// Longest query key kept, in bytes.
pub const MAX_QUERY_KEY: usize = 64;
/// Longest host name (RFC 1035 §2.3.4), in bytes.
pub const MAX_HOST: usize = 253;

/// Fewest hexadecimal digits that are an identifier and not a word.
const MIN_HEX: usize = 16;

/// Where a request went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Target {
    /// `http` or `https`, if the target is in absolute form.
    pub scheme: Option<String>,
    /// Host name or address, in lower case, without port.
    pub host: Option<String>,
    /// Path, with placeholders for identifiers and secrets; `*` for `OPTIONS *`, `None` for
    /// CONNECT and for targets that are none.
    pub path: Option<String>,
    /// Names of query parameters, in order. Values are never kept.
    pub query_keys: Vec<String>,
}

impl Target {
    /// Reads a request's target in any of its four forms (RFC 9112 §3.2). `host` is the value of
    /// the `Host` field; the absolute form overrides it (RFC 9112 §3.2.2). What had to be cut is
    /// recorded in `cuts`.
    #[must_use]
    pub fn read(method: &str, target: &str, host: Option<&[u8]>, cuts: &mut Cuts) -> Self {
        let host = host.and_then(|host| std::str::from_utf8(host).ok()).and_then(host_of);
        if method == "CONNECT" {
            return Self { host: host_of(target).or(host), ..Self::default() };
        }
        if target == "*" {
            return Self { host, path: Some(target.to_owned()), ..Self::default() };
        }
        if target.starts_with('/') {
            return Self::with_resource(None, host, target, cuts);
        }
        let Some((scheme, rest)) = target.split_once("://") else {
            return Self { host, ..Self::default() };
        };
        let scheme = ["http", "https"].into_iter().find(|each| scheme.eq_ignore_ascii_case(each));
        let (authority, resource) = rest
            .split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
            .unwrap_or_default();
        Self::with_resource(scheme, host_of(authority), resource, cuts)
    }

    fn with_resource(
        scheme: Option<&str>,
        host: Option<String>,
        resource: &str,
        cuts: &mut Cuts,
    ) -> Self {
        let resource = resource.split('#').next().unwrap_or_default();
        let (path, query) = resource.split_once('?').unwrap_or((resource, ""));
        Self {
            scheme: scheme.map(str::to_owned),
            host,
            path: Some(redacted_path(path, cuts)),
            query_keys: query_keys(query, cuts),
        }
    }
}

/// The path of a target in origin or absolute form (RFC 9112 §3.2), as it was sent.
pub(super) fn of_target(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        _ => target,
    }
}

/// The host of `[userinfo@]host[:port]`, if it is made of a host's characters only.
pub(super) fn host_of(authority: &str) -> Option<String> {
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let host = match bracketed {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or(host),
    };
    let allowed = |b: u8| match bracketed {
        Some(_) => b.is_ascii_hexdigit() || matches!(b, b':' | b'.'),
        None => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'),
    };
    let valid = !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(allowed);
    valid.then(|| host.to_ascii_lowercase())
}

fn redacted_path(path: &str, cuts: &mut Cuts) -> String {
    let mut kept = String::new();
    for segment in path.split('/').skip(1) {
        let segment = redacted(segment);
        if kept.len().saturating_add(segment.len()) >= MAX_PATH {
            cuts.record("path");
            break;
        }
        kept.push('/');
        kept.push_str(&segment);
    }
    if kept.is_empty() { "/".to_owned() } else { kept }
}

fn query_keys(query: &str, cuts: &mut Cuts) -> Vec<String> {
    let keys = query.split('&').map(|pair| pair.split('=').next().unwrap_or(pair));
    let keys = cuts.list("query_keys", keys.filter(|key| !key.is_empty()), MAX_QUERY_KEYS);
    keys.iter().map(|key| cuts.text("query_keys", &redacted(key), MAX_QUERY_KEY)).collect()
}

/// `segment` as it may be shown: itself in printable ASCII, or what stands for its like.
fn redacted(segment: &str) -> Cow<'_, str> {
    let decoded = percent_decoded(segment);
    let text = String::from_utf8_lossy(&decoded);
    match placeholder(&text) {
        Some(name) => Cow::Borrowed(name),
        None if segment.bytes().all(|b| b.is_ascii_graphic()) => Cow::Borrowed(segment),
        None => Cow::Owned(percent_encoded(segment)),
    }
}

fn placeholder(text: &str) -> Option<&'static str> {
    let is = |check: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(check);
    if is(u8::is_ascii_digit) {
        Some("{int}")
    } else if is_uuid(text) {
        Some("{uuid}")
    } else if text.len() >= MIN_HEX && is(u8::is_ascii_hexdigit) {
        Some("{hex}")
    } else if text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
    {
        Some("{email}")
    } else {
        holds_secret(text).then_some(TOKEN)
    }
}

/// `8-4-4-4-12` hexadecimal digits (RFC 9562 §4).
fn is_uuid(text: &str) -> bool {
    let groups = text.split('-').map(str::len);
    groups.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Undoes percent-encoding (RFC 3986 §2.1); what is no valid encoding stays as it is.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.split_first_chunk::<2>().filter(|_| first == b'%');
        let byte = escaped.and_then(|(digits, after)| Some((hex_byte(digits)?, after)));
        let (byte, next) = byte.unwrap_or((first, after));
        decoded.push(byte);
        rest = next;
    }
    decoded
}

fn hex_byte(digits: &[u8; 2]) -> Option<u8> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn percent_encoded(text: &str) -> String {
    let encode = |b: u8| match b.is_ascii_graphic() {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, target: &str) -> Target {
        Target::read(method, target, Some(b"Api.Example.COM:8443"), &mut Cuts::default())
    }

    #[track_caller]
    fn check(target: &str, path: &str, query_keys: &[&str]) {
        let found = read("GET", target);
        assert_eq!(found.path.as_deref(), Some(path), "{target}");
        assert_eq!(found.query_keys, query_keys, "{target}");
    }

    #[track_caller]
    fn check_host(field: &str, host: Option<&str>) {
        let found = Target::read("GET", "/", Some(field.as_bytes()), &mut Cuts::default());
        assert_eq!(found.host.as_deref(), host, "{field}");
    }

    #[test]
    fn words_stay_and_identifiers_go() {
        check("/", "/", &[]);
        check("/v1/refunds/", "/v1/refunds/", &[]);
        check("/v1//a.b;c,d=e:f", "/v1//a.b;c,d=e:f", &[]);
        check("/orders/4711/items", "/orders/{int}/items", &[]);
        check("/u/123e4567-e89b-12d3-a456-426614174000", "/u/{uuid}", &[]);
        check("/blob/DEADBEEFdeadbeef", "/blob/{hex}", &[]);
        check("/blob/deadbeef", "/blob/deadbeef", &[]);
        check("/m/bob@example.com", "/m/{email}", &[]);
        check("/m/bob%40example.com", "/m/{email}", &[]);
        check("/r/eyJhbGciOiJub25lIn0.e30.", "/r/{token}", &[]);
        check("/r/%65yJhbGciOiJub25lIn0.e30.", "/r/{token}", &[]);
        check("/r/ghp_16C7e42F292c6912E7710c838347Ae178B4a.git", "/r/{token}", &[]);
        check("/app;jsessionid=A9fB3kPq77LmZx01", "/{token}", &[]);
    }

    #[test]
    fn paths_are_printable_ascii() {
        check("/caf\u{e9}/%zz/%4", "/caf%C3%A9/%zz/%4", &[]);
        check("/\x1b[2J\u{202e}", "/%1B[2J%E2%80%AE", &[]);
    }

    #[test]
    fn of_a_query_only_keys_are_kept() {
        check("/s?q=secret&page=2&flag&&=x#top", "/s", &["q", "page", "flag"]);
        check("/s?A9fB3kPq77LmZx01", "/s", &["{token}"]);
        check("/s?a?b=c", "/s", &["a?b"]);
    }

    #[test]
    fn all_forms_of_targets_are_read() {
        let host = Some("api.example.com".to_owned());
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(
            read("OPTIONS", "*"),
            Target { host: host.clone(), path: path("*"), ..Target::default() }
        );
        assert_eq!(
            read("GET", "HTTPS://user:pw@Other.example:1/a?b"),
            Target {
                scheme: Some("https".into()),
                host: Some("other.example".into()),
                path: path("/a"),
                query_keys: vec!["b".into()],
            }
        );
        assert_eq!(read("GET", "http://other.example").path, path("/"));
        assert_eq!(
            read("CONNECT", "db.example:5432"),
            Target { host: Some("db.example".into()), ..Target::default() }
        );
        assert_eq!(read("GET", "nonsense"), Target { host, ..Target::default() });
        assert_eq!(read("GET", ""), read("GET", "nonsense"));
    }

    #[test]
    fn hosts_are_hosts_or_nothing() {
        check_host("a_b.Example", Some("a_b.example"));
        check_host("192.0.2.1:80", Some("192.0.2.1"));
        check_host("[2001:DB8::1]:443", Some("2001:db8::1"));
        check_host("", None);
        check_host("a b", None);
        check_host("a\x1b", None);
        check_host("[::1%eth0]", None);
        check_host(&"a".repeat(MAX_HOST + 1), None);
    }

    #[test]
    fn lengths_are_bounded_and_cuts_recorded() {
        let mut cuts = Cuts::default();
        let target = format!("{}?{}", "/word".repeat(1000), "key&".repeat(40));
        let found = Target::read("GET", &target, None, &mut cuts);
        assert!(found.path.is_some_and(|path| path.len() <= MAX_PATH));
        assert_eq!(found.query_keys.len(), MAX_QUERY_KEYS);
        assert_eq!(cuts.iter().collect::<Vec<_>>(), ["path", "query_keys"]);
    }
}

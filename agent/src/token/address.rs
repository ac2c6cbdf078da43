//! Addresses of HTTP, normalised for comparison. In: a URL. Out: an [`Address`] by which two ways
//! to write the same resource are equal (RFC 3986 §6.2.2 and §6.2.3), without query and fragment.

/// Where a resource is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::token) struct Address {
    pub is_https: bool,
    /// In lower case.
    pub host: String,
    pub port: u16,
    /// Begins with a slash.
    pub path: String,
}

impl Address {
    /// Reads `url`; `None` if it is none of HTTP.
    pub fn read(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at_checked(end)?;
        Self::new(is_https, authority, resource)
    }

    /// The address of `resource`, a path with what may follow it, at `authority`.
    pub fn new(is_https: bool, authority: &str, resource: &str) -> Option<Self> {
        let default = if is_https { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            // Within an IPv6 address, colons separate no port.
            Some((host, port)) if !port.ends_with(']') => {
                (host, if port.is_empty() { default } else { port.parse().ok()? })
            }
            _ => (authority, default),
        };
        // User names have no place in it (RFC 9110 §4.2.4).
        let valid = !host.is_empty() && !host.contains(['@', ' ']);
        let path = resource.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = (host.to_ascii_lowercase(), normalised(path));
        valid.then_some(Self { is_https, host, port, path })
    }
}

/// `path` without dot segments, escapes in upper case, and none of what needs none.
pub(in crate::token) fn normalised(path: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let segment = unescaped(segment);
        match segment.as_str() {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(String::new());
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Escapes of unreserved characters (RFC 3986 §2.3) undone, others in upper case.
fn unescaped(segment: &str) -> String {
    let mut parts = segment.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escape = part.split_at_checked(2).and_then(|(digits, rest)| {
            let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok().filter(|_| valid)?;
            Some((digits, char::from(byte), rest))
        });
        match escape {
            Some((_, c, rest)) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                text.push(c);
                text.push_str(rest);
            }
            Some((digits, _, rest)) => {
                text.push('%');
                text.push_str(&digits.to_ascii_uppercase());
                text.push_str(rest);
            }
            None => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, same: bool) {
        let (one, other) = (Address::read(one), Address::read(other));
        assert!(one.is_some() && other.is_some());
        assert_eq!(one == other, same, "{one:?} {other:?}");
    }

    #[test]
    fn the_same_resource_is_the_same_however_it_is_written() {
        check("https://a.example/x", "HTTPS://A.Example:443/x?q#f", true);
        check("http://a.example", "http://a.example:80/", true);
        check("https://a/%7Eu/%3a", "https://a/~u/%3A", true);
        check("https://a/b/./c/../d", "https://a/b/d", true);
        check("https://a/b/..", "https://a/", true);
        check("https://[::1]:443/", "https://[::1]/", true);
    }

    #[test]
    fn other_resources_are_others() {
        check("https://a/x", "http://a/x", false);
        check("https://a/x", "https://b/x", false);
        check("https://a/x", "https://a:8443/x", false);
        check("https://a/x", "https://a/x/", false);
        check("https://a/x", "https://a/X", false);
        check("https://a/a%2Fb", "https://a/a/b", false);
        check("https://a//x", "https://a/x", false);
    }

    #[test]
    fn what_is_no_address_is_none() {
        for url in ["", "a", "ftp://a/", "https://", "https://a:99999/", "https://u@a/", "/x"] {
            assert_eq!(Address::read(url), None, "{url}");
        }
    }
}

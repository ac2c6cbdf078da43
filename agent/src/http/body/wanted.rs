//! Which bodies are read. By default those of calls to an authorization server, told by the
//! address: what is read is bounded, and what it means is decided by its parameters, later.
//!
//! In: a request's target and fields. Out: how to read the bodies of that exchange.

use super::{Content, Sample, grpc::Messages};
use crate::http::message::Fields;

/// Last segments of the paths of an authorization server's endpoints: token (RFC 6749 §3.2),
/// revocation (RFC 7009), introspection (RFC 7662), device authorization (RFC 8628), pushed
/// authorization requests (RFC 9126), backchannel authentication (CIBA), userinfo and logout
/// (OpenID Connect), and key sets, as servers in common use name them.
const ENDPOINTS: [&str; 22] = [
    "access_token",
    "backchannel_logout",
    "bc-authorize",
    "certs",
    "device_authorization",
    "devicecode",
    "introspect",
    "introspection",
    "jwks",
    "jwks.json",
    "jwks_uri",
    "keys",
    "oauth_token",
    "par",
    "revocation",
    "revoke",
    "token",
    "token_info",
    "tokeninfo",
    "tokenreviews",
    "tokens",
    "userinfo",
];

/// Metadata documents; the issuer's path may follow (RFC 8414 §3.1).
const METADATA: [&str; 3] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource",
];

/// Which bodies are sampled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Those of calls to authorization servers.
    pub authorization_servers: bool,
    /// Those of requests that carry JSON, for the operation that they name.
    pub operations: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { authorization_servers: true, operations: false }
    }
}

impl Wanted {
    /// Whether the bodies of a call to `target` are sampled, whatever they are.
    #[must_use]
    pub fn samples(self, target: &str) -> bool {
        self.authorization_servers && is_endpoint(target)
    }

    /// How a request's body is read.
    #[must_use]
    pub fn of_request(self, target: &str, fields: &Fields) -> Content {
        let names_operation = self.operations && is_json(fields);
        self.content(self.samples(target) || names_operation, fields)
    }

    /// How a response's body is read; `is_sampled` is what [`Self::samples`] said of the request.
    #[must_use]
    pub fn of_response(self, is_sampled: bool, fields: &Fields) -> Content {
        self.content(is_sampled, fields)
    }

    fn content(self, is_sampled: bool, fields: &Fields) -> Content {
        if is_sampled {
            Content::Sampled(Sample::default())
        } else if fields.is_grpc() {
            Content::Grpc(Messages::default())
        } else {
            Content::Counted
        }
    }
}

fn is_endpoint(target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    let last = path.rsplit('/').next().unwrap_or_default();
    ENDPOINTS.binary_search(&last).is_ok() || METADATA.iter().any(|known| path.contains(known))
}

/// `application/json`, or a suffix of that (RFC 6839 §3.1).
fn is_json(fields: &Fields) -> bool {
    let Some(sent) = fields.first("content-type") else { return false };
    let media_type = sent.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends = |suffix: &[u8]| {
        let start = media_type.len().checked_sub(suffix.len());
        let end = start.and_then(|start| media_type.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    ends(b"/json") || ends(b"+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_by_their_last_segment() {
        let wanted = Wanted::default();
        for target in [
            "/token",
            "/realms/corp/protocol/openid-connect/token?x=/y",
            "/oauth2/v1/introspect/",
            "https://sso.example/oauth/revoke",
            "/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/tenant/1",
            "/realms/corp/protocol/openid-connect/certs",
            "/apis/authentication.k8s.io/v1/tokenreviews",
        ] {
            assert!(wanted.samples(target), "{target}");
        }
        for target in ["/", "/tokenise", "/api?next=/token", "/token/4711", "", "*"] {
            assert!(!wanted.samples(target), "{target}");
        }
        let off = Wanted { authorization_servers: false, ..wanted };
        assert!(!off.samples("/token"));
    }

    #[test]
    fn endpoints_are_sorted() {
        assert!(ENDPOINTS.is_sorted());
    }

    #[test]
    fn json_is_sampled_where_operations_are_wanted() {
        let wanted = Wanted { operations: true, ..Wanted::default() };
        for (sent, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/graphql-response+json", true),
            ("text/plain", false),
            ("json", false),
        ] {
            let mut fields = Fields::default();
            fields.push(b"content-type", sent.as_bytes());
            let content = wanted.of_request("/mcp", &fields);
            assert_eq!(matches!(content, Content::Sampled(_)), expected, "{sent}");
            assert_eq!(Wanted::default().of_request("/mcp", &fields), Content::Counted);
        }
    }

    #[test]
    fn messages_of_grpc_are_counted() {
        let mut fields = Fields::default();
        fields.push(b"content-type", b"application/grpc+proto");
        let wanted = Wanted::default();
        assert!(matches!(wanted.of_request("/pkg.Svc/Get", &fields), Content::Grpc(_)));
        assert!(matches!(wanted.of_response(false, &fields), Content::Grpc(_)));
    }
}

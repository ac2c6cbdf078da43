//! Which bodies are read. By default those of calls to an authorization server, told by address,
//! method and media type, and forms: what is read is bounded, and what it means is decided by
//! its parameters, later.
//!
//! In: the heads of an exchange. Out: how to read its bodies.

use std::sync::Arc;

use super::{
    Content, Sample,
    grpc::Messages,
    grpc_web::Call,
    route::{self, Mark, MarkedRoute},
    sample::Purpose,
};
use crate::http::{
    message::{Fields, Request},
    path,
};

/// What an endpoint of an authorization server teaches by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endpoint {
    /// A request that carries a form or JSON, and the answer to it.
    Grant,
    /// Its answers.
    Claims,
    /// Its answers, if they are JSON.
    Document,
}

/// Last segments of the paths of an authorization server's endpoints: token (RFC 6749 §3.2),
/// revocation (RFC 7009), introspection (RFC 7662), device authorization (RFC 8628), pushed
/// authorization requests (RFC 9126), backchannel authentication (CIBA), userinfo and logout
/// (OpenID Connect), and key sets, as servers in common use name them.
const ENDPOINTS: [(&str, Endpoint); 22] = [
    ("access_token", Endpoint::Grant),
    ("backchannel_logout", Endpoint::Grant),
    ("bc-authorize", Endpoint::Grant),
    ("certs", Endpoint::Document),
    ("device_authorization", Endpoint::Grant),
    ("devicecode", Endpoint::Grant),
    ("introspect", Endpoint::Grant),
    ("introspection", Endpoint::Grant),
    ("jwks", Endpoint::Document),
    ("jwks.json", Endpoint::Document),
    ("jwks_uri", Endpoint::Document),
    ("keys", Endpoint::Document),
    ("oauth_token", Endpoint::Grant),
    ("par", Endpoint::Grant),
    ("revocation", Endpoint::Grant),
    ("revoke", Endpoint::Grant),
    ("token", Endpoint::Grant),
    ("token_info", Endpoint::Claims),
    ("tokeninfo", Endpoint::Claims),
    ("tokenreviews", Endpoint::Grant),
    ("tokens", Endpoint::Grant),
    ("userinfo", Endpoint::Claims),
];

/// Metadata documents; the issuer's path may follow (RFC 8414 §3.1).
const METADATA: [&str; 3] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource",
];

/// Which bodies are sampled. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Those of calls to authorization servers.
    pub authorization_servers: bool,
    /// Those of all requests that carry a form: a credential may stand there (RFC 6750 §2.2), and
    /// is absent only from a form that was read.
    pub forms: bool,
    /// Those of requests on these routes. They are gone through for each request.
    pub routes: Arc<[MarkedRoute]>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { authorization_servers: true, forms: true, routes: Arc::default() }
    }
}

impl Wanted {
    /// How a request's body is read.
    #[must_use]
    pub fn of_request(&self, method: &str, target: &str, fields: &Fields) -> Content {
        content(self.asked(method, target, fields), fields)
    }

    /// How the body of the response to `request` is read; of one whose request is not known,
    /// nothing is.
    #[must_use]
    pub fn of_response(&self, request: Option<&Request>, fields: &Fields) -> Content {
        let is_sampled = request.is_some_and(|request| self.answered(request, fields));
        content(is_sampled.then_some(Purpose::AuthorizationServer), fields)
    }

    /// What the body of a request is sampled for.
    fn asked(&self, method: &str, target: &str, fields: &Fields) -> Option<Purpose> {
        let host = || path::host_of(std::str::from_utf8(fields.host()?).ok()?);
        let marked = if self.routes.is_empty() {
            None
        } else {
            route::mark(&self.routes, method, host().as_deref(), target)
        };
        let media = Media::of(fields);
        // Only a form in the body of a request that may have one (RFC 6750 §2.2).
        let is_form = media == Some(Media::Form) && method != "GET";
        match (marked, self.endpoint(target)) {
            (Some(Mark::Operation(protocol)), _) => Some(Purpose::Operation(protocol)),
            (_, Some(Endpoint::Grant)) if is_grant(method, media) => {
                Some(Purpose::AuthorizationServer)
            }
            (Some(Mark::Form), _) if is_form => Some(Purpose::Form),
            _ if self.forms && is_form => Some(Purpose::Form),
            _ => None,
        }
    }

    /// Whether the answer to `request` is sampled.
    fn answered(&self, request: &Request, fields: &Fields) -> bool {
        let media = Media::of(fields);
        match self.endpoint(&request.target) {
            // GitHub answers in a form.
            Some(Endpoint::Grant) => {
                is_grant(&request.method, Media::of(&request.fields)) && media.is_some()
            }
            Some(Endpoint::Claims) => media.is_some(),
            Some(Endpoint::Document) => request.method == "GET" && media == Some(Media::Json),
            None => false,
        }
    }

    fn endpoint(&self, target: &str) -> Option<Endpoint> {
        if !self.authorization_servers {
            return None;
        }
        let path = path::of_target(target);
        let path = path.strip_suffix('/').unwrap_or(path);
        let last = path.rsplit('/').next().unwrap_or_default();
        match ENDPOINTS.binary_search_by_key(&last, |(name, _)| name) {
            Ok(found) => ENDPOINTS.get(found).map(|(_, endpoint)| *endpoint),
            Err(_) => {
                METADATA.iter().any(|known| path.contains(known)).then_some(Endpoint::Document)
            }
        }
    }
}

/// `/token` and `/tokens` are ordinary names, too: only what may be a grant is read.
fn is_grant(method: &str, media: Option<Media>) -> bool {
    method == "POST" && matches!(media, Some(Media::Form | Media::Json))
}

fn content(purpose: Option<Purpose>, fields: &Fields) -> Content {
    match purpose {
        Some(purpose) => Content::Sampled(Sample::new(purpose)),
        None if fields.is_grpc() => match Call::of(fields) {
            Some(call) => Content::GrpcWeb(Box::new(call)),
            None => Content::Grpc(Messages::default()),
        },
        None => Content::Counted,
    }
}

/// Media types of the bodies that are read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Media {
    /// `application/json`, or a suffix of that (RFC 6839 §3.1).
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/jwt`, or a suffix of that: signed answers (RFC 9701 §5, OpenID Connect).
    Jwt,
}

impl Media {
    fn of(fields: &Fields) -> Option<Self> {
        let media_type = fields.media_type()?;
        let ends = |suffix: &[u8]| {
            let start = media_type.len().checked_sub(suffix.len());
            let end = start.and_then(|start| media_type.get(start..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        if ends(b"/json") || ends(b"+json") {
            Some(Self::Json)
        } else if ends(b"/jwt") || ends(b"+jwt") {
            Some(Self::Jwt)
        } else {
            media_type
                .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
                .then_some(Self::Form)
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        clock::Timestamp,
        http::{message::Version, operation::Protocol},
    };

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";

    fn typed(content_type: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(b"content-type", content_type.as_bytes());
        fields
    }

    /// What request and response of an exchange are sampled for.
    fn sampled(
        wanted: &Wanted,
        (method, target, sent): (&str, &str, &str),
        answered: &str,
    ) -> [Option<Purpose>; 2] {
        let fields = typed(sent);
        let content = wanted.of_request(method, target, &fields);
        let request = Request {
            method: method.to_owned(),
            target: Zeroizing::new(target.to_owned()),
            version: Version::Http11,
            head_bytes: 0,
            fields,
            body_bytes: 0,
            content: Content::Counted,
            started: Timestamp(0),
            ended: Timestamp(0),
        };
        let purpose = |content: &Content| content.sample().map(Sample::purpose);
        let answer = wanted.of_response(Some(&request), &typed(answered));
        [purpose(&content), purpose(&answer)]
    }

    #[track_caller]
    fn check(request: (&str, &str, &str), answered: &str, expected: [bool; 2]) {
        let found = sampled(&Wanted::default(), request, answered);
        let server = |is_sampled: bool| is_sampled.then_some(Purpose::AuthorizationServer);
        assert_eq!(found, expected.map(server), "{request:?}");
    }

    #[test]
    fn endpoints_are_told_by_their_last_segment() {
        for target in [
            "/token",
            "/realms/corp/protocol/openid-connect/token?x=/y",
            "/oauth2/v1/introspect/",
            "https://sso.example/oauth/revoke",
            "/apis/authentication.k8s.io/v1/tokenreviews",
        ] {
            check(("POST", target, FORM), JSON, [true, true]);
        }
        for target in ["/", "/tokenise", "/api?next=/token", "/token/4711", "", "*"] {
            check(("POST", target, JSON), JSON, [false, false]);
        }
        let off = Wanted { authorization_servers: false, ..Wanted::default() };
        assert_eq!(sampled(&off, ("POST", "/token", JSON), JSON), [None, None]);
    }

    #[test]
    fn of_endpoints_with_ordinary_names_only_what_may_be_a_grant_is_read() {
        check(("POST", "/token", JSON), JSON, [true, true]);
        check(("POST", "/token", FORM), FORM, [true, true]);
        check(("POST", "/introspect", FORM), "application/token-introspection+jwt", [true, true]);
        check(("GET", "/tokens", ""), JSON, [false, false]);
        check(("GET", "/tokens", FORM), JSON, [false, false]);
        check(("PUT", "/tokens", JSON), JSON, [false, false]);
        check(("POST", "/tokens", "multipart/form-data; boundary=x"), JSON, [false, false]);
        check(("POST", "/token", FORM), "text/html", [true, false]);
    }

    #[test]
    fn of_documents_and_claims_the_answers_are_read() {
        for target in [
            "/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/tenant/1",
            "/realms/corp/protocol/openid-connect/certs",
        ] {
            check(("GET", target, ""), "application/json; charset=utf-8", [false, true]);
        }
        check(("GET", "/keys", ""), "application/jwk-set+json", [false, true]);
        check(("GET", "/keys", ""), "text/html", [false, false]);
        check(("POST", "/keys", JSON), JSON, [false, false]);
        check(("GET", "/userinfo", ""), "application/jwt", [false, true]);
        check(("POST", "/userinfo", ""), JSON, [false, true]);
    }

    #[test]
    fn the_answer_to_nobody_is_not_read() {
        assert_eq!(Wanted::default().of_response(None, &typed(JSON)), Content::Counted);
    }

    #[test]
    fn endpoints_are_sorted() {
        assert!(ENDPOINTS.is_sorted_by_key(|(name, _)| name));
    }

    fn marking(mark: Mark) -> Wanted {
        let path = "/api/**".parse().unwrap();
        let route = MarkedRoute { method: None, host: None, path, mark };
        Wanted { routes: [route].into(), ..Wanted::default() }
    }

    #[test]
    fn on_marked_routes_every_body_is_read_for_its_operation() {
        let wanted = marking(Mark::Operation(Protocol::Mcp));
        for sent in [JSON, "text/plain", ""] {
            let found = sampled(&wanted, ("POST", "/api/mcp", sent), JSON);
            assert_eq!(found, [Some(Purpose::Operation(Protocol::Mcp)), None], "{sent}");
        }
        assert_eq!(sampled(&wanted, ("POST", "/mcp", JSON), JSON), [None, None]);
    }

    #[test]
    fn forms_are_read_where_they_are_marked_or_everywhere() {
        let marked = Wanted { forms: false, ..marking(Mark::Form) };
        for wanted in [marked, Wanted::default()] {
            let check = |method, sent, expected| {
                let found = sampled(&wanted, (method, "/api/x", sent), JSON);
                assert_eq!(found, [expected, None], "{method} {sent}");
            };
            check("POST", "application/X-WWW-form-urlencoded; charset=UTF-8", Some(Purpose::Form));
            check("PUT", FORM, Some(Purpose::Form));
            check("GET", FORM, None);
            check("POST", JSON, None);
        }
        let nowhere = Wanted { forms: false, ..Wanted::default() };
        assert_eq!(sampled(&nowhere, ("POST", "/api/x", FORM), JSON), [None, None]);
    }

    #[test]
    fn messages_of_grpc_are_counted() {
        let fields = typed("application/grpc+proto");
        let wanted = Wanted::default();
        assert!(matches!(wanted.of_request("POST", "/pkg.Svc/Get", &fields), Content::Grpc(_)));
        assert!(matches!(wanted.of_response(None, &fields), Content::Grpc(_)));
        let fields = typed("application/grpc-web+proto");
        assert!(matches!(wanted.of_request("POST", "/pkg.Svc/Get", &fields), Content::GrpcWeb(_)));
        assert!(matches!(wanted.of_response(None, &fields), Content::GrpcWeb(_)));
    }
}

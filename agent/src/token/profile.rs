//! How issuers deviate from RFC 9068: one row a dialect. In: the name in a policy. Out: a
//! [`Dialect`]: where its tokens keep what, and what must be known of them.

use serde_json::{Map, Value};

use crate::names::named_enum;

named_enum! {
    /// Dialect of an issuer's tokens.
    pub enum Profile {
        /// RFC 9068 to the letter, `typ` included.
        Strict9068 = "strict9068",
        /// Only what every JWT has: nothing is required.
        Lax = "lax",
        /// Keycloak
        Keycloak = "keycloak",
        /// Auth0
        Auth0 = "auth0",
        /// Microsoft Entra ID, v1.0 tokens
        EntraV1 = "entra_v1",
        /// Microsoft Entra ID, v2.0 tokens
        EntraV2 = "entra_v2",
        /// Okta custom authorization servers
        Okta = "okta",
        /// Amazon Cognito
        Cognito = "cognito",
        /// Google
        Google = "google",
        /// GitHub: opaque tokens, and the ID tokens of Actions
        Github = "github",
        /// GitLab: opaque tokens, and the ID tokens of CI jobs
        Gitlab = "gitlab",
        /// Slack
        Slack = "slack",
        /// Kubernetes service accounts
        Kubernetes = "kubernetes",
        /// Spring Authorization Server
        Spring = "spring",
    }
}

/// A claim, or a member of a claim: `["realm_access", "roles"]`. `*` is every member, whose name
/// is put before what is found in it: `client:role`.
pub(in crate::token) type Path = &'static [&'static str];

/// Where a dialect keeps what. Of several places the first that is there counts; of `roles` all.
pub(in crate::token) struct Dialect {
    pub subject: &'static [Path],
    pub username: &'static [Path],
    pub client_id: &'static [Path],
    pub tenant: &'static [Path],
    /// A string of words or an array (RFC 8693 §4.2); commas separate only where `commas` says so.
    pub scopes: &'static [Path],
    pub commas: bool,
    pub roles: &'static [Path],
    /// Claims that an access token always has.
    pub required: &'static [&'static str],
    /// Where the audience is, if there is no `aud`.
    pub audience: &'static [Path],
    /// An audience that every token has and that names no API, if it is the only one.
    pub idle_audience: Option<&'static str>,
    /// Whether `typ` must be `at+jwt` (RFC 9068 §2.1).
    pub is_typed: bool,
    /// Whether ID tokens are what its holders present to services.
    pub presents_id_tokens: bool,
    /// Whether the token speaks for a client alone.
    pub is_service: fn(&Map<String, Value>) -> bool,
    /// Whether only its audience can verify it.
    pub is_unverifiable: fn(header: &Map<String, Value>, claims: &Map<String, Value>) -> bool,
}

/// What all JWTs have, and the names in most use for the rest.
const COMMON: Dialect = Dialect {
    subject: &[&["sub"]],
    username: &[&["preferred_username"], &["username"], &["email"]],
    client_id: &[&["client_id"], &["azp"]],
    tenant: &[&["tid"], &["tenant"], &["org_id"]],
    scopes: &[&["scope"], &["scp"]],
    commas: false,
    roles: &[&["roles"], &["groups"], &["entitlements"]],
    required: &[],
    audience: &[],
    idle_audience: None,
    is_typed: false,
    presents_id_tokens: false,
    is_service: subject_is_client,
    is_unverifiable: |_, _| false,
};

const STRICT_9068: Dialect = Dialect {
    username: &[],
    client_id: &[&["client_id"]],
    tenant: &[],
    scopes: &[&["scope"]],
    required: &["iss", "exp", "aud", "sub", "client_id", "iat", "jti"],
    is_typed: true,
    ..COMMON
};

const KEYCLOAK: Dialect = Dialect {
    username: &[&["preferred_username"]],
    client_id: &[&["azp"], &["client_id"]],
    tenant: &[],
    scopes: &[&["scope"]],
    roles: &[
        &["realm_access", "roles"],
        &["resource_access", "*", "roles"],
        &["groups"],
        &["roles"],
    ],
    required: &["exp", "iat", "iss"],
    idle_audience: Some("account"),
    is_service: |claims| {
        let name = text(claims, "preferred_username");
        name.is_some_and(|name| name.starts_with("service-account-"))
    },
    ..COMMON
};

const AUTH0: Dialect = Dialect {
    username: &[],
    client_id: &[&["azp"], &["client_id"]],
    tenant: &[&["org_id"]],
    scopes: &[&["scope"]],
    roles: &[&["permissions"]],
    required: &["iss", "sub", "aud", "iat", "exp"],
    is_service: |claims| {
        text(claims, "gty") == Some("client-credentials")
            || text(claims, "sub").is_some_and(|sub| sub.ends_with("@clients"))
    },
    ..COMMON
};

const ENTRA: Dialect = Dialect {
    subject: &[&["oid"], &["sub"]],
    username: &[&["preferred_username"], &["upn"], &["unique_name"]],
    client_id: &[&["azp"], &["appid"]],
    tenant: &[&["tid"]],
    scopes: &[&["scp"]],
    roles: &[&["roles"], &["wids"], &["groups"]],
    required: &["iss", "aud", "iat", "nbf", "exp", "tid"],
    is_service: |claims| match text(claims, "idtyp") {
        Some(kind) => kind == "app",
        None => !claims.contains_key("scp") && text(claims, "oid") == text(claims, "sub"),
    },
    // Graph's tokens are signed over another header, in which `nonce` is hashed.
    is_unverifiable: |header, claims| {
        let graph = text(claims, "aud").is_some_and(|aud| {
            aud.trim_end_matches('/') == "https://graph.microsoft.com"
                || aud == "00000003-0000-0000-c000-000000000000"
        });
        graph && header.contains_key("nonce")
    },
    ..COMMON
};

const ENTRA_V1: Dialect = Dialect { client_id: &[&["appid"], &["azp"]], ..ENTRA };

const OKTA: Dialect = Dialect {
    subject: &[&["uid"], &["sub"]],
    username: &[&["sub"]],
    client_id: &[&["cid"]],
    tenant: &[],
    scopes: &[&["scp"]],
    roles: &[&["groups"]],
    required: &["iss", "aud", "sub", "iat", "exp", "cid"],
    is_service: |claims| !claims.contains_key("uid") && text(claims, "sub") == text(claims, "cid"),
    // Tokens of the organisation's own server are for Okta's API only.
    is_unverifiable: |_, claims| text(claims, "iss").is_some_and(|iss| !iss.contains("/oauth2/")),
    ..COMMON
};

const COGNITO: Dialect = Dialect {
    username: &[&["username"], &["cognito:username"]],
    client_id: &[&["client_id"], &["aud"]],
    tenant: &[],
    scopes: &[&["scope"]],
    roles: &[&["cognito:groups"]],
    required: &["iss", "exp", "iat", "token_use"],
    audience: &[&["client_id"]],
    is_service: |claims| {
        !claims.contains_key("username") && text(claims, "sub") == text(claims, "client_id")
    },
    ..COMMON
};

const GOOGLE: Dialect = Dialect {
    username: &[&["email"]],
    client_id: &[&["azp"]],
    tenant: &[&["hd"]],
    required: &["iss", "sub", "aud", "iat", "exp"],
    presents_id_tokens: true,
    is_service: |claims| {
        text(claims, "email").is_some_and(|email| email.ends_with(".gserviceaccount.com"))
    },
    ..COMMON
};

const GITHUB: Dialect = Dialect {
    username: &[&["actor"]],
    client_id: &[&["job_workflow_ref"]],
    tenant: &[&["repository_owner"]],
    commas: true,
    required: &["iss", "sub", "aud", "iat", "exp"],
    presents_id_tokens: true,
    is_service: |_| true,
    ..COMMON
};

const GITLAB: Dialect = Dialect {
    username: &[&["user_login"]],
    client_id: &[&["ci_config_ref_uri"]],
    tenant: &[&["namespace_path"]],
    ..GITHUB
};

const SLACK: Dialect = Dialect {
    username: &[&["email"], &["name"]],
    tenant: &[&["https://slack.com/team_id"]],
    commas: true,
    presents_id_tokens: true,
    ..COMMON
};

const KUBERNETES: Dialect = Dialect {
    username: &[
        &["kubernetes.io", "serviceaccount", "name"],
        &["kubernetes.io/serviceaccount/service-account.name"],
    ],
    client_id: &[],
    tenant: &[&["kubernetes.io", "namespace"], &["kubernetes.io/serviceaccount/namespace"]],
    scopes: &[],
    roles: &[],
    // Legacy tokens have neither times nor an audience.
    required: &["iss", "sub"],
    is_service: |_| true,
    ..COMMON
};

const SPRING: Dialect = Dialect {
    scopes: &[&["scope"], &["scp"]],
    roles: &[&["authorities"], &["roles"], &["groups"]],
    required: &["iss", "sub", "exp"],
    ..COMMON
};

impl Profile {
    /// Its row.
    pub(in crate::token) const fn dialect(self) -> &'static Dialect {
        match self {
            Self::Strict9068 => &STRICT_9068,
            Self::Lax => &COMMON,
            Self::Keycloak => &KEYCLOAK,
            Self::Auth0 => &AUTH0,
            Self::EntraV1 => &ENTRA_V1,
            Self::EntraV2 => &ENTRA,
            Self::Okta => &OKTA,
            Self::Cognito => &COGNITO,
            Self::Google => &GOOGLE,
            Self::Github => &GITHUB,
            Self::Gitlab => &GITLAB,
            Self::Slack => &SLACK,
            Self::Kubernetes => &KUBERNETES,
            Self::Spring => &SPRING,
        }
    }
}

/// RFC 9068 §5: a client that acts for itself may be the subject.
fn subject_is_client(claims: &Map<String, Value>) -> bool {
    let client = text(claims, "client_id").or_else(|| text(claims, "azp"));
    client.is_some() && client == text(claims, "sub")
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

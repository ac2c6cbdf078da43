//! What each dialect grants, from tokens as issuers document them.

use serde_json::json;

use super::*;
use crate::token::profile::Profile;

#[track_caller]
fn grant(profile: Profile, claims: &Value) -> Grant {
    read(claims.as_object().unwrap(), profile.dialect())
}

/// Subject, user name, client, tenant, scopes, roles, audience, whether it is a service's.
type Expected<'a> =
    (&'a str, &'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str], bool);

#[track_caller]
fn check(profile: Profile, claims: &Value, expected: Expected<'_>) {
    let grant = grant(profile, claims);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (subject, username, client, tenant, scopes, roles, audience, is_service) = expected;
    assert_eq!(
        [text(&grant.subject), text(&grant.username), text(&grant.client_id), text(&grant.tenant)],
        [subject, username, client, tenant],
    );
    assert_eq!((grant.scopes, grant.roles), (owned(scopes), owned(roles)));
    assert_eq!((grant.audience, grant.is_service), (owned(audience), is_service));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn rfc_9068_is_read_to_the_letter() {
    let claims = json!({"sub": "5ba552d67", "client_id": "s6BhdRkqt3", "aud": "https://rs",
        "scope": "openid profile", "roles": ["r"], "groups": ["g"], "entitlements": ["e"],
        "azp": "other", "preferred_username": "no"});
    let roles = &["r", "g", "e"];
    let (scopes, audience) = (&["openid", "profile"], &["https://rs"]);
    check(
        Profile::Strict9068,
        &claims,
        ("5ba552d67", "", "s6BhdRkqt3", "", scopes, roles, audience, false),
    );
}

#[test]
fn roles_of_keycloak_name_their_client() {
    let claims = json!({"sub": "f1c4", "preferred_username": "alice", "azp": "web", "aud": "account",
        "scope": "openid email", "realm_access": {"roles": ["user"]},
        "resource_access": {"orders": {"roles": ["admin"]}, "account": {"roles": ["view"]}}});
    // `account` alone names no API.
    let (scopes, roles) = (&["openid", "email"], &["user", "account:view", "orders:admin"]);
    check(Profile::Keycloak, &claims, ("f1c4", "alice", "web", "", scopes, roles, &[], false));
    let both = json!({"aud": ["account", "orders"]});
    assert_eq!(grant(Profile::Keycloak, &both).audience, ["account", "orders"]);
    let service = json!({"preferred_username": "service-account-batch"});
    assert!(grant(Profile::Keycloak, &service).is_service);
}

#[test]
fn auth0_grants_permissions() {
    let claims = json!({"sub": "x@clients", "azp": "x", "aud": "api", "scope": "read:a",
        "permissions": ["read:a"], "gty": "client-credentials"});
    check(
        Profile::Auth0,
        &claims,
        ("x@clients", "", "x", "", &["read:a"], &["read:a"], &["api"], true),
    );
}

#[test]
fn entra_names_users_by_object_and_clients_by_version() {
    let v2 = json!({"oid": "user", "sub": "pairwise", "tid": "t", "azp": "app", "scp": "A.Read B",
        "preferred_username": "a@b", "aud": "api", "groups": ["g"]});
    let expected: Expected<'_> =
        ("user", "a@b", "app", "t", &["A.Read", "B"], &["g"], &["api"], false);
    check(Profile::EntraV2, &v2, expected);
    let v1 = json!({"oid": "svc", "sub": "svc", "tid": "t", "appid": "app", "roles": ["Tasks.All"],
        "aud": "api", "upn": "u"});
    let expected: Expected<'_> = ("svc", "u", "app", "t", &[], &["Tasks.All"], &["api"], true);
    check(Profile::EntraV1, &v1, expected);
    assert!(!grant(Profile::EntraV1, &json!({"idtyp": "user", "oid": "s", "sub": "s"})).is_service);
}

#[test]
fn okta_lists_scopes_in_an_array() {
    let claims = json!({"uid": "00u1", "sub": "a@b.example", "cid": "0oa", "aud": "api://default",
        "scp": ["openid", "orders"], "groups": ["Everyone"]});
    check(
        Profile::Okta,
        &claims,
        (
            "00u1",
            "a@b.example",
            "0oa",
            "",
            &["openid", "orders"],
            &["Everyone"],
            &["api://default"],
            false,
        ),
    );
    assert!(grant(Profile::Okta, &json!({"sub": "0oa", "cid": "0oa"})).is_service);
}

#[test]
fn cognito_has_the_client_for_an_audience() {
    let claims = json!({"sub": "s", "username": "alice", "client_id": "abc", "scope": "api/read",
        "cognito:groups": ["g"], "token_use": "access"});
    check(
        Profile::Cognito,
        &claims,
        ("s", "alice", "abc", "", &["api/read"], &["g"], &["abc"], false),
    );
}

#[test]
fn identity_tokens_of_google_github_gitlab_and_slack_are_read() {
    let google =
        json!({"sub": "1", "email": "x@p.iam.gserviceaccount.com", "azp": "1", "aud": "a"});
    check(
        Profile::Google,
        &google,
        ("1", "x@p.iam.gserviceaccount.com", "1", "", &[], &[], &["a"], true),
    );
    let github = json!({"sub": "repo:o/r:ref", "actor": "octocat", "aud": "sts",
        "repository_owner": "o", "job_workflow_ref": "o/r/.github/workflows/w.yml@ref"});
    let workflow = "o/r/.github/workflows/w.yml@ref";
    check(
        Profile::Github,
        &github,
        ("repo:o/r:ref", "octocat", workflow, "o", &[], &[], &["sts"], true),
    );
    let gitlab = json!({"sub": "project_path:g/p", "user_login": "u", "namespace_path": "g",
        "ci_config_ref_uri": "c", "aud": "x"});
    check(Profile::Gitlab, &gitlab, ("project_path:g/p", "u", "c", "g", &[], &[], &["x"], true));
    let slack =
        json!({"sub": "U1", "name": "A", "https://slack.com/team_id": "T1", "scope": "a,b"});
    check(Profile::Slack, &slack, ("U1", "A", "", "T1", &["a", "b"], &[], &[], false));
}

#[test]
fn service_accounts_of_kubernetes_are_read_in_both_forms() {
    let subject = "system:serviceaccount:shop:orders";
    let projected = json!({"sub": subject, "aud": ["https://kubernetes.default.svc"],
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders", "uid": "u"}}});
    let audience = &["https://kubernetes.default.svc"];
    let expected: Expected<'_> = (subject, "orders", "", "shop", &[], &[], audience, true);
    check(Profile::Kubernetes, &projected, expected);
    let legacy = json!({"sub": subject, "kubernetes.io/serviceaccount/namespace": "shop",
        "kubernetes.io/serviceaccount/service-account.name": "orders"});
    let expected: Expected<'_> = (subject, "orders", "", "shop", &[], &[], &[], true);
    check(Profile::Kubernetes, &legacy, expected);
}

#[test]
fn spring_grants_authorities() {
    let claims = json!({"sub": "app", "client_id": "app", "scope": ["a", "b c"],
        "authorities": ["ROLE_X"], "aud": ["api"]});
    let expected: Expected<'_> =
        ("app", "", "app", "", &["a", "b", "c"], &["ROLE_X"], &["api"], true);
    check(Profile::Spring, &claims, expected);
}

#[test]
fn scopes_are_split_at_commas_only_where_the_dialect_does() {
    let claims = json!({"scope": "a,b c"});
    assert_eq!(grant(Profile::Lax, &claims).scopes, ["a,b", "c"]);
    assert_eq!(grant(Profile::Github, &claims).scopes, ["a", "b", "c"]);
}

#[test]
fn a_confirmation_is_one_method() {
    let check = |cnf: Value, expected: (Option<&str>, Option<&str>, bool)| {
        let Confirmation { jkt, x5t_s256, other } =
            grant(Profile::Lax, &json!({"cnf": cnf})).confirmation;
        assert_eq!((jkt.as_deref(), x5t_s256.as_deref(), other), expected);
    };
    check(json!({"jkt": "a"}), (Some("a"), None, false));
    check(json!({"x5t#S256": "b"}), (None, Some("b"), false));
    check(json!({"jkt": "a", "x5t#S256": "b"}), (Some("a"), Some("b"), true));
    check(json!({"jwk": {}}), (None, None, true));
    check(json!({"jkt": 1}), (None, None, true));
    check(json!("x"), (None, None, true));
    check(json!({}), (None, None, true));
    assert_eq!(grant(Profile::Lax, &json!({})).confirmation, Confirmation::default());
}

#[test]
fn claims_are_kept_without_secrets() {
    let jwt = "eyJhbGciOiJub25lIn0.e30.c2ln";
    let claims = json!({"tenant": "t", "n": {"deep": [1, jwt, "x"]}, "upstream": jwt});
    let kept = grant(Profile::Lax, &claims);
    let expected =
        json!({"tenant": "t", "n": {"deep": [1, "{token}", "x"]}, "upstream": "{token}"});
    assert_eq!((Value::Object(kept.claims), kept.is_cut), (expected, false));
}

#[test]
fn what_exceeds_a_limit_is_not_said_to_be_absent() {
    let many: Vec<String> = (0..=MAX_GRANTED).map(|n| format!("g{n}")).collect();
    let cut = |claims: Value| grant(Profile::Lax, &claims).is_cut;
    assert!(!cut(json!({"groups": many[1..]})));
    assert!(cut(json!({"groups": many})));
    assert!(cut(json!({"scope": many.join(" ")})));
    assert!(cut(json!({"roles": ["r".repeat(MAX_SCOPE + 1)]})));
    assert!(cut(json!({"a": "x".repeat(MAX_CLAIM + 1)})));
    assert!(cut(json!({"a": vec![0; MAX_VALUES]})));
    let deep = (0..=MAX_DEPTH).fold(json!(1), |inner, _| json!({"a": inner}));
    assert!(cut(deep));
}

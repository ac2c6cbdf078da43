//! Calls that broken APIs serve: what the policy denies and the API does not, for each way in which
//! it may be broken.

use serde_json::{Value, json};

use super::{
    Call,
    Expected::{Allow, Deny},
    dpop, forged, mtls, row, scoped, service,
};

/// What the API should have refused.
pub(super) fn gaps() -> Vec<Call> {
    let gap = |name, api, sent, reasons| row(name, api, sent, 200, Deny(reasons));
    let token = |token: Value| json!({"token": token});
    let refund =
        |claims: &Value| json!({"token": forged(claims), "method": "POST", "path": "/refunds/9"});
    vec![
        gap(
            "accepts another's signature",
            "signature",
            token(json!({"forge": {}, "key": "foreign"})),
            &["signature_bad"],
        ),
        gap(
            "accepts changed claims",
            "signature",
            token(json!({"forge": {}, "break": "claims"})),
            &["signature_bad"],
        ),
        gap(
            "accepts alg none",
            "alg",
            token(json!({"forge": {}, "key": "none"})),
            &["alg_forbidden"],
        ),
        gap(
            "accepts any issuer",
            "issuer",
            token(forged(&json!({"iss": "https://evil.example"}))),
            &["issuer_unknown"],
        ),
        gap(
            "accepts any audience",
            "audience",
            token(json!({"grant": "service", "resource": "https://ledger.example"})),
            &["audience_mismatch"],
        ),
        gap(
            "accepts tokens of other kinds",
            "kind",
            token(json!({"forge": {"nonce": "n"}, "header": {"typ": "JWT"}})),
            &["kind_mismatch"],
        ),
        gap(
            "accepts expired tokens",
            "time",
            token(forged(&json!({"iat": "-4000", "exp": "-3600"}))),
            &["expired"],
        ),
        gap(
            "accepts tokens of tomorrow",
            "time",
            token(forged(&json!({"nbf": "+3600"}))),
            &["not_yet_valid"],
        ),
        gap(
            "accepts tokens that live for weeks",
            "sound",
            token(forged(&json!({"exp": "+2592000"}))),
            &["lifetime_exceeded"],
        ),
        gap(
            "accepts two credentials",
            "several",
            json!({"token": service(), "place": ["bearer", "bearer"]}),
            &["multiple_credentials"],
        ),
        gap("accepts anybody", "anonymous", json!({}), &["credential_missing"]),
        gap(
            "accepts anybody by HTTP/2",
            "anonymous",
            json!({"http": "2"}),
            &["credential_missing"],
        ),
        gap(
            "accepts a bound token as bearer token",
            "binding",
            token(dpop()),
            &["binding_missing"],
        ),
        gap("does not know of DPoP", "unbound", token(dpop()), &["binding_missing"]),
        gap("does not know of certificates", "unbound", token(mtls()), &["binding_missing"]),
        gap(
            "does not compare certificates",
            "unbound",
            json!({"token": mtls(), "certificate": "other"}),
            &["binding_mismatch"],
        ),
        gap(
            "checks no proof",
            "binding",
            json!({"token": dpop(), "place": "dpop", "path": "/bound/17", "proofs": [{"key": "stranger"}]}),
            &["binding_mismatch"],
        ),
        gap(
            "does not ask for a proof",
            "binding",
            json!({"token": service(), "path": "/bound/17"}),
            &["binding_missing"],
        ),
        row(
            "a proof that will be used again",
            "middleware",
            json!({"token": dpop(), "place": "dpop", "proofs": [{"keep": "second"}]}),
            200,
            Allow,
        ),
        gap(
            "remembers no proof",
            "middleware",
            json!({"token": dpop(), "place": "dpop", "proofs": [{"again": "second"}]}),
            &["proof_replayed"],
        ),
        gap(
            "forgot scopes",
            "scope",
            json!({"token": service(), "method": "POST", "path": "/orders"}),
            &["scope_missing:orders:write"],
        ),
        gap(
            "forgot scopes, in Python",
            "authlib_unscoped",
            token(scoped("orders:write")),
            &["scope_missing:orders:read,orders:admin"],
        ),
        gap(
            "forgot clients",
            "client",
            token(json!({"grant": "service", "client": "intruder"})),
            &["client_not_allowed"],
        ),
        gap(
            "forgot roles",
            "role",
            json!({"token": scoped("reports:read"), "path": "/reports/q3"}),
            &["role_missing"],
        ),
        gap(
            "forgot tenants",
            "tenant",
            json!({"token": service(), "path": "/tenants/south/orders"}),
            &["claim_condition:tenant"],
        ),
        gap(
            "forgot to ask for more",
            "step_up",
            refund(&json!({"scope": "refunds:write", "acr": "pwd", "auth_time": "-5"})),
            &["acr_insufficient"],
        ),
        gap(
            "forgot to ask again",
            "step_up",
            refund(&json!({"scope": "refunds:write", "acr": "phr", "auth_time": "-7200"})),
            &["auth_too_old"],
        ),
        gap(
            "looks at a prefix of the path",
            "path",
            json!({"token": service(), "method": "POST", "path": "/orders/../refunds/9"}),
            &["scope_missing:refunds:write", "acr_insufficient"],
        ),
    ]
}

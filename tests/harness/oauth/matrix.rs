//! Calls of the order service: what each sends, what the API decides, and what an auditor must say.
//!
//! In: nothing. Out: [`matrix`]. Two tests share it: the APIs themselves decide as it says, and the
//! agent judges as it says.

mod gaps;

use serde_json::{Value, json};

use self::Expected::{Allow, Deny, Unknown};

/// What is to be concluded from a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expected {
    /// The policy allows it.
    Allow,
    /// The policy denies it, for these reasons.
    Deny(&'static [&'static str]),
    /// It cannot be told, for these reasons.
    Unknown(&'static [&'static str]),
}

/// A call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Says what it is about; unique.
    pub name: &'static str,
    /// What the client is told.
    pub sent: Value,
    /// Status of the API's answer.
    pub status: u16,
    /// What the agent must conclude.
    pub expected: Expected,
}

/// What the sound API wants in proofs on some routes.
const NONCE: &str = "nonce-of-the-orders-api";

/// A path that any order has.
const ORDER: &str = "/orders/17";

fn row(name: &'static str, api: &str, sent: Value, status: u16, expected: Expected) -> Call {
    let mut sent = sent;
    if let Some(call) = sent.as_object_mut() {
        call.insert("api".to_owned(), json!(api));
        call.entry("path").or_insert_with(|| json!(ORDER));
    }
    Call { name, sent, status, expected }
}

/// A token of the authorization server's, for a client of its own.
fn service() -> Value {
    json!({"grant": "service"})
}

fn scoped(scope: &str) -> Value {
    json!({"grant": "service", "scope": scope})
}

fn person(scope: &str) -> Value {
    json!({"grant": "person", "scope": scope})
}

fn dpop() -> Value {
    json!({"grant": "service", "client": "batch-dpop"})
}

fn mtls() -> Value {
    json!({"grant": "service", "client": "batch-mtls"})
}

/// A token with the authorization server's signature, but these claims.
fn forged(claims: &Value) -> Value {
    json!({"forge": claims})
}

/// All calls.
#[must_use]
pub fn matrix() -> Vec<Call> {
    [good(), places(), tokens(), rights(), proofs(), certificates(), paths(), gaps::gaps()].concat()
}

fn good() -> Vec<Call> {
    let sound = |name, sent| row(name, "sound", sent, 200, Allow);
    vec![
        sound("a service's token", json!({"token": service()})),
        sound("a service's token by HTTP/2", json!({"token": service(), "http": "2"})),
        sound("a person's token", json!({"token": person("orders:read")})),
        sound("a refreshed token", json!({"token": {"grant": "refreshed"}})),
        sound("a scope that does as well", json!({"token": scoped("orders:admin")})),
        sound("HEAD where GET is allowed", json!({"token": service(), "method": "HEAD"})),
        sound(
            "a write",
            json!({"token": scoped("orders:write"), "method": "POST", "path": "/orders"}),
        ),
        sound("a token signed by ES256", json!({"token": {"forge": {}, "key": "ES256"}})),
        sound("a token signed by PS256", json!({"token": {"forge": {}, "key": "PS256"}})),
        sound("a route for everybody", json!({"path": "/health"})),
        sound(
            "a refund after stepping up",
            json!({"token": person("refunds:write"), "method": "POST", "path": "/refunds/9"}),
        ),
        sound("a report by role", json!({"token": person("reports:read"), "path": "/reports/q3"})),
        sound("the own tenant", json!({"token": service(), "path": "/tenants/north/orders"})),
        row("a token at Authlib", "authlib", json!({"token": service()}), 200, Allow),
        row("a token at the middleware", "middleware", json!({"token": service()}), 200, Allow),
    ]
}

fn places() -> Vec<Call> {
    let write = scoped("orders:write");
    let form = |more: &[&str]| {
        let place: Vec<_> = ["form"].iter().chain(more).collect();
        json!({"token": write, "method": "POST", "path": "/orders", "place": place})
    };
    let at = |place: &str| json!({"token": service(), "place": place});
    let twice = json!({"token": service(), "place": ["bearer", "bearer"]});
    let several = Deny(&["multiple_credentials"]);
    vec![
        row("a scheme in lower case", "sound", at("lower"), 200, Allow),
        row("a token in a cookie", "sound", at("cookie"), 200, Allow),
        row("a token that a proxy handed on", "sound", at("forwarded"), 200, Allow),
        row(
            "a token in a WebSocket's subprotocol",
            "sound",
            json!({"token": service(), "place": "socket", "path": "/socket/1"}),
            101,
            Allow,
        ),
        row("a token in a form", "middleware", form(&[]), 200, Allow),
        row("a token in the query", "middleware", at("query"), 200, Allow),
        row(
            "a token in the query that nobody reads",
            "sound",
            at("query"),
            401,
            Deny(&["credential_missing"]),
        ),
        row("no token", "sound", json!({}), 401, Deny(&["credential_missing"])),
        row(
            "no token by HTTP/2",
            "sound",
            json!({"http": "2"}),
            401,
            Deny(&["credential_missing"]),
        ),
        row("no token at Authlib", "authlib", json!({}), 401, Deny(&["credential_missing"])),
        row("two fields of one name", "sound", twice, 400, several.clone()),
        row("a field and a form", "middleware", form(&["bearer"]), 400, several.clone()),
        row(
            "a field and the query",
            "middleware",
            json!({"token": service(), "place": ["bearer", "query"]}),
            400,
            several,
        ),
        row("a scheme of others", "sound", at("other"), 401, Deny(&["scheme_unsupported"])),
        row("a token without scheme", "sound", at("bare"), 401, Deny(&["scheme_unsupported"])),
        row(
            "a scheme without token",
            "sound",
            json!({"fields": [["Authorization", "Bearer"]]}),
            400,
            Deny(&["malformed"]),
        ),
    ]
}

fn tokens() -> Vec<Call> {
    let with = |token: Value| json!({"token": token});
    let refused = |name, token, reasons| row(name, "sound", with(token), 401, Deny(reasons));
    vec![
        refused("an expired token", forged(&json!({"iat": "-4000", "exp": "-3600"})), &["expired"]),
        refused("a token of tomorrow", forged(&json!({"nbf": "+3600"})), &["not_yet_valid"]),
        refused(
            "a token of an unknown issuer",
            json!({"forge": {"iss": "https://evil.example"}, "key": "foreign"}),
            &["issuer_unknown"],
        ),
        refused(
            "a token for another API",
            json!({"grant": "service", "resource": "https://ledger.example"}),
            &["audience_mismatch"],
        ),
        refused(
            "no signature, and it says so",
            json!({"forge": {}, "key": "none"}),
            &["alg_forbidden"],
        ),
        refused(
            "a public key taken for a secret",
            json!({"forge": {}, "key": "HS256"}),
            &["alg_forbidden"],
        ),
        row(
            "a key that nobody knows",
            "sound",
            with(json!({"forge": {}, "key": "foreign", "header": {"kid": "unheard-of"}})),
            401,
            Unknown(&["key_unknown"]),
        ),
        refused("another's signature", json!({"forge": {}, "key": "foreign"}), &["signature_bad"]),
        refused("claims changed", json!({"forge": {}, "break": "claims"}), &["signature_bad"]),
        refused(
            "signature stripped",
            json!({"forge": {}, "break": "signature"}),
            &["signature_bad"],
        ),
        refused("a token cut off", json!({"forge": {}, "break": "truncated"}), &["malformed"]),
        row(
            "the first half of a token",
            "sound",
            with(json!({"forge": {}, "break": "halved"})),
            401,
            Unknown(&["opaque_unlearned"]),
        ),
        refused(
            "an ID token",
            json!({"grant": "person", "part": "id_token"}),
            &[
                "kind_mismatch",
                "claim_missing:client_id",
                "claim_missing:jti",
                "client_not_allowed",
                "audience_mismatch",
                "scope_missing:orders:read,orders:admin",
            ],
        ),
        refused("a token without id", forged(&json!({"jti": null})), &["claim_missing:jti"]),
        refused(
            "a token without expiry",
            forged(&json!({"exp": null})),
            &["claim_missing:exp", "lifetime_exceeded"],
        ),
        row(
            "an opaque token",
            "sound",
            with(json!({"grant": "service", "resource": "https://opaque.example"})),
            401,
            Unknown(&["opaque_unlearned"]),
        ),
        row(
            "an expired token at Authlib",
            "authlib",
            with(forged(&json!({"iat": "-4000", "exp": "-3600"}))),
            401,
            Deny(&["expired"]),
        ),
        row(
            "another's signature at Authlib",
            "authlib",
            with(json!({"forge": {}, "key": "foreign"})),
            401,
            Deny(&["signature_bad"]),
        ),
        row(
            "a token for another API at Authlib",
            "authlib",
            with(json!({"grant": "service", "resource": "https://ledger.example"})),
            401,
            Deny(&["audience_mismatch"]),
        ),
    ]
}

fn rights() -> Vec<Call> {
    let refund =
        |claims: &Value| json!({"token": forged(claims), "method": "POST", "path": "/refunds/9"});
    let sound = |name, sent, status, reasons| row(name, "sound", sent, status, Deny(reasons));
    vec![
        sound(
            "a write with a reader's token",
            json!({"token": service(), "method": "POST", "path": "/orders"}),
            403,
            &["scope_missing:orders:write"],
        ),
        sound(
            "a write with a reader's token by HTTP/2",
            json!({"token": service(), "method": "POST", "path": "/orders", "http": "2"}),
            403,
            &["scope_missing:orders:write"],
        ),
        sound(
            "a read with a writer's token",
            json!({"token": scoped("orders:write")}),
            403,
            &["scope_missing:orders:read,orders:admin"],
        ),
        sound(
            "a report without the role",
            json!({"token": scoped("reports:read"), "path": "/reports/q3"}),
            403,
            &["role_missing"],
        ),
        sound(
            "another tenant",
            json!({"token": service(), "path": "/tenants/south/orders"}),
            403,
            &["claim_condition:tenant"],
        ),
        sound(
            "a client that may not",
            json!({"token": {"grant": "service", "client": "intruder"}}),
            403,
            &["client_not_allowed"],
        ),
        sound(
            "a refund without stepping up",
            refund(&json!({"scope": "refunds:write", "acr": "pwd", "auth_time": "-5"})),
            401,
            &["acr_insufficient"],
        ),
        sound(
            "a refund long after stepping up",
            refund(&json!({"scope": "refunds:write", "acr": "phr", "auth_time": "-7200"})),
            401,
            &["auth_too_old"],
        ),
        row(
            "a read with a writer's token at Authlib",
            "authlib",
            json!({"token": scoped("orders:write")}),
            403,
            Deny(&["scope_missing:orders:read,orders:admin"]),
        ),
        row(
            "a write with a reader's token at the middleware",
            "middleware",
            json!({"token": service(), "method": "POST", "path": "/orders"}),
            403,
            Deny(&["scope_missing:orders:write"]),
        ),
    ]
}

fn proofs() -> Vec<Call> {
    let shown = |proofs: Value| json!({"token": dpop(), "place": "dpop", "path": "/bound/17", "proofs": proofs});
    let wrong = |name, proofs, reasons| row(name, "sound", shown(proofs), 401, Deny(reasons));
    let on = |path: &str, proof: Value| json!({"token": dpop(), "place": "dpop", "path": path, "proofs": [proof]});
    let nonce = |nonce: Value| {
        json!({
            "token": {"forge": {}, "bound": "careful"}, "place": "dpop", "path": "/nonce/17",
            "proofs": [{"key": "careful", "claims": {"nonce": nonce}}],
        })
    };
    vec![
        row("a proof", "sound", shown(json!([{"keep": "first"}])), 200, Allow),
        row(
            "a proof by HTTP/2",
            "sound",
            json!({"token": dpop(), "place": "dpop", "path": "/bound/17", "proofs": [{}], "http": "2"}),
            200,
            Allow,
        ),
        row("a proof at the middleware", "middleware", on(ORDER, json!({})), 200, Allow),
        wrong("a proof that was used", json!([{"again": "first"}]), &["proof_replayed"]),
        wrong("no proof", json!([]), &["binding_missing"]),
        wrong("a stranger's proof", json!([{"key": "stranger"}]), &["binding_mismatch"]),
        wrong("two proofs", json!([{}, {}]), &["proof_invalid:one_field"]),
        wrong("a proof that is none", json!([{"text": "a.b.c"}]), &["proof_invalid:well_formed"]),
        wrong("a proof without id", json!([{"claims": {"jti": null}}]), &["proof_invalid:claims"]),
        wrong(
            "a proof of another type",
            json!([{"header": {"typ": "JWT"}}]),
            &["proof_invalid:typ"],
        ),
        wrong("a proof by a secret", json!([{"alg": "HS256"}]), &["proof_invalid:alg"]),
        wrong("a proof changed", json!([{"break": true}]), &["proof_invalid:signature"]),
        wrong(
            "a proof with its private key",
            json!([{"private": true}]),
            &["proof_invalid:public_key"],
        ),
        wrong(
            "a proof for another method",
            json!([{"claims": {"htm": "POST"}}]),
            &["proof_invalid:htm"],
        ),
        wrong(
            "a proof for another address",
            json!([{"claims": {"htu": "https://evil.example/bound/17"}}]),
            &["proof_invalid:htu"],
        ),
        wrong(
            "a proof of yesterday",
            json!([{"claims": {"iat": "-86400"}}]),
            &["proof_invalid:iat"],
        ),
        wrong(
            "a proof for another token",
            json!([{"claims": {"ath": "x"}}]),
            &["proof_invalid:ath"],
        ),
        row("a proof without nonce at first", "sound", nonce(json!(null)), 401, Allow),
        row("a proof with the server's nonce", "sound", nonce(json!(NONCE)), 200, Allow),
        row(
            "a proof without nonce after that",
            "sound",
            nonce(json!(null)),
            401,
            Deny(&["proof_invalid:nonce"]),
        ),
        row(
            "a proof with a nonce that nobody gave",
            "sound",
            nonce(json!("of-yesterday")),
            401,
            Unknown(&["binding_unverifiable"]),
        ),
        row(
            "a bound token as bearer token",
            "sound",
            json!({"token": dpop()}),
            401,
            Deny(&["binding_missing"]),
        ),
        row(
            "a bearer token where a proof is wanted",
            "sound",
            json!({"token": service(), "path": "/bound/17"}),
            401,
            Deny(&["binding_missing"]),
        ),
    ]
}

fn certificates() -> Vec<Call> {
    let with = |certificate: Value| json!({"token": mtls(), "certificate": certificate});
    vec![
        row("the token's certificate", "middleware", with(json!("own")), 200, Allow),
        row(
            "another certificate",
            "middleware",
            with(json!("other")),
            401,
            Deny(&["binding_mismatch"]),
        ),
        row("no certificate", "middleware", with(json!(null)), 400, Deny(&["binding_missing"])),
    ]
}

fn paths() -> Vec<Call> {
    let at = |path: &str| json!({"token": service(), "path": path});
    let refund = |path: &str| json!({"token": service(), "method": "POST", "path": path});
    let missing = || Deny(&["scope_missing:refunds:write", "acr_insufficient"]);
    vec![
        row("dots in a path", "sound", at("/x/../orders/17"), 200, Allow),
        row("parameters in a path", "sound", at("/orders/17;v=1"), 200, Allow),
        row("letters encoded", "sound", at("/%6Frders/17"), 404, Allow),
        row("a slash at the end", "sound", at("/orders/17/"), 404, Allow),
        row("dots past another route", "sound", refund("/orders/../refunds/9"), 403, missing()),
        row("two slashes", "sound", refund("//refunds/9"), 404, missing()),
        row(
            "a route that nobody told of",
            "sound",
            at("/internal/dump"),
            404,
            Unknown(&["route_unmatched"]),
        ),
        row(
            "a method that nobody told of",
            "sound",
            json!({"token": service(), "method": "DELETE"}),
            404,
            Unknown(&["route_unmatched"]),
        ),
    ]
}

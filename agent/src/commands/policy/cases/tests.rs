//! Cases that hold, and cases that do not.

use super::*;

const POLICY: &str = r#"
version: 1
issuers:
- {id: corp, match: ["https://sso.example.net"], profile: keycloak, jwks: {file: keys.json}}
services:
- id: orders
  select: {ports: [8443]}
  audiences: [orders-api]
  routes:
  - {match: {methods: [GET], path: "/v1/orders/{id}"}, require: {scopes: {any: [orders:read]}}}
  - {match: {methods: [POST], path: /v1/refunds/**}, require: {scopes: {all: [refunds:write]}, binding: dpop}}
"#;

/// Runs cases beside [`POLICY`]: nothing, or what is said.
fn failures(cases: &str) -> Vec<String> {
    let text = format!("policy: p.yaml\ncases:\n{cases}");
    let cases = parse("c.yaml", &text).unwrap_or_else(|it| panic!("{it}"));
    let none = |_: &Path| Err(String::new());
    let policy = crate::policy::compile::compile("p.yaml", POLICY, &none).unwrap().policy;
    let engine = Engine::new(Arc::new(policy));
    let at = Timestamp::from_rfc3339(&cases.at.value).unwrap();
    let all = cases.cases.iter().map(|case| differences(&engine, &case.value, at));
    all.flat_map(|one| one.unwrap()).collect()
}

const TOKEN: &str = "{iss: https://sso.example.net, sub: a, azp: web, aud: orders-api, typ: Bearer, \
                     scope: \"orders:read refunds:write\", jti: x}";

#[test]
fn what_is_expected_holds() {
    let cases = format!(
        r#"
- {{name: reads, request: GET /v1/orders/7, token: {TOKEN}, expect: allow, reasons: []}}
- {{name: no token, request: GET /v1/orders/7, expect: deny, reasons: [credential_missing]}}
- {{name: bound, request: POST /v1/refunds, token: {TOKEN}, binding: dpop, expect: allow}}
- name: unbound
  request: POST /v1/refunds
  token: {TOKEN}
  expect: deny
  reasons: [binding_missing]
  route: "POST /v1/refunds/**"
- {{name: elsewhere, request: GET /other, expect: indeterminate, reasons: [route_unmatched]}}
- {{name: others, request: GET /v1/orders/7, token: {{iss: "https://evil.example"}}, expect: deny}}
"#
    );
    assert_eq!(failures(&cases), [""; 0]);
}

#[test]
fn what_is_not_so_is_told_with_the_rule() {
    let cases = r#"
- {name: a, request: GET /v1/orders/7, expect: allow, reasons: [expired], route: x}
- {name: b, request: GET /v1/orders/7, expect: unjudged}
"#;
    assert_eq!(
        failures(cases),
        [
            "deny instead of allow (p.yaml:10): credential_missing",
            "reasons `credential_missing` instead of `expired` (p.yaml:10)",
            "route `GET /v1/orders/{id}` instead of `x`",
            "deny instead of unjudged (p.yaml:10): credential_missing",
        ]
    );
}

#[test]
fn a_file_that_is_no_cases_is_refused_with_its_place() {
    let found = parse("c.yaml", "policy: p\ncases:\n- {nam: x}\n").unwrap_err();
    assert_eq!(found.to_string(), "c.yaml:3:4: unknown key `nam`, did you mean `name`?");
}

#[test]
fn the_documented_cases_hold_for_the_documented_policy() {
    let guide = include_str!("../../../../../docs/policy.md");
    let example = |fence: &str| guide.split(fence).nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("policy.yaml"), example("```yaml\n")).unwrap();
    let cases = dir.path().join("cases.yaml");
    std::fs::write(&cases, example("```yaml cases\n")).unwrap();
    run(&cases).unwrap();
}

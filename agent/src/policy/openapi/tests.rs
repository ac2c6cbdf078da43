//! Documents and what is made of them.

use super::*;
use crate::policy::raw::{Needed, Sensitivity};

const DOCUMENT: &str = r##"openapi: 3.1.0
servers: [{url: "https://api.example.net/v1"}]
security: [{oauth: [read]}]
x-anything: [1]
paths:
  x-note: text
  /orders:
    get: {operationId: list}
    post:
      security: [{oauth: [read, write], key: []}, {basic: []}]
      x-scopewatch-sensitivity: pii
      x-scopewatch-audience: orders
      x-scopewatch-acr: [phr]
  /open:
    get: {security: []}
    put: {security: [{}, {bearer: [admin]}]}
    query: {security: [{tls: []}]}
    additionalOperations: {PURGE: {security: [{missing: []}]}}
  /alias: {$ref: "#/paths/~1orders"}
  /loop: {$ref: "#/paths/~1loop"}
  /away: {$ref: "other.yaml#/x"}
  /bad{: {get: {}}
components:
  securitySchemes:
    oauth: {type: oauth2, flows: {clientCredentials: {tokenUrl: /t, scopes: {read: Reads}}}}
    key: {type: apiKey, in: header, name: X-Key}
    basic: {type: http, scheme: Basic}
    bearer: {type: http, scheme: bearer}
    tls: {$ref: "#/components/securitySchemes/mtls"}
    mtls: {type: mutualTLS}
"##;

fn shown(route: &Written) -> String {
    let raw::Route { r#match, require, require_any, .. } = &route.route.value;
    let all = require.iter().chain(require_any.iter().flat_map(|it| &it.value));
    let all = all.map(|one| {
        let credentials = one.credentials.as_deref().unwrap_or_default();
        let words = credentials.iter().map(|needed| match needed {
            Needed::Header(name) => format!("header {name}"),
            other => format!("{other:?}").to_lowercase(),
        });
        let mut words: Vec<String> = words.collect();
        words.extend(one.scopes.all.iter().map(|it| format!("scope {it}")));
        words.extend(one.roles.all.iter().map(|it| format!("role {it}")));
        words.join(" + ")
    });
    let all = all.collect::<Vec<_>>().join(" | ");
    let line = route.route.place.line;
    format!("{line} {} {}: {all}", r#match.value.methods.join(","), r#match.value.path.value)
}

#[test]
fn operations_become_routes() {
    let imported = import("api.yaml", DOCUMENT).unwrap();
    let routes: Vec<_> = imported.routes.iter().map(shown).collect();
    assert_eq!(
        routes,
        [
            "8 GET /v1/orders: token + scope read",
            "10 POST /v1/orders: header X-Key + token + scope read + scope write | basic",
            "15 GET /v1/open: ",
            "16 PUT /v1/open:  | token + role admin",
            "17 QUERY /v1/open: mtls",
            "18 PURGE /v1/open: token",
            "8 GET /v1/alias: token + scope read",
            "10 POST /v1/alias: header X-Key + token + scope read + scope write | basic",
        ]
    );
    assert_eq!(imported.hosts, ["api.example.net"]);
    let post = &imported.routes[1].route.value;
    assert_eq!(post.sensitivity, Some(Sensitivity::Pii));
    let first = &post.require_any.as_ref().unwrap().value[0];
    assert_eq!(first.audiences.as_deref(), Some(&["orders".to_owned()][..]));
    assert_eq!(first.acr.any, ["phr"]);
}

#[test]
fn what_is_odd_is_told_with_its_place() {
    let imported = import("api.yaml", DOCUMENT).unwrap();
    let warnings: Vec<_> = imported.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "api.yaml:10:7: operation \"POST /v1/orders\" needs the scope `write`, which no scheme \
             defines",
            "api.yaml:18:35: there is no security scheme `missing`",
            "api.yaml:10:7: operation \"POST /v1/alias\" needs the scope `write`, which no scheme \
             defines",
            "api.yaml:20:10: the reference `#/paths/~1loop` leads to itself, or over too many \
             others",
            "api.yaml:21:10: the reference `other.yaml#/x` leads to nothing in this document",
            "api.yaml:22:10: `/v1/bad{` is no template of a path: a brace is not closed, or not \
             opened",
        ]
    );
}

#[test]
fn operations_that_say_nothing_of_security_are_told_once() {
    let text = "openapi: 3.0.0\npaths:\n  /a:\n    get: {}\n    put: {}\n";
    let imported = import("api", text).unwrap();
    let warnings: Vec<_> = imported.warnings.iter().map(ToString::to_string).collect();
    let [only] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(only.starts_with("api:4:10: neither this operation nor the document"), "{only}");
    assert_eq!(imported.routes.len(), 2);
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    assert_eq!(import("api", text).unwrap_err().to_string(), expected);
}

#[test]
fn what_is_no_such_document_is_refused_with_its_place() {
    let not = "this is no OpenAPI document of version 3.0, 3.1 or 3.2";
    refused("{}", &format!("api:1:1: {not}"));
    refused("info: {}\nswagger: '2.0'\n", &format!("api:2:10: {not}, but of `2.0`"));
    refused("openapi: 3.3.0\n", &format!("api:1:10: {not}, but of `3.3.0`"));
    refused("openapi: 3.10.0\n", &format!("api:1:10: {not}, but of `3.10.0`"));
    let found = import("api", "openapi: 3.0.0\npaths: [1]\n").unwrap_err();
    assert_eq!((found.at.line, found.at.column), (2, 8), "{found}");
    let found = import("api", "{\n\t\"openapi\": \"3.0.0\",\n\t\"paths\": [}\n").unwrap_err();
    assert_eq!(found.at.line, 3, "{found}");
}

#[test]
fn json_with_tabs_is_read() {
    let text = "{\n\t\"openapi\": \"3.0.0\",\n\t\"paths\": {\"/a\": {\n\t\t\"get\": {\"security\": []}}}}\n";
    let imported = import("api", text).unwrap();
    let lines: Vec<_> = imported.routes.iter().map(shown).collect();
    assert_eq!(lines, ["4 GET /a: "]);
    refused(
        "{\n\t\"swagger\": \"2.0\"}\n",
        "api:2:13: this is no OpenAPI document of version 3.0, 3.1 or 3.2, but of `2.0`",
    );
}

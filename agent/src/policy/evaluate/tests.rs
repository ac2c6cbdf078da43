//! Calls, judged: a firing and a near miss for each reason, and paths that cannot be dodged.

mod kubernetes;
mod paths;
mod reasons;
mod selection;

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Timestamp,
    flow::chunk::{Handshake, Transport},
    http::message::Fields,
    identity::process::Process,
    policy::{call::Shown, compile},
    text::Cuts,
    token::{
        Content, Credential, Evidence, Kind,
        examination::{Binding, Examination, Fault, Grant, SignatureState},
        issuer::IssuerIndex,
        keys::Trust,
        reader::Reader,
        scheme::Scheme,
        sources::Sources,
        testing,
    },
};

/// When calls are made.
const NOW: u64 = 1_800_000_000;

const POLICY: &str = r#"
version: 1
issuers:
- {id: corp, match: ["https://sso.example.net"], algs: [RS256], jwks: {file: keys}}
- {id: other, match: ["https://other.example.net"], jwks: {file: keys}}
services:
- id: orders
  select: {unit: orders.service, hosts: [api.example.net], ports: [8443]}
  audiences: [orders-api]
  accept: [{issuer: corp, clients: {allow: [web, "batch-*"]}}]
  credential_sources: [authorization, {cookie: sid}]
  scope_implies: {admin: [write], write: [read]}
  unmatched_route: deny
  routes:
  - {match: {methods: [GET], path: "/v1/orders/{id}"}, require: {scopes: {any: [read, audit]}}}
  - match: {methods: [POST], path: /v1/refunds/**}
    require: {scopes: {all: [refund, write]}, acr: {any: [phr], max_auth_age: 10m}, binding: dpop}
    sensitivity: financial
  - match: {path: "/v1/tenants/{tenant}/**"}
    require:
      claims: [{path: tenant, equals_param: tenant}, {id: level, path: level, one_of: [2, 3]}]
      roles: {any: [owner, editor]}
    audit: {params: [tenant]}
  - {match: {path: /health}, require: {credentials: []}}
  - {match: {path: /key}, require_any: [{credentials: [{header: X-Key}]}, {scopes: {all: [key]}}]}
  - {match: {path: /tls}, require: {credentials: [mtls]}}
  - {match: {path: /any}}
  - {match: {path: /mcp, operation: "tools/call:delete*"}, protocol: mcp, require: {scopes: {all: [delete]}}}
  - {match: {path: /mcp}, protocol: mcp}
"#;

fn engine(text: &str) -> Engine {
    let none = |_: &std::path::Path| Err("there is none".to_owned());
    let compiled = compile::compile("p.yaml", text, &none).unwrap_or_else(|it| panic!("{it}"));
    Engine::new(Arc::new(compiled.policy))
}

/// A call to be made.
struct Setup {
    method: &'static str,
    target: String,
    fields: Fields,
    fields_complete: bool,
    shown: Vec<(Source, Credential, Examination, Binding)>,
    operations: Option<Vec<String>>,
    handshake: Option<Handshake>,
    process: Process,
    host: Option<&'static str>,
    port: u16,
    role: Role,
}

/// Claims of a token that is in order.
fn claims() -> Value {
    json!({
        "iss": "https://sso.example.net", "sub": "alice", "client_id": "web",
        "aud": ["orders-api"], "scope": "read", "exp": NOW + 60, "iat": NOW - 60,
        "tenant": "t1", "level": 2, "roles": ["editor"], "acr": "phr", "auth_time": NOW - 60,
    })
}

/// What is read of a bearer token.
fn credential(token: &str) -> Credential {
    let request = testing::request("/", &[("authorization", &format!("Bearer {token}"))]);
    let mut reader = Reader::new(Arc::new(testing::fingerprint_key()));
    let (sources, mut cuts) = (Sources::default(), Cuts::default());
    let read = reader.credentials(&request, &sources, &Trust::default(), &mut cuts);
    read[0].as_ref().clone()
}

/// A JWT with `claims`, examined and found in order.
fn token(claims: &Value) -> (Source, Credential, Examination, Binding) {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", BASE64.encode(claims.to_string()));
    let texts = |name: &str| -> Vec<String> {
        let all = claims[name].as_array().into_iter().flatten();
        all.filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let text = |name: &str| claims[name].as_str().map(str::to_owned);
    let scopes = claims["scope"].as_str().unwrap_or_default();
    let grant = Grant {
        subject: text("sub"),
        client_id: text("client_id"),
        audience: texts("aud"),
        scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        roles: texts("roles"),
        acr: text("acr"),
        auth_time: claims["auth_time"].as_u64(),
        claims: claims.as_object().unwrap().clone(),
        ..Grant::default()
    };
    let examination = Examination {
        issuer: Some(IssuerIndex(0)),
        signature: SignatureState::Ok,
        evidence: Evidence::Verified,
        grant,
        leeway: 60,
        not_before: claims["nbf"].as_u64(),
        expires_at: claims["exp"].as_u64(),
        ..Examination::default()
    };
    (Source::Authorization, credential(&token), examination, Binding::None)
}

impl Setup {
    fn new(method: &'static str, target: &str) -> Self {
        let unit = Some("orders.service".to_owned());
        Self {
            method,
            target: target.to_owned(),
            fields: Fields::default(),
            fields_complete: true,
            shown: vec![token(&claims())],
            operations: None,
            handshake: None,
            process: Process { unit, ..Process::unknown(1) },
            host: Some("api.example.net"),
            port: 8443,
            role: Role::Server,
        }
    }

    /// With a token whose claim `name` is `value`; null removes it.
    fn claim(mut self, name: &str, value: &Value) -> Self {
        let mut claims = claims();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.to_owned(), value.clone()),
        };
        self.shown = vec![token(&claims)];
        self
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name.as_bytes(), value.as_bytes());
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// With the token examined otherwise.
    fn examined(self, change: impl FnOnce(&mut Examination)) -> Self {
        self.change(|setup| change(&mut setup.shown[0].2))
    }

    fn binding(self, binding: Binding) -> Self {
        self.change(|setup| setup.shown[0].3 = binding)
    }

    fn judge(&self, engine: &Engine) -> Option<Judgement> {
        let shown: Vec<Shown<'_>> = self
            .shown
            .iter()
            .map(|(source, credential, examination, binding)| Shown {
                source: source.clone(),
                credential,
                examination,
                binding: binding.clone(),
            })
            .collect();
        let server = Some(SocketAddr::from(([127, 0, 0, 1], self.port)));
        let client = Some(SocketAddr::from(([192, 0, 2, 1], 50_000)));
        let (local, remote) = match self.role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        engine.judge(&Call {
            time: Timestamp(NOW * 1_000_000_000),
            endpoint: Endpoint {
                role: self.role,
                host: self.host,
                local,
                remote,
                proxied_for: None,
                transport: Transport::Tls,
                process: &self.process,
                handshake: self.handshake.as_ref(),
            },
            method: self.method,
            target: &self.target,
            fields: &self.fields,
            fields_complete: self.fields_complete,
            content_complete: true,
            credentials: &shown,
            operations: self.operations.as_deref(),
        })
    }

    /// Judges the call by [`POLICY`]: the verdict, and the reasons behind it.
    #[track_caller]
    fn check(&self, expected: &str) {
        let judgement = self.judge(&engine(POLICY)).unwrap();
        assert_eq!(shown(&judgement), expected, "{}", self.target);
    }
}

fn shown(judgement: &Judgement) -> String {
    let reasons: Vec<String> = judgement.reasons.iter().map(ToString::to_string).collect();
    format!("{} {}", judgement.verdict, reasons.join(" ")).trim_end().to_owned()
}

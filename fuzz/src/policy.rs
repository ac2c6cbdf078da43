//! Policies, documents that they import, and the paths that they are asked about.

use std::{net::SocketAddr, path::Path, sync::Arc};

use scopewatch::{
    clock::Timestamp,
    flow::chunk::Transport,
    http::message::{Fields, Role},
    identity::process::Process,
    policy::{
        call::{Call, Endpoint},
        compile::{self, Compiled},
        evaluate::Engine,
        judgement::{Judgement, Verdict},
        openapi,
        path::{self, MAX_READINGS, MAX_SEGMENTS},
    },
};

/// A policy: what is accepted judges calls, and what is not is refused with a file.
pub fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match compile::compile("p.yaml", text, &|_: &Path| Ok("openapi: 3.1.0\n".to_owned())) {
        Ok(Compiled { policy, .. }) => {
            let routes: Vec<String> = policy
                .services
                .iter()
                .flat_map(|it| &it.routes)
                .map(|it| it.template.as_str().to_owned())
                .collect();
            let engine = Engine::new(Arc::new(policy));
            judge(&engine, "GET", "/v1/orders/7");
            routes.iter().take(16).for_each(|path| drop(judge(&engine, "POST", path)));
        }
        Err(problems) => assert!(!problems.0.is_empty() && problems.to_string().contains("p.yaml")),
    }
}

pub fn policy_seeds() -> Vec<Vec<u8>> {
    let guide = include_str!("../../docs/policy.md");
    let examples = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let kubernetes = include_str!("../../packaging/policies/kubernetes-api.yaml");
    examples.chain([kubernetes]).map(|text| text.as_bytes().to_vec()).collect()
}

/// An OpenAPI document.
pub fn document(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(imported) = openapi::import("api.yaml", text) {
        assert!(imported.routes.len() <= openapi::MAX_ROUTES);
    }
}

pub fn document_seeds() -> Vec<Vec<u8>> {
    vec![
        b"openapi: 3.1.0\nservers: [{url: '/v{n}', variables: {n: {default: 1}}}]\nsecurity: [{o: [a]}]\n\
          paths:\n  /x/{id}: {get: {operationId: r}, put: {security: [{}, {k: []}]}}\n  /y: {$ref: '#/paths/~1x~1{id}'}\n\
          components: {securitySchemes: {o: {type: oauth2, flows: {implicit: {scopes: {a: b}}}}, k: {type: apiKey, in: query, name: k}}}\n"
            .to_vec(),
        b"{\"openapi\":\"3.0.0\",\"paths\":{\"/a\":{\"$ref\":\"#/paths/~1a\"}}}".to_vec(),
    ]
}

/// A request target: its readings are bounded, and whatever leads to a guarded path is guarded.
pub fn router(input: &[u8]) {
    const GUARDED: &str = "version: 1\nservices:\n- id: a\n  select: {ports: [443]}\n  routes:\n  \
                           - {match: {path: /**}, require: {credentials: []}}\n  \
                           - {match: {path: '/v1/{kind}/secret'}}\n";
    let Ok(target) = std::str::from_utf8(input) else { return };
    let Some((sent, _)) = path::split_target(target) else { return };
    let readings = path::read(sent);
    assert!((1..=MAX_READINGS).contains(&readings.paths.len()));
    let guarded = readings.paths.iter().any(|path| {
        assert!(path.segments.len() <= MAX_SEGMENTS);
        let segments: Vec<&str> = path.segments.iter().map(AsRef::as_ref).collect();
        matches!(segments.as_slice(), ["v1", _, "secret"])
    });
    let none = |_: &Path| Err(String::new());
    let engine = Engine::new(Arc::new(compile::compile("p", GUARDED, &none).unwrap().policy));
    if let Some(judgement) = judge(&engine, "GET", target) {
        assert!(!guarded || judgement.verdict == Verdict::Deny, "{target}");
    }
}

pub fn router_seeds() -> Vec<Vec<u8>> {
    ["/v1/a/secret", "/v1//a/%73ecret;x", "/x/..;/v1/a/%2573ecret", "http://h/V1/a\\secret/?q"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fn judge(engine: &Engine, method: &str, target: &str) -> Option<Judgement> {
    let (fields, process) = (Fields::default(), Process::unknown(1));
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 443)));
    engine.judge(&Call {
        time: Timestamp(0),
        endpoint: Endpoint {
            role: Role::Server,
            host: Some("api.example.net"),
            local: address,
            remote: address,
            proxied_for: None,
            transport: Transport::Tls,
            process: &process,
            handshake: None,
        },
        method,
        target,
        fields: &fields,
        fields_complete: true,
        content_complete: true,
        credentials: &[],
        operations: None,
    })
}

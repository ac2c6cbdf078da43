//! What judging costs: a call at a service with 10,000 routes, from its target to its verdict.

use std::{net::SocketAddr, path::Path, sync::Arc};

use divan::{Bencher, black_box};
use scopewatch::{
    clock::Timestamp,
    flow::chunk::Transport,
    http::message::{Fields, Role},
    identity::process::Process,
    policy::{
        call::{Call, Endpoint},
        compile,
        evaluate::Engine,
    },
};

fn main() {
    divan::main();
}

const ROUTES: usize = 10_000;

/// As large APIs have them: resources, their parts, and actions.
fn engine() -> Engine {
    let mut text = String::from(
        "version: 1\nservices:\n- id: a\n  select: {ports: [443]}\n  routes:\n  \
         - {match: {path: /**}}\n",
    );
    for nth in 0..ROUTES {
        let (service, rest) = (nth / 100, nth % 100);
        let path = match rest % 4 {
            0 => format!("/v1/service{service}/resource{rest}"),
            1 => format!("/v1/service{service}/resource{}/{{id}}", rest - 1),
            2 => format!("/v1/service{service}/resource{}/{{id}}/part{rest}/{{part}}", rest - 2),
            _ => format!("/v1/service{service}/{{kind}}/{{id}}:action{rest}"),
        };
        text.push_str(&format!(
            "  - {{match: {{methods: [GET, POST], path: \"{path}\"}}, require: {{scopes: {{all: \
             [\"scope:{nth}\"]}}}}}}\n"
        ));
    }
    let none = |_: &Path| Err("there is none".to_owned());
    #[expect(clippy::expect_used, reason = "without a policy there is nothing to measure")]
    let compiled = compile::compile("bench", &text, &none).expect("the policy is in order");
    Engine::new(Arc::new(compiled.policy))
}

fn judge(bencher: Bencher<'_, '_>, target: &str) {
    let engine = engine();
    let (fields, process) = (Fields::default(), Process::unknown(1));
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 443)));
    let endpoint = Endpoint {
        role: Role::Server,
        host: Some("api.example.net"),
        local: address,
        remote: address,
        proxied_for: None,
        transport: Transport::Tls,
        process: &process,
        handshake: None,
    };
    let call = Call {
        time: Timestamp(0),
        endpoint,
        method: "GET",
        target,
        fields: &fields,
        fields_complete: true,
        content_complete: true,
        credentials: &[],
        operations: None,
    };
    bencher.bench_local(|| black_box(engine.judge(black_box(&call))));
}

#[divan::bench]
fn literal(bencher: Bencher<'_, '_>) {
    judge(bencher, "/v1/service57/resource84");
}

#[divan::bench]
fn parameters(bencher: Bencher<'_, '_>) {
    judge(bencher, "/v1/service57/resource84/4711/part86/12");
}

#[divan::bench]
fn parts_of_segments(bencher: Bencher<'_, '_>) {
    judge(bencher, "/v1/service57/resource84/4711:action99");
}

#[divan::bench]
fn unmatched(bencher: Bencher<'_, '_>) {
    judge(bencher, "/v2/service57/resource84/4711/part86/12");
}

#[divan::bench]
fn oddly_spelled(bencher: Bencher<'_, '_>) {
    judge(bencher, "/v1//service57/./%72esource84/4711;x/part86/12");
}

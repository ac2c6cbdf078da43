//! Exchanges that last: judged when they have begun and at their end, told once.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    event::sample,
    observation::{Naming, Observation, Observer},
    policy::{compile, outcome::Finding},
    rules::{Rules, Standing},
    token::{
        jwk,
        keys::Held,
        profile::Profile,
        testing::{self, Signer, at, fingerprint_key, trust, with},
    },
};

const POLICY: &str = r#"
version: 1
issuers:
- {id: sso, match: ["https://sso.example"], algs: [ES256], profile: strict9068}
services:
- id: feed
  select: {ports: [443]}
  audiences: [api]
  accept: [{issuer: sso, binding: dpop}]
  routes:
  - {match: {path: /feed}, require: {scopes: {all: [read]}}}
  - {match: {path: /admin}, require: {scopes: {all: [admin]}}}
"#;

/// A client that proves its token's key, and an observer that knows the issuer's.
struct Rig {
    observer: Observer,
    token: String,
    proof: String,
}

impl Rig {
    fn new(path: &str) -> Self {
        let (key, server) = (Signer::new("c"), Signer::new("k1"));
        let thumbprint = jwk::thumbprint(key.jwk().as_object().unwrap()).unwrap();
        let token = server.access_token(&json!({"cnf": {"jkt": BASE64URL.encode(thumbprint)}}));
        let public = with(&key.jwk(), &json!({"kid": Value::Null}));
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": public});
        let claims = json!({"jti": "1", "htm": "GET", "htu": format!("https://api.example{path}"),
            "iat": testing::NOW, "ath": BASE64URL.encode(Sha256::digest(&token))});
        let proof = key.sign(&header, &claims);

        let none = |_: &std::path::Path| Err("there is none".to_owned());
        let policy = compile::compile("p.yaml", POLICY, &none).unwrap_or_else(|it| panic!("{it}"));
        let held = vec![Held::configured(server.key_set())];
        let trust = trust(testing::issuer(Profile::Strict9068), held);
        let rules = Rules::new(Arc::new(policy.policy), Arc::new(trust), None);
        let key = Arc::new(fingerprint_key());
        Self { observer: Observer::new(key, Naming::Plain, &Standing::new(rules)), token, proof }
    }

    fn observe(&mut self, path: &str, phase: Phase, status: Option<u16>) -> Observation {
        let authorization = format!("DPoP {}", self.token);
        let fields = [
            ("host", "api.example"),
            ("authorization", authorization.as_str()),
            ("dpop", self.proof.as_str()),
        ];
        let shown = sample::exchange(Role::Server, "GET", path, &fields, status.unwrap_or(200));
        let request = shown.request.map(|request| Request {
            started: at(testing::NOW),
            ended: at(testing::NOW),
            ..request
        });
        let response = shown.response.filter(|_| status.is_some());
        let exchange = Exchange { request, response, phase, ..Exchange::new(3, Role::Server) };
        self.observer.observe(&exchange, &sample::connection(Role::Server), at(testing::NOW + 10))
    }
}

#[test]
fn the_proof_of_an_exchange_that_lasts_is_no_replay_at_its_end() {
    let mut rig = Rig::new("/feed");
    for (phase, is_told) in [(Phase::Begun, false), (Phase::Ended, true)] {
        let seen = rig.observe("/feed", phase, Some(200));
        let judged = seen.judged.unwrap();
        assert_eq!(seen.binding, Some(Binding::Dpop), "{phase:?}");
        assert_eq!((judged.assessment.finding, judged.is_told), (Finding::Normal, is_told));
    }
    let replayed = rig.observe("/feed", Phase::Ended, Some(200));
    assert_eq!(replayed.binding, Some(Binding::ProofReplayed));
}

#[test]
fn a_proof_that_another_worker_saw_is_a_replay() {
    let mut rig = Rig::new("/feed");
    let other = rig.observer.fresh();
    assert_eq!(rig.observe("/feed", Phase::Ended, Some(200)).binding, Some(Binding::Dpop));
    rig.observer = other;
    assert_eq!(rig.observe("/feed", Phase::Ended, Some(200)).binding, Some(Binding::ProofReplayed));
}

#[test]
fn a_gap_that_lasts_is_told_while_it_does_and_once() {
    let mut rig = Rig::new("/admin");
    let mut told = |phase, status| {
        let seen = rig.observe("/admin", phase, status);
        let gap = seen.judged.as_ref().map(|judged| judged.assessment.finding);
        assert_eq!(gap == Some(Finding::EnforcementGap), status.is_some());
        sample::author().scope_check(0, &seen).is_some()
    };
    assert!(told(Phase::Begun, Some(200)));
    assert!(!told(Phase::Ended, Some(200)));
}

#[test]
fn a_call_that_is_not_answered_yet_is_told_at_its_end() {
    let mut rig = Rig::new("/admin");
    let mut told = |phase, status| {
        let seen = rig.observe("/admin", phase, status);
        sample::author().scope_check(0, &seen).is_some()
    };
    assert!(!told(Phase::Begun, None));
    assert!(told(Phase::Ended, Some(200)));
}

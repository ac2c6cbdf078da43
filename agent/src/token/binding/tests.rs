//! Calls with proofs, without, with another's, and with the same again.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    http::{
        body::Content,
        message::{Fields, Version},
    },
    text::Cuts,
    token::{
        jwk,
        keys::{Held, Trust},
        profile::Profile,
        reader::Reader,
        sources::Sources,
        testing::{self, NOW, Signer, at, fingerprint_key, issuer, trust, with},
    },
};

/// A client with its key, and a token that is bound to it.
struct Client {
    key: Signer,
    token: String,
    trust: Trust,
}

fn thumbprint(signer: &Signer) -> String {
    BASE64URL.encode(jwk::thumbprint(signer.jwk().as_object().unwrap()).unwrap())
}

impl Client {
    fn new() -> Self {
        let (key, server) = (Signer::new("c"), Signer::new("k1"));
        let token = server.access_token(&json!({"cnf": {"jkt": thumbprint(&key)}}));
        let trust = trust(issuer(Profile::Strict9068), vec![Held::configured(server.key_set())]);
        Self { key, token, trust }
    }

    /// A proof with these members of header and claims in place of the usual ones.
    fn proof(&self, header: &Value, claims: &Value) -> String {
        let jwk = with(&self.key.jwk(), &json!({"kid": null}));
        let usual = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let ath = BASE64URL.encode(Sha256::digest(&self.token));
        let all = json!({"jti": "1", "htm": "GET", "htu": "https://api.example/orders",
                         "iat": NOW, "ath": ath});
        self.key.sign(&with(&usual, header), &with(&all, claims))
    }

    fn request(&self, scheme: &str, proofs: &[&str]) -> Request {
        let authorization = format!("{scheme} {}", self.token);
        let mut fields = vec![("host", "api.example"), ("authorization", authorization.as_str())];
        fields.extend(proofs.iter().map(|proof| ("dpop", *proof)));
        testing::request("/orders?page=1", &fields)
    }

    fn binding(&self, binder: &Binder, call: &Call<'_>) -> Binding {
        let mut reader = Reader::new(Arc::new(fingerprint_key()));
        let (sources, mut cuts) = (Sources::default(), Cuts::default());
        let read = reader.credentials(call.request, &sources, &self.trust, &mut cuts);
        binder.binding(&read[0], call)
    }
}

fn call(request: &Request) -> Call<'_> {
    Call {
        request,
        is_complete: true,
        transport: Transport::Tls,
        place: 1,
        public_base_url: None,
        client_certificate: None,
        is_uncertified: false,
        trusts_forwarded: false,
    }
}

/// A proof that differs from a good one in `header` and `claims`.
#[track_caller]
fn check(header: &Value, claims: &Value, expected: &Binding) {
    let client = Client::new();
    let request = client.request("DPoP", &[&client.proof(header, claims)]);
    assert_eq!(&client.binding(&Binder::default(), &call(&request)), expected);
}

fn invalid(check: ProofCheck) -> Binding {
    Binding::ProofInvalid(check)
}

#[test]
fn a_proof_in_order_binds() {
    check(&json!({}), &json!({}), &Binding::Dpop);
    check(&json!({"typ": "application/DPoP+JWT"}), &json!({}), &Binding::Dpop);
    check(&json!({}), &json!({"htu": "HTTPS://API.example:443/%6Frders?x#y"}), &Binding::Dpop);
    check(&json!({}), &json!({"iat": NOW - 360}), &Binding::Dpop);
}

#[test]
fn every_check_of_a_proof_fails_by_its_name() {
    let none = json!({});
    for (claims, failed) in [
        (json!({"jti": null}), ProofCheck::Claims),
        (json!({"jti": ""}), ProofCheck::Claims),
        (json!({"htm": null}), ProofCheck::Claims),
        (json!({"htu": 1}), ProofCheck::Claims),
        (json!({"iat": "now"}), ProofCheck::Claims),
        (json!({"ath": null}), ProofCheck::Claims),
        (json!({"htm": "POST"}), ProofCheck::Htm),
        (json!({"htm": "get"}), ProofCheck::Htm),
        (json!({"htu": "https://api.example/orders/"}), ProofCheck::Htu),
        (json!({"htu": "https://other.example/orders"}), ProofCheck::Htu),
        (json!({"htu": "http://api.example/orders"}), ProofCheck::Htu),
        (json!({"htu": "/orders"}), ProofCheck::Htu),
        (json!({"iat": NOW - 361}), ProofCheck::Iat),
        (json!({"iat": NOW + 361}), ProofCheck::Iat),
        (json!({"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"}), ProofCheck::Ath),
    ] {
        check(&none, &claims, &invalid(failed));
    }
    for (header, failed) in [
        (json!({"typ": "JWT"}), ProofCheck::Typ),
        (json!({"typ": null}), ProofCheck::Typ),
        (json!({"crit": ["x"]}), ProofCheck::Typ),
        (json!({"alg": "none"}), ProofCheck::Alg),
        (json!({"alg": "HS256"}), ProofCheck::Alg),
        (json!({"alg": "ES384"}), ProofCheck::Signature),
        (json!({"jwk": null}), ProofCheck::Signature),
        (json!({"jwk": with(&Signer::new("x").jwk(), &json!({}))}), ProofCheck::Signature),
        (json!({"jwk": with(&Signer::new("x").jwk(), &json!({"d": "AA"}))}), ProofCheck::PublicKey),
    ] {
        check(&header, &none, &invalid(failed));
    }
}

#[test]
fn one_field_with_one_proof_is_wanted() {
    let client = Client::new();
    let proof = client.proof(&json!({}), &json!({}));
    let other = client.proof(&json!({}), &json!({"jti": "2"}));
    let bind = |proofs: &[&str]| {
        let request = client.request("DPoP", proofs);
        client.binding(&Binder::default(), &call(&request))
    };
    assert_eq!(bind(&[]), Binding::Missing);
    assert_eq!(bind(&[&proof, &other]), invalid(ProofCheck::OneField));
    assert_eq!(bind(&[&format!("{proof}, {other}")]), invalid(ProofCheck::WellFormed));
    assert_eq!(bind(&["x.y.z"]), invalid(ProofCheck::WellFormed));
    assert_eq!(bind(&[""]), invalid(ProofCheck::WellFormed));
}

#[test]
fn what_was_not_seen_is_not_said_to_be_missing() {
    let client = Client::new();
    let request = client.request("DPoP", &[]);
    let incomplete = Call { is_complete: false, ..call(&request) };
    assert_eq!(client.binding(&Binder::default(), &incomplete), Binding::Unverifiable);
}

#[test]
fn a_bound_token_sent_as_bearer_is_downgraded_with_or_without_a_proof() {
    let client = Client::new();
    let proof = client.proof(&json!({}), &json!({}));
    for proofs in [&[][..], &[proof.as_str()]] {
        let request = client.request("Bearer", proofs);
        assert_eq!(client.binding(&Binder::default(), &call(&request)), Binding::Missing);
    }
}

#[test]
fn a_proof_by_another_key_is_anothers() {
    let (client, thief) = (Client::new(), Client::new());
    let thief = Client { token: client.token.clone(), ..thief };
    let request = client.request("DPoP", &[&thief.proof(&json!({}), &json!({}))]);
    assert_eq!(client.binding(&Binder::default(), &call(&request)), Binding::Mismatch);
}

#[test]
fn tokens_that_are_not_bound_are_bearer_tokens_whatever_comes_with_them() {
    let (client, server) = (Client::new(), Signer::new("k1"));
    let unbound = Client { token: server.access_token(&json!({})), ..client };
    let proof = unbound.proof(&json!({}), &json!({}));
    let request = unbound.request("Bearer", &[&proof]);
    assert_eq!(unbound.binding(&Binder::default(), &call(&request)), Binding::None);
    let request = unbound.request("DPoP", &[&proof]);
    assert_eq!(unbound.binding(&Binder::default(), &call(&request)), Binding::Mismatch);
}

#[test]
fn of_an_opaque_token_nobody_knows_the_key() {
    let opaque = Client { token: "opaque".into(), ..Client::new() };
    let proof = opaque.proof(&json!({}), &json!({}));
    let request = opaque.request("DPoP", &[&proof]);
    assert_eq!(opaque.binding(&Binder::default(), &call(&request)), Binding::Unverifiable);
}

#[test]
fn a_proof_that_was_there_before_is_replayed_at_the_same_place_only() {
    let (client, binder) = (Client::new(), Binder::default());
    let request = client.request("DPoP", &[&client.proof(&json!({}), &json!({}))]);
    // The proxy's end, then the server's.
    assert_eq!(client.binding(&binder, &call(&request)), Binding::Dpop);
    assert_eq!(client.binding(&binder, &Call { place: 2, ..call(&request) }), Binding::Dpop);
    assert_eq!(client.binding(&binder, &call(&request)), Binding::ProofReplayed);
    let next = client.request("DPoP", &[&client.proof(&json!({}), &json!({"jti": "2"}))]);
    assert_eq!(client.binding(&binder, &call(&next)), Binding::Dpop);
    assert_eq!((binder.counts().proofs, binder.counts().replayed), (4, 1));
}

#[test]
fn a_proof_that_several_workers_see_at_once_is_good_for_one_of_them() {
    let (client, binder) = (Client::new(), Binder::default());
    let request = client.request("DPoP", &[&client.proof(&json!({}), &json!({}))]);
    let found: Vec<Binding> = std::thread::scope(|scope| {
        let look = || client.binding(&binder.clone(), &call(&request));
        let workers = [(); 4].map(|()| scope.spawn(look));
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let good = found.iter().filter(|it| **it == Binding::Dpop).count();
    let replayed = found.iter().filter(|it| **it == Binding::ProofReplayed).count();
    assert_eq!((good, replayed), (1, 3), "{found:?}");
}

#[test]
fn proofs_are_remembered_up_to_a_limit_and_the_rest_is_counted() {
    let (binder, request) = (Binder::default(), testing::request("/", &[]));
    let mut proof = Proof { jkt: "k".into(), jti: String::new(), nonce: None, is_uncertain: false };
    for number in 0..=MAX_PROOFS.get() {
        proof.jti = number.to_string();
        assert!(!binder.is_replayed(&proof, &call(&request)));
    }
    assert_eq!(binder.memory().proofs.len(), MAX_PROOFS.get());
    assert_eq!(binder.counts().proofs_evicted, 1);
}

fn answer(nonce: &str) -> Response {
    let mut fields = Fields::default();
    fields.push(b"dpop-nonce", nonce.as_bytes());
    Response {
        status: 401,
        version: Version::Http11,
        head_bytes: 0,
        fields,
        trailers: Fields::default(),
        body_bytes: 0,
        content: Content::Counted,
        started: at(NOW),
        ended: at(NOW),
    }
}

#[test]
fn a_nonce_is_wanted_of_whom_the_server_gave_one() {
    let (client, binder) = (Client::new(), Binder::default());
    let bind = |binder: &Binder, claims: Value| {
        let request = client.request("DPoP", &[&client.proof(&json!({}), &claims)]);
        let binding = client.binding(binder, &call(&request));
        (binding, request)
    };
    let (first, request) = bind(&binder, json!({}));
    assert_eq!(first, Binding::Dpop);
    binder.answered(&call(&request), &answer("n-1"));
    assert_eq!(bind(&binder, json!({"jti": "2"})).0, invalid(ProofCheck::Nonce));
    assert_eq!(bind(&binder, json!({"jti": "3", "nonce": "n-1"})).0, Binding::Dpop);
    // Given before the agent began, or made up.
    let unseen = json!({"jti": "4", "nonce": "n-0"});
    assert_eq!(bind(&binder, unseen).0, Binding::Unverifiable);
}

#[test]
fn nonces_are_remembered_up_to_a_limit_and_the_rest_is_counted() {
    let (binder, request) = (Binder::default(), testing::request("/", &[]));
    for number in 0..=MAX_NONCES.get() {
        binder.answered(&call(&request), &answer(&number.to_string()));
    }
    assert_eq!(binder.memory().nonces.len(), MAX_NONCES.get());
    assert_eq!(binder.counts().nonces_evicted, 1);
}

#[test]
fn behind_a_proxy_the_public_address_is_the_policys_or_unknown() {
    let client = Client::new();
    let public = json!({"htu": "https://public.example/shop/orders"});
    let mut request = client.request("DPoP", &[&client.proof(&json!({}), &public)]);
    let bind = |call: &Call<'_>| client.binding(&Binder::default(), call);
    assert_eq!(bind(&call(&request)), invalid(ProofCheck::Htu));
    let plain = Call { transport: Transport::Plain, ..call(&request) };
    assert_eq!(bind(&plain), Binding::Unverifiable);
    let based = |base| Call { public_base_url: Some(base), ..call(&request) };
    assert_eq!(bind(&based("https://public.example/shop")), Binding::Dpop);
    assert_eq!(bind(&based("https://public.example/shop/")), Binding::Dpop);
    assert_eq!(bind(&based("https://public.example")), invalid(ProofCheck::Htu));
    assert_eq!(bind(&based("https://other.example/shop")), invalid(ProofCheck::Htu));
    request.fields.push(b"x-forwarded-host", b"public.example");
    assert_eq!(bind(&call(&request)), Binding::Unverifiable);
}

#[test]
fn a_certificate_binds_if_it_is_the_one_that_the_token_names() {
    let (client, server, mine, others) = (Client::new(), Signer::new("k1"), [7; 32], [8; 32]);
    let bound = json!({"cnf": {"x5t#S256": BASE64URL.encode(mine)}});
    let client = Client { token: server.access_token(&bound), ..client };
    let bind = |call: &Call<'_>| client.binding(&Binder::default(), call);
    let request = client.request("Bearer", &[]);
    let shown = |certificate| Call { client_certificate: certificate, ..call(&request) };
    assert_eq!(bind(&shown(Some(&mine))), Binding::Mtls);
    assert_eq!(bind(&shown(Some(&others))), Binding::Mismatch);
    assert_eq!(bind(&shown(None)), Binding::Unverifiable);
    let nothing = Call { is_uncertified: true, ..shown(None) };
    assert_eq!(bind(&nothing), Binding::Missing);
    let behind = Call { trusts_forwarded: true, ..nothing };
    assert_eq!(bind(&behind), Binding::Unverifiable, "a trusted proxy may keep it to itself");

    // Told by a proxy: SHA-256 of the certificate's bytes.
    let told: [u8; 32] = Sha256::digest(b"der").into();
    let bound = json!({"cnf": {"x5t#S256": BASE64URL.encode(told)}});
    let client = Client { token: server.access_token(&bound), ..Client::new() };
    let bind = |call: &Call<'_>| client.binding(&Binder::default(), call);
    let mut request = client.request("Bearer", &[]);
    request.fields.push(b"client-cert", b":ZGVy:");
    let trusting = Call { trusts_forwarded: true, ..call(&request) };
    assert_eq!(bind(&trusting), Binding::Mtls);
    let distrusting = Call { trusts_forwarded: false, ..trusting };
    assert_eq!(bind(&distrusting), Binding::Unverifiable);
    // What a stranger writes into a field replaces no certificate.
    assert_eq!(bind(&Call { is_uncertified: true, ..distrusting }), Binding::Missing);
    // The proxy's own certificate is not the client's.
    let proxied = Call { client_certificate: Some(&others), ..trusting };
    assert_eq!(bind(&proxied), Binding::Mtls);
    request.fields.push(b"client-cert", b":ZGVy:");
    let twice = Call { trusts_forwarded: true, ..call(&request) };
    assert_eq!(bind(&twice), Binding::Unverifiable);
}

#[test]
fn other_confirmations_are_not_judged() {
    let server = Signer::new("k1");
    for cnf in [json!({"jwk": {}}), json!({"jkt": "a", "x5t#S256": "b"}), json!(1)] {
        let token = server.access_token(&json!({"cnf": cnf}));
        let client = Client { token, ..Client::new() };
        let request = client.request("DPoP", &[]);
        assert_eq!(client.binding(&Binder::default(), &call(&request)), Binding::Unverifiable);
    }
}

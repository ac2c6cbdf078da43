//! What credentials cost. In: requests as browsers and services send them. Out: time a request,
//! without a token, with one that was seen before, and with one that is new.
//!
//! `cargo bench -p scopewatch --bench credentials`

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use divan::{Bencher, black_box};
use scopewatch::{
    clock::Timestamp,
    http::{
        body::Content,
        message::{Fields, Request, Version},
    },
    text::Cuts,
    token::{
        fingerprint::FingerprintKey,
        issuer::{Algorithm, Issuer},
        keys::{Held, KeySet, Trust, Trusted},
        profile::Profile,
        reader::Reader,
        sources::Sources,
    },
};
use serde_json::json;
use zeroize::Zeroizing;

fn main() {
    divan::main();
}

const NOW: u64 = 1_700_000_000;

/// Fields of a browser behind a proxy.
const FIELDS: &[(&str, &str)] = &[
    ("host", "api.example.net"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("origin", "https://app.example.net"),
    ("referer", "https://app.example.net/orders"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("x-forwarded-for", "192.0.2.44"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "0b3f1c2a-1d2e-4f5a-9b8c-7d6e5f4a3b2c"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("cookie", "theme=dark; consent=1; _ga=GA1.2.1234567890.1700000000"),
];

fn request(authorization: Option<&str>) -> Request {
    let mut fields = Fields::default();
    FIELDS.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
    if let Some(value) = authorization {
        fields.push(b"authorization", value.as_bytes());
    }
    Request {
        method: "GET".into(),
        target: Zeroizing::new("/v1/orders?page=2&size=50".into()),
        version: Version::Http11,
        head_bytes: 0,
        fields,
        body_bytes: 0,
        content: Content::Counted,
        started: Timestamp(NOW * 1_000_000_000),
        ended: Timestamp(NOW * 1_000_000_000),
    }
}

/// An issuer that is trusted, and a token of it of some 900 bytes.
fn token() -> (Trust, String) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64URL.encode(&point[1..33]), BASE64URL.encode(&point[33..]));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "x": x, "y": y});
    let keys = KeySet::read(&json!({"keys": [jwk]}).to_string()).expect("a key set");
    let claims = json!({"iss": "https://sso.example.net/realms/corp", "sub": "f1c4a7d2-0000-4000-8000-000000000000",
        "aud": ["orders-api", "account"], "exp": NOW + 300, "iat": NOW, "jti": "9f2c", "azp": "web", "typ": "Bearer",
        "scope": "openid email profile orders:read orders:write", "sid": "1c2d3e4f", "acr": "1",
        "preferred_username": "alice", "realm_access": {"roles": ["user", "offline_access"]},
        "resource_access": {"orders-api": {"roles": ["reader", "writer"]}, "account": {"roles": ["manage-account"]}}});
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
    let signed = [header, claims].map(|part| BASE64URL.encode(part.to_string())).join(".");
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    let issuer = Issuer {
        id: "corp".into(),
        matches: vec!["https://sso.example.net/realms/corp".into()],
        tenants: Vec::new(),
        profile: Profile::Keycloak,
        algorithms: BTreeSet::from([Algorithm::Es256]),
        keys: Vec::new(),
        leeway: Duration::from_secs(60),
        max_lifetime: None,
        required_claims: Vec::new(),
    };
    let trusted = Trusted { issuer: Arc::new(issuer), keys: vec![Held::configured(keys)] };
    (Trust::new(vec![trusted], 1), format!("{signed}.{}", BASE64URL.encode(signature)))
}

fn reader() -> Reader {
    Reader::new(Arc::new(FingerprintKey::new(Zeroizing::new([7; 32]))))
}

fn read(bencher: Bencher<'_, '_>, request: &Request, trust: &Trust) {
    let (mut reader, sources) = (reader(), Sources::default());
    bencher.bench_local(|| {
        let mut cuts = Cuts::default();
        black_box(reader.credentials(black_box(request), &sources, trust, &mut cuts)).len()
    });
}

#[divan::bench]
fn without_a_token(bencher: Bencher<'_, '_>) {
    read(bencher, &request(None), &Trust::default());
}

#[divan::bench]
fn with_a_token_seen_before(bencher: Bencher<'_, '_>) {
    let (trust, token) = token();
    read(bencher, &request(Some(&format!("Bearer {token}"))), &trust);
}

#[divan::bench]
fn with_a_new_token(bencher: Bencher<'_, '_>) {
    let (trust, token) = token();
    let (request, sources) = (request(Some(&format!("Bearer {token}"))), Sources::default());
    bencher.with_inputs(reader).bench_local_values(|mut reader| {
        let mut cuts = Cuts::default();
        black_box(reader.credentials(&request, &sources, &trust, &mut cuts)).len()
    });
}

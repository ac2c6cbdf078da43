//! Requests and tokens for tests. Keys are made anew for each process, or come from RFCs.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    fingerprint::FingerprintKey,
    issuer::{Algorithm, Issuer},
    keys::{Held, KeySet, Trust, Trusted},
    profile::Profile,
    subject::SubjectKey,
};
use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    http::{
        body::Content,
        message::{Fields, Request, Version},
    },
};

/// 2023-11-14T22:13:20Z
pub const NOW: u64 = 1_700_000_000;

pub fn at(secs: u64) -> Timestamp {
    Timestamp(secs * NANOS_PER_SEC)
}

pub fn subject_key(byte: u8) -> SubjectKey {
    SubjectKey::new(Zeroizing::new([byte; 32]))
}

pub fn fingerprint_key() -> FingerprintKey {
    FingerprintKey::new(Zeroizing::new([1; 32]))
}

/// A request for `target` with these fields, at [`NOW`].
pub fn request(target: &str, fields: &[(&str, &str)]) -> Request {
    let mut sent = Fields::default();
    fields.iter().for_each(|(name, value)| sent.push(name.as_bytes(), value.as_bytes()));
    Request {
        method: "GET".into(),
        target: Zeroizing::new(target.to_owned()),
        version: Version::Http11,
        head_bytes: 0,
        fields: sent,
        body_bytes: 0,
        content: Content::Counted,
        started: at(NOW),
        ended: at(NOW),
    }
}

/// A key that signs with ES256.
pub struct Signer {
    pair: EcdsaKeyPair,
    pub kid: &'static str,
}

impl Signer {
    pub fn new(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair, kid }
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (BASE64URL.encode(&point[1..33]), BASE64URL.encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y})
    }

    pub fn key_set(&self) -> KeySet {
        KeySet::read(&json!({"keys": [self.jwk()]}).to_string()).unwrap()
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    /// An access token of RFC 9068 with `claims` in place of the usual ones.
    pub fn access_token(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid});
        self.sign(&header, &with(&usual_claims(), claims))
    }
}

pub const ISSUER: &str = "https://sso.example";

pub fn usual_claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "aud": "api", "client_id": "web", "scope": "read",
           "iat": NOW - 10, "exp": NOW + 300, "jti": "j1"})
}

/// `object` with the members of `other`, of which null removes.
pub fn with(object: &Value, other: &Value) -> Value {
    let mut all = object.as_object().unwrap().clone();
    for (name, value) in other.as_object().unwrap() {
        match value {
            Value::Null => drop(all.remove(name)),
            value => drop(all.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(all)
}

pub fn issuer(profile: Profile) -> Issuer {
    Issuer {
        id: "sso".into(),
        matches: vec![ISSUER.into()],
        tenants: Vec::new(),
        profile,
        algorithms: BTreeSet::from([Algorithm::Es256, Algorithm::Rs256]),
        keys: Vec::new(),
        leeway: Duration::from_secs(60),
        max_lifetime: None,
        required_claims: Vec::new(),
    }
}

pub fn trust(issuer: Issuer, keys: Vec<Held>) -> Trust {
    Trust::new(vec![Trusted { issuer: Arc::new(issuer), keys }], 1)
}

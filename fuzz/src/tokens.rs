//! Credentials: whatever a request shows, no secret of it comes out, and nothing is believed that
//! nobody signed.

use std::sync::Arc;

use scopewatch::{
    clock::Timestamp,
    flow::chunk::Transport,
    http::{
        body::{Content, Sample},
        message::{Fields, Request, Version},
        path::{MAX_PATH, Target},
    },
    text::Cuts,
    token::{
        binding::{Binder, Call},
        challenge::{MAX_CHALLENGES, challenges, scopes_told},
        examination::Binding,
        extract::{MAX_CREDENTIALS, exposures},
        fingerprint::FingerprintKey,
        inspect::{inspect, trust_by_keys},
        keys::{KeySet, MAX_KEYS, Trust},
        reader::Reader,
        shape::without_secrets,
        sources::Sources,
    },
};
use zeroize::Zeroizing;

/// Lines of fields, and of request targets behind a slash.
pub fn token(input: &[u8]) {
    let key = Arc::new(FingerprintKey::new(Zeroizing::new([7; 32])));
    let (mut fields, mut cuts) = (Fields::default(), Cuts::default());
    for line in input.split(|byte| *byte == b'\n') {
        match line.iter().position(|byte| *byte == b':') {
            Some(colon) => fields.push(&line[..colon], line[colon + 1..].trim_ascii()),
            None => fields.push(b"authorization", line),
        }
        if let Ok(text) = std::str::from_utf8(line) {
            let target = Target::read("GET", text, None, &mut cuts);
            assert!(target.path.is_none_or(|path| path.len() <= MAX_PATH));
            let shown = without_secrets(text);
            assert_eq!(without_secrets(&shown), shown, "what is shown still holds secrets");
        }
    }
    let mut sample = Sample::default();
    sample.take(input);
    let target = String::from_utf8_lossy(input);
    let request = Request { content: Content::Sampled(sample), ..request(&target, fields) };
    let _ = exposures(&request, None);
    let sources = Sources::new(&["x-own".into()], &["s".into()]);
    let found = Reader::new(key).credentials(&request, &sources, &Trust::default(), &mut cuts);
    assert!(found.len() <= MAX_CREDENTIALS);
    for credential in found {
        let _ = (credential.state(Timestamp(0)), credential.evidence(), credential.header());
        if let Some(claims) = credential.claims() {
            assert!(claims.scopes.len() <= scopewatch::token::jwt::MAX_SCOPES);
            assert!(claims.scopes.iter().all(|it| it.len() <= scopewatch::token::jwt::MAX_SCOPE));
        }
    }
}

fn request(target: &str, fields: Fields) -> Request {
    Request {
        method: "POST".into(),
        target: Zeroizing::new(target.to_owned()),
        version: Version::Http11,
        head_bytes: 0,
        fields,
        body_bytes: 0,
        content: Content::Counted,
        started: Timestamp(0),
        ended: Timestamp(0),
    }
}

/// A token, and after a line break a proof: what nobody signed binds nothing.
pub fn binding(input: &[u8]) {
    let (token, proof) = match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &input[..0]),
    };
    let mut fields = Fields::default();
    fields.push(b"host", b"resource.example.org");
    fields.push(b"authorization", &[b"DPoP ", token].concat());
    fields.push(b"dpop", proof);
    fields.push(b"client-cert", proof);
    let request = request("/protectedresource", fields);
    let call = Call {
        request: &request,
        is_complete: true,
        transport: Transport::Tls,
        place: 1,
        public_base_url: None,
        client_certificate: None,
        is_uncertified: false,
        trusts_forwarded: true,
    };
    let key = Arc::new(FingerprintKey::new(Zeroizing::new([7; 32])));
    let (sources, trust, mut cuts) = (Sources::default(), Trust::default(), Cuts::default());
    for credential in Reader::new(key).credentials(&request, &sources, &trust, &mut cuts) {
        let found = Binder::default().binding(&credential, &call);
        assert!(found != Binding::Dpop, "{found:?}");
    }
}

/// RFC 9449 §7.1.
pub fn binding_seeds() -> Vec<Vec<u8>> {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgt\
        MzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10\
        NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0V\
        UIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI\
        2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.c2ln";
    vec![format!("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU\n{proof}").into_bytes()]
}

/// Lines of `WWW-Authenticate`.
pub fn challenge(input: &[u8]) {
    let (mut fields, mut cuts) = (Fields::default(), Cuts::default());
    for line in input.split(|byte| *byte == b'\n') {
        fields.push(b"www-authenticate", line);
        fields.push(b"x-oauth-scopes", line);
        fields.push(b"github-authentication-token-expiration", line);
    }
    let found = challenges(&fields, &mut cuts);
    assert!(found.len() <= MAX_CHALLENGES);
    for text in found.iter().flat_map(|each| [&each.realm, &each.description, &each.error_uri]) {
        let text = text.as_deref().unwrap_or_default();
        assert!(text.len() <= scopewatch::token::challenge::MAX_TEXT);
    }
    let _ = scopes_told(&fields, &mut cuts);
}

pub fn challenge_seeds() -> Vec<Vec<u8>> {
    vec![
        b"Bearer realm=\"a, \\\"b\", error=invalid_token, error_description=\"expired\", DPoP algs=\"ES256\""
            .to_vec(),
        b"Negotiate YWJj==, Basic realm=x\n2026-11-22 10:04:31 UTC".to_vec(),
    ]
}

/// A key set, which is also the token that it is to verify: nothing is genuine by chance.
pub fn key_set(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(keys) = KeySet::read(text) {
        assert!(keys.keys().len() <= MAX_KEYS);
        let found = inspect(text, &trust_by_keys(text, keys), Timestamp(0), &|_| None);
        assert!(!found.valid);
    }
}

pub fn key_set_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#
            .to_vec(),
        br#"{"kty":"EC","crv":"P-256","kid":"1","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
            .to_vec(),
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"
            .to_vec(),
    ]
}

pub fn seeds() -> Vec<Vec<u8>> {
    let header = "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9";
    let claims =
        "eyJzdWIiOiJhbGljZSIsInNjb3BlIjoib3JkZXJzOnJlYWQiLCJleHAiOjE3MDAwMDAwMDAsImF1ZCI6WyJhIl19";
    vec![
        format!("Bearer {header}.{claims}.c2ln\nBearer a.b.c.d.e").into_bytes(),
        b"authorization: Basic YTpi\ncookie: s=abc\ndpop: x.y.z\nBearer ghp_0123456789abcdef"
            .to_vec(),
        b"/api/orders/1001?access_token=A9fB3kPq77LmZx01&x=y\nhttp://u:p@host/%61".to_vec(),
    ]
}

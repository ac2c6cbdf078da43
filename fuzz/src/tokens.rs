//! Credentials: whatever a request shows, no secret of it comes out.

use std::sync::Arc;

use scopewatch::{
    clock::Timestamp,
    http::{
        body::{Content, Sample},
        message::{Fields, Request, Version},
        path::{MAX_PATH, Target},
    },
    text::Cuts,
    token::{
        extract::{MAX_CREDENTIALS, exposures},
        fingerprint::FingerprintKey,
        keys::Trust,
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
    let request = Request {
        method: "POST".into(),
        target: Zeroizing::new(String::from_utf8_lossy(input).into_owned()),
        version: Version::Http11,
        head_bytes: 0,
        fields,
        body_bytes: 0,
        content: Content::Sampled(sample),
        started: Timestamp(0),
        ended: Timestamp(0),
    };
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

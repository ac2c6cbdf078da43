//! What is remembered of credentials, and for how long.

use super::*;
use crate::token::{
    Evidence, Format,
    keys::Held,
    profile::Profile,
    testing::{self, Signer, fingerprint_key, issuer, trust},
};

fn reader() -> Reader {
    Reader::new(Arc::new(fingerprint_key()))
}

fn request(authorization: &str) -> Request {
    testing::request("/", &[("authorization", authorization)])
}

fn read(reader: &mut Reader, request: &Request, trust: &Trust) -> Vec<Arc<Credential>> {
    reader.credentials(request, &Sources::default(), trust, &mut Cuts::default())
}

#[test]
fn the_same_credential_is_read_once_and_with_it_what_was_cut() {
    let mut reader = reader();
    // {"alg":"none"} and a client_id of 600 letters.
    let claims = format!(r#"{{"client_id":"{}"}}"#, "c".repeat(600));
    let claims = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims);
    let request = request(&format!("Bearer eyJhbGciOiJub25lIn0.{claims}."));
    let [first, second] = [(); 2].map(|()| {
        let mut cuts = Cuts::default();
        let read = reader.credentials(&request, &Sources::default(), &Trust::default(), &mut cuts);
        assert_eq!(cuts.iter().collect::<Vec<_>>(), ["client_id"]);
        read
    });
    assert_eq!(first, second);
    assert_eq!(first[0].format(), Format::Jws);
    assert_eq!(reader.counts, Counts { read: 1, recognised: 1, ..Counts::default() });
}

#[test]
fn a_tag_tells_all_that_a_reading_depends_on_apart() {
    let mut reader = reader();
    let requests = ["Bearer abc", "DPoP abc", "Bearer\tabc", "Bearer abd", "Bearer", "abc"]
        .map(request)
        .into_iter()
        .chain([
            testing::request("/?access_token=abc", &[]),
            testing::request("/", &[("private-token", "abc")]),
            testing::request("/", &[("x-vault-token", "abc")]),
            testing::request("/", &[("x-forwarded-access-token", "abc")]),
        ]);
    for request in requests {
        let read = read(&mut reader, &request, &Trust::default());
        let fresh = self::read(&mut self::reader(), &request, &Trust::default());
        assert_eq!(read, fresh, "{request:?}");
    }
    assert_eq!(reader.counts, Counts { read: 10, ..Counts::default() });
}

#[test]
fn the_credential_seen_least_lately_is_forgotten() {
    let (mut reader, trust) = (reader(), Trust::default());
    for number in 0..=MAX_KNOWN.get() {
        let _ = read(&mut reader, &request(&format!("Bearer {number}")), &trust);
        let _ = read(&mut reader, &request("Bearer kept"), &trust);
    }
    assert_eq!((reader.known.len(), reader.counts.evicted), (MAX_KNOWN.get(), 2));
    let _ = read(&mut reader, &request("Bearer 0"), &trust);
    assert_eq!(reader.counts.recognised, MAX_KNOWN.get() as u64);
}

#[test]
fn long_tokens_crowd_each_other_out_before_memory_does() {
    let (mut reader, trust) = (reader(), Trust::default());
    let length = crate::token::MAX_TOKEN - 100;
    for number in 0..300 {
        let _ = read(&mut reader, &request(&format!("Bearer {number:0length$}")), &trust);
        assert!(reader.known_bytes <= MAX_KNOWN_BYTES);
    }
    assert_eq!(reader.known.len(), MAX_KNOWN_BYTES / length);
    assert_eq!(reader.counts.evicted, 300 - reader.known.len() as u64);
    let held: usize = reader.known.iter().map(|(_, known)| known.bytes).sum();
    assert_eq!(held, reader.known_bytes);
}

#[test]
fn a_token_is_examined_again_when_keys_change_and_not_otherwise() {
    let (mut reader, signer) = (reader(), Signer::new("k1"));
    let request = request(&format!("Bearer {}", signer.access_token(&serde_json::json!({}))));
    let without =
        trust(issuer(Profile::Strict9068), vec![Held::configured(Signer::new("k2").key_set())]);
    let mut with = trust(issuer(Profile::Strict9068), vec![Held::configured(signer.key_set())]);
    with.generation = 2;
    let mut evidence = |trust: &Trust| read(&mut reader, &request, trust)[0].evidence();
    assert_eq!(evidence(&without), Evidence::Asserted);
    assert_eq!(evidence(&without), Evidence::Asserted);
    assert_eq!(evidence(&with), Evidence::Verified);
    assert_eq!(evidence(&with), Evidence::Verified);
    assert_eq!(reader.counts, Counts { read: 1, recognised: 2, renewed: 1, evicted: 0 });
    let missing = MissingKey { issuer: IssuerIndex(0), key_id: Some("k1".into()) };
    assert_eq!(reader.missing(), [missing]);
    assert_eq!(reader.missing(), []);
}

#[test]
fn no_more_missing_keys_are_told_than_anybody_would_fetch() {
    let (mut reader, signer) = (reader(), Signer::new("k"));
    let trust = trust(issuer(Profile::Lax), vec![Held::configured(Signer::new("other").key_set())]);
    for number in 0..40 {
        let header = serde_json::json!({"alg": "ES256", "kid": format!("random-{number}")});
        let token = signer.sign(&header, &testing::usual_claims());
        let _ = read(&mut reader, &request(&format!("Bearer {token}")), &trust);
    }
    assert_eq!(reader.missing().len(), MAX_MISSING);
}

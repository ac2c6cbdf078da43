//! Key sets, whole and damaged.

use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::token::testing::Signer;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// A P-256 key as X.509 has it (RFC 5480 §2), around the point of a JWK.
fn spki(jwk: &Value) -> Vec<u8> {
    let octets = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let head = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    ];
    [&head[..], &octets("x"), &octets("y")].concat()
}

#[test]
fn sets_are_read_and_what_is_of_no_use_in_them_is_passed_over() {
    let (one, two) = (Signer::new("1"), Signer::new("2"));
    let text = json!({"keys": [one.jwk(), {"kty": "AKP"}, {"kty": "RSA", "use": "enc"}, 7, two.jwk()],
                      "other": true});
    let set = KeySet::read(&text.to_string()).unwrap();
    let ids: Vec<_> = set.keys().iter().map(|key| key.id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(set.ignored, [JwkError::Unsupported, JwkError::OtherUse, JwkError::Invalid]);
    assert!(set.names("2") && !set.names("3"));
    assert_eq!(KeySet::read(&one.jwk().to_string()).unwrap().keys().len(), 1);
    assert_eq!(KeySet::read(r#"{"keys":[]}"#).unwrap().keys().len(), 0);
}

#[test]
fn pem_files_are_read() {
    let signer = Signer::new("k");
    let text = format!("# a comment\n{0}{0}", pem("PUBLIC KEY", &spki(&signer.jwk())));
    let set = KeySet::read(&text).unwrap();
    assert_eq!(set.keys().len(), 2);
    assert!(set.keys()[0].fits(Algorithm::Es256) && !set.keys()[0].fits(Algorithm::Es384));
    let token = signer.access_token(&json!({}));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(set.keys()[0].made(&signature, signed.as_bytes(), Algorithm::Es256));
}

#[test]
fn what_is_no_key_set_says_why() {
    let check = |text: &str, expected: &str| {
        let error = KeySet::read(text).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("", "no JSON object");
    check("[]", "no JSON object");
    check("{}", "no array `keys`");
    check(r#"{"keys": {}}"#, "no array `keys`");
    check(r#"{"keys": [{"kty": "AKP"}]}"#, "signs no token");
    check(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#, "shorter than its algorithm allows");
    check(&" ".repeat(MAX_SET + 1), "longer than");
    check(&pem("PRIVATE KEY", b"x"), "holds a private key");
    check(&pem("RSA PRIVATE KEY", b"x"), "holds a private key");
    check(&pem("CERTIFICATE", b"x"), "holds a certificate");
    check(&pem("PUBLIC KEY", b"x"), "signs no token");
    check("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "damaged");
    check("-----BEGIN PUBLIC KEY-----\nAAAA", "damaged");
}

#[test]
fn the_number_of_keys_is_bounded_and_the_excess_counted() {
    let jwk = Signer::new("k").jwk();
    let set = KeySet::read(&json!({"keys": vec![jwk; MAX_KEYS + 3]}).to_string()).unwrap();
    assert_eq!((set.keys().len(), set.excess), (MAX_KEYS, 3));
}

#[test]
fn a_secret_that_others_publish_is_no_key() {
    let secret = json!({"kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode([1; 64])});
    let set = || KeySet::read(&secret.to_string()).unwrap();
    assert_eq!(Held::configured(set()).set.keys().len(), 1);
    assert_eq!(Held::fetched(set(), Timestamp(0)).set.keys().len(), 0);
    assert_eq!(Held::observed(set(), Timestamp(0)).set.keys().len(), 0);
}

//! Keys and signatures of RFCs, and keys that are none.

use proptest::prelude::{any, proptest};
use serde_json::json;

use super::*;
use crate::token::testing::{Signer, with};

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn key(jwk: &Value) -> Key {
    Key::from_jwk(&map(jwk)).unwrap()
}

/// `compact` was made by `algorithm` with `jwk`, and by nothing else.
#[track_caller]
fn check(jwk: &Value, compact: &str, algorithm: Algorithm) {
    let (key, (signed, signature)) = (key(jwk), compact.rsplit_once('.').unwrap());
    let signature = BASE64URL.decode(signature).unwrap();
    for each in Algorithm::ALL.iter().copied() {
        assert_eq!(key.made(&signature, signed.as_bytes(), each), each == algorithm, "{each}");
    }
    assert!(!key.made(&signature, &signed.as_bytes()[1..], algorithm));
    assert!(!key.made(&signature[1..], signed.as_bytes(), algorithm));
    assert!(!key.made(&[], signed.as_bytes(), algorithm));
}

#[test]
fn signatures_of_the_cookbook_are_verified() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpora/jose");
    for (file, algorithm) in [
        ("4_1.rsa_v15_signature.json", Algorithm::Rs256),
        ("4_2.rsa-pss_signature.json", Algorithm::Ps384),
        ("4_3.ecdsa_signature.json", Algorithm::Es512),
        ("4_4.hmac-sha2_integrity_protection.json", Algorithm::Hs256),
        ("ed25519.json", Algorithm::EdDsa),
    ] {
        let text = std::fs::read_to_string(format!("{corpus}/{file}")).unwrap();
        let example: Value = serde_json::from_str(&text).unwrap();
        let mut jwk = example["input"]["key"].clone();
        if let Some(members) = jwk.as_object_mut() {
            // Verifiers have the public half.
            ["d", "p", "q", "dp", "dq", "qi"].iter().for_each(|name| drop(members.remove(*name)));
        }
        let compact = example["output"]["compact"].as_str().unwrap();
        check(&jwk, compact, algorithm);
    }
}

#[test]
fn signatures_of_rfc_7515_are_verified() {
    // A.1 and A.3.
    let hmac = json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75\
        aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"});
    let compact = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkz\
        ODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1g\
        FWFOEjXk";
    check(&hmac, compact, Algorithm::Hs256);
    let ec = json!({"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let compact = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l\
        eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djx\
        La8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    check(&ec, compact, Algorithm::Es256);
}

#[test]
fn thumbprints_are_those_of_rfcs() {
    let print = |jwk: &Value| BASE64URL.encode(thumbprint(&map(jwk)).unwrap());
    // RFC 7638 §3.1, with members that do not count.
    let rsa = json!({"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
        ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY36\
        8QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lF\
        d2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
    assert_eq!(print(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 8037 A.3
    let okp = json!({"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(print(&okp), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    for none in [json!({}), json!({"kty": "EC", "crv": "P-256", "x": "a"}), json!({"kty": "x"})] {
        assert_eq!(thumbprint(&map(&none)), None);
    }
}

#[test]
fn what_is_no_key_that_verifies_is_refused_with_a_reason() {
    let ec = Signer::new("k").jwk();
    let refused = |members: Value, reason: JwkError| {
        let jwk = map(&with(&ec, &members));
        assert_eq!(Key::from_jwk(&jwk).err(), Some(reason), "{members}");
    };
    refused(json!({"use": "enc"}), JwkError::OtherUse);
    refused(json!({"key_ops": ["encrypt"]}), JwkError::OtherUse);
    refused(json!({"alg": "ECDH-ES"}), JwkError::OtherUse);
    refused(json!({"alg": "ES384"}), JwkError::OtherUse);
    refused(json!({"alg": "HS256"}), JwkError::OtherUse);
    refused(json!({"kty": "AKP"}), JwkError::Unsupported);
    refused(json!({"kty": null}), JwkError::Unsupported);
    refused(json!({"crv": "secp256k1"}), JwkError::Unsupported);
    refused(json!({"x": null}), JwkError::Invalid);
    refused(json!({"x": "AA"}), JwkError::Invalid);
    // Not on the curve.
    refused(
        json!({"x": BASE64URL.encode([1; 32]), "y": BASE64URL.encode([1; 32])}),
        JwkError::Invalid,
    );
    let rsa = |octets: usize| json!({"kty": "RSA", "e": "AQAB", "n": BASE64URL.encode(vec![0xc1; octets])});
    refused(rsa(128), JwkError::Short);
    refused(rsa(2000), JwkError::Invalid);
    refused(json!({"kty": "oct", "k": "c2VjcmV0"}), JwkError::Short);
    refused(json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), JwkError::Invalid);
    refused(json!({"kty": "OKP", "crv": "X25519"}), JwkError::Unsupported);
}

#[test]
fn a_modulus_with_a_sign_octet_is_read_as_one_without() {
    let modulus = [&[0], [0xc1; 256].as_slice()].concat();
    let jwk = json!({"kty": "RSA", "e": "AQAB", "n": BASE64URL.encode(modulus)});
    assert!(Key::from_jwk(&map(&jwk)).is_ok());
}

#[test]
fn hmac_secrets_shorter_than_the_hash_do_not_fit() {
    let secret = json!({"kty": "oct", "k": BASE64URL.encode([1; 40])});
    let fits: Vec<_> =
        Algorithm::ALL.iter().copied().filter(|each| key(&secret).fits(*each)).collect();
    assert_eq!(fits, [Algorithm::Hs256]);
}

#[test]
fn private_keys_are_told() {
    assert!(!is_private(&map(&Signer::new("k").jwk())));
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        assert!(is_private(&map(&json!({name: "AA"}))), "{name}");
    }
}

proptest! {
    #[test]
    fn no_members_make_reading_panic(
        kty in "RSA|EC|OKP|oct|x", crv in "P-256|P-384|P-521|Ed25519|x", bytes in any::<Vec<u8>>()
    ) {
        let value = BASE64URL.encode(&bytes);
        let jwk = map(&json!({"kty": kty, "crv": crv, "x": value, "y": value, "n": value,
                              "e": value, "k": value}));
        let _ = thumbprint(&jwk);
        if let Ok(key) = Key::from_jwk(&jwk) {
            for algorithm in Algorithm::ALL {
                assert!(!key.made(&bytes, b"message", *algorithm));
            }
        }
        let _ = Key::from_spki(&bytes);
    }
}

//! Good tokens, forged, stripped, confused and truncated ones.

use std::time::Duration;

use proptest::prelude::{any, proptest};
use serde_json::{Value, json};

use super::*;
use crate::{
    text::Cuts,
    token::{
        jwt,
        keys::{Held, KeySet},
        testing::{NOW, Signer, at, issuer, trust, usual_claims, with},
    },
};

fn examined(token: &str, trust: &Trust) -> Examination {
    let parsed = jwt::parse(token);
    let content = parsed.content(&mut Cuts::default());
    examine(token, &parsed, &content, trust, at(NOW))
}

fn trusting(signer: &Signer, profile: Profile) -> Trust {
    trust(issuer(profile), vec![Held::configured(signer.key_set())])
}

#[track_caller]
fn check(token: &str, trust: &Trust, signature: SignatureState, faults: &[Fault]) {
    let found = examined(token, trust);
    assert_eq!((found.signature, found.faults.as_slice()), (signature, faults));
}

#[test]
fn a_token_to_the_letter_has_no_fault() {
    let signer = Signer::new("k1");
    let found = examined(&signer.access_token(&json!({})), &trusting(&signer, Profile::Strict9068));
    assert_eq!(found.signature, SignatureState::Ok);
    assert_eq!((found.evidence, found.faults, found.notes), (Evidence::Verified, vec![], vec![]));
    assert_eq!(found.grant.scopes, ["read"]);
    assert_eq!((found.expires_at, found.leeway), (Some(NOW + 300), 60));
}

#[test]
fn a_signature_is_bad_only_if_the_right_key_was_there() {
    let (signer, forger) = (Signer::new("k1"), Signer::new("k1"));
    let forged = forger.access_token(&json!({}));
    let held = |held: Held| trust(issuer(Profile::Strict9068), vec![held]);
    let bad = (SignatureState::Bad, [Fault::SignatureBad]);
    let unknown = (SignatureState::KeyUnknown, [Fault::KeyUnknown]);
    let with_key = |token: &str, keys: Held, (state, faults): &(SignatureState, [Fault; 1])| {
        check(token, &held(keys), *state, faults);
    };
    with_key(&forged, Held::configured(signer.key_set()), &bad);
    // The token is of NOW - 10.
    with_key(&forged, Held::fetched(signer.key_set(), at(NOW - 10)), &bad);
    with_key(&forged, Held::observed(signer.key_set(), at(NOW)), &bad);
    with_key(&forged, Held::fetched(signer.key_set(), at(NOW - 11)), &unknown);
    // Another key may have made it.
    with_key(
        &Signer::new("k2").access_token(&json!({})),
        Held::configured(signer.key_set()),
        &unknown,
    );
    let nameless = forger.sign(&json!({"alg": "ES256", "typ": "at+jwt"}), &usual_claims());
    with_key(&nameless, Held::configured(signer.key_set()), &unknown);
    // A time to come buys no doubt: the token was there by NOW.
    let late = forger.access_token(&json!({"iat": NOW + 9999, "exp": NOW + 10_000}));
    with_key(&late, Held::fetched(signer.key_set(), at(NOW)), &bad);
    with_key(&late, Held::fetched(signer.key_set(), at(NOW - 1)), &unknown);
}

#[test]
fn where_the_operators_keys_have_no_ids_none_is_missing() {
    let (signer, forger) = (Signer::new("k1"), Signer::new("k1"));
    let nameless = with(&signer.jwk(), &json!({"kid": null}));
    let keys = || KeySet::read(&nameless.to_string()).unwrap();
    let standing = trust(issuer(Profile::Lax), vec![Held::configured(keys())]);
    check(&signer.access_token(&json!({})), &standing, SignatureState::Ok, &[]);
    check(&forger.access_token(&json!({})), &standing, SignatureState::Bad, &[Fault::SignatureBad]);
    let fetched = trust(issuer(Profile::Lax), vec![Held::fetched(keys(), at(NOW))]);
    check(
        &forger.access_token(&json!({})),
        &fetched,
        SignatureState::KeyUnknown,
        &[Fault::KeyUnknown],
    );
}

#[test]
fn keys_that_were_observed_prove_less_than_configured_ones() {
    let signer = Signer::new("k1");
    let token = signer.access_token(&json!({}));
    let (observed, configured) =
        (Held::observed(signer.key_set(), at(NOW)), Held::configured(signer.key_set()));
    let evidence = |keys: Vec<Held>| examined(&token, &trust(issuer(Profile::Lax), keys)).evidence;
    assert_eq!(evidence(vec![observed.clone()]), Evidence::VerifiedObservedKey);
    assert_eq!(evidence(vec![observed, configured]), Evidence::Verified);
    assert_eq!(evidence(vec![]), Evidence::Asserted);
}

#[test]
fn no_algorithm_counts_but_those_of_the_issuer() {
    let signer = Signer::new("k1");
    let trust = trusting(&signer, Profile::Lax);
    let forbidden = |token: &str| {
        check(token, &trust, SignatureState::AlgForbidden, &[Fault::AlgForbidden]);
    };
    for alg in ["none", "None", "NONE", "HS256", "es256", "ES384", "", "RS1"] {
        forbidden(&signer.sign(&json!({"alg": alg, "kid": "k1"}), &usual_claims()));
    }
    forbidden(&signer.sign(&json!({"kid": "k1"}), &usual_claims()));
    forbidden(&signer.sign(&json!({"alg": 256, "kid": "k1"}), &usual_claims()));
    // None is none, also of an issuer that nobody knows.
    let stranger = with(&usual_claims(), &json!({"iss": "https://other.example"}));
    let token = signer.sign(&json!({"alg": "none"}), &stranger);
    let faults = [Fault::IssuerUnknown, Fault::AlgForbidden];
    check(&token, &trust, SignatureState::AlgForbidden, &faults);
    check(&token, &Trust::default(), SignatureState::AlgForbidden, &[Fault::AlgForbidden]);
}

#[test]
fn a_public_key_is_no_hmac_secret_even_where_hs256_is_allowed() {
    use aws_lc_rs::hmac;
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
    let signer = Signer::new("k1");
    let mut both = issuer(Profile::Lax);
    both.algorithms.insert(Algorithm::Hs256);
    let trust = trust(both, vec![Held::configured(signer.key_set())]);
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let header = json!({"alg": "HS256", "kid": "k1"});
    let signed = format!("{}.{}", part(&header), part(&usual_claims()));
    for secret in [signer.jwk().to_string(), signer.jwk()["x"].to_string()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mac = hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", BASE64URL.encode(mac));
        check(&token, &trust, SignatureState::Bad, &[Fault::SignatureBad]);
    }
}

#[test]
fn a_key_in_the_header_is_not_believed_and_noted() {
    let (signer, forger) = (Signer::new("k1"), Signer::new("k1"));
    let trust = trusting(&signer, Profile::Lax);
    let header = json!({"alg": "ES256", "kid": "k1", "jwk": forger.jwk(), "jku": "https://evil",
        "x5u": "https://evil", "x5c": []});
    let found = examined(&forger.sign(&header, &usual_claims()), &trust);
    assert_eq!(found.signature, SignatureState::Bad);
    let injected = [HeaderNote::Jku, HeaderNote::X5u, HeaderNote::Jwk, HeaderNote::X5c];
    assert_eq!(found.notes, injected);
}

#[test]
fn odd_key_ids_are_noted() {
    let signer = Signer::new("k1");
    let notes = |kid: Value| {
        let token = signer.sign(&json!({"alg": "ES256", "kid": kid}), &usual_claims());
        examined(&token, &Trust::default()).notes
    };
    let usual = ["k1", "2024-01_a.b:c", "a/b+c=", "key@example.com", ""];
    usual.iter().for_each(|kid| assert_eq!(notes(json!(kid)), [], "{kid}"));
    for kid in ["../../dev/null", "/etc/passwd", "k' OR '1'='1", "http://evil/k", "a|id", "a b"] {
        assert_eq!(notes(json!(kid)), [HeaderNote::OddKid], "{kid}");
    }
    assert_eq!(notes(json!(7)), [HeaderNote::OddKid]);
    assert_eq!(notes(json!("k".repeat(200))), [HeaderNote::OddKid]);
}

#[test]
fn a_token_with_a_crit_is_not_understood() {
    let signer = Signer::new("k1");
    for crit in [json!(["b64"]), json!(["exp"]), json!([])] {
        let header = json!({"alg": "ES256", "kid": "k1", "crit": crit, "b64": false});
        let token = signer.sign(&header, &usual_claims());
        let trust = trusting(&signer, Profile::Lax);
        check(&token, &trust, SignatureState::NotChecked, &[Fault::Malformed]);
    }
}

#[test]
fn tokens_of_other_kinds_are_no_access_tokens() {
    let signer = Signer::new("k1");
    let kind = |header: Value, claims: Value, profile: Profile| {
        let header = with(&json!({"alg": "ES256", "kid": "k1"}), &header);
        let claims = with(&usual_claims(), &claims);
        let faults = examined(&signer.sign(&header, &claims), &trusting(&signer, profile)).faults;
        faults.contains(&Fault::KindMismatch)
    };
    let id = json!({"scope": null, "nonce": "n"});
    let logout = json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    assert!(kind(json!({}), id.clone(), Profile::Lax));
    assert!(kind(json!({"typ": "JWT"}), json!({"typ": "Refresh"}), Profile::Keycloak));
    assert!(kind(json!({"typ": "JWT"}), json!({"typ": "ID"}), Profile::Keycloak));
    assert!(kind(json!({}), json!({"token_use": "id"}), Profile::Cognito));
    assert!(kind(json!({"typ": "logout+jwt"}), json!({}), Profile::Lax));
    assert!(kind(json!({}), logout, Profile::Lax));
    assert!(kind(json!({"typ": "dpop+jwt"}), json!({}), Profile::Lax));
    assert!(kind(json!({"typ": "JWT"}), json!({}), Profile::Strict9068));
    assert!(kind(json!({}), json!({}), Profile::Strict9068));
    assert!(!kind(json!({"typ": "application/at+jwt"}), json!({}), Profile::Strict9068));
    assert!(!kind(json!({"typ": "JWT"}), json!({}), Profile::Lax));
    assert!(!kind(json!({"typ": "JWT"}), json!({"typ": "Bearer"}), Profile::Keycloak));
    assert!(!kind(json!({}), id, Profile::Google));
}

#[test]
fn claims_are_wanted_by_profile_and_by_policy() {
    let signer = Signer::new("k1");
    let missing = |names: &[&str]| {
        names.iter().map(|name| Fault::ClaimMissing((*name).to_owned())).collect::<Vec<_>>()
    };
    for name in ["exp", "aud", "sub", "client_id", "iat", "jti"] {
        let token = signer.access_token(&json!({name: null}));
        let trust = trusting(&signer, Profile::Strict9068);
        check(&token, &trust, SignatureState::Ok, &missing(&[name]));
    }
    let mut wanting = issuer(Profile::Strict9068);
    wanting.required_claims = vec!["tenant".into(), "exp".into()];
    let trust = trust(wanting, vec![Held::configured(signer.key_set())]);
    let bare = signer.access_token(&json!({"exp": null}));
    check(&bare, &trust, SignatureState::Ok, &missing(&["exp", "tenant"]));
    let token = signer.access_token(&json!({"tenant": "t"}));
    check(&token, &trust, SignatureState::Ok, &[]);
}

#[test]
fn lifetimes_are_bounded_where_the_policy_bounds_them() {
    let signer = Signer::new("k1");
    let mut short = issuer(Profile::Lax);
    short.max_lifetime = Some(Duration::from_secs(310));
    let trust = trust(short, vec![Held::configured(signer.key_set())]);
    let exceeded = |claims: Value| {
        let faults = examined(&signer.access_token(&claims), &trust).faults;
        faults.contains(&Fault::LifetimeExceeded)
    };
    assert!(!exceeded(json!({})));
    assert!(exceeded(json!({"exp": NOW + 301})));
    assert!(exceeded(json!({"exp": null})));
    assert!(exceeded(json!({"iat": null, "exp": NOW + 311})));
    assert!(!exceeded(json!({"iat": null, "exp": NOW + 310})));
}

#[test]
fn times_are_judged_per_call_with_leeway() {
    let signer = Signer::new("k1");
    let token = signer.access_token(&json!({"nbf": NOW, "exp": NOW + 300}));
    let found = examined(&token, &trusting(&signer, Profile::Lax));
    for (moment, expected) in [
        (NOW - 61, Some(Fault::NotYetValid)),
        (NOW - 60, None),
        (NOW + 359, None),
        (NOW + 360, Some(Fault::Expired)),
    ] {
        assert_eq!(found.fault_at(at(moment)), expected, "{moment}");
    }
}

#[test]
fn dates_that_are_none_make_a_token_malformed() {
    let signer = Signer::new("k1");
    let token = signer.access_token(&json!({"exp": "tomorrow"}));
    let trust = trusting(&signer, Profile::Lax);
    check(&token, &trust, SignatureState::NotChecked, &[Fault::Malformed]);
}

#[test]
fn tokens_for_graph_are_for_graph_to_verify() {
    let forger = Signer::new("k1");
    let entra = issuer(Profile::EntraV1);
    let trust = trust(entra, vec![Held::configured(Signer::new("k1").key_set())]);
    let state = |header: Value, claims: Value| {
        let header = with(&json!({"alg": "ES256", "kid": "k1", "typ": "JWT"}), &header);
        examined(&forger.sign(&header, &with(&usual_claims(), &claims)), &trust).signature
    };
    let graph = json!({"aud": "https://graph.microsoft.com"});
    let nonce = json!({"nonce": "n"});
    assert_eq!(state(nonce.clone(), graph.clone()), SignatureState::UnverifiableByDesign);
    // Neither by itself buys doubt.
    assert_eq!(state(nonce, json!({})), SignatureState::Bad);
    assert_eq!(state(json!({}), graph), SignatureState::Bad);
}

#[test]
fn what_is_no_jws_is_not_verified() {
    let trust = trusting(&Signer::new("k1"), Profile::Lax);
    check("opaque", &trust, SignatureState::NotChecked, &[]);
    check("eyJhbGciOiJkaXIifQ.a.b.c.d", &trust, SignatureState::NotChecked, &[]);
    check("eyJhbGciOiJFUzI1NiJ9.!.x", &trust, SignatureState::NotChecked, &[Fault::Malformed]);
    let forged = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    check(forged, &trust, SignatureState::NotChecked, &[Fault::Malformed]);
}

proptest! {
    #[test]
    fn a_token_with_any_bit_turned_is_never_ok(place in any::<proptest::sample::Index>(), bit in 0_u8..7) {
        let signer = Signer::new("k1");
        let trust = trusting(&signer, Profile::Lax);
        let mut token = signer.access_token(&json!({})).into_bytes();
        let at = place.index(token.len());
        token[at] ^= 1_u8 << bit;
        let Ok(token) = String::from_utf8(token) else { return Ok(()) };
        assert_ne!(examined(&token, &trust).signature, SignatureState::Ok);
    }

    #[test]
    fn a_token_cut_or_swapped_anywhere_is_never_ok(place in any::<proptest::sample::Index>()) {
        let signer = Signer::new("k1");
        let trust = trusting(&signer, Profile::Lax);
        let (one, two) =
            (signer.access_token(&json!({})), signer.access_token(&json!({"sub": "mallory"})));
        let at = place.index(one.len());
        let (before, after) = one.split_at(at);
        assert_ne!(examined(before, &trust).signature, SignatureState::Ok);
        if at > 0 {
            assert_ne!(examined(after, &trust).signature, SignatureState::Ok);
        }
        // The claims of one under the signature of the other.
        let (signed, _) = two.rsplit_once('.').unwrap();
        let (_, signature) = one.rsplit_once('.').unwrap();
        let spliced = format!("{signed}.{signature}");
        assert_eq!(examined(&spliced, &trust).signature, SignatureState::Bad);
    }

    #[test]
    fn nothing_makes_examination_panic(
        header in "\\PC{0,40}", claims in "\\PC{0,60}", signature in any::<Vec<u8>>()
    ) {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
        let signer = Signer::new("k1");
        let header = format!("{{\"alg\":\"ES256\",\"kid\":{header:?}}}");
        let claims = format!("{{\"iss\":\"https://sso.example\",\"aud\":{claims:?}}}");
        let parts = [header.as_bytes(), claims.as_bytes(), &signature].map(|part| BASE64URL.encode(part));
        let found = examined(&parts.join("."), &trusting(&signer, Profile::Lax));
        assert_ne!(found.signature, SignatureState::Ok);
    }
}

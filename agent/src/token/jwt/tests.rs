//! What is decoded of tokens: RFC examples, dialects, hostile text.

use serde_json::json;

use super::*;

/// RFC 7515 A.1
const RFC7515_A1: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
    .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
    .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn decode(token: &str, cuts: &mut Cuts) -> Content {
    parse(token).content(cuts)
}

fn encode(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    format!("{}.{}.c2ln", part(header), part(claims))
}

#[track_caller]
fn jwt(header: &Value, claims: &Value) -> Jwt {
    match decode(&encode(header, claims), &mut Cuts::default()) {
        Content::Jws(jwt) => *jwt,
        other => panic!("{other:?}"),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[track_caller]
fn check(claims: &Value, expected: &Claims) {
    assert_eq!(&jwt(&json!({"alg": "RS256"}), claims).claims, expected);
}

#[track_caller]
fn check_kind(header: &Value, claims: &Value, kind: Option<Kind>) {
    assert_eq!(jwt(header, claims).kind, kind);
}

#[track_caller]
fn check_content(token: &str, expected: &Content) {
    assert_eq!(&decode(token, &mut Cuts::default()), expected);
}

#[test]
fn rfc_7515_a_1_is_decoded() {
    let Content::Jws(jwt) = decode(RFC7515_A1, &mut Cuts::default()) else { panic!() };
    assert_eq!(
        jwt.header,
        Header { algorithm: some("HS256"), typ: some("JWT"), ..Header::default() }
    );
    let expected =
        Claims { issuer: some("joe"), expires_at: Some(1_300_819_380), ..Claims::default() };
    assert_eq!(jwt.claims, expected);
    assert_eq!(jwt.kind, None);
}

#[test]
fn vendors_claims_are_read_in_one_vocabulary() {
    check(
        &json!({"sub": "alice", "client_id": "web", "scope": "a b:c  d", "aud": "api", "jti": "1",
                "iat": 1, "nbf": 2, "exp": 3}),
        &Claims {
            subject: some("alice"),
            client_id: some("web"),
            scopes: vec!["a".into(), "b:c".into(), "d".into()],
            audience: vec!["api".into()],
            id: some("1"),
            issued_at: Some(1),
            not_before: Some(2),
            expires_at: Some(3),
            ..Claims::default()
        },
    );
    // Entra v1, delegated.
    check(
        &json!({"tid": "t", "oid": "user", "sub": "pairwise", "appid": "app", "scp": "A.Read B",
                "uti": "u", "sid": "s", "aud": ["x", "y"]}),
        &Claims {
            subject: some("user"),
            client_id: some("app"),
            scopes: vec!["A.Read".into(), "B".into()],
            id: some("u"),
            session: some("s"),
            audience: vec!["x".into(), "y".into()],
            ..Claims::default()
        },
    );
    // Okta.
    check(
        &json!({"sub": "a@b", "cid": "0oa", "scp": ["openid", "profile"]}),
        &Claims {
            subject: some("a@b"),
            client_id: some("0oa"),
            scopes: vec!["openid".into(), "profile".into()],
            ..Claims::default()
        },
    );
    // Keycloak's authentication, RFC 8693's actors.
    check(
        &json!({"sub": 7, "azp": "spa", "acr": "1", "amr": ["pwd", "otp"], "auth_time": 9.9,
                "act": {"sub": "svc-a", "act": {"client_id": "svc-b"}}}),
        &Claims {
            subject: some("7"),
            client_id: some("spa"),
            acr: some("1"),
            amr: vec!["pwd".into(), "otp".into()],
            auth_time: Some(9),
            actors: vec!["svc-a".into(), "svc-b".into()],
            ..Claims::default()
        },
    );
    check(&json!({"oid": "not-entra"}), &Claims::default());
    check(&json!({"sub": "", "aud": {}, "scope": 1, "act": []}), &Claims::default());
}

#[test]
fn kind_is_told_by_typ_then_by_claims() {
    let jwt = json!({"typ": "JWT"});
    check_kind(&json!({"typ": "at+jwt"}), &json!({"nonce": "x"}), Some(Kind::Access));
    check_kind(&json!({"typ": "application/AT+JWT"}), &json!({}), Some(Kind::Access));
    check_kind(&json!({"typ": "dpop+jwt"}), &json!({}), Some(Kind::DpopProof));
    check_kind(&json!({"typ": "logout+jwt"}), &json!({}), Some(Kind::Logout));
    check_kind(&json!({"typ": "secevent+jwt"}), &json!({}), Some(Kind::SecurityEvent));
    check_kind(&jwt, &json!({"typ": "Bearer", "nonce": "n"}), Some(Kind::Access));
    check_kind(&jwt, &json!({"typ": "ID"}), Some(Kind::Id));
    check_kind(&jwt, &json!({"typ": "Offline", "scope": "s"}), Some(Kind::Refresh));
    check_kind(&jwt, &json!({"token_use": "id"}), Some(Kind::Id));
    check_kind(&jwt, &json!({"scp": ["a"], "nonce": "n"}), Some(Kind::Access));
    check_kind(&jwt, &json!({"nonce": "n", "azp": "web"}), Some(Kind::Id));
    check_kind(&jwt, &json!({"htm": "GET", "htu": "https://h"}), Some(Kind::DpopProof));
    let logout = json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    check_kind(&jwt, &logout, Some(Kind::Logout));
    check_kind(&jwt, &json!({"events": {"urn:x": {}}}), Some(Kind::SecurityEvent));
    let assertion = json!({"iss": "c", "sub": "c", "aud": "as", "jti": "1"});
    check_kind(&jwt, &assertion, Some(Kind::ClientAssertion));
    check_kind(&jwt, &json!({"sub": "alice"}), None);
}

#[test]
fn validity_is_judged_at_a_given_moment() {
    let check = |claims: Value, expected: TokenState| {
        let claims = jwt(&json!({"alg": "RS256"}), &claims).claims;
        assert_eq!(claims.state(Timestamp(1_000 * 1_000_000_000)), expected, "{claims:?}");
    };
    check(json!({"exp": 1001}), TokenState::Active);
    check(json!({"exp": 1000}), TokenState::Expired);
    check(json!({"exp": 1000.9}), TokenState::Expired);
    check(json!({"exp": -5}), TokenState::Expired);
    check(json!({"exp": -0.5}), TokenState::Expired);
    check(json!({"exp": 1e300}), TokenState::Active);
    check(json!({"exp": 2000, "nbf": 1000}), TokenState::Active);
    check(json!({"exp": 2000, "nbf": 1001}), TokenState::NotYetValid);
    check(json!({"exp": null}), TokenState::NoExpiry);
    check(json!({"exp": "1001"}), TokenState::Malformed);
    check(json!({"exp": 2000, "iat": true}), TokenState::Malformed);
}

#[test]
fn what_is_no_jwt_is_opaque_or_malformed() {
    let (header, claims) = ("eyJhbGciOiJSUzI1NiJ9", "e30");
    check_content("mF_9.B5f-4.1JqM", &Content::Opaque);
    check_content("opaque", &Content::Opaque);
    check_content("", &Content::Opaque);
    check_content("......", &Content::Opaque);
    check_content(&format!("{header}.{claims}"), &Content::Opaque);
    check_content(&format!("{header}.{claims}.c2ln."), &Content::Opaque);
    check_content(&format!("{header}.W10.c2ln"), &Content::Malformed);
    check_content(&format!("{header}.!.c2ln"), &Content::Malformed);
    check_content(&format!("{header}.{claims}.a+b"), &Content::Malformed);
    check_content(&format!("{header}==.{claims}.c2ln"), &Content::Malformed);
    check_content("eyJ.e30.c2ln", &Content::Malformed);
    check_content("W10.e30.c2ln", &Content::Opaque);
    let unsigned = decode(&format!("{header}.{claims}."), &mut Cuts::default());
    assert!(matches!(unsigned, Content::Jws(_)));
}

#[test]
fn of_an_encrypted_token_the_header_is_kept() {
    let header = BASE64URL.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"k1"}"#);
    let expected = Header {
        algorithm: some("RSA-OAEP"),
        key_id: some("k1"),
        encryption: some("A256GCM"),
        ..Header::default()
    };
    check_content(&format!("{header}.a.b.c.d"), &Content::Jwe(expected));
    check_content("eyJ.a.b.c.d", &Content::Malformed);
    check_content("a.b.c.d.e", &Content::Opaque);
}

#[test]
fn size_and_depth_are_bounded() {
    let long = format!("{}.e30.{}", "eyJhbGciOiJSUzI1NiJ9", "A".repeat(MAX_TOKEN));
    check_content(&long, &Content::Malformed);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let deep = format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", BASE64URL.encode(deep));
    check_content(&deep, &Content::Malformed);
}

#[test]
fn what_is_kept_is_bounded_and_the_cut_recorded() {
    let scopes: Vec<_> = (0..100).map(|n| format!("s{n}")).collect();
    let claims = json!({"sub": "x".repeat(600), "scp": scopes, "aud": vec!["a"; 17]});
    let mut cuts = Cuts::default();
    let Content::Jws(jwt) = decode(&encode(&json!({}), &claims), &mut cuts) else { panic!() };
    assert_eq!(jwt.claims.subject.unwrap().len(), MAX_CLAIM);
    assert_eq!(jwt.claims.scopes.len(), MAX_SCOPES);
    assert_eq!(jwt.claims.audience.len(), MAX_ITEMS);
    assert_eq!(cuts.iter().collect::<Vec<_>>(), ["aud", "scopes", "subject"]);
}

#[test]
fn a_token_inside_a_claim_is_not_kept() {
    check(
        &json!({"sub": RFC7515_A1, "jti": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}),
        &Claims { subject: some("{token}"), id: some("{token}"), ..Claims::default() },
    );
}

//! Challenges as servers write them.

use proptest::prelude::{any, proptest};

use super::*;

fn read(fields: &[&str]) -> (Vec<Challenge>, Vec<&'static str>) {
    let (mut sent, mut cuts) = (Fields::default(), Cuts::default());
    fields.iter().for_each(|value| sent.push(b"WWW-Authenticate", value.as_bytes()));
    let found = challenges(&sent, &mut cuts);
    (found, cuts.iter().collect())
}

const NONE: Challenge = Challenge {
    scheme: Scheme::Bearer,
    error: None,
    hint: None,
    description: None,
    error_uri: None,
    realm: None,
    scopes: Vec::new(),
    algorithms: Vec::new(),
    acr_values: Vec::new(),
    max_age: None,
    resource_metadata: None,
};

#[track_caller]
fn check(field: &str, expected: &[Challenge]) {
    assert_eq!(read(&[field]).0, expected, "{field}");
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_examples_of_rfcs_are_read() {
    // RFC 6750 §3
    check("Bearer realm=\"example\"", &[Challenge { realm: some("example"), ..NONE }]);
    let expired = "Bearer realm=\"example\",\n error=\"invalid_token\", \
                   error_description=\"The access token expired\"";
    check(
        &expired.replace('\n', ""),
        &[Challenge {
            realm: some("example"),
            error: Some(ChallengeError::InvalidToken),
            hint: Some(Hint::Expired),
            description: some("The access token expired"),
            ..NONE
        }],
    );
    // RFC 9449 §7.1 and §9
    let stale =
        "DPoP error=\"use_dpop_nonce\", error_description=\"Resource server requires nonce\"";
    check(
        stale,
        &[Challenge {
            scheme: Scheme::Dpop,
            error: Some(ChallengeError::UseDpopNonce),
            description: some("Resource server requires nonce"),
            ..NONE
        }],
    );
    check(
        "Bearer, DPoP algs=\"ES256 PS256\"",
        &[NONE, Challenge { scheme: Scheme::Dpop, algorithms: words("ES256 PS256"), ..NONE }],
    );
    // RFC 9470 §3
    let step_up =
        "Bearer error=\"insufficient_user_authentication\", acr_values=\"myACR\", max_age=5";
    check(
        step_up,
        &[Challenge {
            error: Some(ChallengeError::InsufficientUserAuthentication),
            acr_values: words("myACR"),
            max_age: Some(5),
            ..NONE
        }],
    );
    // RFC 9728 §5.1
    let metadata =
        "Bearer resource_metadata=\"https://r.example/.well-known/oauth-protected-resource\"";
    check(
        metadata,
        &[Challenge {
            resource_metadata: some("https://r.example/.well-known/oauth-protected-resource"),
            ..NONE
        }],
    );
}

#[test]
fn several_challenges_of_a_line_are_told_apart() {
    // RFC 9110 §11.6.1, with an unknown scheme, a comma in quotes, and a token68.
    let field = "Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"a, b\\\"\", \
                 Negotiate YWJj==, Bearer scope=\"a b\" , , error=insufficient_scope";
    check(
        field,
        &[
            Challenge { scheme: Scheme::Basic, realm: some("simple"), ..NONE },
            Challenge { scheme: Scheme::Other, realm: some("apps"), ..NONE },
            Challenge { scheme: Scheme::Negotiate, ..NONE },
            Challenge {
                scopes: words("a b"),
                error: Some(ChallengeError::InsufficientScope),
                ..NONE
            },
        ],
    );
    let (found, _) = read(&["Bearer", "DPoP"]);
    assert_eq!(
        found.iter().map(|each| each.scheme).collect::<Vec<_>>(),
        [Scheme::Bearer, Scheme::Dpop]
    );
}

#[test]
fn what_is_against_the_grammar_costs_no_more_than_itself() {
    check("", &[]);
    check(",, ,", &[]);
    check("@@, Bearer", &[NONE]);
    check("=x, Bearer realm = \"r\"", &[Challenge { realm: some("r"), ..NONE }]);
    check("Bearer realm=\"open", &[Challenge { realm: some("open"), ..NONE }]);
    check("Bearer realm=\"x\\", &[Challenge { realm: some("x"), ..NONE }]);
    check("realm=\"nobody's\"", &[]);
    check("Bearer realm=a, realm=b", &[Challenge { realm: some("a"), ..NONE }]);
    check("Bearer error=\"my_error\"", &[Challenge { error: Some(ChallengeError::Other), ..NONE }]);
    check("Implied", &[Challenge { scheme: Scheme::Other, ..NONE }]);
}

#[test]
fn text_is_scrubbed_and_cut() {
    let token = "eyJhbGciOiJub25lIn0.e30.c2ln";
    let field = format!(
        "Bearer error_description=\"bad token {token} sent\", error_uri=\"https://e/?t=1\", \
         scope=\"a {token}\""
    );
    check(
        &field,
        &[Challenge {
            description: some("bad token {token} sent"),
            error_uri: some("https://e/"),
            scopes: words("a {token}"),
            ..NONE
        }],
    );
    let (found, cuts) = read(&[&format!("Bearer realm=\"{}\"", "a ".repeat(100))]);
    assert_eq!(found[0].realm.as_ref().map(String::len), Some(MAX_TEXT));
    assert_eq!(cuts, ["challenges"]);
    let (found, cuts) = read(&[&"Bearer, ".repeat(40)]);
    assert_eq!((found.len(), cuts), (MAX_CHALLENGES, vec!["challenges"]));
    let (found, _) = read(&[&format!("Bearer {}realm=late", "x=y, ".repeat(MAX_PARAMETERS))]);
    assert_eq!(found, [NONE]);
    let (_, cuts) = read(&[&format!("Bearer realm={}", "a".repeat(MAX_FIELD))]);
    assert_eq!(cuts, ["challenges"]);
}

#[test]
fn descriptions_hint_at_reasons() {
    for (text, expected) in [
        ("Jwt is expired", Some(Hint::Expired)),
        ("token has been revoked", Some(Hint::Revoked)),
        ("Token is not active", Some(Hint::Revoked)),
        ("unexpected \"aud\" claim value", Some(Hint::Audience)),
        ("Jwt verification fails: signature", Some(Hint::Signature)),
        ("Jwt issuer is not configured", Some(Hint::Issuer)),
        ("Jwt not yet valid", Some(Hint::NotYetValid)),
        ("could not parse", Some(Hint::Malformed)),
        ("no", None),
    ] {
        assert_eq!(hint(text), expected, "{text}");
    }
}

#[test]
fn servers_tell_the_scopes_of_opaque_tokens() {
    let (mut fields, mut cuts) = (Fields::default(), Cuts::default());
    assert_eq!(scopes_told(&fields, &mut cuts), ScopesTold::default());
    fields.push(b"X-OAuth-Scopes", b"repo, user:email");
    fields.push(b"X-Accepted-OAuth-Scopes", b"");
    fields.push(b"GitHub-Authentication-Token-Expiration", b"2026-11-22 10:04:31 UTC");
    let told = scopes_told(&fields, &mut cuts);
    assert_eq!(told.granted, Some(words("repo user:email")));
    assert_eq!(told.accepted, Some(vec![]));
    assert_eq!(told.expires_at, Timestamp::from_rfc3339("2026-11-22T10:04:31Z"));
    let offset = expiration(b"2026-11-22 11:04:31 +0100");
    assert_eq!(offset, told.expires_at);
    assert_eq!(expiration(b"soon"), None);
}

proptest! {
    #[test]
    fn nothing_makes_reading_panic_or_exceed_its_bounds(field in any::<Vec<u8>>()) {
        let (mut fields, mut cuts) = (Fields::default(), Cuts::default());
        fields.push(b"www-authenticate", &field);
        fields.push(b"x-oauth-scopes", &field);
        fields.push(b"github-authentication-token-expiration", &field);
        assert!(challenges(&fields, &mut cuts).len() <= MAX_CHALLENGES);
        let _ = scopes_told(&fields, &mut cuts);
    }

    #[test]
    fn challenges_that_are_written_by_the_grammar_are_read_back(
        realms in proptest::collection::vec("[ -~]{0,40}", 1..8), spaces in "[ ]{0,3}"
    ) {
        let quoted = |realm: &str| realm.replace('\\', "\\\\").replace('"', "\\\"");
        let written: Vec<_> = realms
            .iter()
            .map(|realm| format!("Bearer realm=\"{}\"", quoted(realm)))
            .collect();
        let (found, _) = read(&[&written.join(&format!("{spaces},{spaces}"))]);
        let expected: Vec<_> =
            realms.iter().map(|realm| Some(show(realm, &mut Cuts::default()))).collect();
        assert_eq!(found.into_iter().map(|each| each.realm).collect::<Vec<_>>(), expected);
    }
}

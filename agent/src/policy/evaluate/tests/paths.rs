//! However a protected path is written, its rule is reached.

use proptest::prelude::{any, prop, proptest};

use super::*;

const GUARDED: &str = r#"
version: 1
services:
- id: a
  select: {ports: [8443]}
  unmatched_route: ignore
  routes:
  - {match: {path: /**}, require: {credentials: []}}
  - {match: {path: "/v1/{kind}/secret"}, require: {scopes: {all: [x]}}}
  - {match: {methods: [DELETE], path: /v1/users}, require: {scopes: {all: [y]}}}
"#;

/// Judges a call without credential: whether it is denied, and whether the path is ambiguous.
fn found(method: &'static str, target: &str) -> (bool, bool) {
    let setup = Setup::new(method, target).change(|it| it.shown.clear());
    let judgement = setup.judge(&engine(GUARDED)).unwrap();
    (judgement.verdict == Verdict::Deny, judgement.path_ambiguous)
}

#[test]
fn odd_spellings_of_a_guarded_path_reach_its_rule() {
    assert_eq!(found("GET", "/v1/a/secret"), (true, false));
    assert_eq!(found("GET", "/v1/a/other"), (false, false));
    for target in [
        "/v1/a/secret/",
        "/v1//a/secret",
        "/v1/a/./secret",
        "/v1/a/x/../secret",
        "/v1/a/secret;x=y",
        "/v1/a;b/secret",
        "/v1/a/%73ecret",
        "/v1/a/%2573ecret",
        "/v1/a%2Fsecret",
        "/v1/a%252Fsecret",
        "/v1\\a\\secret",
        "/V1/a/Secret",
        "/%2e/v1/a/secret",
        "/x/%2e%2e/v1/a/secret",
        "/x/..;/v1/a/secret",
        "/v1/a/secret%00",
        "/v1/a/secret%3Fx",
        "//v1/a/secret",
        "http://other.example/v1/a/%73ecret",
    ] {
        assert_eq!(found("GET", target), (true, true), "{target}");
    }
}

#[test]
fn a_method_in_a_field_does_not_hide_the_call() {
    assert_eq!(found("DELETE", "/v1/users"), (true, false));
    assert_eq!(found("POST", "/v1/users"), (false, false));
    let setup = Setup::new("POST", "/v1/users")
        .change(|it| it.shown.clear())
        .field("x-http-method-override", "DELETE");
    let judgement = setup.judge(&engine(GUARDED)).unwrap();
    assert!(judgement.verdict == Verdict::Deny && judgement.path_ambiguous);
}

/// Spellings of a character: itself, encoded, encoded twice.
fn spelled(c: char, how: u8) -> String {
    match how % 4 {
        0 => format!("%{:02x}", u32::from(c)),
        1 => format!("%25{:02X}", u32::from(c)),
        _ => c.to_string(),
    }
}

/// What may stand between segments without changing where the path leads.
fn joint(how: u8) -> &'static str {
    match how % 8 {
        0 => "//",
        1 => "/./",
        2 => "/x/../",
        3 => "/%2e/",
        _ => "/",
    }
}

proptest! {
    #[test]
    fn no_spelling_dodges_a_rule(
        spellings in prop::collection::vec(any::<u8>(), 40),
        joints in prop::collection::vec(any::<u8>(), 3),
        tail in prop::option::of("/|;[a-z]{0,3}"),
        upper in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut target = String::new();
        let mut nth = 0;
        for (segment, joint_by) in ["v1", "abc", "secret"].iter().zip(&joints) {
            target.push_str(joint(*joint_by));
            for c in segment.chars() {
                let shout = upper[nth] && spellings[0] < 60 && *segment != "abc";
                let c = if shout { c.to_ascii_uppercase() } else { c };
                target.push_str(&spelled(c, spellings[nth]));
                nth += 1;
            }
        }
        target.push_str(tail.as_deref().unwrap_or_default());
        let plain = target == "/v1/abc/secret";
        let (denied, ambiguous) = found("GET", &target);
        assert!(denied, "{target}");
        assert_eq!(ambiguous, !plain, "{target}");
    }

    #[test]
    fn no_target_makes_judging_panic(target in "\\PC{0,60}", path in "[/%.;a-f0-9\\\\]{0,60}") {
        let engine = engine(GUARDED);
        Setup::new("GET", &target).judge(&engine);
        Setup::new("GET", &format!("/{path}")).judge(&engine);
    }
}

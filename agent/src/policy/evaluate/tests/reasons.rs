//! Each reason fires, and does not where it nearly would.

use super::*;
use crate::{
    flow::chunk::ShownCertificate, policy::raw::Sensitivity, token::examination::ProofCheck,
};

fn get() -> Setup {
    Setup::new("GET", "/v1/orders/7")
}

fn refund() -> Setup {
    Setup::new("POST", "/v1/refunds/7")
        .claim("scope", &json!("refund write"))
        .binding(Binding::Dpop)
}

fn tenant() -> Setup {
    Setup::new("PUT", "/v1/tenants/t1/x")
}

fn fault(fault: Fault) -> Setup {
    get().examined(|it| it.faults.push(fault))
}

#[test]
fn credential_missing() {
    get().check("allow");
    get().change(|it| it.shown.clear()).check("deny credential_missing");
    let cookie =
        |name: &'static str| get().change(move |it| it.shown[0].0 = Source::Cookie(name.into()));
    cookie("sid").check("allow");
    cookie("other").check("deny credential_missing");
}

#[test]
fn a_head_that_was_not_seen_whole_lacks_nothing_for_sure() {
    let part = |setup: Setup| setup.change(|it| it.fields_complete = false);
    part(get().change(|it| it.shown.clear())).check("indeterminate capture_incomplete");
    part(get()).check("allow");
    part(get().claim("exp", &json!(NOW - 600))).check("deny expired");
    part(get().binding(Binding::Missing)).check("indeterminate capture_incomplete");
    let lost = Setup::new("", "").change(|it| it.fields_complete = false);
    lost.check("indeterminate capture_incomplete");
}

#[test]
fn multiple_credentials() {
    let twice = |source: Source| {
        get().change(|it| {
            let mut second = token(&claims());
            second.0 = source;
            it.shown.push(second);
        })
    };
    twice(Source::Query).check("deny multiple_credentials");
    twice(Source::Authorization).check("deny multiple_credentials");
    twice(Source::Cookie("sid".into())).check("allow");
}

#[test]
fn scheme_unsupported() {
    let scheme = |scheme| get().change(move |it| it.shown[0].1.scheme = scheme);
    scheme(Scheme::Basic).check("deny scheme_unsupported");
    scheme(Scheme::Dpop).check("allow");
}

#[test]
fn malformed() {
    get().change(|it| it.shown[0].1.content = Content::Malformed).check("deny malformed");
    fault(Fault::Malformed).check("deny malformed");
}

#[test]
fn expired_and_not_yet_valid_grant_leeway() {
    get().claim("exp", &json!(NOW - 60)).check("deny expired");
    get().claim("exp", &json!(NOW - 59)).check("allow");
    get().claim("nbf", &json!(NOW + 61)).check("deny not_yet_valid");
    get().claim("nbf", &json!(NOW + 60)).check("allow");
    fault(Fault::Expired).check("deny expired");
    fault(Fault::NotYetValid).check("deny not_yet_valid");
}

#[test]
fn faults_of_the_token_are_reasons() {
    fault(Fault::LifetimeExceeded).check("deny lifetime_exceeded");
    fault(Fault::AlgForbidden).check("deny alg_forbidden");
    fault(Fault::SignatureBad).check("deny signature_bad");
    fault(Fault::KindMismatch).check("deny kind_mismatch");
    fault(Fault::ClaimMissing("jti".into())).check("deny claim_missing:jti");
    fault(Fault::IssuerUnknown).check("deny issuer_unknown");
}

#[test]
fn a_key_that_is_not_there_leaves_open_whether_the_token_is_genuine() {
    fault(Fault::KeyUnknown).check("indeterminate key_unknown");
    get()
        .examined(|it| it.signature = SignatureState::NotChecked)
        .check("indeterminate key_unknown");
    get().examined(|it| it.signature = SignatureState::UnverifiableByDesign).check("allow");
    let both = fault(Fault::KeyUnknown).claim("exp", &json!(NOW - 600));
    both.examined(|it| it.faults.push(Fault::KeyUnknown)).check("deny expired");
}

#[test]
fn issuer_unknown() {
    get().examined(|it| it.issuer = None).check("deny issuer_unknown");
    get().examined(|it| it.issuer = Some(IssuerIndex(1))).check("deny issuer_unknown");
}

#[test]
fn without_issuers_it_is_not_judged_who_issued_a_token() {
    let engine = engine(
        "version: 1\nservices:\n- {id: a, select: {ports: [8443]}, routes: [{match: {path: /**}}]}",
    );
    let setup = fault(Fault::IssuerUnknown).examined(|it| it.issuer = None);
    assert_eq!(shown(&setup.judge(&engine).unwrap()), "allow");
}

#[test]
fn audience_mismatch() {
    get().claim("aud", &json!(["other"])).check("deny audience_mismatch");
    get().claim("aud", &json!(["other", "orders-api"])).check("allow");
    get().claim("aud", &Value::Null).check("deny audience_mismatch");
}

#[test]
fn of_a_token_that_was_cut_nothing_is_absent() {
    let cut = |name: &str| {
        let setup = get().claim(name, &Value::Null);
        setup.examined(|it| it.grant.is_cut = true)
    };
    cut("scope").check("indeterminate capture_incomplete");
    cut("aud").check("indeterminate capture_incomplete");
    cut("tenant").check("allow");
}

#[test]
fn client_not_allowed() {
    get().claim("client_id", &json!("batch-7")).check("allow");
    get().claim("client_id", &json!("webs")).check("deny client_not_allowed");
    get().claim("client_id", &Value::Null).check("deny client_not_allowed");
}

#[test]
fn scope_missing() {
    get().claim("scope", &json!("audit")).check("allow");
    get().claim("scope", &json!("admin")).check("allow");
    get().claim("scope", &json!("Read")).check("deny scope_missing:read,audit");
    refund()
        .claim("scope", &json!("refund"))
        .binding(Binding::Dpop)
        .check("deny scope_missing:write");
    refund().claim("scope", &json!("refund admin")).binding(Binding::Dpop).check("allow");
    let found = get().claim("scope", &json!("")).judge(&engine(POLICY)).unwrap();
    assert_eq!((found.missing.len(), found.required.any.len()), (2, 2));
}

#[test]
fn role_missing() {
    tenant().check("allow");
    tenant().claim("roles", &json!(["viewer"])).check("deny role_missing");
}

#[test]
fn claim_condition() {
    Setup::new("GET", "/v1/tenants/t2/x").check("deny claim_condition:tenant");
    tenant().claim("level", &json!(4)).check("deny claim_condition:level");
    tenant().claim("level", &json!(3)).check("allow");
    let found = tenant().judge(&engine(POLICY)).unwrap();
    assert_eq!(found.route.unwrap().params, [("tenant".to_owned(), "t1".to_owned())]);
}

#[test]
fn bindings() {
    refund().check("allow");
    let with = |binding| refund().binding(binding);
    with(Binding::None).check("deny binding_missing");
    with(Binding::Mtls).check("deny binding_missing");
    with(Binding::Missing).check("deny binding_missing");
    with(Binding::Mismatch).check("deny binding_mismatch");
    with(Binding::ProofInvalid(ProofCheck::Htu)).check("deny proof_invalid:htu");
    with(Binding::ProofReplayed).check("deny proof_replayed");
    with(Binding::Unverifiable).check("indeterminate binding_unverifiable");
    get().binding(Binding::Missing).check("deny binding_missing");
    get().binding(Binding::Mtls).check("allow");
}

#[test]
fn authentication() {
    let with = |name: &str, value: Value| {
        let setup = refund();
        let mut all = claims();
        all["scope"] = json!("refund write");
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        setup.change(|it| it.shown = vec![token(&all)]).binding(Binding::Dpop)
    };
    with("acr", json!("pwd")).check("deny acr_insufficient");
    with("acr", Value::Null).check("deny acr_insufficient");
    with("auth_time", json!(NOW - 661)).check("deny auth_too_old");
    with("auth_time", json!(NOW - 660)).check("allow");
    with("auth_time", Value::Null).check("indeterminate auth_too_old");
}

#[test]
fn opaque_tokens_are_judged_by_what_was_learnt_of_them() {
    let opaque = || {
        get().change(|it| it.shown[0].1 = credential("opaque")).examined(|it| {
            it.evidence = Evidence::Unknown;
            it.grant = Grant::default();
            it.issuer = None;
        })
    };
    opaque().check("indeterminate opaque_unlearned");
    opaque().binding(Binding::Mismatch).check("deny binding_mismatch");
    opaque().change(|it| it.shown[0].1.kind = Kind::Refresh).check("deny kind_mismatch");
    let learnt = get().change(|it| it.shown[0].1 = credential("opaque")).examined(|it| {
        it.evidence = Evidence::Introspected;
        it.grant.audience.clear();
    });
    learnt.check("allow");
    learnt.examined(|it| it.grant.scopes.clear()).check("deny scope_missing:read,audit");
}

#[test]
fn route_unmatched() {
    Setup::new("GET", "/v2").check("deny route_unmatched");
    Setup::new("DELETE", "/v1/orders/7").check("deny route_unmatched");
    Setup::new("HEAD", "/v1/orders/7").check("allow");
    Setup::new("get", "/v1/orders/7").check("deny route_unmatched");
    Setup::new("OPTIONS", "*").check("deny route_unmatched");
    let with = |mode: &str| {
        let engine =
            engine(&POLICY.replace("unmatched_route: deny", &format!("unmatched_route: {mode}")));
        Setup::new("GET", "/v2").judge(&engine).map(|it| shown(&it))
    };
    assert_eq!(with("report").as_deref(), Some("indeterminate route_unmatched"));
    assert_eq!(with("ignore"), None);
}

#[test]
fn other_credentials_and_none() {
    let bare = |path: &str| Setup::new("GET", path).change(|it| it.shown.clear());
    bare("/health").check("allow");
    bare("/any").check("deny credential_missing");
    bare("/key").check("deny credential_missing");
    bare("/key").field("x-key", "1").check("allow");
    bare("/key").change(|it| it.fields_complete = false).check("indeterminate capture_incomplete");
    Setup::new("GET", "/key").claim("scope", &json!("key")).check("allow");
    bare("/tls").check("indeterminate capture_incomplete");
    let seen = |resumed| {
        let version = Some("1.3".to_owned());
        bare("/tls").change(|it| {
            it.handshake = Some(Handshake {
                version,
                resumed,
                client_certificate: ShownCertificate::Nothing,
                ..Handshake::default()
            });
        })
    };
    seen(false).check("deny credential_missing");
    seen(true).check("indeterminate capture_incomplete");
    let certificate = crate::flow::chunk::ClientCertificate {
        thumbprint: [0; 32],
        subject: String::new(),
        issuer: String::new(),
    };
    let handshake = Handshake {
        client_certificate: ShownCertificate::Certificate(certificate),
        ..Handshake::default()
    };
    bare("/tls").change(|it| it.handshake = Some(handshake)).check("allow");
}

#[test]
fn preflights_are_skipped() {
    let preflight = || {
        Setup::new("OPTIONS", "/any")
            .change(|it| it.shown.clear())
            .field("origin", "https://app.example.net")
    };
    let asked = preflight().field("access-control-request-method", "PUT");
    assert!(asked.judge(&engine(POLICY)).unwrap().preflight);
    asked.check("allow");
    preflight().check("deny credential_missing");
    let judging =
        engine(&POLICY.replace("version: 1", "version: 1\ndefaults: {cors_preflight: judge}"));
    assert_eq!(shown(&asked.judge(&judging).unwrap()), "deny credential_missing");
}

#[test]
fn operations_are_told_apart() {
    let with = |operations: Option<&[&str]>| {
        let operations = operations.map(|all| all.iter().map(|it| (*it).to_owned()).collect());
        Setup::new("POST", "/mcp").change(|it| it.operations = operations)
    };
    with(Some(&["tools/list"])).check("allow");
    with(Some(&["tools/call:delete_user"])).check("deny scope_missing:delete");
    with(Some(&["tools/list", "tools/call:delete_user"])).check("deny scope_missing:delete");
    with(Some(&[])).check("allow");
    with(None).check("indeterminate capture_incomplete");
    with(None).change(|it| it.shown.clear()).check("deny credential_missing");
}

#[test]
fn the_rule_that_decided_is_named_by_line() {
    let found = refund().judge(&engine(POLICY)).unwrap();
    assert_eq!(found.rule.to_string(), "p.yaml:16");
    assert_eq!(found.route.unwrap().sensitivity, Some(Sensitivity::Financial));
    let found = Setup::new("GET", "/v2").judge(&engine(POLICY)).unwrap();
    assert_eq!(found.rule.to_string(), "p.yaml:7");
}

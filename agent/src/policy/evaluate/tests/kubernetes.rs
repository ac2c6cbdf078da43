//! The policy for the Kubernetes API server that is shipped.

use super::*;
use crate::flow::chunk::ShownCertificate;

const POLICY: &str = include_str!("../../../../../packaging/policies/kubernetes-api.yaml");

fn call(method: &'static str, target: &str) -> Setup {
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let setup = Setup::new(method, target).claim("aud", &json!([issuer]));
    setup.change(|it| {
        it.port = 6443;
        it.process.exe = Some("/usr/local/bin/kube-apiserver".into());
    })
}

#[track_caller]
fn check(setup: &Setup, expected: &str) {
    assert_eq!(shown(&setup.judge(&engine(POLICY)).unwrap()), expected, "{}", setup.target);
}

#[test]
fn the_kubernetes_policy_tells_who_has_no_credential() {
    let bare = |method, target| call(method, target).change(|it| it.shown.clear());
    check(&bare("GET", "/livez"), "allow");
    check(&bare("GET", "/readyz/etcd"), "allow");
    check(&call("GET", "/api/v1/namespaces/default/pods"), "allow");
    // A client certificate may have been shown in a handshake that was not seen.
    check(&bare("GET", "/api/v1/namespaces/default/pods"), "indeterminate capture_incomplete");
    let seen = |setup: Setup| {
        let (version, client_certificate) = (Some("1.3".to_owned()), ShownCertificate::Nothing);
        setup.change(|it| {
            it.handshake = Some(Handshake { version, client_certificate, ..Handshake::default() });
        })
    };
    check(&seen(bare("GET", "/api/v1/namespaces/default/pods")), "deny credential_missing");
    check(&seen(bare("GET", "/livez/../api/v1/secrets")), "deny credential_missing");
    let websocket = |it: &mut Setup| it.shown[0].0 = Source::Websocket;
    check(&call("GET", "/api/v1/namespaces/a/pods/b/exec?command=sh").change(websocket), "allow");
    let foreign = call("GET", "/apis/apps/v1/deployments")
        .change(|it| it.shown[0].2.grant.audience = vec!["vault".to_owned()]);
    check(&seen(foreign), "deny audience_mismatch");
}

#[test]
fn secrets_are_secret_and_name_their_namespace() {
    let found = call("GET", "/api/v1/namespaces/prod/secrets/tls").judge(&engine(POLICY)).unwrap();
    let route = found.route.unwrap();
    assert_eq!(&*route.id, "secrets");
    assert_eq!(route.params, [("namespace".to_owned(), "prod".to_owned())]);
    assert_eq!(found.audit.client_ip, Some(crate::policy::raw::ClientIp::Full));
}

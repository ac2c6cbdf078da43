//! Which service a call is made to.

use super::*;

const MANY: &str = r#"
version: 1
services:
- {id: by-host, select: {hosts: ["*.example.net"]}, routes: [{match: {path: /**}}]}
- {id: by-port, select: {ports: [8443]}, routes: [{match: {path: /**}}]}
- {id: both, select: {ports: [8443], hosts: [api.example.net]}, routes: [{match: {path: /**}}]}
- {id: out, select: {hosts: [api.example.net], role: client}, routes: [{match: {path: /**}}]}
- {id: exe, select: {exe: "/opt/*/bin/api"}, routes: [{match: {path: /**}}]}
- {id: box, select: {container: "abc*", cgroup: "/kubepods/*"}, routes: [{match: {path: /**}}]}
"#;

#[track_caller]
fn check(change: impl FnOnce(&mut Setup), expected: Option<(&str, bool)>) {
    let setup = Setup::new("GET", "/").change(change);
    let found = setup.judge(&engine(MANY));
    let found = found.as_ref().map(|it| (&*it.service_id, it.host_unexpected));
    assert_eq!(found, expected);
}

#[test]
fn the_service_of_which_most_fits_is_judged() {
    check(|_| {}, Some(("both", false)));
    check(|it| it.host = Some("x.example.net"), Some(("by-host", false)));
    check(|it| it.port = 1, Some(("by-host", false)));
    check(|it| it.host = Some("example.org"), Some(("by-port", false)));
    check(|it| (it.host, it.port) = (Some("example.org"), 1), None);
    check(|it| it.role = Role::Client, Some(("out", false)));
    check(|it| it.process.exe = Some("/opt/a/bin/api".into()), Some(("both", false)));
    let in_box = |it: &mut Setup| {
        it.process.container = Some("abcdef".into());
        it.process.cgroup = Some("/kubepods/pod1".into());
        it.port = 1;
    };
    check(in_box, Some(("box", false)));
}

#[test]
fn who_names_another_host_is_judged_all_the_same() {
    let found = |host| {
        let setup = Setup::new("GET", "/v1/orders/7").change(|it| it.host = host);
        let found = setup.judge(&engine(POLICY)).unwrap();
        (shown(&found), found.host_unexpected)
    };
    assert_eq!(found(Some("api.example.net")), ("allow".to_owned(), false));
    assert_eq!(found(Some("evil.example")), ("allow".to_owned(), true));
    assert_eq!(found(None), ("allow".to_owned(), false));
}

#[test]
fn the_clients_address_is_told_by_trusted_proxies_only() {
    let with = |networks: &str| {
        let text = POLICY.replace(
            "version: 1",
            &format!("version: 1\ndefaults: {{trusted_proxies: [{networks}]}}"),
        );
        let setup = Setup::new("GET", "/v1/orders/7").field("x-forwarded-for", "198.51.100.7");
        setup.judge(&engine(&text)).unwrap().client.unwrap().to_string()
    };
    assert_eq!(with(""), "192.0.2.1");
    assert_eq!(with("10.0.0.0/8"), "192.0.2.1");
    assert_eq!(with("192.0.2.0/24"), "198.51.100.7");
}

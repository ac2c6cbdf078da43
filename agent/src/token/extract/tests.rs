//! Credentials in every place, and several at once.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::{
    http::body::Sample,
    token::testing::{self, request},
};

type Expected<'a> = (Location, Option<&'a str>, Scheme, bool, Option<&'a str>);

#[track_caller]
fn check_with(request: &Request, sources: &Sources, expected: &[Expected<'_>]) {
    let presented = presented(request, sources, &mut Cuts::default());
    let found: Vec<_> = presented
        .iter()
        .map(|each| {
            let value = each.value.as_ref().map(Value::bytes);
            let value = value.map(|value| std::str::from_utf8(value).unwrap());
            (each.location, each.name.as_deref(), each.scheme, each.well_formed, value)
        })
        .collect();
    assert_eq!(found, expected, "{request:?}");
}

#[track_caller]
fn check(request: &Request, expected: &[Expected<'_>]) {
    check_with(request, &Sources::default(), expected);
}

#[track_caller]
fn check_field(name: &str, value: &str, expected: &[Expected<'_>]) {
    check(&request("/", &[(name, value)]), expected);
}

#[test]
fn every_authorization_field_is_a_credential() {
    let fields = [("authorization", "Bearer a"), ("host", "h"), ("AUTHORIZATION", "DPoP b")];
    let place = Location::Authorization;
    check(
        &request("/", &fields),
        &[
            (place, None, Scheme::Bearer, true, Some("a")),
            (place, None, Scheme::Dpop, true, Some("b")),
        ],
    );
}

#[test]
fn a_token_in_a_query_is_found_however_its_name_is_written() {
    let bearer = |value| (Location::Query, Some("access_token"), Scheme::Bearer, true, Some(value));
    check(&request("/x?access_token=a.b&y=z", &[]), &[bearer("a.b")]);
    check(&request("/x?y&access%5Ftoken=a%2Eb", &[]), &[bearer("a.b")]);
    check(&request("https://h/?access_token=1&access_token=2", &[]), &[bearer("1"), bearer("2")]);
    check(
        &request("/x?access_token=", &[]),
        &[(Location::Query, Some("access_token"), Scheme::Bearer, false, None)],
    );
    check(&request("/x?Access_Token=a", &[]), &[]);
    check(
        &request("/x#?access_token", &[]),
        &[(Location::Query, Some("access_token"), Scheme::Bearer, false, None)],
    );
}

#[test]
fn words_in_a_query_are_no_tokens_and_signatures_are_proofs() {
    let jwt = "eyJhbGciOiJub25lIn0.e30.";
    check(&request("/?token=next-page&jwt=1&id_token=x", &[]), &[]);
    check(
        &request(&format!("/?jwt={jwt}"), &[]),
        &[(Location::Query, Some("jwt"), Scheme::Implied, true, Some(jwt))],
    );
    check(
        &request("/?X-Amz-Algorithm=x&X-Amz-Signature=00", &[]),
        &[(Location::Query, Some("X-Amz-Signature"), Scheme::AwsSigV4, true, None)],
    );
    check(
        &request("/blob?sv=2024&se=x&sig=abc%3D", &[]),
        &[(Location::Query, Some("sig"), Scheme::SharedAccess, true, None)],
    );
    check(&request("/?sig=abc", &[]), &[]);
}

#[test]
fn vendors_fields_carry_tokens() {
    let field = |name, value| (Location::Field, Some(name), Scheme::Implied, true, Some(value));
    check_field("PRIVATE-TOKEN", "glpat-x", &[field("private-token", "glpat-x")]);
    check_field("X-Vault-Token", "hvs.x", &[field("x-vault-token", "hvs.x")]);
    check_field(
        "X-Forwarded-Access-Token",
        "Bearer a.b.c",
        &[field("x-forwarded-access-token", "a.b.c")],
    );
    check_field("X-Other", "a.b.c", &[]);
    check_field(
        "X-Vault-Token",
        "two words",
        &[(Location::Field, Some("x-vault-token"), Scheme::Implied, false, Some("two words"))],
    );
}

#[test]
fn cookies_and_fields_are_read_where_the_policy_names_them() {
    let sources = Sources::new(&["X-Session".into()], &["sid_jwt".into()]);
    let cookie = |value| (Location::Cookie, Some("sid_jwt"), Scheme::Implied, true, Some(value));
    let jar = [("cookie", "a=b; sid_jwt=x.y.z; SID_JWT=no"), ("cookie", "sid_jwt=\"q\"")];
    check_with(&request("/", &jar), &sources, &[cookie("x.y.z"), cookie("q")]);
    check(&request("/", &jar), &[]);
    check_with(
        &request("/", &[("x-session", "t")]),
        &sources,
        &[(Location::Field, Some("x-session"), Scheme::Implied, true, Some("t"))],
    );
}

#[test]
fn kubernetes_clients_put_tokens_into_a_subprotocol() {
    let value = "chat, base64url.bearer.authorization.k8s.io.YS5iLmM, base64.channel.k8s.io";
    let found = (Location::Subprotocol, None, Scheme::Bearer, true, Some("a.b.c"));
    check_field("Sec-WebSocket-Protocol", value, &[found]);
    let value = "base64url.bearer.authorization.k8s.io.!!";
    let found = (Location::Subprotocol, None, Scheme::Bearer, false, None);
    check_field("Sec-WebSocket-Protocol", value, &[found]);
    check_field("Sec-WebSocket-Protocol", "chat", &[]);
}

#[test]
fn a_token_that_poses_as_a_password_is_a_token() {
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let pat = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let found = |value| [(Location::Authorization, None, Scheme::Basic, true, value)];
    check_field("authorization", &basic(&format!("me:{pat}")), &found(Some(pat)));
    check_field("authorization", &basic(&format!("{pat}:x-oauth-basic")), &found(Some(pat)));
    check_field("authorization", &basic(&format!("{pat}:")), &found(Some(pat)));
    check_field("authorization", &basic("oauth2accesstoken:opaque"), &found(Some("opaque")));
    check_field("authorization", &basic("me:hunter2"), &found(None));
    check_field("authorization", &basic("oauth2:"), &found(None));
    check_field("authorization", &basic("no-colon"), &found(None));
}

fn form(body: &[u8], whole: bool) -> Request {
    let mut sample = Sample::default();
    sample.take(body);
    if !whole {
        sample.cut();
    }
    let content_type = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    let sent = request("/", &[content_type]);
    Request { method: "POST".into(), content: Content::Sampled(sample), ..sent }
}

#[test]
fn a_token_in_a_form_is_found_if_the_form_is_one() {
    let found = [(Location::Form, None, Scheme::Bearer, true, Some("a.b"))];
    let body = b"x=1&access_token=a.b";
    check(&form(body, true), &found);
    // It may go on where the sample ends.
    check(&form(body, false), &[]);
    check(&form(b"access_token=a.b&x", false), &found);
    check(&Request { method: "GET".into(), ..form(body, true) }, &[]);
    let json = request("/", &[("content-type", "application/json")]);
    check(&Request { fields: json.fields, ..form(body, true) }, &[]);
}

#[test]
fn a_form_is_searched_behind_its_content_codings() {
    let coded = |body: &[u8], coding: &str| {
        let mut sent = form(body, true);
        sent.fields.push(b"content-encoding", coding.as_bytes());
        sent
    };
    let gzip = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let found = [(Location::Form, None, Scheme::Bearer, true, Some("a.b"))];
    let body = gzip(b"x=1&access_token=a%2Eb");
    check(&coded(&body, "gzip"), &found);
    check(&coded(&gzip(&body), "gzip, x-gzip"), &found);
    check(&coded(b"access_token=a.b", "identity"), &found);
    // Unknown, not what it says, or cut where the token may go on.
    check(&coded(b"access_token=a.b", "secret"), &[]);
    check(&coded(b"access_token=a.b", "gzip"), &[]);
    check(&coded(&body[..body.len() - 9], "gzip"), &[]);
    let bomb = [b"access_token=a.b&x=".as_slice(), &[b'0'; 1 << 20]].concat();
    check(&coded(&gzip(&bomb), "gzip"), &found);
}

#[test]
fn several_at_once_are_all_found_those_of_the_standards_first() {
    let mut sent = form(b"access_token=f", true);
    sent.target = Zeroizing::new("/?access_token=q".into());
    sent.fields.push(b"x-vault-token", b"v");
    sent.fields.push(b"authorization", b"Bearer a");
    let presented = presented(&sent, &Sources::default(), &mut Cuts::default());
    let places: Vec<_> = presented.iter().map(|each| each.location).collect();
    let [a, b, c, d] = [Location::Authorization, Location::Form, Location::Query, Location::Field];
    assert_eq!(places, [a, b, c, d]);
}

#[test]
fn the_number_of_credentials_is_bounded_and_the_cut_recorded() {
    let mut cuts = Cuts::default();
    let target = format!("/?{}", "access_token=a&".repeat(100));
    let sent = request(&target, &[]);
    assert_eq!(presented(&sent, &Sources::default(), &mut cuts).len(), MAX_CREDENTIALS);
    assert_eq!(cuts.iter().collect::<Vec<_>>(), ["credentials"]);
}

#[track_caller]
fn check_exposed(request: &Request, location: Option<&str>, expected: &[(ExposedIn, &str)]) {
    let response = location.map(|location| {
        let mut fields = Fields::default();
        fields.push(b"location", location.as_bytes());
        Response {
            status: 302,
            version: request.version,
            head_bytes: 0,
            fields,
            trailers: Fields::default(),
            body_bytes: 0,
            content: Content::Counted,
            started: testing::at(0),
            ended: testing::at(0),
        }
    });
    let found = exposures(request, response.as_ref());
    let found: Vec<_> = found.iter().map(|each| (each.place, each.parameter)).collect();
    assert_eq!(found, expected);
}

#[test]
fn tokens_in_addresses_are_noted() {
    check_exposed(&request("/?access_token=a", &[]), None, &[(ExposedIn::Query, "access_token")]);
    check_exposed(&request("/cb?code=c&state=s", &[]), Some("/home?code=c"), &[]);
    check_exposed(
        &request("/", &[("referer", "https://app/cb?code=c&id_token=i")]),
        Some("https://app/cb#state=s&access_token=t&access_token=u"),
        &[
            (ExposedIn::Referer, "code"),
            (ExposedIn::Referer, "id_token"),
            (ExposedIn::Redirect, "access_token"),
        ],
    );
    check_exposed(&request("/?access_token=", &[]), Some("/x"), &[]);
}

//! From exchanges to what is written of them: goldens, the documentation, and canaries.

mod corpus;

use std::{collections::BTreeSet, sync::Arc};

use proptest::{
    prelude::{ProptestConfig, Strategy, any, prop},
    prop_oneof, proptest,
};
use serde_json::{Value, json};

use crate::{
    clock::Timestamp,
    config::{policyfile::Reload, rulebook::Renewal},
    event::{
        control, docs,
        handshake::ClientCert,
        human,
        human::{Colour, Summary},
        json,
        model::{Authz, Container, Event, EventType, Process, Rpc, ServerOutcome, Severity, Time},
        notice::Notice,
        sample::{
            START, author, connection, event, event_of, exchange, jwt, observe, observe_as, origin,
        },
        shared::Shared,
        verdict::{Required, Route},
        volume::Told,
    },
    flow::chunk::{
        Attribution, ClientCertificate, Connection, Handshake, ShownCertificate, Transport,
    },
    http::{
        anomaly::Anomaly,
        body::{Content, Sample, grpc::Messages, sample::Purpose},
        message::{Exchange, Note, Phase, Role},
        operation::Protocol,
    },
    observation::{Naming, Observation, SubjectMode},
    policy::{
        compiled::PolicyId, diff::Diff, judgement::Verdict, outcome::Finding, raw::Sensitivity,
    },
    token::{
        challenge::{ChallengeError, Hint},
        examination::SignatureState,
        pseudonym::{Pseudonyms, Withheld},
        testing::subject_key,
    },
};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Compares the line for people and the JSON of an event with the golden file.
#[track_caller]
fn check(name: &str, event: &Event) {
    let line = json::line(event).unwrap();
    assert_eq!(&json::parse(&line).unwrap(), event, "what is written can be read");
    let human = human::line(event, None, Colour::Off);
    // One group a line, else untouched.
    insta::assert_snapshot!(name, format!("{human}\n{}", line.replace("},\"", "},\n\"")));
}

fn rfc9068() -> Exchange {
    let header = json!({"typ": "at+jwt", "alg": "RS256", "kid": "k1"});
    let claims = json!({
        "iss": "https://sso.example.net/realms/corp", "sub": "f1c4", "aud": ["orders", "refunds"],
        "client_id": "web", "scope": "orders:read refunds:write", "jti": "9f2c",
        "iat": START.as_secs() - 88, "nbf": START.as_secs() - 88, "exp": START.as_secs() + 212,
        "acr": "urn:x:2", "amr": ["pwd", "otp"], "auth_time": START.as_secs() - 3600,
        "sid": "s-1", "act": {"sub": "gateway"},
    });
    let fields = [
        ("host", "api.example.com:443"),
        ("user-agent", "internal-report/3"),
        ("authorization", &format!("Bearer {}", jwt(&header, &claims))),
        ("traceparent", TRACEPARENT),
    ];
    exchange(Role::Server, "POST", "/v1/refunds/4711?dry_run=1&reason=x", &fields, 201)
}

fn github() -> Exchange {
    let fields = [
        ("host", "api.github.com"),
        ("authorization", "token ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ];
    exchange(Role::Client, "GET", "/user/repos", &fields, 403)
}

#[test]
fn a_jwt_tells_who_calls() {
    check("jwt", &event(&rfc9068()));
}

#[test]
fn an_opaque_token_goes_by_its_fingerprint() {
    check("opaque", &event(&github()));
}

/// What a handshake with a client's certificate tells.
fn handshake() -> Handshake {
    Handshake {
        server_name: Some("api.example.com".to_owned()),
        alpn: Some("http/1.1".to_owned()),
        version: Some("1.3".to_owned()),
        suite: Some("TLS_AES_128_GCM_SHA256".to_owned()),
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".to_owned()),
        resumed: false,
        client_certificate: ShownCertificate::Certificate(ClientCertificate {
            thumbprint: [7; 32],
            subject: "CN=billing,O=Example\\, Inc.".to_owned(),
            issuer: "CN=corp CA".to_owned(),
        }),
    }
}

fn over(handshake: Handshake) -> Connection {
    Connection { handshake: Some(Arc::new(handshake)), ..connection(Role::Server) }
}

#[test]
fn the_handshake_of_the_connection_is_told() {
    check("handshake", &event_of(&rfc9068(), &over(handshake())));
}

/// Subject and issuer of the client's certificate, as an event has them.
#[track_caller]
fn check_names(mode: SubjectMode, handshake: Handshake, expected: [Option<&str>; 2]) {
    check_shown(&observe(&rfc9068(), &over(handshake), mode), expected);
}

#[track_caller]
fn check_shown(observation: &Observation, expected: [Option<&str>; 2]) {
    let event = author().access(0, observation);
    let certificate = event.tls.unwrap().client_cert.clone().unwrap();
    let ClientCert { x5t_s256, subject, issuer } = certificate;
    assert_eq!(x5t_s256, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    assert_eq!([subject.as_deref(), issuer.as_deref()], expected);
}

#[test]
fn a_certificates_subject_is_as_private_as_a_tokens() {
    let (subject, issuer) = (Some("CN=billing,O=Example\\, Inc."), Some("CN=corp CA"));
    check_names(SubjectMode::Plain, handshake(), [subject, issuer]);
    check_names(SubjectMode::Drop, handshake(), [None, issuer]);
    check_names(SubjectMode::Pseudonym, handshake(), [Some("a-AqfMnA121wamXcGQuqGA"), issuer]);
}

#[test]
fn a_certificate_of_who_is_forgotten_has_no_subject() {
    let mut key = subject_key(7);
    key.forget("CN=billing,O=Example\\, Inc.");
    let naming = Naming::Pseudonym(Pseudonyms::new(key));
    let observation = observe_as(&rfc9068(), &over(handshake()), naming);
    check_shown(&observation, [None, Some("CN=corp CA")]);
    assert_eq!(observation.identity.withheld, None, "the token's subject is another");
}

#[test]
fn names_in_a_handshake_hold_no_token_and_have_a_limit() {
    let mut told = handshake();
    told.server_name = Some("ghp_16C7e42F292c6912E7710c838347Ae178B4a".to_owned());
    let ShownCertificate::Certificate(certificate) = &mut told.client_certificate else { panic!() };
    certificate.subject = "CN=ghp_16C7e42F292c6912E7710c838347Ae178B4a,C=FR".to_owned();
    certificate.issuer = "x".repeat(600);
    check_names(SubjectMode::Plain, told.clone(), [Some("{token}"), Some(&"x".repeat(512))]);
    let event = event_of(&rfc9068(), &over(told));
    assert_eq!(event.server.unwrap().sni.as_deref(), Some("{token}"));
    assert_eq!(event.observation.notes, ["truncated:issuer"]);
}

#[test]
fn a_call_without_credentials_is_anonymous() {
    let fields = [("host", "api.example.com")];
    check("anonymous", &event(&exchange(Role::Server, "GET", "/v1/orders", &fields, 401)));
}

#[test]
fn what_was_not_seen_is_not_claimed() {
    let mut seen = exchange(Role::Server, "", "", &[], 200);
    seen.request = None;
    seen.notes = vec![Note::RequestHeadLost, Note::Unfinished];
    let mut connection = connection(Role::Server);
    connection.socket = None;
    check("lost", &event_of(&seen, &connection));
}

#[test]
fn hostile_text_is_bounded_and_harmless() {
    let claims = json!({
        "tid": "t", "oid": "a\u{1b}]0;pwned\u{7}\u{9b}31m\u{202e}\nfake 200", "appid": "app",
        "scp": "A\u{1b}[2J B", "exp": START.as_secs() - 1, "uti": "u", "iss": "x".repeat(600),
    });
    let agent = format!("\u{1b}[31m{}", "long ".repeat(80));
    let fields = [
        ("host", "evil\u{1b}.example"),
        ("user-agent", &agent),
        ("authorization", &format!("DPoP {}", jwt(&json!({"alg": "none"}), &claims))),
        ("authorization", "Basic dXNlcjpwYXNzd29yZA"),
    ];
    let exchange = exchange(Role::Server, "HACK\u{1b}", "/\u{1b}[2J/\u{7f}", &fields, 500);
    let mut connection = connection(Role::Server);
    let process = Arc::make_mut(&mut connection.process);
    process.comm = "x\u{1b}[8m".to_owned();
    let event = event_of(&exchange, &connection);
    for text in [json::line(&event).unwrap(), human::line(&event, Some(&event), Colour::Off)] {
        assert!(!text.contains(crate::text::is_hostile), "{text}");
    }
    check("hostile", &event);
}

#[test]
fn what_may_be_read_in_two_ways_is_named_and_no_proof_of_absence() {
    let check = |asked: &[Anomaly], told: &[Anomaly], severity, complete| {
        let mut seen = exchange(Role::Server, "POST", "/", &[("host", "h")], 200);
        asked.iter().for_each(|anomaly| seen.anomalies.request.add(*anomaly));
        told.iter().for_each(|anomaly| seen.anomalies.response.add(*anomaly));
        let event = event(&seen);
        let http = event.http.unwrap();
        assert_eq!((http.anomaly.as_slice(), http.resp_anomaly.as_slice()), (asked, told));
        assert_eq!((event.event.severity, event.observation.complete), (severity, complete));
    };
    check(&[], &[], Severity::Info, true);
    check(&[Anomaly::ChunkExtension], &[Anomaly::BareLf], Severity::Info, true);
    check(&[Anomaly::DuplicateContentLength], &[], Severity::Low, true);
    check(&[], &[Anomaly::BadChunkSize], Severity::Low, false);
    check(&[Anomaly::TeWithCl, Anomaly::ClTe], &[], Severity::Medium, false);
}

#[test]
fn an_upgrade_is_no_loss() {
    let mut seen = exchange(Role::Server, "GET", "/ws", &[("host", "h")], 101);
    seen.notes = vec![Note::Upgraded];
    assert!(event(&seen).observation.complete);
    seen.notes = vec![Note::RequestBodyLost, Note::Upgraded];
    assert!(!event(&seen).observation.complete);
}

/// A gRPC call of one message, answered by `answers`, and in the trailers by `status`.
fn grpc(http_status: u16, answers: u8, status: Option<&str>) -> Exchange {
    let fields = [("host", "api.example.com"), ("content-type", "application/grpc")];
    let mut seen = exchange(Role::Server, "POST", "/pkg.Orders/Get", &fields, http_status);
    let messages = |count: u8| {
        let mut messages = Messages::default();
        (0..count).for_each(|_| messages.take(&[0, 0, 0, 0, 1, 7]));
        Content::Grpc(messages)
    };
    seen.request.as_mut().unwrap().content = messages(1);
    let response = seen.response.as_mut().unwrap();
    response.content = messages(answers);
    response.fields.push(b"content-type", b"application/grpc");
    if let Some(status) = status {
        response.trailers.push(b"grpc-status", status.as_bytes());
    }
    seen
}

#[test]
fn a_grpc_call_is_told_with_its_messages_and_status() {
    check("grpc", &event(&grpc(200, 3, Some("0"))));
}

#[test]
fn a_grpc_call_is_judged_by_its_own_status() {
    let check = |http_status, status, expected| {
        let event = event(&grpc(http_status, 0, status));
        assert_eq!(event.authz.server_outcome, expected, "{http_status} {status:?}");
    };
    check(200, Some("0"), ServerOutcome::Allowed);
    check(200, Some("7"), ServerOutcome::Denied);
    check(200, Some("16"), ServerOutcome::Denied);
    check(200, Some("5"), ServerOutcome::Failed);
    check(200, Some("4294967296"), ServerOutcome::Unknown);
    check(200, None, ServerOutcome::Unknown);
    check(401, None, ServerOutcome::Denied);
    check(503, None, ServerOutcome::Failed);
}

#[test]
fn messages_that_may_have_been_missed_make_the_counts_least() {
    let mut seen = grpc(200, 2, Some("0"));
    let Content::Grpc(messages) = &mut seen.response.as_mut().unwrap().content else { return };
    messages.lose(9);
    let rpc = event(&seen).rpc.unwrap();
    assert_eq!((rpc.resp_messages, rpc.at_least), (Some(2), Some(true)));
}

/// A call of an MCP tool, of which `body` was seen.
fn mcp(body: &[u8]) -> Exchange {
    let fields = [("host", "api.example.com"), ("content-type", "application/json")];
    let mut seen = exchange(Role::Server, "POST", "/mcp", &fields, 200);
    let mut sample = Sample::new(Purpose::Operation(Protocol::Mcp));
    sample.take(body);
    seen.request.as_mut().unwrap().content = Content::Sampled(sample);
    seen
}

#[test]
fn an_operation_is_told_where_the_body_names_it() {
    check("mcp", &event(&mcp(br#"{"method":"tools/call","params":{"name":"delete_user"}}"#)));
}

#[test]
fn an_operation_that_was_not_read_is_not_absent() {
    let event = event(&mcp(br#"{"method":"tools/call","params":{"arg"#));
    assert_eq!(event.http.unwrap().operation, ["tools/call"]);
    assert!(!event.observation.complete);
    assert_eq!(event.observation.notes, ["operation_unknown"]);
}

#[test]
fn an_exchange_that_lasts_is_told_twice_by_two_names() {
    let whole = exchange(Role::Server, "GET", "/events", &[("host", "h")], 200);
    let begun = Exchange { phase: Phase::Begun, ..whole.clone() };
    let [begun, whole] = [begun, whole].map(|it| event(&it));
    check("begun", &begun);
    assert_eq!(begun.event.r#type, EventType::AccessBegun);
    assert_ne!(begun.event.uid, whole.event.uid);
    assert_eq!(begun.observation.conn_id, whole.observation.conn_id);
    assert_eq!(begun.observation.exchange, whole.observation.exchange);
    assert!(!begun.observation.complete);
    let mut summary = Summary::default();
    [&begun, &whole].into_iter().for_each(|event| summary.add(event));
    assert!(summary.to_string().starts_with("calls    1\n"), "{summary}");
}

#[test]
fn colour_is_only_there_if_asked_for() {
    let event = event(&github());
    let [plain, coloured] = [Colour::Off, Colour::On].map(|c| human::line(&event, None, c));
    assert_eq!(coloured.replace("\x1b[33m", "").replace("\x1b[0m", ""), plain);
    assert_ne!(coloured, plain);
}

#[test]
fn a_connection_without_tls_is_told_as_such() {
    let plain = Connection { transport: Transport::Plain, ..connection(Role::Server) };
    let event = event_of(&github(), &plain);
    assert_eq!(event.observation.transport, Some(Transport::Plain));
    assert_eq!(event.http.unwrap().scheme.as_deref(), Some("http"));
}

#[test]
fn subjects_are_kept_as_privacy_has_it() {
    let check = |mode, subject: Option<&str>, actors: usize| {
        let seen = observe(&rfc9068(), &connection(Role::Server), mode);
        assert_eq!(seen.identity.subject.as_deref(), subject);
        let event = author().access(0, &seen);
        let identity = event.identity.as_ref().unwrap();
        assert_eq!(identity.subject.as_deref(), subject);
        assert_eq!(identity.actor_chain.len(), actors);
        let plain = json::line(&event).unwrap();
        let names = ["f1c4", "gateway"].map(|name| plain.contains(&format!("\"{name}\"")));
        assert_eq!(names, [mode == SubjectMode::Plain; 2]);
    };
    check(SubjectMode::Plain, Some("f1c4"), 1);
    check(SubjectMode::Pseudonym, Some("66UyvGAC1829ahCxFCqmN2"), 1);
    check(SubjectMode::Drop, None, 0);
}

#[test]
fn the_same_observation_has_the_same_uid_and_no_other_has() {
    let exchange = rfc9068();
    let connection = connection(Role::Server);
    let uid = |exchange: &Exchange, id: u64, seq: u64, observed: Timestamp| {
        let mut connection = connection.clone();
        connection.id = id;
        let mut seen = observe(exchange, &connection, SubjectMode::Plain);
        seen.observed_at = observed;
        author().access(seq, &seen).event.uid
    };
    let first = uid(&exchange, 1, 1, START);
    assert_eq!(first, uid(&exchange, 1, 2, START.plus(9)));
    assert_ne!(first, uid(&exchange, 2, 1, START));
    let next = Exchange { index: 4, ..exchange.clone() };
    assert_ne!(first, uid(&next, 1, 1, START));
    let client = Exchange { role: Role::Client, ..exchange };
    assert_ne!(first, uid(&client, 1, 1, START));
    let parsed: ulid::Ulid = first.parse().unwrap();
    assert_eq!(parsed.timestamp_ms(), START.as_millis());
}

#[test]
fn a_summary_counts_status_token_and_subject() {
    let mut summary = Summary::default();
    for each in [rfc9068(), rfc9068(), github()] {
        summary.add(&event(&each));
    }
    insta::assert_snapshot!("summary", summary);
}

/// An event in which every field is there.
fn full() -> Event {
    let mut event = event_of(&rfc9068(), &over(handshake()));
    event.credentials_seen = Some(2);
    event.observation.library = Some("openssl".to_owned());
    event.observation.peer_attribution = Some(Attribution::KeyOnly);
    event.observation.notes = vec!["upgraded".to_owned()];
    let http = event.http.as_mut().unwrap();
    http.anomaly = vec![Anomaly::ClTe];
    http.resp_anomaly = vec![Anomaly::BareLf];
    http.operation_protocol = Some(Protocol::Grpc);
    http.operation = vec!["pkg.Orders/Get".to_owned()];
    http.operation_fields = vec!["orders".to_owned()];
    event.rpc = Some(Rpc {
        status_code: Some(0),
        req_messages: Some(1),
        resp_messages: Some(1),
        at_least: Some(true),
    });
    http.path_template = http.path.clone();
    event.client.as_mut().unwrap().forwarded_for = Some([192, 0, 2, 1].into());
    event.credential.as_mut().unwrap().binding = Some("dpop".to_owned());
    event.token.as_mut().unwrap().sig_state = Some(SignatureState::Ok);
    let identity = event.identity.as_mut().unwrap();
    identity.username = identity.subject.clone();
    identity.withheld = Some(Withheld::Forgotten);
    identity.tenant = identity.subject.clone();
    judged(&mut event);
    let container = Some(Container { id: "c".to_owned() });
    let process = (*event.process).clone();
    event.process = Shared::new(Process { container, start: Some(Time::default()), ..process });
    event.credential.as_mut().unwrap().prefix_class = Some("npm".to_owned());
    event
}

/// Fills the groups that tell of a judgement.
fn judged(event: &mut Event) {
    let some = || vec!["x".to_owned()];
    event.route = Some(Route {
        service: "orders".to_owned(),
        id: Some("refund".to_owned()),
        sensitivity: Some(Sensitivity::Financial),
        operation_id: Some("refund".to_owned()),
        operation: Some("tools/call:refund".to_owned()),
        params: some(),
        notes: some(),
    });
    let (many, last) = (Some(7), Some(Time::default()));
    event.volume =
        Some(Told { sampled: many, count: many, last, req_bytes: many, resp_bytes: many });
    event.authz = Authz {
        server_outcome: event.authz.server_outcome,
        verdict: Some(Verdict::Deny),
        assessment: Some(Finding::EnforcementGap),
        required: Some(Required { all: some(), any: some() }),
        server_error: Some(ChallengeError::InvalidToken),
        server_hint: Some(Hint::Expired),
        policy_id: Some("orders/refund".to_owned()),
        policy_hash: Some("0".repeat(64)),
        policy_rule: Some("policy.yaml:7".to_owned()),
        scopes: some(),
        roles: some(),
        missing: some(),
        reasons: vec!["scope_missing:x".to_owned()],
        server_required_scope: some(),
    };
}

/// Events of the agent itself, with every field that they have.
fn notices() -> [Notice; 3] {
    let id = |hash: &str| PolicyId { file: "policy.yaml".into(), hash: hash.into() };
    let changed = Reload::Changed { from: id("a"), to: id("b"), diff: Diff::default() };
    let reason = "no such file".to_owned();
    let renewals = [
        Renewal::Policy(changed),
        Renewal::Keys(id("b")),
        Renewal::KeysRejected { policy: id("b"), reason },
    ];
    renewals.map(|renewal| Notice::of(&origin(), &renewal, START))
}

#[test]
fn events_of_the_agent_can_be_read_and_shown() {
    let shown: Vec<_> = notices()
        .iter()
        .map(|notice| {
            let line = json::line(notice).unwrap();
            assert_eq!(&serde_json::from_str::<Notice>(&line).unwrap(), notice);
            assert!(json::parse(&line).is_err(), "it is no event of an exchange");
            human::notice_line(notice, Colour::Off)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "10:04:31.118 policy.changed  policy.yaml",
            "10:04:31.118 policy.changed  policy.yaml",
            "10:04:31.118 policy.rejected policy.yaml \"no such file\"",
        ]
    );
}

#[test]
fn what_the_policy_says_stands_in_the_line_for_people() {
    let mut event = event(&rfc9068());
    judged(&mut event);
    let line = human::line(&event, None, Colour::Off);
    assert!(line.contains(" ENFORCEMENT GAP scope_missing:x "), "{line}");
}

/// Paths of all values that are no objects.
fn leaves(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(items) if items.iter().all(Value::is_object) => {
            items.iter().for_each(|item| leaves(prefix, item, found));
            return;
        }
        _ => {
            found.insert(prefix.to_owned());
            return;
        }
    };
    for (name, value) in members {
        let dot = if prefix.is_empty() { "" } else { "." };
        leaves(&format!("{prefix}{dot}{name}"), value, found);
    }
}

#[test]
fn every_field_is_documented_and_every_documented_field_exists() {
    let mut written = BTreeSet::new();
    leaves("", &serde_json::to_value(full()).unwrap(), &mut written);
    for notice in notices() {
        leaves("", &serde_json::to_value(notice).unwrap(), &mut written);
    }
    for happened in control::sample() {
        leaves("", &serde_json::to_value(happened).unwrap(), &mut written);
    }
    let page = docs::markdown();
    let groups = page.split("\n## Values").next().unwrap();
    let rows = groups.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` | "));
    let fields = rows.filter(|(_, rest)| !rest.contains("group | "));
    let documented: BTreeSet<_> = fields.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(written, documented);

    let closed = page.lines().filter(|row| row.contains("| one of the values below |"));
    let listed = docs::NAMES.iter().filter(|(field, _)| documented.contains(*field));
    assert_eq!(closed.count(), docs::NAMES.len());
    assert_eq!(listed.count(), docs::NAMES.len());
}

#[test]
fn names_of_event_types_and_unknown_ones() {
    let line = json::line(&event(&github())).unwrap();
    assert_eq!(json::parse(&line).unwrap().event.r#type, EventType::Access);
    let error = json::parse(&line.replace("\"access\"", "\"to_come\"")).unwrap_err();
    assert!(error.to_string().contains("unknown variant `to_come`"), "{error}");
}

/// Random as tokens are: it has a digit before a letter, and no other structure.
fn canary() -> impl Strategy<Value = String> {
    "[A-Za-z0-9]{8,16}7Kq[A-Za-z0-9_-]{12,40}"
}

/// Places `canary` as clients, well-behaved and not, place tokens.
fn authorization(canary: String) -> impl Strategy<Value = String> {
    let c = canary;
    prop::sample::select(vec![
        c.clone(),
        format!("Bearer {c}"),
        format!("bearer   {c}"),
        format!("Bearer {c} {c}"),
        format!("Bearer \t{c}"),
        format!("Bearer \"{c}\""),
        format!("DPoP ghp_{c}"),
        format!("Basic {c}"),
        format!("token {c}"),
        format!("{c} {c}"),
        format!("Digest response=\"{c}\""),
        format!("Bearer eyJhbGciOiJub25lIn0.e30.{c}"),
        format!("Bearer eyJhbGciOiJub25lIn0.{c}.{c}"),
        format!("Bearer {c}.{c}.{c}.{c}.{c}"),
    ])
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

fn target(canary: String) -> impl Strategy<Value = String> {
    let c = canary;
    let encoded = percent_encoded(&c);
    let half_encoded = c.replacen("7Kq", "%37%4Bq", 1);
    prop_oneof![
        prop::sample::select(vec![
            c.clone(),
            format!("/{c}"),
            format!("/a/{c}/b"),
            format!("/a/x-{c}.json;k={c}/b"),
            format!("/{encoded}"),
            format!("/{half_encoded}"),
            format!("/{}/{c}", "word/".repeat(400)),
            format!("/{}{c}", "w".repeat(1015)),
            format!("/cb?code={c}&state={c}#access_token={c}"),
            format!("/cb?{c}"),
            format!("/cb?{c}=1&a[{c}]=2&{}{c}=3", "k".repeat(60)),
            format!("/#{c}"),
            format!("https://u:{c}@h.example/{c}?{c}"),
            format!("urn:{c}"),
        ]),
        "[ -~]{0,12}".prop_map(move |around| format!("/{around}{c}{around}")),
    ]
}

fn other_fields(canary: String) -> impl Strategy<Value = (String, String)> {
    let c = canary;
    prop::sample::select(vec![
        (format!("app/{c} (k={c})"), c.clone()),
        (format!("{}{c}", "long ".repeat(49)), format!("00-{c}-{c}-01")),
        (c.clone(), format!("{TRACEPARENT}-{c}")),
        (format!("a {c}\u{1b}{c}"), format!("{}-{c}", TRACEPARENT.replacen("00", "01", 1))),
    ])
}

fn request() -> impl Strategy<Value = (String, String, String, (String, String))> {
    canary().prop_flat_map(|c| {
        let place = (authorization(c.clone()), target(c.clone()), other_fields(c.clone()));
        place.prop_map(move |(authorization, target, others)| {
            (c.clone(), authorization, target, others)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_canary_gets_out(
        (canary, authorization, target, (agent, traceparent)) in request(),
        odd_method in any::<bool>(),
    ) {
        let fields = [
            ("host", "api.example.com"),
            ("user-agent", &agent),
            ("authorization", &authorization),
            ("traceparent", &traceparent),
            ("cookie", &canary),
        ];
        let method = if odd_method { &canary } else { "GET" };
        let mut seen = exchange(Role::Server, method, &target, &fields, 200);
        let mut sample = Sample::new(Purpose::Operation(Protocol::Mcp));
        let name = json!({"method": "tools/call", "params": {"name": canary, "x": canary}});
        let other = json!([{"method": canary}, {canary.clone(): canary}]);
        sample.take(if odd_method { name } else { other }.to_string().as_bytes());
        seen.request.as_mut().unwrap().content = Content::Sampled(sample);
        let event = event(&seen);
        let mut summary = Summary::default();
        summary.add(&event);
        let outputs = [
            json::line(&event).unwrap(),
            human::line(&event, Some(&event), Colour::On),
            summary.to_string(),
        ];
        let pieces = canary.as_bytes().windows(16).map(|w| std::str::from_utf8(w).unwrap());
        for piece in pieces {
            for output in &outputs {
                assert!(!output.contains(piece), "{piece} in {output}");
                assert!(!output.contains(&percent_encoded(piece)), "{piece} in {output}");
            }
        }
    }
}

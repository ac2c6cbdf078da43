//! What requests ask for, as the specifications of the protocols and their odd users write it.

use proptest::{
    prelude::{Just, Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::Timestamp,
    http::{
        body::{Content, Sample, sample::SAMPLE_MAX},
        message::{Fields, Version},
    },
};

fn request(protocol: Protocol, target: &str, content_type: &str, body: &[u8]) -> Request {
    let mut sample = Sample::new(Purpose::Operation(protocol));
    sample.take(body);
    let mut fields = Fields::default();
    fields.push(b"content-type", content_type.as_bytes());
    Request {
        method: "POST".to_owned(),
        target: Zeroizing::new(target.to_owned()),
        version: Version::Http11,
        head_bytes: 0,
        fields,
        body_bytes: body.len() as u64,
        content: Content::Sampled(sample),
        started: Timestamp(0),
        ended: Timestamp(0),
    }
}

fn read(protocol: Protocol, target: &str, content_type: &str, body: &[u8]) -> Operations {
    let request = request(protocol, target, content_type, body);
    of_request(&request, &[], &mut Cuts::default()).unwrap()
}

/// Expects these operations, and `…` after them where there may be more.
#[track_caller]
fn check(found: &Operations, expected: &[&str]) {
    let mut shown: Vec<_> = found.list.iter().map(ToString::to_string).collect();
    if !found.is_complete {
        shown.push("…".to_owned());
    }
    assert_eq!(shown, expected);
}

#[track_caller]
fn check_mcp(body: &str, expected: &[&str]) {
    check(&read(Protocol::Mcp, "/mcp", "application/json", body.as_bytes()), expected);
}

#[track_caller]
fn check_graphql(body: &Value, expected: &[&str]) {
    let body = body.to_string();
    check(&read(Protocol::Graphql, "/graphql", "application/json", body.as_bytes()), expected);
}

#[track_caller]
fn check_document(document: &str, expected: &[&str]) {
    check_graphql(&json!({ "query": document }), expected);
}

#[test]
fn the_method_and_the_tool_are_told() {
    check_mcp(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, &["tools/list"]);
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call",
        "params":{"name":"delete_user","arguments":{"id":7,"name":"x"}}}"#;
    check_mcp(call, &["tools/call delete_user"]);
    let turned = r#"{"params":{"arguments":{},"name":"search"},"method":"tools/call"}"#;
    check_mcp(turned, &["tools/call search"]);
    check_mcp(r#"{"method":"prompts/get","params":{"name":"p"}}"#, &["prompts/get p"]);
    check_mcp(r#"{"method":"resources/read","params":{"uri":"file:///x"}}"#, &["resources/read"]);
    check_mcp(r#"{"method":"notifications/initialized"}"#, &["notifications/initialized"]);
    check_mcp(r#"{"method":"ping","params":{"name":"no"}}"#, &["ping"]);
}

#[test]
fn a_batch_has_several_jsonrpc_6() {
    check_mcp(
        r#"[{"method":"a"},{"method":"tools/call","params":{"name":"b"}}]"#,
        &["a", "tools/call b"],
    );
    let long = format!("[{}]", vec![r#"{"method":"m"}"#; OPERATIONS_MAX + 1].join(","));
    let mut expected = vec!["m"; OPERATIONS_MAX];
    expected.push("…");
    check_mcp(&long, &expected);
    check_mcp("[]", &[]);
    check_mcp(r#"[[{"method":"m"}]]"#, &["…"]);
    check_mcp(r#"[{"method":"m"},7]"#, &["m", "…"]);
}

#[test]
fn answers_and_requests_without_a_body_ask_for_nothing() {
    check_mcp(r#"{"jsonrpc":"2.0","id":1,"result":{"method":"no"}}"#, &[]);
    check_mcp("", &[]);
}

#[test]
fn of_plain_jsonrpc_parameters_are_not_read() {
    let body = br#"{"method":"tools/call","params":{"name":"x"}}"#;
    check(&read(Protocol::JsonRpc, "/rpc", "application/json", body), &["tools/call"]);
    let body = br#"{"method":"eth_call","params":["0x1",{}]}"#;
    check(&read(Protocol::JsonRpc, "/rpc", "", body), &["eth_call"]);
}

#[test]
fn what_recipients_may_read_otherwise_is_unsure() {
    check_mcp(r#"{"method":"ping","method":"tools/call"}"#, &["ping", "…"]);
    check_mcp(r#"{"method":"ping","METHOD":"tools/call"}"#, &["ping", "…"]);
    check_mcp(r#"{"Method":"ping"}"#, &["ping", "…"]);
    let twice = r#"{"method":"tools/call","params":{"name":"a"},"params":{"name":"b"}}"#;
    check_mcp(twice, &["tools/call a", "…"]);
    check_mcp(
        r#"{"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        &["tools/call a", "…"],
    );
    check_mcp(r#"{"\u006dethod":"ping"}"#, &["ping"]);
    check_mcp(r#"{"method":7}"#, &["…"]);
    check_mcp(r#"{"method":"tools/call"}"#, &["tools/call", "…"]);
    check_mcp(r#"{"method":"tools/call","params":["a"]}"#, &["tools/call", "…"]);
    check_mcp(r#"{"method":"a"}{"method":"b"}"#, &["a", "…"]);
}

#[test]
fn what_cannot_be_read_to_its_end_says_so() {
    check_mcp(
        r#"{"method":"tools/call","params":{"name":"a","arguments":{"x":"#,
        &["tools/call a", "…"],
    );
    check_mcp(r#"{"id":"#, &["…"]);
    check_mcp("hello", &["…"]);
    check_mcp(&"[".repeat(1000), &["…"]);
    let padded = format!(r#"{{"method":"a","x":"{}"}}"#, "x".repeat(SAMPLE_MAX));
    check_mcp(&padded, &["a", "…"]);
    let lost = request(Protocol::Mcp, "/", "", br#"{"method":"a"}"#);
    let found = of_request(&lost, &[Note::RequestBodyLost], &mut Cuts::default()).unwrap();
    check(&found, &["a", "…"]);
}

#[test]
fn bodies_are_read_without_their_coding() {
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let coded = |body: &[u8]| {
        let mut request = request(Protocol::Mcp, "/mcp", "application/json", body);
        request.fields.push(b"content-encoding", b"gzip");
        request
    };
    let read = |request: &Request| {
        let mut cuts = Cuts::default();
        let found = of_request(request, &[], &mut cuts).unwrap();
        (found, cuts.iter().collect::<Vec<_>>())
    };
    let (found, _) = read(&coded(&gzip(br#"{"method":"ping"}"#)));
    check(&found, &["ping"]);
    let (found, _) = read(&coded(br#"{"method":"ping"}"#));
    check(&found, &["…"]);
    let padded = format!(r#"{{"method":"ping","x":"{}"}}"#, "x".repeat(1_000_000));
    let (found, cuts) = read(&coded(&gzip(padded.as_bytes())));
    check(&found, &["ping", "…"]);
    assert_eq!(cuts, ["body"]);
}

#[test]
fn names_are_bounded_and_lose_their_secrets() {
    let mut cuts = Cuts::default();
    let body = json!({"method": "a ".repeat(NAME_MAX), "params": {}}).to_string();
    let long = request(Protocol::Mcp, "/", "", body.as_bytes());
    let found = of_request(&long, &[], &mut cuts).unwrap();
    assert_eq!(found.list[0].method.as_ref().unwrap().len(), NAME_MAX);
    assert_eq!(cuts.iter().collect::<Vec<_>>(), ["operation"]);
    let call = r#"{"method":"tools/call","params":{"name":"ghp_16C7e42F292c6912E7710c838347Ae1"}}"#;
    check_mcp(call, &["tools/call {token}"]);
}

#[test]
fn the_type_and_name_of_a_graphql_operation_are_told() {
    check_document("{ user { id } }", &["query"]);
    check_document("query Orders { orders { id } }", &["query Orders"]);
    check_document("mutation Add($x: In = {a: [1]}) @d(a: 1) { add(x: $x) }", &["mutation Add"]);
    check_document("subscription { tick }", &["subscription"]);
    check_document("query @live { a }", &["query"]);
    check_document("\u{feff}# mutation M {\n query,\nQ { mutation }", &["query Q"]);
    check_document("fragment query on T { a } query Q { ...query }", &["query Q"]);
    let strings = r#"query Q { a(x: "}\" {", y: """ } \""" " """) { b } }"#;
    check_document(strings, &["query Q"]);
}

#[test]
fn the_fields_that_are_executed_are_told_whatever_hides_them() {
    let check = |document: &str, expected: &[&str], is_complete| {
        let body = json!({ "query": document }).to_string();
        let found = read(Protocol::Graphql, "/graphql", "application/json", body.as_bytes());
        assert_eq!(found.list[0].fields, expected, "{document}");
        assert_eq!(found.is_complete, is_complete, "{document}");
    };
    check("query Harmless { orders { deleteAll } }", &["orders"], true);
    check("query A { ok: deleteAll ok2: deleteAll }", &["deleteAll"], true);
    let fragments =
        "query A { a ...F } fragment F on Query { b ...G } fragment G on Query { c ...F }";
    check(fragments, &["a", "b", "c"], true);
    check("query A { a ...Unknown ...F } fragment F on Q { b }", &["a", "b"], false);
    let many: String = (0..=FIELDS_MAX).map(|nth| format!("f{nth} ")).collect();
    let body = json!({ "query": format!("{{ {many} }}") }).to_string();
    let found = read(Protocol::Graphql, "/graphql", "application/json", body.as_bytes());
    assert_eq!((found.list[0].fields.len(), found.is_complete), (FIELDS_MAX, false));
}

#[test]
fn among_several_the_named_one_is_chosen_graphql_6_1() {
    let document = "query A { a } mutation B { b }";
    check_graphql(&json!({"query": document, "operationName": "B"}), &["mutation B"]);
    check_graphql(&json!({"query": document, "operationName": "C"}), &["…"]);
    check_graphql(&json!({ "query": document }), &["query A", "mutation B", "…"]);
    check_graphql(&json!({"query": "{ a }", "operationName": null}), &["query"]);
    check_graphql(&json!({"query": "{ a }", "operationName": ""}), &["query"]);
}

#[test]
fn a_document_that_the_server_has_is_told_by_its_name() {
    let persisted = json!({"operationName": "Orders", "extensions": {"persistedQuery": {}}});
    check_graphql(&persisted, &["Orders", "…"]);
    check_graphql(&json!({"query": null, "operationName": "Orders"}), &["Orders", "…"]);
}

#[test]
fn graphql_comes_in_batches_queries_and_forms() {
    check_graphql(
        &json!([{"query": "{ a }"}, {"query": "mutation M { b }"}]),
        &["query", "mutation M"],
    );
    let get = "/graphql?query=query+Orders%20%7B%20a%20%7D&operationName=Orders";
    check(&read(Protocol::Graphql, get, "", b""), &["query Orders"]);
    check(&read(Protocol::Graphql, "/graphql", "", b""), &[]);
    let raw = b"mutation M { a }";
    check(&read(Protocol::Graphql, "/graphql", "application/graphql", raw), &["mutation M"]);
    let form = b"query=mutation+M%7Ba%7D&variables=%7B%7D";
    let media = "application/x-www-form-urlencoded";
    check(&read(Protocol::Graphql, "/graphql", media, form), &["mutation M"]);
}

#[test]
fn graphql_in_two_places_is_unsure() {
    let body = br#"{"query":"mutation M { a }"}"#;
    let found = read(Protocol::Graphql, "/graphql?query=%7Ba%7D", "application/json", body);
    check(&found, &["query", "mutation M", "…"]);
    let found = read(Protocol::Graphql, "/graphql?query=%7Ba%7D&query=x", "", b"");
    check(&found, &["query", "…"]);
}

#[test]
fn documents_that_do_not_parse_are_unsure() {
    check_document("query A {", &["query A", "…"]);
    check_document("query A { a } }", &["query A", "…"]);
    check_document("query A { a } \u{a0}", &["query A", "…"]);
    check_document("type T { a: Int }", &["…"]);
    check_document("scalar D query A { a }", &["…"]);
    check_document("nonsense", &["…"]);
    check_graphql(&json!("text"), &["…"]);
}

#[test]
fn a_grpc_call_has_its_operation_in_its_path() {
    let grpc = |target: &str| {
        let mut request = request(Protocol::Grpc, target, "application/grpc", b"");
        request.content = Content::Grpc(Default::default());
        of_request(&request, &[], &mut Cuts::default())
    };
    check(&grpc("/pkg.Orders/Get").unwrap(), &["pkg.Orders/Get"]);
    assert_eq!(grpc("*"), None);
}

#[test]
fn bodies_that_are_read_for_something_else_name_nothing() {
    let mut other = request(Protocol::Mcp, "/token", "", br#"{"method":"a"}"#);
    other.content = Content::Sampled(Sample::new(Purpose::AuthorizationServer));
    assert_eq!(of_request(&other, &[], &mut Cuts::default()), None);
}

/// JSON of any form, with the members that are read among others.
fn document() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("tools/call".to_owned()),
        Just("query A { a }".to_owned()),
        "[{}\"#a-z \\n]{0,12}"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    let key = prop::sample::select(vec!["method", "params", "name", "query", "operationName", "x"]);
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|members| {
                let members = members.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(members.collect())
            }),
        ]
    })
}

const READ: [Protocol; 3] = [Protocol::JsonRpc, Protocol::Mcp, Protocol::Graphql];

proptest! {
    /// What was read of a document's start is what its whole has, as far as that goes; and of the
    /// start alone nobody says that it is all.
    #[test]
    fn the_start_of_a_document_tells_no_more_than_the_whole(
        document in document(),
        keep in any::<prop::sample::Index>(),
    ) {
        let body = document.to_string();
        let cut = keep.index(body.len());
        for protocol in READ {
            let whole = read(protocol, "/", "application/json", body.as_bytes());
            let start = read(protocol, "/", "application/json", &body.as_bytes()[..cut]);
            prop_assert!(!start.is_complete || cut == 0 || document.is_number(), "{body} {cut}");
            if protocol == Protocol::JsonRpc {
                let methods = |read: &Operations| {
                    read.list.iter().map(|it| it.method.clone()).collect::<Vec<_>>()
                };
                prop_assert!(methods(&whole).starts_with(&methods(&start)));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for protocol in READ {
            for media in ["application/json", "application/graphql"] {
                let found = read(protocol, "/", media, &body);
                prop_assert!(found.list.len() <= OPERATIONS_MAX);
            }
        }
    }

    /// The only operation of a document is found whatever stands in its strings and comments.
    #[test]
    fn strings_and_comments_hide_no_operation(
        text in "[^\"\\\\\r\n]{0,20}",
        block in "[a-z{}()\n ]{0,20}",
        comment in "[ -~]{0,20}",
        kind in prop::sample::select(vec!["query", "mutation", "subscription"]),
        name in "[_A-Za-z][_0-9A-Za-z]{0,12}",
    ) {
        let document = format!(
            "#{comment}\n{kind} {name}(#{comment}\n$a: S = \"{text}\") \
             {{ a(b: \"\"\"{block}\"\"\") #{comment}\n }}"
        );
        let found = read(Protocol::Graphql, "/", "application/graphql", document.as_bytes());
        let shown = format!("{kind} {name}");
        prop_assert_eq!(found.list.len(), 1);
        prop_assert!(found.is_complete, "{}", document);
        prop_assert!(without_secrets(&shown) == found.list[0].to_string());
    }
}

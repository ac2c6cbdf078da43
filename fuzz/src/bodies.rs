//! Bodies: content codings, and the operations that they name.

use scopewatch::{
    clock::Timestamp,
    http::{
        body::{
            Content, Sample,
            coding::{self, DECODED_MAX, RATIO_MAX},
            sample::Purpose,
        },
        message::{Fields, Request, Version},
        operation::{FIELDS_MAX, NAME_MAX, OPERATIONS_MAX, Protocol, of_request},
    },
    text::Cuts,
};

const CODINGS: [&str; 8] =
    ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate", "br, zstd", "identity"];

/// A coding, by the first byte, of the rest.
pub fn coding(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let mut fields = Fields::default();
    let name = CODINGS[usize::from(*choice) % CODINGS.len()];
    fields.push(b"content-encoding", name.as_bytes());
    let mut sample = Sample::new(Purpose::Form);
    sample.take(body);
    let decoded = coding::decode(&sample, &fields, &mut Cuts::default());
    assert!(decoded.octets().len() <= DECODED_MAX);
    if !name.contains(',') {
        assert!(decoded.octets().len() <= (body.len() * RATIO_MAX).max(4096));
    }
}

pub fn coding_seeds() -> Vec<Vec<u8>> {
    // `{"method":"ping"}` in each of the four, and one byte in stored and run-length blocks.
    [
        "001f8b0800000000000203ab56ca4d2dc9c84f51b2522ac8cc4b57aa05009daa7c1111000000",
        "01789cab56ca4d2dc9c84f51b2522ac8cc4b57aa0500360105ea",
        "020b08807b226d6574686f64223a2270696e67227d03",
        "0328b52ffd2011890000007b226d6574686f64223a2270696e67227d",
        "0328b52ffd00480300006100",
    ]
    .map(crate::unhex)
    .to_vec()
}

/// A body, and by the first byte how it is read.
pub fn operation(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let protocol = [Protocol::JsonRpc, Protocol::Mcp, Protocol::Graphql][usize::from(choice % 3)];
    let media = ["application/json", "application/graphql", "application/x-www-form-urlencoded"];
    let mut fields = Fields::default();
    fields.push(b"content-type", media[usize::from(choice / 3 % 3)].as_bytes());
    let mut sample = Sample::new(Purpose::Operation(protocol));
    sample.take(body);
    let request = Request {
        method: "POST".to_owned(),
        target: format!("/x?{}", String::from_utf8_lossy(body)).into(),
        version: Version::Http11,
        head_bytes: 0,
        fields,
        body_bytes: 0,
        content: Content::Sampled(sample),
        started: Timestamp(0),
        ended: Timestamp(0),
    };
    let found = of_request(&request, &[], &mut Cuts::default()).expect("the route is marked");
    assert!(found.list.len() <= OPERATIONS_MAX);
    assert!(found.list.iter().map(|it| it.fields.len()).sum::<usize>() <= FIELDS_MAX);
    for it in &found.list {
        let names = it.method.iter().chain(&it.name).chain(&it.fields);
        names.for_each(|name| assert!(name.len() <= NAME_MAX));
    }
}

pub fn operation_seeds() -> Vec<Vec<u8>> {
    [
        "\u{0}[{\"method\":\"a\",\"params\":[1]},{\"method\":\"b\"}]",
        "\u{1}{\"method\":\"tools/call\",\"params\":{\"name\":\"x\",\"arguments\":{}}}",
        "\u{2}{\"query\":\"query A { a ...F } fragment F on T { b(x: \\\"s\\\") }\",\"operationName\":null}",
        "\u{5}query Q($a: [In!] = [{x: 1}]) @d { k: a(x: \"\"\"s\"\"\") { b } ... on T { c } }",
        "\u{8}query=%7Ba%7D&operationName=A+B",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

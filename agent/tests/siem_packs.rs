//! Configurations for receivers, below `packaging/siem`: they are YAML, and every part that one names
//! is there. Their own programs are in no package that could be installed here.

#![expect(clippy::expect_used, reason = "a test that cannot go on says where")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

fn read(path: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/siem").join(path);
    let text = fs::read_to_string(&path).expect("the file is there");
    serde_saphyr::from_str(&text).expect("it is YAML")
}

/// Names of the members at a pointer.
fn names<'a>(value: &'a Value, pointer: &str) -> BTreeSet<&'a str> {
    let members = value.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, _)| name.as_str()).collect()
}

/// Texts of the list at a pointer.
fn list<'a>(value: &'a Value, pointer: &str) -> BTreeSet<&'a str> {
    let texts = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    texts.map(|text| text.as_str().expect("it is text")).collect()
}

#[test]
fn the_pipeline_of_the_collector_has_all_its_parts_and_a_queue_on_disk() {
    let config = read("otel-collector/config.yaml");
    for kind in ["receivers", "processors", "exporters"] {
        let used = list(&config, &format!("/service/pipelines/logs~1scopewatch/{kind}"));
        assert!(
            !used.is_empty() && used == names(&config, &format!("/{kind}")),
            "{kind}: {used:?}"
        );
    }
    assert_eq!(list(&config, "/service/extensions"), names(&config, "/extensions"));
    for exporter in names(&config, "/exporters") {
        let pointer = format!("/exporters/{}/sending_queue/storage", exporter.replace('/', "~1"));
        let storage = config.pointer(&pointer).and_then(Value::as_str);
        assert!(storage.is_some_and(|name| names(&config, "/extensions").contains(name)));
    }
    let tls = |protocol: &str| config.pointer(&format!("/receivers/otlp/protocols/{protocol}/tls"));
    assert!(tls("grpc").is_some() && tls("grpc") == tls("http"));
}

#[test]
fn vector_passes_on_what_it_gets_and_confirms_it_then() {
    let config = read("vector/vector.yaml");
    let made: BTreeSet<_> = names(&config, "/sources")
        .into_iter()
        .map(|name| format!("{name}.logs"))
        .chain(names(&config, "/transforms").into_iter().map(str::to_owned))
        .collect();
    for kind in ["transforms", "sinks"] {
        for name in names(&config, &format!("/{kind}")) {
            let inputs = list(&config, &format!("/{kind}/{name}/inputs"));
            assert!(!inputs.is_empty() && inputs.iter().all(|input| made.contains(*input)));
            let confirms = config.pointer(&format!("/{kind}/{name}/acknowledgements/enabled"));
            assert!(kind == "transforms" || confirms == Some(&Value::Bool(true)), "{name}");
        }
    }
}

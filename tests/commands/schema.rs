//! `config schema`.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use crate::run;

#[test]
fn each_schema_is_one_and_refuses_keys_that_it_does_not_know() -> Result<()> {
    for (of, keys) in [
        (Some("config"), &["capture", "policy"][..]),
        (Some("policy"), &["version", "issuers", "services"]),
        (Some("cases"), &["policy", "cases"]),
        (None, &["capture", "policy"]),
    ] {
        let arguments: Vec<&str> = ["config", "schema"].into_iter().chain(of).collect();
        let schema: Value = serde_json::from_str(&run(&arguments)?.well())?;
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false, "{of:?}");
        let properties = schema["properties"].as_object().context("no properties")?;
        keys.iter().for_each(|key| assert!(properties.contains_key(*key), "{of:?} has no {key}"));
        let none = Map::new();
        let definitions = schema["$defs"].as_object().unwrap_or(&none);
        references(&schema, &mut |reference| {
            let name = reference.strip_prefix("#/$defs/").unwrap_or_default();
            assert!(definitions.contains_key(name), "{of:?}: {reference} leads nowhere");
        });
    }
    Ok(())
}

/// Calls `each` with every reference in the schema.
fn references(schema: &Value, each: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(entries) => {
            if let Some(reference) = entries.get("$ref").and_then(Value::as_str) {
                each(reference);
            }
            entries.values().for_each(|value| references(value, each));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, each)),
        _ => {}
    }
}

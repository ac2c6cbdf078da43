//! The published schemas beside what is documented and shipped.

use serde_json::Value;

use super::*;

const GUIDE: &str = include_str!("../../../../docs/policy.md");
const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const KUBERNETES: &str = include_str!("../../../../packaging/policies/kubernetes-api.yaml");

/// What `schema` has against `value`. As much of JSON Schema as schemars writes.
fn complaints(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let fits = |it: &Value| complaints(root, it, value, at).is_empty();
    let list = |name: &str| schema[name].as_array().map(Vec::as_slice);
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.strip_prefix('#').unwrap()).unwrap();
        found.extend(complaints(root, target, value, at));
    }
    if list("anyOf").or(list("oneOf")).is_some_and(|all| !all.iter().any(fits)) {
        found.push(format!("{at}: none of the alternatives"));
    }
    for each in list("allOf").unwrap_or_default() {
        found.extend(complaints(root, each, value, at));
    }
    if list("enum").is_some_and(|all| !all.contains(value)) {
        found.push(format!("{at}: {value} is not listed"));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{at}: {value} is another"));
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        _ => value.is_number(),
    };
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.into_iter().any(is) {
        found.push(format!("{at}: {value} is of another type"));
    }
    for name in list("required").into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(known), _) => found.extend(complaints(root, known, member, &at)),
            (None, Value::Bool(false)) => found.push(format!("{at} is unknown")),
            (None, Value::Null | Value::Bool(true)) => {}
            (None, other) => found.extend(complaints(root, other, member, &at)),
        }
    }
    for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            found.extend(complaints(root, items, item, &format!("{at}[{nth}]")));
        }
    }
    found
}

fn against(of: SchemaOf, yaml: &str) -> Vec<String> {
    let schema = schema(of).to_value();
    let value: Value = serde_saphyr::from_str(yaml).unwrap();
    complaints(&schema, &schema, &value, "")
}

fn examples<'g>(guide: &'g str, fence: &str) -> Vec<&'g str> {
    guide.split(fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn every_documented_example_fits_its_schema() {
    let check = |of, guide, fence| {
        let all = examples(guide, fence);
        assert!(!all.is_empty());
        all.iter().for_each(|one| assert_eq!(against(of, one), [""; 0], "{one}"));
    };
    check(SchemaOf::Policy, GUIDE, "```yaml\n");
    check(SchemaOf::Cases, GUIDE, "```yaml cases\n");
    check(SchemaOf::Config, CONFIGURATION, "```yaml\n");
    assert_eq!(against(SchemaOf::Policy, KUBERNETES), [""; 0]);
}

#[test]
fn a_schema_refuses_what_the_parser_refuses() {
    let check = |yaml: &str, expected: &str| {
        assert_eq!(against(SchemaOf::Policy, yaml), [expected], "{yaml}");
        assert!(policy::raw::parse("p", yaml).is_err(), "{yaml}");
    };
    check("{}", ": version is missing");
    check("{version: 1, service: []}", ".service is unknown");
    check("{version: one}", ".version: \"one\" is of another type");
    let mode = "{version: 1, defaults: {unmatched_route: maybe}}";
    check(mode, ".defaults.unmatched_route: \"maybe\" is not listed");
    let issuer = "{version: 1, issuers: [{id: a}]}";
    check(issuer, ".issuers[0]: match is missing");
}

#[test]
fn every_key_is_documented() {
    let schema = schema(SchemaOf::Policy).to_value();
    let definitions = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for definition in definitions {
        for key in definition["properties"].as_object().into_iter().flat_map(|it| it.keys()) {
            let named =
                [format!("`{key}"), format!("{key}`"), format!("{key}:"), format!("{key}[]")];
            assert!(named.iter().any(|name| GUIDE.contains(name)), "{key} is not documented");
        }
    }
}

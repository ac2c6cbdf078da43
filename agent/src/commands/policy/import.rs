//! `scopewatch policy import`: a policy out of an OpenAPI document. In: the document. Out: YAML to
//! begin with, which the policy's own parser takes.

use std::{fmt::Write as _, path::Path};

use super::{read, wrong};
use crate::{
    commands::print,
    failure::Failure,
    policy::{
        compile::Written,
        error::Problems,
        openapi::{self, Imported},
        raw::{Amount, BindingNeed, Needed, Require, Route},
    },
};

pub(super) fn import(path: &Path) -> Result<(), Failure> {
    let name = path.display().to_string();
    let imported =
        openapi::import(&name, &read(path)?).map_err(|located| wrong(&Problems(vec![located])))?;
    print(&yaml(&imported))
}

/// The policy, with what is odd as comments.
pub(super) fn yaml(imported: &Imported) -> String {
    let Imported { routes, hosts, warnings } = imported;
    let mut out = String::new();
    for warning in warnings {
        let _infallible = writeln!(out, "# {}", warning.to_string().replace(['\r', '\n'], " "));
    }
    let hosts = hosts.iter().map(|host| quoted(host)).collect::<Vec<_>>();
    let hosts = if hosts.is_empty() { quoted("api.example.net") } else { hosts.join(", ") };
    out.push_str("version: 1\nservices:\n- id: imported\n");
    let _infallible = writeln!(out, "  select: {{hosts: [{hosts}]}}");
    out.push_str(if routes.is_empty() { "  routes: []\n" } else { "  routes:\n" });
    for route in routes {
        write_route(&mut out, route);
    }
    out
}

fn write_route(out: &mut String, written: &Written) {
    let Route { r#match, require, require_any, sensitivity, .. } = &written.route.value;
    if let Some(id) = &written.operation_id {
        let _infallible = writeln!(out, "  # {}", id.replace(['\r', '\n'], " "));
    }
    let methods: Vec<String> = r#match.value.methods.iter().map(|it| quoted(it)).collect();
    let path = quoted(&r#match.value.path.value);
    let methods = methods.join(", ");
    let _infallible = writeln!(out, "  - match: {{methods: [{methods}], path: {path}}}");
    if let Some(require) = require {
        let _infallible = writeln!(out, "    require: {}", flow(require));
    }
    if let Some(any) = require_any {
        out.push_str("    require_any:\n");
        for one in &any.value {
            let _infallible = writeln!(out, "    - {}", flow(one));
        }
    }
    if let Some(class) = sensitivity {
        let _infallible = writeln!(out, "    sensitivity: {class}");
    }
}

fn flow(require: &Require) -> String {
    let Require { credentials, scopes, roles, acr, binding, audiences, .. } = require;
    let mut parts = Vec::new();
    if let Some(needed) = credentials.as_ref().filter(|it| **it != [Needed::Token]) {
        let needed: Vec<String> = needed.iter().map(credential).collect();
        parts.push(format!("credentials: [{}]", needed.join(", ")));
    }
    let mut amount = |name: &str, Amount { all, any }: &Amount| {
        for (word, list) in [("all", all), ("any", any)] {
            if !list.is_empty() {
                parts.push(format!("{name}: {{{word}: {}}}", list_of(list)));
            }
        }
    };
    amount("scopes", scopes);
    amount("roles", roles);
    if !acr.any.is_empty() {
        parts.push(format!("acr: {{any: {}}}", list_of(&acr.any)));
    }
    if *binding != BindingNeed::None {
        parts.push(format!("binding: {binding}"));
    }
    if let Some(audiences) = audiences {
        parts.push(format!("audiences: {}", list_of(audiences)));
    }
    format!("{{{}}}", parts.join(", "))
}

fn credential(needed: &Needed) -> String {
    match needed {
        Needed::Token => "token".to_owned(),
        Needed::Basic => "basic".to_owned(),
        Needed::Mtls => "mtls".to_owned(),
        Needed::Header(name) => format!("{{header: {}}}", quoted(name)),
        Needed::Cookie(name) => format!("{{cookie: {}}}", quoted(name)),
        Needed::Query(name) => format!("{{query: {}}}", quoted(name)),
    }
}

fn list_of(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|it| quoted(it)).collect();
    format!("[{}]", texts.join(", "))
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile;

    const DOCUMENT: &str = r#"{"openapi": "3.1.0", "servers": [{"url": "https://api.example.net/v1"}],
      "security": [{"o": ["a:b"]}],
      "paths": {"/x/{id}": {
        "get": {"operationId": "read\nx", "x-scopewatch-sensitivity": "pii"},
        "put": {"security": [{}, {"k": []}, {"o": ["w"], "k": []}], "x-scopewatch-acr": "phr"},
        "delete": {"security": []}}},
      "components": {"securitySchemes": {
        "o": {"type": "oauth2", "flows": {"implicit": {"scopes": {"a:b": "", "w": ""}}}},
        "k": {"type": "apiKey", "in": "query", "name": "key"}}}}"#;

    #[test]
    fn what_is_printed_is_the_same_policy() {
        let imported = openapi::import("api.json", DOCUMENT).unwrap();
        let text = yaml(&imported);
        let none = |_: &Path| Err(String::new());
        let compiled =
            compile::compile("p", &text, &none).unwrap_or_else(|it| panic!("{it}\n{text}"));
        let printed = format!(
            "{:?}",
            compiled.policy.services[0]
                .routes
                .iter()
                .map(|it| &it.alternatives)
                .collect::<Vec<_>>()
        );
        let direct =
            "version: 1\nservices:\n- {id: imported, select: {hosts: [h]}, openapi: {file: f}}\n";
        let read = |_: &Path| Ok(DOCUMENT.to_owned());
        let direct = compile::compile("p", direct, &read).unwrap();
        let expected = format!(
            "{:?}",
            direct.policy.services[0].routes.iter().map(|it| &it.alternatives).collect::<Vec<_>>()
        );
        assert_eq!(printed, expected, "{text}");
        assert!(text.contains("select: {hosts: [\"api.example.net\"]}"), "{text}");
    }
}

//! What is read of an OpenAPI document; the rest is passed over. In: YAML or JSON. Out:
//! [`Document`], with the places of its operations.

mod distinct;

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use self::distinct::Distinct;
use crate::policy::{
    error::{Located, Problem},
    place::{At, Place},
    raw::{Needed, Require, Sensitivity},
};

/// Most nodes of a document. GitHub's has some 400,000.
const MAX_NODES: usize = 2_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    pub openapi: Option<At<String>>,
    pub swagger: Option<At<String>>,
    pub servers: Option<Vec<Server>>,
    pub security: Option<Vec<Alternative>>,
    pub paths: Entries<At<PathItem>>,
    components: Option<Components>,
}

/// Schemes, and what is listed for each.
pub(super) type Alternative = BTreeMap<String, Option<Vec<String>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Components {
    security_schemes: Entries<Scheme>,
    path_items: Entries<At<PathItem>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub url: String,
    pub variables: Option<BTreeMap<String, Variable>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Variable {
    pub default: serde_json::Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PathItem {
    #[serde(rename = "$ref")]
    pub reference: Option<String>,
    pub servers: Option<Vec<Server>>,
    get: Option<At<Operation>>,
    put: Option<At<Operation>>,
    post: Option<At<Operation>>,
    delete: Option<At<Operation>>,
    options: Option<At<Operation>>,
    head: Option<At<Operation>>,
    patch: Option<At<Operation>>,
    trace: Option<At<Operation>>,
    query: Option<At<Operation>>,
    additional_operations: Option<Entries<At<Operation>>>,
}

impl PathItem {
    /// Its operations, by method.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&str, &At<Operation>)> {
        let fixed = [
            ("GET", &self.get),
            ("PUT", &self.put),
            ("POST", &self.post),
            ("DELETE", &self.delete),
            ("OPTIONS", &self.options),
            ("HEAD", &self.head),
            ("PATCH", &self.patch),
            ("TRACE", &self.trace),
            ("QUERY", &self.query),
        ];
        let more = self.additional_operations.iter().flat_map(|it| &it.0);
        fixed
            .into_iter()
            .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
            .chain(more.map(|(method, operation)| (method.as_str(), operation)))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Operation {
    pub operation_id: Option<String>,
    pub security: Option<Vec<Alternative>>,
    pub servers: Option<Vec<Server>>,
    #[serde(rename = "x-scopewatch-sensitivity")]
    pub sensitivity: Option<Sensitivity>,
    #[serde(rename = "x-scopewatch-audience")]
    audience: Option<OneOrMore>,
    #[serde(rename = "x-scopewatch-acr")]
    acr: Option<OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn all(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::More(all) => all.clone(),
        }
    }
}

impl Operation {
    /// Adds what the extensions ask for to what a token must be like, where one is needed.
    pub(super) fn refine(&self, require: &mut Require) {
        if require.credentials.as_ref().is_some_and(|needed| !needed.contains(&Needed::Token)) {
            return;
        }
        if let Some(audience) = &self.audience {
            require.audiences = Some(audience.all());
        }
        if let Some(acr) = &self.acr {
            require.acr.any = acr.all();
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Scheme {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "in")]
    pub place: Option<String>,
    pub name: Option<String>,
    pub scheme: Option<String>,
    flows: Option<Entries<Flow>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Flow {
    scopes: Option<BTreeMap<String, IgnoredAny>>,
}

impl Scheme {
    /// Whether one of its flows defines `scope`; `None` if it defines none at all.
    pub(super) fn defines(&self, scope: &str) -> Option<bool> {
        let flows = self.flows.as_ref()?;
        let mut scopes = flows.0.iter().filter_map(|(_, flow)| flow.scopes.as_ref());
        Some(scopes.any(|scopes| scopes.contains_key(scope)))
    }
}

impl Document {
    pub(super) fn scheme(&self, name: &str) -> Option<&Scheme> {
        let schemes = &self.components.as_ref()?.security_schemes;
        let mut name = name.to_owned();
        for _ in 0..super::MAX_HOPS {
            let scheme = schemes.get(&name)?;
            let Some(reference) = &scheme.reference else { return Some(scheme) };
            name = unescaped(reference.strip_prefix("#/components/securitySchemes/")?);
        }
        None
    }

    pub(super) fn scheme_names(&self) -> Vec<&str> {
        let schemes = self.components.iter().flat_map(|it| &it.security_schemes.0);
        schemes.map(|(name, _)| name.as_str()).collect()
    }

    /// What a local reference leads to.
    pub(super) fn path_item(&self, reference: &str) -> Option<&PathItem> {
        let found = if let Some(name) = reference.strip_prefix("#/components/pathItems/") {
            self.components.as_ref()?.path_items.get(&unescaped(name))
        } else {
            self.paths.get(&unescaped(reference.strip_prefix("#/paths/")?))
        };
        found.map(|at| &at.value)
    }
}

/// A token of a JSON pointer in a fragment (RFC 6901 §6).
fn unescaped(token: &str) -> String {
    let slashes = token.replace("~1", "/").replace("~0", "~");
    slashes.replace("%7B", "{").replace("%7D", "}").replace("%7b", "{").replace("%7d", "}")
}

/// A map in the order of the document, without extensions (`x-…`), whose values may be anything.
#[derive(Debug)]
pub(super) struct Entries<T>(pub Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Entries<T> {
    fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Entries::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key.starts_with("x-") {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((key, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }

        source.deserialize_map(Reader(PhantomData))
    }
}

/// Reads a document: as YAML, of which JSON is a part, but for tabs between its values; else as
/// JSON, some of whose characters YAML does not have, without places. Neither may say a thing twice:
/// readers differ in which of the two counts.
pub(super) fn parse(file: &str, text: &str) -> Result<Document, Located> {
    let error = match yaml(text) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    if text.trim_start().starts_with('{') {
        // JSON's own tabs stand between values only: as spaces they move nothing.
        if text.contains('\t')
            && let Ok(document) = yaml(&text.replace('\t', " "))
        {
            return Ok(document);
        }
        let once = serde_json::from_str::<Distinct>(text);
        return once.and_then(|_| serde_json::from_str(text)).map_err(|error| {
            let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
            let at = Place { line: number(error.line()), column: number(error.column()) };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default().to_owned();
            Located { file: file.into(), at, problem: Problem::Syntax(message) }
        });
    }
    let at = error.location().map(Into::into).unwrap_or_default();
    Err(Located { file: file.into(), at, problem: Problem::from(&error) })
}

fn yaml(text: &str) -> Result<Document, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: MAX_NODES.saturating_mul(2),
            max_total_scalar_bytes: crate::policy::compile::MAX_LENGTH,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_says_a_thing_twice_is_refused_where_it_does() {
        let twice = "{\"openapi\": \"3.1.0\", \"paths\": {\n  \"/a\": {\"get\": \
                     {\"security\": [{\"o\": []}]}},\n  \"/a\": {\"get\": {\"security\": []}}\n}}";
        // Also where YAML cannot read it: DEL, and tabs between values.
        let raw = twice.replacen("3.1.0\",", "3.1.0\", \"x-a\": \"\u{7f}\",", 1);
        for text in [twice.to_owned(), raw, twice.replace("  ", "\t")] {
            let error = parse("a.json", &text).unwrap_err();
            assert!(error.to_string().contains("`/a` is there twice"), "{error}");
            assert_eq!(error.at.line, 3, "{error}");
        }
    }

    /// DEL as it is, which strings may have in JSON (RFC 8259 §7), and not in YAML (§5.1).
    const RAW: &str = "{\"openapi\": \"3.1.0\", \"paths\": {\"/a\": {\"get\":
        {\"operationId\": \"a\u{7f}\", \"security\": []}}}}";

    #[test]
    fn json_that_is_no_yaml_is_read_all_the_same_without_places() {
        assert!(yaml(RAW).is_err(), "this test shows nothing any more");
        let document = parse("a.json", RAW).unwrap();
        let (path, item) = document.paths.0.first().unwrap();
        assert_eq!((path.as_str(), item.place), ("/a", Place::default()));
        let (method, operation) = item.value.operations().next().unwrap();
        let id = operation.value.operation_id.as_deref();
        assert_eq!((method, id), ("GET", Some("a\u{7f}")));
    }

    #[test]
    fn what_is_neither_is_refused_with_the_place_where_json_ends() {
        let broken = RAW.replacen("\"security\": []", "\"security\": [", 1);
        let error = parse("a.json", &broken).unwrap_err();
        assert_eq!((error.at.line, &*error.file), (2, "a.json"));
        assert!(matches!(error.problem, Problem::Syntax(_)), "{error:?}");
    }
}

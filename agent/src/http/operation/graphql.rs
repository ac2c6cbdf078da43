//! GraphQL over HTTP: which operation a request asks for.
//!
//! In: the query of a request, and its body. Out: the operation that is chosen among those of the
//! document (GraphQL §6.1), with its outermost fields. Its name is the caller's own; its type and
//! its fields are the server's.

use serde::de::{IgnoredAny, MapAccess};

use super::{
    Found, Text,
    document::{self, Visit, take_text_or_null},
    parameters,
    query::{Definition, Document},
};

/// Reads what a request with this body and this query asks for.
pub(super) fn read(media_type: Option<&[u8]>, body: &[u8], query: &str, found: &mut Found) {
    let is = |name: &str| media_type.is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()));
    let in_query = read_form(query, found);
    if body.is_empty() {
        return;
    }
    // A server may look at either place: what one of them says is then not all.
    found.is_unsure |= in_query;
    if is("application/graphql") {
        choose(Some(&String::from_utf8_lossy(body)), None, found);
    } else if is("application/x-www-form-urlencoded") {
        let is_read = std::str::from_utf8(body).is_ok_and(|form| read_form(form, found));
        found.is_unsure |= !is_read;
    } else {
        document::read::<Asked>(body, found);
    }
}

/// Reads parameters; whether there were any.
fn read_form(form: &str, found: &mut Found) -> bool {
    let mut only = |name| {
        let mut values = parameters(form, name);
        let first = values.next();
        found.is_unsure |= values.next().is_some();
        first
    };
    let asked = Asked { query: only("query"), name: only("operationName") };
    let is_there = asked.query.is_some() || asked.name.is_some();
    asked.end(found);
    is_there
}

/// One request.
#[derive(Default)]
struct Asked {
    query: Option<Text>,
    name: Option<Text>,
}

impl Visit for Asked {
    fn member<'de, M: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut M,
        found: &mut Found,
    ) -> Result<(), M::Error> {
        match key {
            "query" => take_text_or_null(&mut self.query, map, found),
            "operationName" => take_text_or_null(&mut self.name, map, found),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }

    fn end(self, found: &mut Found) {
        let name = self.name.as_ref().map(|name| name.as_str()).filter(|name| !name.is_empty());
        choose(self.query.as_ref().map(|query| query.as_str()), name, found);
    }
}

/// Adds the operation of `document` that is called `name`, or the only one.
fn choose(document: Option<&str>, name: Option<&str>, found: &mut Found) {
    let Some(document) = document.filter(|document| !document.is_empty()) else {
        // A document that the server has: what is done is not said.
        if name.is_some() {
            found.is_unsure = true;
            found.add(None, name, &[]);
        }
        return;
    };
    let document = Document::read(document);
    found.is_unsure |= !document.is_whole;
    let operations = document.definitions.iter().filter(|it| it.kind.is_some());
    let chosen: Vec<_> = operations.filter(|it| name.is_none() || it.name == name).collect();
    // Servers refuse what has none, or several that may be meant.
    found.is_unsure |= chosen.len() != 1;
    for operation in chosen {
        let (fields, is_known) = fields(operation, &document);
        found.is_unsure |= !is_known;
        found.add(operation.kind, operation.name, &fields);
    }
}

/// The outermost fields of `operation`, those of fragments among them, each once; and whether
/// all of those fragments are defined.
fn fields<'a>(operation: &Definition<'a>, document: &Document<'a>) -> (Vec<&'a str>, bool) {
    let mut fields = Vec::new();
    let mut is_known = true;
    // Each fragment once, however they refer to each other.
    let mut spreads = operation.spreads.clone();
    let mut next = 0_usize;
    let mut current = Some(operation);
    while let Some(definition) = current {
        for field in &definition.fields {
            if !fields.contains(field) {
                fields.push(*field);
            }
        }
        for spread in &definition.spreads {
            if !spreads.contains(spread) {
                spreads.push(spread);
            }
        }
        current = None;
        while let Some(name) = spreads.get(next).filter(|_| current.is_none()) {
            let is_it = |it: &&Definition<'_>| it.kind.is_none() && it.name == Some(name);
            current = document.definitions.iter().find(is_it);
            is_known &= current.is_some();
            next = next.saturating_add(1);
        }
    }
    (fields, is_known)
}

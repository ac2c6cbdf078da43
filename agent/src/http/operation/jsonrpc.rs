//! JSON-RPC 2.0 requests, notifications and batches (§4, §6), and of the Model Context Protocol
//! the tool or prompt that one is for.
//!
//! In: a request's body. Out: each call's method and, in MCP, `params.name`. Answers, which an MCP
//! client sends too, ask for nothing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    Found, Protocol, Text,
    document::{self, Visit, members, take_text},
};

/// MCP methods whose `params.name` says what they are for.
const NAMING: [&str; 2] = ["prompts/get", "tools/call"];

/// Reads the calls in `body`; an empty one has none.
pub(super) fn read(body: &[u8], protocol: Protocol, found: &mut Found) {
    match protocol {
        _ if body.is_empty() => {}
        Protocol::Mcp => document::read::<Call<true>>(body, found),
        Protocol::JsonRpc | Protocol::Grpc | Protocol::Graphql => {
            document::read::<Call<false>>(body, found);
        }
    }
}

/// An object that may be a call.
#[derive(Default)]
struct Call<const MCP: bool> {
    method: Option<Text>,
    params: Option<Params>,
}

impl<const MCP: bool> Visit for Call<MCP> {
    fn member<'de, M: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut M,
        found: &mut Found,
    ) -> Result<(), M::Error> {
        match key {
            "method" => take_text(&mut self.method, map, found),
            "params" if MCP => {
                found.is_unsure |= self.params.is_some();
                map.next_value_seed(ParamsOf { params: self.params.get_or_insert_default(), found })
            }
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }

    fn end(self, found: &mut Found) {
        let Some(method) = self.method else { return };
        let names = NAMING.contains(&method.as_str());
        let name = self.params.and_then(|params| params.name).filter(|_| names);
        // Nothing is called by no name: servers refuse it, or know more than is known here.
        found.is_unsure |= MCP && names && name.is_none();
        found.add(Some(&method), name.as_ref().map(|name| name.as_str()), &[]);
    }
}

/// `params` of an MCP request.
#[derive(Default)]
struct Params {
    name: Option<Text>,
}

/// Reads `params`, whatever it is.
struct ParamsOf<'a> {
    params: &'a mut Params,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for ParamsOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ParamsOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        members(self.params, map, self.found)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl Visit for &mut Params {
    fn member<'de, M: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut M,
        found: &mut Found,
    ) -> Result<(), M::Error> {
        match key {
            "name" => take_text(&mut self.name, map, found),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }

    fn end(self, _found: &mut Found) {}
}

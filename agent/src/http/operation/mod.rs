//! Which operations a request asks for, where one path serves all of them: JSON-RPC 2.0, of it the
//! Model Context Protocol, GraphQL, and gRPC, which has them in its path.
//!
//! In: a request on a route that policy marked, with what was read of its body. Out:
//! [`Operations`]. A document that recipients may read in two ways, or that was not seen whole,
//! gives what was found in it and says that there may be more.

mod document;
mod graphql;
mod jsonrpc;
mod query;

use std::fmt::{self, Display};

use zeroize::Zeroizing;

use crate::{
    http::{
        body::{
            coding::{self, End},
            sample::Purpose,
        },
        message::{Note, Request},
        path::percent_decoded,
    },
    names::named_enum,
    text::Cuts,
    token::shape::without_secrets,
};

/// Longest name kept of a method, tool or operation, in bytes: those in use are far shorter.
pub const NAME_MAX: usize = 128;

/// Most outermost fields of GraphQL kept of one request.
pub const FIELDS_MAX: usize = 32;

/// Most operations kept of one request. Batches are rare, and a caller may make them as long as a
/// body is.
pub const OPERATIONS_MAX: usize = 16;

named_enum! {
    /// By which protocol a request names its operation.
    pub enum Protocol {
        /// gRPC: service and method.
        Grpc = "grpc",
        /// JSON-RPC 2.0: the method.
        JsonRpc = "jsonrpc",
        /// Model Context Protocol: the method, and the tool or prompt that it is for.
        Mcp = "mcp",
        /// GraphQL: the type, and the name that the caller gave it.
        Graphql = "graphql",
    }
}

/// One operation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Operation {
    /// What is done: a method; of GraphQL `query`, `mutation` or `subscription`, `None` if the
    /// request refers to a document that the server has.
    pub method: Option<String>,
    /// What it is done with: a tool or prompt; of GraphQL the name that the caller gave it.
    pub name: Option<String>,
    /// Of GraphQL the outermost fields, which are what the server executes.
    pub fields: Vec<String>,
}

impl Display for Operation {
    /// As OpenTelemetry names the spans of these protocols: `tools/call search`, `query Orders`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.method, &self.name) {
            (Some(method), Some(name)) => write!(f, "{method} {name}"),
            (Some(only), None) | (None, Some(only)) => f.write_str(only),
            (None, None) => Ok(()),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operations {
    /// How it says so.
    pub protocol: Protocol,
    /// The operations in their order, at most [`OPERATIONS_MAX`].
    pub list: Vec<Operation>,
    /// Whether these are all, for every recipient.
    pub is_complete: bool,
}

impl Operations {
    /// As policies name them: of MCP the method and what it is for (`tools/call:search`), of GraphQL
    /// each field that is executed (`mutation:addUser`). `None` if there may be more.
    #[must_use]
    pub fn named(&self) -> Option<Vec<String>> {
        let name = |operation: &Operation| {
            let Operation { method, name, fields } = operation;
            let method = method.as_deref().unwrap_or_default();
            match (self.protocol, name) {
                (Protocol::Graphql, _) if fields.is_empty() => vec![method.to_owned()],
                (Protocol::Graphql, _) => {
                    fields.iter().map(|field| format!("{method}:{field}")).collect()
                }
                (Protocol::Grpc | Protocol::JsonRpc | Protocol::Mcp, Some(name)) => {
                    vec![format!("{method}:{name}")]
                }
                (Protocol::Grpc | Protocol::JsonRpc | Protocol::Mcp, None) => {
                    vec![method.to_owned()]
                }
            }
        };
        self.is_complete.then(|| self.list.iter().flat_map(name).collect())
    }
}

/// The operations of a request that names them; `notes` are those of its exchange. Names are cut
/// to their limit, which `cuts` records, and lose words that look like secrets.
#[must_use]
pub fn of_request(request: &Request, notes: &[Note], cuts: &mut Cuts) -> Option<Operations> {
    if let Some((service, method)) = request.grpc() {
        let mut found = Found::default();
        found.add(Some(&format!("{service}/{method}")), None, &[]);
        return Some(found.shown(Protocol::Grpc, true, cuts));
    }
    let sample = request.content.sample()?;
    let Purpose::Operation(protocol) = sample.purpose() else { return None };
    let mut found = Found::default();
    let decoded = coding::decode(sample, &request.fields, cuts);
    let body = decoded.octets();
    let is_whole = decoded.is_whole() && !notes.contains(&Note::RequestBodyLost);
    if matches!(decoded.end(), End::TooLarge | End::Bomb) {
        cuts.record("body");
    }
    match protocol {
        Protocol::JsonRpc | Protocol::Mcp | Protocol::Grpc => {
            jsonrpc::read(body, protocol, &mut found);
        }
        Protocol::Graphql => {
            let query = request.target.split_once('?').map_or("", |(_, query)| query);
            graphql::read(request.fields.media_type(), body, query, &mut found);
        }
    }
    Some(found.shown(protocol, is_whole, cuts))
}

/// Text from a document: it may be anything, also a credential in the wrong place.
type Text = Zeroizing<String>;

/// An [`Operation`], as it was sent.
struct Named {
    method: Option<Text>,
    name: Option<Text>,
    fields: Vec<Text>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    list: Vec<Named>,
    /// How many fields they have.
    fields: usize,
    /// There are more than [`OPERATIONS_MAX`] or [`FIELDS_MAX`].
    is_cut: bool,
    /// What was read is no document, ends too soon, or may be read in another way.
    is_unsure: bool,
}

impl Found {
    fn add(&mut self, method: Option<&str>, name: Option<&str>, fields: &[&str]) {
        if self.list.len() >= OPERATIONS_MAX {
            self.is_cut = true;
            return;
        }
        let room = FIELDS_MAX.saturating_sub(self.fields);
        self.is_cut |= fields.len() > room;
        let text = |text: &str| Zeroizing::new(text.to_owned());
        let fields: Vec<_> = fields.iter().take(room).map(|field| text(field)).collect();
        self.fields = self.fields.saturating_add(fields.len());
        self.list.push(Named { method: method.map(text), name: name.map(text), fields });
    }

    fn shown(&self, protocol: Protocol, is_whole: bool, cuts: &mut Cuts) -> Operations {
        if self.is_cut {
            cuts.record("operation");
        }
        let mut show = |text: &Text| cuts.text("operation", &without_secrets(text), NAME_MAX);
        let list = self.list.iter().map(|Named { method, name, fields }| Operation {
            method: method.as_ref().map(&mut show),
            name: name.as_ref().map(&mut show),
            fields: fields.iter().map(&mut show).collect(),
        });
        Operations {
            protocol,
            list: list.collect(),
            is_complete: is_whole && !self.is_cut && !self.is_unsure,
        }
    }
}

/// The values of a query's or form's parameter, decoded (URL Standard §5.1).
fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Text> + 'a {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let decode = |text: &str| {
        let bytes = Zeroizing::new(percent_decoded(&text.replace('+', " ")));
        Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
    };
    pairs.filter(move |(key, _)| decode(key).as_str() == name).map(move |(_, value)| decode(value))
}

#[cfg(test)]
mod tests;

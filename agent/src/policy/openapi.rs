//! OpenAPI 3.0, 3.1 and 3.2 documents as policies. In: a document, YAML or JSON. Out: a route for
//! each operation: what it needs, by the security requirements of the document, and what is odd.
//!
//! `security` of an operation replaces that of the document; its alternatives are a list, of which
//! one must hold; schemes within one must all hold, and all scopes that are listed. References are
//! followed within the document only, and so often only as [`MAX_HOPS`] says.

mod document;
mod security;
mod servers;

use std::sync::Arc;

use crate::policy::{
    compile::Written,
    error::{Located, Problem},
    openapi::document::{Document, Operation, PathItem},
    place::{At, Place},
    raw,
    volume::Volume,
};

/// Most references that are followed one after another.
pub const MAX_HOPS: usize = 8;

/// Most routes of one document: operations times prefixes of servers.
pub const MAX_ROUTES: usize = 20_000;

/// A document, read.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// A route for each operation.
    pub routes: Vec<Written>,
    /// Hosts of its servers.
    pub hosts: Vec<String>,
    /// What is likely not meant so.
    pub warnings: Vec<Located>,
}

/// Reads a document. `file` is what messages call it.
///
/// # Errors
/// It is no OpenAPI document of those versions, or is not formed like one; the error says where.
pub fn import(file: &str, text: &str) -> Result<Imported, Located> {
    let document = document::parse(file, text)?;
    let mut import = Import { file: file.into(), document: &document, out: Imported::default() };
    import.check_version()?;
    import.out.hosts = servers::hosts(document.servers.as_deref().unwrap_or_default());
    import.paths()?;
    Ok(import.out)
}

struct Import<'d> {
    file: Arc<str>,
    document: &'d Document,
    out: Imported,
}

impl<'d> Import<'d> {
    fn check_version(&self) -> Result<(), Located> {
        let version = self.document.openapi.as_ref().or(self.document.swagger.as_ref());
        let known = |version: &str| {
            ["3.0", "3.1", "3.2"].iter().any(|known| {
                version.strip_prefix(known).is_some_and(|it| it.is_empty() || it.starts_with('.'))
            })
        };
        match version {
            Some(at) if self.document.openapi.is_some() && known(&at.value) => Ok(()),
            Some(at) => Err(self.located(at.place, Problem::NotOpenApi(Some(at.value.clone())))),
            // Nothing of it is wrong more than its beginning.
            None => Err(self.located(Place { line: 1, column: 1 }, Problem::NotOpenApi(None))),
        }
    }

    fn paths(&mut self) -> Result<(), Located> {
        let document = self.document;
        for (path, item) in &document.paths.0 {
            let Some(resolved) = self.resolve(item) else { continue };
            let servers = resolved.servers.as_ref().or(document.servers.as_ref());
            let operations: Vec<_> = resolved.operations().collect();
            for (method, operation) in operations {
                let servers = operation.value.servers.as_ref().or(servers);
                for prefix in servers::prefixes(servers.map_or(&[][..], Vec::as_slice)) {
                    if self.out.routes.len() >= MAX_ROUTES {
                        let count = self.out.routes.len().saturating_add(1);
                        let what = "routes";
                        let problem = Problem::TooMany { what, count, limit: MAX_ROUTES };
                        return Err(self.located(operation.place, problem));
                    }
                    let path = At { value: format!("{prefix}{path}"), place: item.place };
                    self.operation(method, path, operation);
                }
            }
        }
        Ok(())
    }

    fn operation(&mut self, method: &str, path: At<String>, at: &At<Operation>) {
        let operation = &at.value;
        if let Err(why) = crate::policy::template::Template::parse(&path.value) {
            let problem = Problem::Template { template: path.value, why };
            return self.warn(path.place, problem);
        }
        let name =
            operation.operation_id.clone().unwrap_or_else(|| format!("{method} {}", path.value));
        let mut alternatives = self.alternatives(&name, at);
        for one in &mut alternatives {
            operation.refine(one);
        }
        let (require, require_any) = match alternatives.as_slice() {
            [one] => (Some(one.clone()), None),
            _ => (None, Some(At { value: alternatives, place: at.place })),
        };
        let matching = raw::Match { methods: vec![method.to_owned()], path, operation: None };
        let route = raw::Route {
            id: None,
            r#match: At { value: matching, place: at.place },
            require,
            require_any,
            sensitivity: operation.sensitivity,
            audit: raw::Audit::default(),
            volume: Volume::Full,
            protocol: None,
        };
        let route = At { value: route, place: at.place };
        self.out.routes.push(Written { route, operation_id: operation.operation_id.clone() });
    }

    /// The path item, behind any number of references.
    fn resolve(&mut self, item: &'d At<PathItem>) -> Option<&'d PathItem> {
        let mut current = &item.value;
        for _ in 0..MAX_HOPS {
            let Some(reference) = &current.reference else { return Some(current) };
            let Some(next) = self.document.path_item(reference) else {
                let why = "leads to nothing in this document";
                let reference = reference.clone();
                self.warn(item.place, Problem::Reference { reference, why });
                return None;
            };
            current = next;
        }
        let reference = current.reference.clone().unwrap_or_default();
        let why = "leads to itself, or over too many others";
        self.warn(item.place, Problem::Reference { reference, why });
        None
    }

    fn warn(&mut self, at: Place, problem: Problem) {
        let located = self.located(at, problem);
        if !self.out.warnings.contains(&located) {
            self.out.warnings.push(located);
        }
    }

    fn located(&self, at: Place, problem: Problem) -> Located {
        Located { file: Arc::clone(&self.file), at, problem }
    }
}

#[cfg(test)]
mod tests;

//! `scopewatch policy suggest`: the least that clients need, from what they did. In: an audit log,
//! JSON lines. Out: for each client and route the scopes that were needed, and those that it was
//! granted and needed nowhere. Only calls that servers answered count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use serde_json::Value;

use crate::{commands::print, failure::Failure, text::printable};

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 1024 * 1024;
/// Most clients and routes together that are counted; those beyond are told by number.
const MAX_PAIRS: usize = 100_000;

/// What was seen of one client at one route.
#[derive(Debug, Default)]
struct Use {
    calls: u64,
    /// Scopes that the policy or the server asked for.
    asked: BTreeSet<String>,
    /// Scopes that every token had.
    common: Option<BTreeSet<String>>,
}

/// What was seen of clients.
#[derive(Debug, Default)]
struct Seen {
    uses: BTreeMap<(String, String), Use>,
    granted: BTreeMap<String, BTreeSet<String>>,
    beyond: u64,
    bad_lines: u64,
}

pub(super) fn suggest(log: &Path) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| Failure::unreadable(log, &error);
    let mut input = BufReader::new(File::open(log).map_err(unreadable)?);
    let mut seen = Seen::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => seen.add(&event),
            Err(_) => seen.bad_lines = seen.bad_lines.saturating_add(1),
        }
    }
    print(&seen.text())
}

impl Seen {
    fn add(&mut self, event: &Value) {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let texts = |pointer: &str| -> BTreeSet<String> {
            let all = event.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(|it| it.as_str().map(str::to_owned)).collect()
        };
        let is_answered = text("/authz/server_outcome") == Some("allowed");
        // A call seen at both ends is counted at the server's.
        let is_server = text("/observation/role") != Some("client");
        let Some(client) = text("/identity/client_id").filter(|_| is_answered && is_server) else {
            return;
        };
        let path = text("/route/template").or(text("/http/path")).unwrap_or("?");
        let route = format!("{} {path}", text("/http/method").unwrap_or("?"));
        let scopes = texts("/authz/scopes");
        let key = (client.to_owned(), route);
        if self.uses.len() >= MAX_PAIRS && !self.uses.contains_key(&key) {
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        self.granted.entry(client.to_owned()).or_default().extend(scopes.iter().cloned());
        let found = self.uses.entry(key).or_default();
        found.calls = found.calls.saturating_add(1);
        let one = texts("/authz/required/any").into_iter().find(|it| scopes.contains(it));
        found.asked.extend(texts("/authz/required/all").into_iter().chain(one));
        found.asked.extend(texts("/authz/server_required_scope"));
        found.common = Some(match found.common.take() {
            Some(common) => common.intersection(&scopes).cloned().collect(),
            None => scopes,
        });
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (client, granted) in &self.granted {
            let _infallible = writeln!(out, "client {}", printable(client));
            let mut needed: BTreeSet<&str> = BTreeSet::new();
            let mut is_known = true;
            for ((of, route), found) in &self.uses {
                if of != client {
                    continue;
                }
                let (scopes, origin) = match &found.common {
                    _ if !found.asked.is_empty() => (&found.asked, "asked for"),
                    Some(common) => (common, "in every token"),
                    None => continue,
                };
                is_known &= !found.asked.is_empty();
                needed.extend(scopes.iter().map(String::as_str));
                let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
                let scopes = joined(&scopes);
                let (route, calls) = (printable(route), found.calls);
                let _infallible = writeln!(out, "  {route}  {calls} calls  {scopes} ({origin})");
            }
            let unused = granted.iter().map(String::as_str).filter(|it| !needed.contains(it));
            let unused: Vec<&str> = unused.collect();
            let _infallible = writeln!(out, "  granted and not needed: {}", joined(&unused));
            if !is_known {
                out.push_str("  of some routes it is not known what they ask for: what every token had is taken for it\n");
            }
        }
        if self.beyond > 0 {
            let _infallible = writeln!(out, "{} calls were left out: too many routes", self.beyond);
        }
        if self.bad_lines > 0 {
            let _infallible = writeln!(out, "{} lines were no events", self.bad_lines);
        }
        if out.is_empty() { "no answered call of a known client".to_owned() } else { out }
    }
}

fn joined(texts: &[&str]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| printable(text)).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(" ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(client: &str, path: &str, scopes: &[&str], required: &Value, outcome: &str) -> Value {
        json!({
            "identity": {"client_id": client},
            "http": {"method": "GET", "path": path},
            "observation": {"role": "server"},
            "authz": {"scopes": scopes, "required": required, "server_outcome": outcome},
        })
    }

    #[test]
    fn clients_are_told_what_they_do_not_need() {
        let mut seen = Seen::default();
        let all = json!({"all": ["read"]});
        let none = json!({});
        seen.add(&event("web", "/orders", &["read", "admin", "x"], &all, "allowed"));
        seen.add(&event("web", "/orders", &["read"], &all, "allowed"));
        seen.add(&event("web", "/refunds", &["admin"], &none, "denied"));
        seen.add(&event("job", "/b", &["a", "b"], &none, "allowed"));
        seen.add(&event("job", "/b", &["b", "c"], &none, "allowed"));
        seen.add(&json!({"event": {}}));
        assert_eq!(
            seen.text(),
            "client job\n  \"GET /b\"  2 calls  b (in every token)\n  \
             granted and not needed: a c\n  of some routes it is not known what they ask for: \
             what every token had is taken for it\n\
             client web\n  \"GET /orders\"  2 calls  read (asked for)\n  \
             granted and not needed: admin x\n"
        );
    }
}

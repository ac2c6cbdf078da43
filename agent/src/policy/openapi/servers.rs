//! Servers of a document. In: their addresses, with variables. Out: what paths begin with there,
//! and the hosts.

use serde_json::Value;

use super::document::Server;

/// Most servers that are told apart.
const MAX_SERVERS: usize = 16;

/// What paths begin with: nothing, if the document names no server.
pub(super) fn prefixes(servers: &[Server]) -> Vec<String> {
    let mut prefixes: Vec<String> = Vec::new();
    for server in servers.iter().take(MAX_SERVERS) {
        let url = expanded(server);
        let path = match url.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None => url.as_str(),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        if !prefixes.contains(&prefix) {
            prefixes.push(prefix);
        }
    }
    if prefixes.is_empty() { vec![String::new()] } else { prefixes }
}

/// Host names of those that have any, in lower case, variables without a default as `*`.
pub(super) fn hosts(servers: &[Server]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for server in servers.iter().take(MAX_SERVERS) {
        let url = expanded(server);
        let Some((_, rest)) = url.split_once("://") else { continue };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let host = host.split('{').enumerate().map(|(nth, part)| match part.split_once('}') {
            Some((_, after)) if nth > 0 => format!("*{after}"),
            _ => part.to_owned(),
        });
        let host = host.collect::<String>();
        if !host.is_empty() && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Its address, with the defaults of variables.
fn expanded(server: &Server) -> String {
    let mut url = server.url.clone();
    for (name, variable) in server.variables.iter().flatten() {
        let default = match &variable.default {
            Value::String(text) => text.clone(),
            Value::Null => continue,
            other => other.to_string(),
        };
        url = url.replace(&format!("{{{name}}}"), &default);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, prefix: &str, host: &[&str]) {
        let server: Server = serde_json::from_value(serde_json::json!({
            "url": url, "variables": {"version": {"default": "v2"}, "n": {"default": 3}},
        }))
        .unwrap();
        let servers = [server];
        assert_eq!(prefixes(&servers), [prefix], "{url}");
        assert_eq!(hosts(&servers), host, "{url}");
    }

    #[test]
    fn addresses_give_prefixes_and_hosts() {
        check("https://API.example.net/v1/", "/v1", &["api.example.net"]);
        check("https://api.example.net:8443", "", &["api.example.net"]);
        check("/{version}", "/v2", &[]);
        check("https://x/{n}/{version}?a", "/3/v2", &["x"]);
        check("https://{tenant}.example.net/", "", &["*.example.net"]);
        check("", "", &[]);
        check("/", "", &[]);
    }
}

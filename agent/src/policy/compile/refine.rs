//! Routes of the policy over those of a document for the same path and method. In: both. Out: the
//! routes that calls are judged by: what the policy's own route says is so, and of what it is
//! silent on, what the document says.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::policy::{
    compiled::{Audit, Refined, Route},
    raw::{self, Sensitivity},
};

/// A route of the policy: as it was written, and as it is judged by where no document is.
pub(super) struct Own<'r> {
    pub raw: &'r raw::Route,
    pub route: Route,
}

/// `classes` are what each class of sensitivity adds to the log.
pub(super) fn refine(
    own: Vec<Own<'_>>,
    imported: Vec<Route>,
    classes: &BTreeMap<Sensitivity, raw::Audit>,
) -> Vec<Route> {
    // Names of parameters are each document's own affair.
    let mut alike: HashMap<_, Vec<(usize, &Route)>> = HashMap::new();
    for (nth, route) in imported.iter().enumerate() {
        alike.entry(route.template.shape()).or_default().push((nth, route));
    }
    let mut replaced = HashSet::new();
    let mut all = Vec::new();
    for Own { raw, route } in own {
        let mut taken: Vec<&String> = Vec::new();
        for (nth, document) in alike.get(&route.template.shape()).into_iter().flatten() {
            let covers = |method: &&String| {
                (route.methods.is_empty() || route.methods.contains(method))
                    && !taken.contains(method)
            };
            let Some(method) = document.methods.first().filter(covers) else { continue };
            taken.push(method);
            all.push(over(raw, &route, document, classes));
            // Other operations of that path are still the document's.
            if route.operation.is_none() {
                replaced.insert(*nth);
            }
        }
        let takes_all = route.methods.is_empty();
        let mut rest = route;
        rest.methods.retain(|method| !taken.contains(&method));
        if takes_all || !rest.methods.is_empty() {
            all.push(rest);
        }
    }
    drop(alike);
    let kept = imported.into_iter().enumerate().filter(|(nth, _)| !replaced.contains(nth));
    all.extend(kept.map(|(_, route)| route));
    all
}

fn over(
    raw: &raw::Route,
    own: &Route,
    document: &Route,
    classes: &BTreeMap<Sensitivity, raw::Audit>,
) -> Route {
    let needs_are_own = raw.require.is_some() || raw.require_any.is_some();
    let needs = if needs_are_own { own } else { document };
    let sensitivity = own.sensitivity.or(document.sensitivity);
    Route {
        origin: needs.origin.clone(),
        alternatives: needs.alternatives.clone(),
        trust: needs.trust,
        methods: document.methods.clone(),
        sensitivity,
        audit: Audit::of(&raw.audit, sensitivity.and_then(|it| classes.get(&it))),
        operation_id: document.operation_id.clone(),
        refined: Some(Refined {
            own: own.origin.clone(),
            document: document.origin.clone(),
            class_is_own: own.sensitivity.is_some(),
        }),
        ..own.clone()
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::compile::compile;

    const DOCUMENT: &str = r##"openapi: 3.1.0
paths:
  /orders/{order}:
    get:
      {operationId: read, x-scopewatch-sensitivity: pii, security: [{o: [orders:read]}]}
    delete:
      {operationId: drop, x-scopewatch-sensitivity: pii, security: [{o: [orders:drop]}]}
components: {securitySchemes: {o: {type: oauth2, flows: {clientCredentials:
  {tokenUrl: /t, scopes: {"orders:read": r, "orders:drop": d}}}}}}
"##;

    /// Id, methods, scopes, class, origin, and trust of each route, after `routes` are laid over
    /// the document.
    #[track_caller]
    fn check(routes: &str, expected: &[&str]) {
        let text = format!(
            "version: 1\nsensitivity: {{pii: {{user_agent: true}}}}\nservices:\n- id: a\n  \
             select: {{ports: [1]}}\n  openapi: {{file: api.yaml, trust: suggest}}\n  \
             routes:\n{routes}"
        );
        let policy = compile("p.yaml", &text, &|_| Ok(DOCUMENT.to_owned())).unwrap().policy;
        let found: Vec<String> = policy.services[0]
            .routes
            .iter()
            .map(|route| {
                let rule = route.alternatives[0].token.as_ref().unwrap();
                let class = route.sensitivity.map_or("-", |it| it.as_str());
                let agent = if route.audit.user_agent == Some(true) { " agent" } else { "" };
                format!(
                    "{} [{}] needs {}{} {class}{agent} {} {:?} {}",
                    route.id,
                    route.methods.join(" "),
                    rule.scopes.all.join(" "),
                    rule.scopes.any.join("|"),
                    route.origin,
                    route.trust,
                    route.operation_id.as_deref().unwrap_or("-"),
                )
            })
            .collect();
        assert_eq!(found, expected, "{routes}");
    }

    #[test]
    fn what_the_policy_says_of_a_route_goes_before_the_document_and_the_rest_stays() {
        let drop =
            "DELETE /orders/{order} [DELETE] needs orders:drop pii agent api.yaml:7 Suggest drop";
        let read = "GET /orders/{order} [GET] needs orders:read pii agent api.yaml:5 Suggest read";
        // Nothing but a name: all else is the document's, whatever it calls the parameter.
        check(
            "  - {id: mine, match: {methods: [GET], path: \"/orders/{id}\"}}\n",
            &["mine [GET] needs orders:read pii agent api.yaml:5 Suggest read", drop],
        );
        check(
            "  - {match: {methods: [GET], path: \"/orders/{id}\"}, sensitivity: public}\n",
            &["GET /orders/{id} [GET] needs orders:read public api.yaml:5 Suggest read", drop],
        );
        check(
            "  - match: {methods: [GET], path: \"/orders/{id}\"}\n    require: {scopes: {any: [a]}}\n",
            &["GET /orders/{id} [GET] needs a pii agent p.yaml:8 Enforce read", drop],
        );
        check(
            "  - match: {methods: [GET], path: \"/orders/{id}\"}\n    require_any: [{scopes: {all: [b]}}]\n    audit: {user_agent: false}\n",
            &["GET /orders/{id} [GET] needs b pii p.yaml:8 Enforce read", drop],
        );
        // One route of the policy, several of the document, and a method that it does not have.
        check(
            "  - {id: m, match: {methods: [GET, PUT, DELETE], path: \"/orders/{id}\"}}\n",
            &[
                "m [GET] needs orders:read pii agent api.yaml:5 Suggest read",
                "m [DELETE] needs orders:drop pii agent api.yaml:7 Suggest drop",
                "m [PUT] needs  - p.yaml:8 Enforce -",
            ],
        );
        check(
            "  - {id: m, match: {path: \"/orders/{id}\"}, sensitivity: secret}\n",
            &[
                "m [GET] needs orders:read secret api.yaml:5 Suggest read",
                "m [DELETE] needs orders:drop secret api.yaml:7 Suggest drop",
                "m [] needs  secret p.yaml:8 Enforce -",
            ],
        );
        // An operation within takes what it lacks, and leaves the others to the document.
        check(
            "  - id: m\n    match: {methods: [GET], path: \"/orders/{id}\", operation: x}\n    protocol: mcp\n",
            &["m [GET] needs orders:read pii agent api.yaml:5 Suggest read", read, drop],
        );
        // Another path, and another slash, are other routes.
        for path in ["/orders/{id}/", "/orders/7", "/orders/**"] {
            let text = format!("  - {{id: m, match: {{methods: [GET], path: \"{path}\"}}}}\n");
            let own = "m [GET] needs  - p.yaml:8 Enforce -";
            match path {
                "/orders/7" => check(&text, &[own, read, drop]),
                "/orders/**" => check(&text, &[read, drop, own]),
                _ => check(&text, &[own, read, drop]),
            }
        }
    }
}

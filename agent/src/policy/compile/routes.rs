//! Routes of the policy and of documents. In: what is written of a route. Out: what calls of it
//! are judged by.

use std::{sync::Arc, time::Duration};

use super::{Compiler, globs, refine::Own};
use crate::policy::{
    claim::{Condition, Test},
    compiled::{Audit, Origin, Requirement, Route, TokenRule},
    error::{Located, Problem},
    glob::Glob,
    place::{At, Place},
    raw::{self, Needed},
    template::Template,
};

/// Most ways in which a call of one route may be in order.
pub const MAX_ALTERNATIVES: usize = 32;

/// What a route is written in.
pub(super) struct Context<'c> {
    pub service: &'c raw::Service,
    pub file: Arc<str>,
    pub trust: raw::Trust,
}

/// A route, by whoever wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The route.
    pub route: At<raw::Route>,
    /// `operationId` in an OpenAPI document.
    pub operation_id: Option<String>,
}

impl<'r> Compiler<'r> {
    pub(super) fn routes(&mut self, service: &'r raw::Service) -> Vec<Own<'r>> {
        let ids = service.routes.iter().filter_map(|route| route.value.id.as_ref());
        self.unique("route", ids);
        let trust = raw::Trust::Enforce;
        let context = Context { service, file: Arc::clone(&self.file), trust };
        let written = |route: &At<raw::Route>| Written { route: route.clone(), operation_id: None };
        let routes = service.routes.iter().filter_map(|at| {
            let route = self.route(&written(at), &context)?;
            Some(Own { raw: &at.value, route })
        });
        routes.collect()
    }

    pub(super) fn route(&mut self, written: &Written, context: &Context<'_>) -> Option<Route> {
        let raw = &written.route.value;
        let raw::Match { methods, path, operation } = &raw.r#match.value;
        let template = match Template::parse(&path.value) {
            Ok(template) => template,
            Err(why) => {
                let problem = Problem::Template { template: path.value.clone(), why };
                self.refuse_in(&context.file, path.place, problem);
                return None;
            }
        };
        self.methods(methods, raw.r#match.place, &context.file);
        if operation.is_some() && raw.protocol.is_none() {
            let what = "`operation` needs `protocol` beside `match`, which says how it is found";
            self.refuse_in(&context.file, raw.r#match.place, Problem::Invalid(what));
        }
        let class = raw.sensitivity.and_then(|it| self.raw.sensitivity.get(&it));
        let audit = Audit::of(&raw.audit, class);
        for param in &raw.audit.params {
            self.parameter(param, &template, written.route.place, &context.file);
        }
        if let Some(problem) = raw.volume.problem() {
            self.refuse_in(&context.file, written.route.place, Problem::Invalid(problem));
        }
        let alternatives = self.alternatives(written, &template, context);
        let id = raw.id.as_ref().map_or_else(|| made_id(methods, path), |id| id.value.clone());
        Some(Route {
            id: id.into(),
            origin: Origin { file: Arc::clone(&context.file), at: written.route.place },
            methods: methods.clone(),
            template,
            operation: operation.as_ref().map(|it| Glob::new(&it.value)),
            protocol: raw.protocol,
            alternatives,
            sensitivity: raw.sensitivity,
            audit,
            volume: raw.volume,
            operation_id: written.operation_id.clone(),
            trust: context.trust,
            refined: None,
        })
    }

    fn methods(&mut self, methods: &[String], at: Place, file: &Arc<str>) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let odd = |it: &&String| it.is_empty() || !it.bytes().all(token);
        if methods.iter().any(|it| odd(&it)) {
            let what = "a method is a word (RFC 9110 §9.1); leave `methods` out for all";
            self.refuse_in(file, at, Problem::Invalid(what));
        } else if methods.iter().any(|it| it.bytes().any(|b| b.is_ascii_lowercase())) {
            let what = "methods are case-sensitive (RFC 9110 §9.1): no client sends this one";
            self.warn(at, Problem::Invalid(what));
        }
    }

    fn alternatives(
        &mut self,
        written: &Written,
        template: &Template,
        context: &Context<'_>,
    ) -> Vec<Requirement> {
        let raw = &written.route.value;
        let at = written.route.place;
        match (&raw.require, &raw.require_any) {
            (Some(_), Some(any)) => {
                let what = "a route has `require` or `require_any`, not both";
                self.refuse_in(&context.file, any.place, Problem::Invalid(what));
                Vec::new()
            }
            (_, Some(any)) if any.value.is_empty() || any.value.len() > MAX_ALTERNATIVES => {
                let what = "`require_any` has 1 to 32 alternatives";
                self.refuse_in(&context.file, any.place, Problem::Invalid(what));
                Vec::new()
            }
            (_, Some(any)) => {
                any.value.iter().map(|one| self.requirement(one, template, at, context)).collect()
            }
            (Some(one), None) => vec![self.requirement(one, template, at, context)],
            (None, None) => {
                vec![self.requirement(&raw::Require::default(), template, at, context)]
            }
        }
    }

    fn requirement(
        &mut self,
        raw: &raw::Require,
        template: &Template,
        at: Place,
        context: &Context<'_>,
    ) -> Requirement {
        let given = raw.credentials.as_deref().unwrap_or(&[Needed::Token]);
        let mut others: Vec<Needed> = given.to_vec();
        others.retain(|needed| *needed != Needed::Token);
        let needs_token = others.len() < given.len();
        let rule = self.token_rule(raw, template, context);
        let blank = raw::Require { credentials: raw.credentials.clone(), ..Default::default() };
        if !needs_token && *raw != blank {
            let what = "what is required of a token has no effect without `token` among \
                        `credentials`";
            self.refuse_in(&context.file, at, Problem::Invalid(what));
        }
        Requirement { token: needs_token.then_some(rule), others }
    }

    fn token_rule(
        &mut self,
        raw: &raw::Require,
        template: &Template,
        context: &Context<'_>,
    ) -> TokenRule {
        let mut claims = Vec::new();
        for claim in &raw.claims {
            match Condition::read(&claim.value) {
                Ok(condition) => {
                    if let Test::EqualsParam(name) = &condition.test {
                        self.parameter(name, template, claim.place, &context.file);
                    }
                    claims.push(condition);
                }
                Err(what) => self.refuse_in(&context.file, claim.place, Problem::Invalid(what)),
            }
        }
        let issuers = raw.issuers.iter().filter_map(|name| self.issuer_index(name)).collect();
        let audiences = raw.audiences.as_ref().unwrap_or(&context.service.audiences);
        TokenRule {
            scopes: raw.scopes.clone(),
            roles: raw.roles.clone(),
            claims,
            acr: raw.acr.any.clone(),
            max_auth_age: raw.acr.max_auth_age.map(|age| Duration::from_secs(age.0)),
            binding: raw.binding,
            audiences: audiences.clone(),
            issuers,
            clients: globs(&raw.clients.allow),
        }
    }

    fn parameter(&mut self, name: &str, template: &Template, at: Place, file: &Arc<str>) {
        if !template.parameters().any(|it| it == name) {
            self.refuse_in(file, at, Problem::NoParameter(name.to_owned()));
        }
    }

    fn refuse_in(&mut self, file: &Arc<str>, at: Place, problem: Problem) {
        self.problems.push(Located { file: Arc::clone(file), at, problem });
    }
}

/// `GET,POST /v1/orders`
fn made_id(methods: &[String], path: &At<String>) -> String {
    let methods = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    format!("{methods} {}", path.value)
}

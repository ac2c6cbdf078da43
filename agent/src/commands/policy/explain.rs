//! `scopewatch policy explain`: what the policy says of a request, by which line, and why. In: a
//! policy, a request, tokens in files. Out: text. Tokens are read and verified as the agent does.

use std::{fmt::Write as _, path::Path, sync::Arc};

use super::{load, read, request};
use crate::{
    cli,
    clock::Timestamp,
    commands::print,
    failure::{ExitCode, Failure, chain},
    policy::{compiled::Policy, evaluate::Engine, judgement::Judgement, raw::Amount},
    text::printable,
    token::{
        Credential,
        examination::{Binding, Confirmation},
        issuer::KeyOrigin,
        keys::{Held, KeySet, Trust, Trusted},
    },
};

pub(super) fn explain(asked: &cli::Explain) -> Result<(), Failure> {
    let cli::Explain { file, request: path, token, service, port, at } = asked;
    let policy = load(file)?.policy;
    let at = moment(at.as_deref())?;
    let wrong = || {
        let text =
            format!("{} is no request: METHOD TARGET, fields, an empty line", path.display());
        Failure::new(ExitCode::Data, text)
    };
    let mut request = request::parse(&read(path)?, at).ok_or_else(wrong)?;
    if let Some(token) = token {
        let value = format!("Bearer {}", read(token)?.trim());
        request.fields.push(b"authorization", value.as_bytes());
    }
    let trust = trust(file, &policy)?;
    let engine = Engine::new(Arc::new(policy));
    let credentials = request::credentials(&engine, &request, &trust)?;
    let credentials: Vec<Credential> = credentials.iter().map(|it| it.as_ref().clone()).collect();
    let bindings: Vec<Binding> = credentials.iter().map(assumed_binding).collect();
    let service = request::service(&engine, service.as_deref())?;
    let sketch = request::Sketch { request, service, port: *port, operations: None };
    match request::judge(&engine, &sketch, &credentials, &bindings) {
        Some(judgement) => print(&text(&engine, &judgement, &credentials)),
        None => print(
            "the policy says nothing of this request: no service of it fits, or the \
                       service ignores what no route matches (--service names one)",
        ),
    }
}

/// A bound token is taken to come with its proof only where that can be seen; here it cannot.
fn assumed_binding(credential: &Credential) -> Binding {
    let unbound = credential.examination.grant.confirmation == Confirmation::default();
    if unbound { Binding::None } else { Binding::Unverifiable }
}

/// The time that is given, else now.
pub(super) fn moment(at: Option<&str>) -> Result<Timestamp, Failure> {
    let Some(at) = at else {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = now.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        return Ok(Timestamp(nanos));
    };
    Timestamp::from_rfc3339(at).ok_or_else(|| {
        Failure::new(ExitCode::Usage, format!("{at} is no time: write 2026-11-22T10:04:31Z"))
    })
}

/// Issuers with the keys that are in files and in the policy.
fn trust(file: &Path, policy: &Policy) -> Result<Trust, Failure> {
    let mut all = Vec::new();
    for issuer in &policy.issuers {
        let mut keys = Vec::new();
        for origin in &issuer.keys {
            let text = match origin {
                KeyOrigin::File(path) => read(&file.parent().unwrap_or(Path::new("")).join(path))?,
                KeyOrigin::Inline(text) => text.clone(),
                KeyOrigin::Url { .. } | KeyOrigin::Observed(_) => continue,
            };
            let set = KeySet::read(&text).map_err(|error| {
                let text = format!("the keys of issuer {}: {}", issuer.id, chain(&error));
                Failure::new(ExitCode::Config, text)
            })?;
            keys.push(Held::configured(set));
        }
        all.push(Trusted { issuer: Arc::new(issuer.clone()), keys });
    }
    Ok(Trust::new(all, 1))
}

/// One line for each thing that is known.
pub(super) fn text(engine: &Engine, judgement: &Judgement, credentials: &[Credential]) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _infallible = writeln!(out, "{name:<11}{text}");
    };
    let services = &engine.policy().services;
    let origin = services.get(judgement.service.0).map(|it| it.origin.to_string());
    line("service", &format!("{} ({})", judgement.service_id, origin.unwrap_or_default()));
    match &judgement.route {
        Some(route) => {
            let class = route.sensitivity.map_or_else(String::new, |it| format!(", {it}"));
            line("route", &format!("{} ({}){class}", route.id, judgement.rule));
        }
        None if judgement.preflight => line("route", "none: a CORS preflight is not judged"),
        None => line("route", "none matches"),
    }
    line("verdict", judgement.verdict.as_str());
    for reason in &judgement.reasons {
        line("reason", &printable(&reason.to_string()));
    }
    let Amount { all, any } = &judgement.required;
    if !all.is_empty() {
        line("needs all", &all.join(" "));
    }
    if !any.is_empty() {
        line("needs one", &any.join(" "));
    }
    if let Some(credential) = judgement.credential.and_then(|nth| credentials.get(nth)) {
        let examination = &credential.examination;
        let issuer =
            examination.issuer.and_then(|it| engine.policy().issuers.get(usize::from(it.0)));
        let issuer = issuer.map_or("none of the policy's", |issuer| issuer.id.as_str());
        let (format, signature) = (credential.format(), examination.signature);
        line(
            "token",
            &format!("{format}, issuer {issuer}, signature {signature}, {}", examination.evidence),
        );
        line("scopes", &printable(&examination.grant.scopes.join(" ")));
    }
    if judgement.path_ambiguous {
        line("path", "servers may read it in several ways: the strictest counts");
    }
    if judgement.advisory {
        line("trust", "the rule is a suggestion, and raises no alarm");
    }
    out
}

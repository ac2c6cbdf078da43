//! `scopewatch policy explain`: what the policy says of a request, by which line, and why. In: a
//! policy, a request, tokens in files. Out: text. Tokens are read and verified as the agent does.

use std::{fmt::Write as _, path::Path, sync::Arc};

use super::{load, read, request};
use crate::{
    cli,
    clock::Timestamp,
    commands::print,
    failure::{ExitCode, Failure, chain},
    http::body::Wanted,
    policy::{
        compiled::{Policy, Refined, Route},
        evaluate::Engine,
        judgement::Judgement,
        raw::Amount,
    },
    rules::Rules,
    text::printable,
    token::{
        Credential,
        examination::{Binding, Confirmation, SignatureState},
        issuer::KeyOrigin,
        keys::{Held, KeySet, Trust, Trusted},
    },
};

pub(super) fn explain(asked: &cli::Explain) -> Result<(), Failure> {
    let cli::Explain { file, request: path, token, service, port, at } = asked;
    let policy = load(file)?.policy;
    let at = moment(at.as_deref())?;
    let wrong = || {
        let text = format!(
            "{} is no request: METHOD TARGET, fields, an empty line, a body",
            path.display()
        );
        Failure::new(ExitCode::Data, text)
    };
    let trust = Arc::new(trust(file, &policy)?);
    let rules = Rules::new(Arc::new(policy), Arc::clone(&trust), None);
    let wanted = Wanted { routes: Arc::clone(&rules.marks), ..Wanted::default() };
    let mut request = request::parse(&read(path)?, at, &wanted).ok_or_else(wrong)?;
    if let Some(token) = token {
        let value = format!("Bearer {}", read(token)?.trim());
        request.fields.push(b"authorization", value.as_bytes());
    }
    let Some(engine) = rules.engine else { return Ok(()) };
    let credentials = request::credentials(&engine, &request, &trust)?;
    let credentials: Vec<Credential> = credentials.iter().map(|it| it.as_ref().clone()).collect();
    let bindings: Vec<Binding> = credentials.iter().map(assumed_binding).collect();
    let service = request::service(&engine, service.as_deref())?;
    let operations = request::operations(&request);
    let sketch = request::Sketch { request, service, port: *port, operations };
    match request::judge(&engine, &sketch, &credentials, &bindings) {
        Some(judgement) => {
            let mut out = text(&engine, &judgement, &credentials);
            for absent in absent_keys(&engine, &judgement, &credentials) {
                let _infallible = writeln!(out, "{:<11}{absent}", "keys");
            }
            print(&out)
        }
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

/// What keys of the token's issuer the agent may have and this command has not, and what that means.
fn absent_keys(engine: &Engine, judgement: &Judgement, credentials: &[Credential]) -> Vec<String> {
    let shown = judgement.credential.and_then(|nth| credentials.get(nth));
    let shown = shown.map(|credential| &credential.examination);
    let open = [SignatureState::KeyUnknown, SignatureState::NotChecked];
    let Some(shown) = shown.filter(|it| open.contains(&it.signature)) else { return Vec::new() };
    let issuer = shown.issuer.and_then(|it| engine.policy().issuers.get(usize::from(it.0)));
    let places = issuer.into_iter().flat_map(|issuer| &issuer.keys).filter_map(|origin| {
        let place = match origin {
            KeyOrigin::Url { url, .. } => {
                format!("those at {} are not fetched here", printable(url))
            }
            KeyOrigin::Observed(_) => {
                "those that this host's processes are answered are not seen here".into()
            }
            KeyOrigin::File(_) | KeyOrigin::Inline(_) => return None,
        };
        Some(format!(
            "{place}: the signature is open, and the agent, which has them, denies the call \
             if it is bad"
        ))
    });
    places.collect()
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

/// What the route that decided was made of, if the policy refines one of a document.
fn refined<'e>(engine: &'e Engine, judgement: &Judgement) -> Option<&'e Refined> {
    let decided = judgement.route.as_ref()?;
    let service = engine.policy().services.get(judgement.service.0)?;
    let same = |route: &&Route| {
        route.id == decided.id
            && route.origin == judgement.rule
            && route.operation_id == decided.operation_id
    };
    service.routes.iter().find(same)?.refined.as_ref()
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
            if let Some(refined) = refined(engine, judgement) {
                let Refined { own, document, class_is_own } = refined;
                let class = if *class_is_own { own } else { document };
                let needs = &judgement.rule;
                let text = format!("{own} refines {document}; needs by {needs}, class by {class}");
                line("made of", &text);
            }
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

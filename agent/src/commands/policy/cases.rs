//! `scopewatch policy test`: cases beside a policy. In: a file of cases, which names its policy.
//! Out: what fails, and an exit code. Tokens of cases are claims, taken to be genuine: what is
//! tested is the policy, not signatures.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{load, read, request, wrong};
use crate::{
    clock::Timestamp,
    commands::print,
    failure::{ExitCode, Failure},
    http::message::Fields,
    policy::{
        error::{Located, Problem, Problems},
        evaluate::Engine,
        judgement::{Judgement, Verdict},
        place::{At, Place},
        raw::BindingNeed,
    },
    token::{
        Content, Credential, Evidence,
        examination::{Binding, Fault, SignatureState},
        keys::{Trust, Trusted},
    },
};

/// Cases that a policy must satisfy.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The policy, relative to this file.
    policy: PathBuf,
    /// When calls are made (RFC 3339).
    #[serde(default = "new_year")]
    at: At<String>,
    /// The cases.
    cases: Vec<At<Case>>,
}

fn new_year() -> At<String> {
    At::nowhere("2026-01-01T00:00:00Z".to_owned())
}

/// A call, and what the policy must say of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What is tested.
    name: String,
    /// `id` of the service; may be left out where there is one.
    #[serde(default)]
    service: Option<String>,
    /// Method and target, such as `GET /v1/orders/7`.
    request: String,
    /// Fields of the request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Claims of a token; `iat` and `exp` are added if they are absent.
    #[serde(default)]
    token: Option<Map<String, Value>>,
    /// How possession of the token is proven.
    #[serde(default)]
    binding: BindingNeed,
    /// Operations of a protocol within HTTP, such as `tools/call:search`.
    #[serde(default)]
    operations: Option<Vec<String>>,
    /// The verdict; `unjudged` if the policy says nothing.
    expect: Expected,
    /// All reasons, in any order.
    #[serde(default)]
    reasons: Option<Vec<String>>,
    /// `id` of the route that decides.
    #[serde(default)]
    route: Option<String>,
}

/// What a policy must say.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Allow,
    Deny,
    Indeterminate,
    Unjudged,
}

/// Parses a file of cases.
///
/// # Errors
/// It is none; the error says where.
pub fn parse(file: &str, text: &str) -> Result<Cases, Located> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().map(Into::into).unwrap_or_default();
        Located { file: file.into(), at, problem: Problem::from(&error) }
    })
}

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let name = file.display().to_string();
    let cases = parse(&name, &read(file)?).map_err(|it| wrong(&Problems(vec![it])))?;
    let policy = file.parent().unwrap_or(Path::new("")).join(&cases.policy);
    let engine = Engine::new(Arc::new(load(&policy)?.policy));
    let Some(at) = Timestamp::from_rfc3339(&cases.at.value) else {
        let problem = Problem::Invalid("`at` is a time such as 2026-11-22T10:04:31Z");
        return Err(wrong(&Problems(vec![Located {
            file: name.into(),
            at: cases.at.place,
            problem,
        }])));
    };
    let mut failed = Vec::new();
    for case in &cases.cases {
        for difference in differences(&engine, &case.value, at)? {
            let Place { line, .. } = case.place;
            failed.push(format!("{name}:{line}: {}: {difference}", case.value.name));
        }
    }
    if failed.is_empty() {
        return print(&format!("{name}: {} cases hold", cases.cases.len()));
    }
    print(&failed.join("\n"))?;
    let text = format!("{name}: what {} cases expect is not so", cases.cases.len());
    Err(Failure::new(ExitCode::Data, text))
}

/// How the policy differs from what a case expects.
fn differences(engine: &Engine, case: &Case, at: Timestamp) -> Result<Vec<String>, Failure> {
    let found = judge(engine, case, at)?;
    let mut differences = Vec::new();
    let verdict = found.as_ref().map(|it| match it.verdict {
        Verdict::Allow => Expected::Allow,
        Verdict::Deny => Expected::Deny,
        Verdict::Indeterminate => Expected::Indeterminate,
    });
    let verdict = verdict.unwrap_or(Expected::Unjudged);
    let reasons: Vec<String> =
        found.iter().flat_map(|it| &it.reasons).map(ToString::to_string).collect();
    let rule = found.as_ref().map_or_else(String::new, |it| format!(" ({})", it.rule));
    if verdict != case.expect {
        let word = |it: Expected| format!("{it:?}").to_lowercase();
        differences.push(format!(
            "{} instead of {}{rule}: {}",
            word(verdict),
            word(case.expect),
            reasons.join(" ")
        ));
    }
    if let Some(expected) = &case.reasons {
        let sorted = |all: &[String]| {
            let mut all = all.to_vec();
            all.sort_unstable();
            all
        };
        if sorted(expected) != sorted(&reasons) {
            let (found, expected) = (reasons.join(" "), expected.join(" "));
            differences.push(format!("reasons `{found}` instead of `{expected}`{rule}"));
        }
    }
    let route = found.as_ref().and_then(|it| it.route.as_ref()).map(|it| it.id.to_string());
    if case.route.is_some() && case.route != route {
        let expected = case.route.clone().unwrap_or_default();
        let found = route.unwrap_or_else(|| "none".to_owned());
        differences.push(format!("route `{found}` instead of `{expected}`"));
    }
    Ok(differences)
}

fn judge(engine: &Engine, case: &Case, at: Timestamp) -> Result<Option<Judgement>, Failure> {
    let mut fields = Fields::default();
    for (name, value) in &case.headers {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    if let Some(claims) = &case.token {
        let scheme = if case.binding == BindingNeed::Dpop { "DPoP" } else { "Bearer" };
        let value = format!("{scheme} {}", token(claims, at));
        fields.push(b"authorization", value.as_bytes());
    }
    let (method, target) = case.request.split_once(' ').unwrap_or((&case.request, ""));
    let request = request::request(method, target, fields, at);
    let issuers = engine.policy().issuers.iter();
    let issuers =
        issuers.map(|it| Trusted { issuer: Arc::new(it.clone()), keys: Vec::new() }).collect();
    let read = request::credentials(engine, &request, &Trust::new(issuers, 1))?;
    let mut credentials: Vec<Credential> = read.iter().map(|it| it.as_ref().clone()).collect();
    credentials.iter_mut().for_each(believe);
    let binding = match case.binding {
        BindingNeed::None => Binding::None,
        BindingNeed::Dpop => Binding::Dpop,
        BindingNeed::Mtls | BindingNeed::Any => Binding::Mtls,
    };
    let bindings = vec![binding; credentials.len()];
    let service = request::service(engine, case.service.as_deref())?;
    let operations = case.operations.clone();
    let sketch = request::Sketch { request, service, port: 443, operations };
    Ok(request::judge(engine, &sketch, &credentials, &bindings))
}

/// A token with these claims, unsigned in all but form.
fn token(claims: &Map<String, Value>, at: Timestamp) -> String {
    let mut claims = claims.clone();
    let mut default = |name: &str, value: u64| {
        claims.entry(name).or_insert_with(|| json!(value));
    };
    default("iat", at.as_secs());
    default("exp", at.as_secs().saturating_add(300));
    let header = BASE64URL.encode(r#"{"alg":"RS256","typ":"at+jwt","kid":"case"}"#);
    let claims = BASE64URL.encode(Value::Object(claims).to_string());
    format!("{header}.{claims}.{}", BASE64URL.encode("case"))
}

/// Takes a token for genuine.
fn believe(credential: &mut Credential) {
    let examination = &mut credential.examination;
    let of_signature = |fault: &Fault| {
        matches!(fault, Fault::KeyUnknown | Fault::SignatureBad | Fault::AlgForbidden)
    };
    examination.faults.retain(|fault| !of_signature(fault));
    if matches!(credential.content, Content::Jws(_)) {
        examination.signature = SignatureState::Ok;
        examination.evidence = Evidence::Verified;
    }
}

#[cfg(test)]
mod tests;

//! One token, told to a person. In: a token on its own, issuers with their keys, a moment. Out: an
//! [`Inspection`]: header, claims, and every check with what came of it. The token itself is not in
//! it, nor its signature, nor what of its claims has the shape of a secret.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Format, Kind,
    examination::{Examination, Fault, HeaderNote, SignatureState},
    grant,
    issuer::{Algorithm, Issuer},
    jwt::{self, Parsed},
    keys::{Held, KeySet, Trust, Trusted},
    opaque,
    profile::Profile,
    verify,
};
use crate::{
    clock::Timestamp,
    names::named_enum,
    text::{Cuts, printable},
};

/// Claims that name people, in the dialects that are known.
const PERSONAL: &[&str] = &[
    "act",
    "actor",
    "email",
    "family_name",
    "given_name",
    "ipaddr",
    "middle_name",
    "name",
    "nickname",
    "oid",
    "phone_number",
    "picture",
    "preferred_username",
    "sub",
    "uid",
    "unique_name",
    "upn",
    "user_login",
    "username",
];

named_enum! {
    /// What came of a check.
    pub enum Outcome {
        /// In order
        Pass = "pass",
        /// Not in order
        Fail = "fail",
        /// There was nothing to check, or nothing to check it with
        NotApplicable = "not_applicable",
    }
}

/// A check of RFC 9068 §4 or RFC 8725 §3.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// Why; empty if there is no more to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What there is to say of a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Encoding.
    pub format: Format,
    /// What it is for, where that can be told.
    pub kind: Option<Kind>,
    /// Name of the issuer's prefix, for opaque tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_class: Option<&'static str>,
    /// JOSE header.
    pub header: Map<String, Value>,
    /// Claims, as far as privacy allows.
    pub claims: Map<String, Value>,
    /// What in the header is odd.
    pub notes: Vec<HeaderNote>,
    /// Every check.
    pub checks: Vec<Check>,
    /// Whether nothing failed, and the signature is the issuer's.
    pub valid: bool,
}

/// What stands for a name; `None` leaves it out.
pub type Name<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Inspects `token` as of `at`. `name` says what is told of people.
#[must_use]
pub fn inspect(token: &str, trust: &Trust, at: Timestamp, name: Name<'_>) -> Inspection {
    let parsed = jwt::parse(token);
    let content = parsed.content(&mut Cuts::default());
    let examination = verify::examine(token, &parsed, &content, trust, at);
    let empty = Map::new();
    let (format, header, claims) = match &parsed {
        Parsed::Jws(jws) => (Format::Jws, &jws.header, &jws.claims),
        Parsed::Jwe(header) => (Format::Jwe, header, &empty),
        Parsed::Opaque => (Format::Opaque, &empty, &empty),
        Parsed::Malformed => (Format::Malformed, &empty, &empty),
    };
    let prefix = opaque::prefix_class(token).filter(|_| format == Format::Opaque);
    let kind = match &parsed {
        Parsed::Jws(jws) => jwt::kind(&jws.header, &jws.claims),
        _ => prefix.map(|class| class.kind),
    };
    let checks = checks(format, &examination, claims, trust, at);
    let failed = checks.iter().any(|check| check.outcome == Outcome::Fail);
    Inspection {
        format,
        kind,
        prefix_class: prefix.map(|class| class.name),
        header: grant::without_secrets(header),
        claims: without_people(grant::without_secrets(claims), name),
        valid: !failed && examination.signature == SignatureState::Ok,
        notes: examination.notes,
        checks,
    }
}

/// The issuer that `token` names, trusted by `keys` alone: for a token whose policy is not at hand.
/// Any algorithm is allowed that a key fits.
#[must_use]
pub fn trust_by_keys(token: &str, keys: KeySet) -> Trust {
    let Parsed::Jws(jws) = jwt::parse(token) else { return Trust::default() };
    let iss = jws.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    let fits = |algorithm: &Algorithm| keys.keys().iter().any(|key| key.fits(*algorithm));
    let algorithms: BTreeSet<_> = Algorithm::ALL.iter().copied().filter(fits).collect();
    let issuer = Issuer {
        id: iss.to_owned(),
        matches: vec![iss.to_owned()],
        tenants: Vec::new(),
        profile: Profile::Lax,
        algorithms,
        keys: Vec::new(),
        leeway: Duration::ZERO,
        max_lifetime: None,
        required_claims: Vec::new(),
    };
    let trusted = Trusted { issuer: Arc::new(issuer), keys: vec![Held::configured(keys)] };
    Trust::new(vec![trusted], 1)
}

fn checks(
    format: Format,
    examined: &Examination,
    claims: &Map<String, Value>,
    trust: &Trust,
    at: Timestamp,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut add = |check, outcome, detail: String| checks.push(Check { check, outcome, detail });
    let has = |fault: &Fault| examined.faults.contains(fault);
    let passes = |fault: &Fault| if has(fault) { Outcome::Fail } else { Outcome::Pass };
    add("syntax", passes(&Fault::Malformed), format.to_string());
    if format != Format::Jws {
        for check in ["issuer", "signature", "kind", "claims", "lifetime", "expiry", "begin"] {
            add(check, Outcome::NotApplicable, "nothing of it is readable".into());
        }
        return checks;
    }
    let iss = claims.get("iss").and_then(Value::as_str);
    let issuer = match (examined.issuer, iss) {
        (Some(_), _) => (Outcome::Pass, String::new()),
        (None, _) if trust.is_empty() => (Outcome::NotApplicable, "no issuer is configured".into()),
        (None, Some(_)) => (Outcome::Fail, "is none of those that are trusted".into()),
        (None, None) => (Outcome::Fail, "it names none".into()),
    };
    add("issuer", issuer.0, issuer.1);
    let signature = match examined.signature {
        SignatureState::Ok => Outcome::Pass,
        SignatureState::Bad | SignatureState::KeyUnknown | SignatureState::AlgForbidden => {
            Outcome::Fail
        }
        SignatureState::NotChecked | SignatureState::UnverifiableByDesign => Outcome::NotApplicable,
    };
    add("signature", signature, examined.signature.to_string());
    add("kind", passes(&Fault::KindMismatch), String::new());
    let missing = examined.faults.iter().filter_map(|fault| match fault {
        Fault::ClaimMissing(name) => Some(name.as_str()),
        _ => None,
    });
    let missing = missing.collect::<Vec<_>>().join(", ");
    match missing.is_empty() {
        true => add("claims", Outcome::Pass, String::new()),
        false => add("claims", Outcome::Fail, format!("missing: {missing}")),
    }
    add("lifetime", passes(&Fault::LifetimeExceeded), String::new());
    let fault = examined.fault_at(at);
    let time = |secs: Option<u64>| secs.map(|secs| Timestamp(secs.saturating_mul(1_000_000_000)));
    for (check, limit, failed) in [
        ("expiry", time(examined.expires_at), Fault::Expired),
        ("begin", time(examined.not_before), Fault::NotYetValid),
    ] {
        match limit {
            None => add(check, Outcome::NotApplicable, "it has none".into()),
            Some(limit) if fault == Some(failed) => add(check, Outcome::Fail, limit.to_rfc3339()),
            Some(limit) => add(check, Outcome::Pass, limit.to_rfc3339()),
        }
    }
    checks
}

fn without_people(claims: Map<String, Value>, name: Name<'_>) -> Map<String, Value> {
    let told = claims.into_iter().filter_map(|(claim, value)| {
        if !PERSONAL.contains(&claim.as_str()) {
            return Some((claim, value));
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match name(&text)? {
            // Kept as it is, also where it is no text.
            same if same == text => Some((claim, value)),
            other => Some((claim, Value::from(other))),
        }
    });
    told.collect()
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map_or("unknown", Kind::as_str);
        writeln!(f, "{}, {kind}", self.prefix_class.unwrap_or(self.format.as_str()))?;
        for (title, members) in [("header", &self.header), ("claims", &self.claims)] {
            if !members.is_empty() {
                writeln!(f, "{title}")?;
            }
            for (name, value) in members {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                writeln!(f, "  {:<20} {}", printable(name), printable(&value))?;
            }
        }
        writeln!(f, "checks")?;
        for Check { check, outcome, detail } in &self.checks {
            let outcome = match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "FAIL",
                Outcome::NotApplicable => "n/a",
            };
            let line = format!("  {outcome:<6}{check:<12}{detail}");
            writeln!(f, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(f, "  note  {note}")?;
        }
        writeln!(f, "{}", if self.valid { "valid" } else { "not valid" })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::testing::{NOW, Signer, at, usual_claims, with};

    fn told(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    fn outcomes(inspection: &Inspection) -> Vec<(&'static str, &'static str)> {
        inspection.checks.iter().map(|each| (each.check, each.outcome.as_str())).collect()
    }

    #[test]
    fn a_good_token_passes_every_check() {
        let signer = Signer::new("k1");
        let token = signer.access_token(&json!({"nbf": NOW - 10}));
        let found = inspect(&token, &trust_by_keys(&token, signer.key_set()), at(NOW), &told);
        assert!(found.valid, "{found}");
        let names =
            ["syntax", "issuer", "signature", "kind", "claims", "lifetime", "expiry", "begin"];
        assert_eq!(outcomes(&found), names.map(|name| (name, "pass")));
        assert_eq!(found.claims["sub"], "alice");
        let later = inspect(&token, &trust_by_keys(&token, signer.key_set()), at(NOW + 301), &told);
        assert!(!later.valid);
        assert!(outcomes(&later).contains(&("expiry", "fail")));
    }

    #[test]
    fn nothing_is_valid_that_was_not_verified() {
        let (signer, other) = (Signer::new("k1"), Signer::new("k1"));
        let token = signer.access_token(&json!({}));
        let valid = |trust: &Trust| inspect(&token, trust, at(NOW), &told).valid;
        assert!(!valid(&Trust::default()));
        assert!(!valid(&trust_by_keys(&token, other.key_set())));
        let unsigned = signer.sign(&json!({"alg": "none"}), &usual_claims());
        let trust = trust_by_keys(&unsigned, signer.key_set());
        assert!(!inspect(&unsigned, &trust, at(NOW), &told).valid);
        for text in ["", "opaque", "eyJ.x.y", "eyJhbGciOiJkaXIifQ.a.b.c.d"] {
            assert!(!inspect(text, &trust_by_keys(text, signer.key_set()), at(NOW), &told).valid);
        }
    }

    #[test]
    fn people_are_named_as_privacy_allows() {
        let signer = Signer::new("k1");
        let token = signer.access_token(&json!({"email": "a@b.example", "act": {"sub": "svc"}}));
        let claims = |name: Name<'_>| inspect(&token, &Trust::default(), at(NOW), name).claims;
        assert_eq!(claims(&told)["act"], json!({"sub": "svc"}));
        let dropped = claims(&|_| None);
        assert!(["sub", "email", "act"].iter().all(|name| !dropped.contains_key(*name)));
        let named = claims(&|name| Some(format!("~{}", name.len())));
        assert_eq!((&named["sub"], &named["email"]), (&json!("~5"), &json!("~11")));
        assert_eq!(named["client_id"], "web");
    }

    #[test]
    fn nothing_printable_holds_the_token_or_one_inside_it() {
        let (signer, inner) = (Signer::new("k1"), Signer::new("k2").access_token(&json!({})));
        let header = json!({"alg": "ES256", "kid": "k1", "x5c": [inner]});
        let token = signer.sign(&header, &with(&usual_claims(), &json!({"upstream": inner})));
        let found = inspect(&token, &trust_by_keys(&token, signer.key_set()), at(NOW), &told);
        let printed = format!("{found} {found:?} {}", serde_json::to_string(&found).unwrap());
        for secret in token.split('.').chain(inner.split('.')) {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}

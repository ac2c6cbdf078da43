//! Examining a token. In: its parts, the issuers with their keys, and a moment by which it
//! existed. Out: an [`Examination`]: what holds for it whatever the call (RFC 9068 §4, RFC 8725
//! §3). Nothing of the header is believed but the name of the key and, within what the issuer may
//! use, the algorithm.

use serde_json::{Map, Value};

use super::{
    Content, Evidence, Kind,
    examination::{Examination, Fault, HeaderNote, SignatureState},
    grant,
    issuer::{Algorithm, Issuer},
    jwt::{Jws, Jwt, Parsed},
    keys::{Found, Trust, Trusted},
    opaque,
    profile::{Dialect, Profile},
};
use crate::clock::{NANOS_PER_SEC, Timestamp};

/// Examines what was `parsed` of a token, and `content`, which was read of that. `issued_by` is
/// when it was first seen.
pub(in crate::token) fn examine(
    token: &str,
    parsed: &Parsed<'_>,
    content: &Content,
    trust: &Trust,
    issued_by: Timestamp,
) -> Examination {
    match (parsed, content) {
        (Parsed::Jws(jws), Content::Jws(jwt)) => examine_jws(jws, jwt, trust, issued_by),
        (Parsed::Malformed, _) => malformed(),
        (Parsed::Opaque, _) if opaque::is_counterfeit(token) => malformed(),
        _ => Examination::default(),
    }
}

/// What is to be said of a token against its own syntax.
pub(in crate::token) fn malformed() -> Examination {
    Examination { faults: vec![Fault::Malformed], ..Examination::default() }
}

fn examine_jws(jws: &Jws<'_>, jwt: &Jwt, trust: &Trust, issued_by: Timestamp) -> Examination {
    let iss = jws.claims.get("iss").and_then(Value::as_str);
    let known = iss.and_then(|iss| trust.find(iss));
    let trusted = known.map(|(_, trusted)| trusted);
    let issuer = trusted.map(|trusted| trusted.issuer.as_ref());
    let profile = issuer.map_or(Profile::Lax, |issuer| issuer.profile);
    let dialect = profile.dialect();

    let notes = header_notes(&jws.header);
    let malformed = jwt.claims.broken_dates || notes.contains(&HeaderNote::Crit);
    let (signature, evidence) = if malformed {
        (SignatureState::NotChecked, Evidence::Asserted)
    } else {
        check_signature(jws, jwt, trusted, dialect, issued_by)
    };
    let mut faults = Vec::new();
    if malformed {
        faults.push(Fault::Malformed);
    }
    if issuer.is_none() && !trust.is_empty() {
        faults.push(Fault::IssuerUnknown);
    }
    faults.extend(match signature {
        SignatureState::Bad => Some(Fault::SignatureBad),
        SignatureState::KeyUnknown => Some(Fault::KeyUnknown),
        SignatureState::AlgForbidden => Some(Fault::AlgForbidden),
        SignatureState::Ok | SignatureState::NotChecked | SignatureState::UnverifiableByDesign => {
            None
        }
    });
    if !is_access_token(jwt, dialect) {
        faults.push(Fault::KindMismatch);
    }
    if let Some(issuer) = issuer {
        faults.extend(missing_claims(&jws.claims, dialect, issuer));
        if lives_too_long(jwt, issuer, issued_by) {
            faults.push(Fault::LifetimeExceeded);
        }
    }
    Examination {
        issuer: known.map(|(index, _)| index),
        signature,
        evidence,
        grant: grant::read(&jws.claims, dialect),
        faults,
        notes,
        not_before: jwt.claims.not_before,
        expires_at: jwt.claims.expires_at,
        leeway: issuer.map_or(0, |issuer| issuer.leeway.as_secs()),
    }
}

/// What became of the signature, and how well claims are proven by it.
fn check_signature(
    jws: &Jws<'_>,
    jwt: &Jwt,
    trusted: Option<&Trusted>,
    dialect: &Dialect,
    issued_by: Timestamp,
) -> (SignatureState, Evidence) {
    let asserted = |state| (state, Evidence::Asserted);
    let alg = jws.header.get("alg").and_then(Value::as_str).unwrap_or_default();
    // RFC 9068 §2.1: never, whoever says so.
    if alg.eq_ignore_ascii_case("none") {
        return asserted(SignatureState::AlgForbidden);
    }
    let Some(trusted) = trusted else { return asserted(SignatureState::NotChecked) };
    let allowed = &trusted.issuer.algorithms;
    let Some(algorithm) = Algorithm::named(alg).filter(|alg| allowed.contains(alg)) else {
        return asserted(SignatureState::AlgForbidden);
    };
    if (dialect.is_unverifiable)(&jws.header, &jws.claims) {
        return asserted(SignatureState::UnverifiableByDesign);
    }
    let kid = jws.header.get("kid").and_then(Value::as_str);
    // A token cannot be issued after it was seen: who writes such an `iat` gains no doubt.
    let issued_at = jwt.claims.issued_at.map(|secs| Timestamp(secs.saturating_mul(NANOS_PER_SEC)));
    let issued_by = issued_at.map_or(issued_by, |at| at.min(issued_by));
    match trusted.find_key(kid, algorithm, jws.signed, &jws.signature, issued_by) {
        Found::Made { is_observed: false } => (SignatureState::Ok, Evidence::Verified),
        Found::Made { is_observed: true } => (SignatureState::Ok, Evidence::VerifiedObservedKey),
        Found::Forged => asserted(SignatureState::Bad),
        Found::Unknown => asserted(SignatureState::KeyUnknown),
        Found::NoKeys => asserted(SignatureState::NotChecked),
    }
}

/// RFC 8725 §3.11 and §3.12: a token of another kind is none, whoever signed it.
fn is_access_token(jwt: &Jwt, dialect: &Dialect) -> bool {
    match jwt.kind {
        Some(Kind::Id) => dialect.presents_id_tokens,
        Some(Kind::Access) | None => !dialect.is_typed || jwt.header.kind() == Some(Kind::Access),
        Some(_) => false,
    }
}

fn missing_claims(
    claims: &Map<String, Value>,
    dialect: &Dialect,
    issuer: &Issuer,
) -> impl Iterator<Item = Fault> {
    let profile = dialect.required.iter().copied();
    let policy = issuer.required_claims.iter().map(String::as_str);
    let extra = policy.filter(|name| !dialect.required.contains(name));
    let absent = profile.chain(extra).filter(|name| claims.get(*name).is_none_or(Value::is_null));
    absent.map(|name| Fault::ClaimMissing(name.to_owned()))
}

/// Whether the token lives longer than its issuer may let it. Without `iat` it began to live, at
/// the latest, when it was first seen.
fn lives_too_long(jwt: &Jwt, issuer: &Issuer, issued_by: Timestamp) -> bool {
    let Some(most) = issuer.max_lifetime else { return false };
    let begun = jwt.claims.issued_at.or(jwt.claims.not_before).unwrap_or(issued_by.as_secs());
    jwt.claims.expires_at.is_none_or(|end| end.saturating_sub(begun) > most.as_secs())
}

/// Longest `kid` that is not odd, in bytes: thumbprints in hexadecimal, and names.
const MAX_KID: usize = 128;

fn header_notes(header: &Map<String, Value>) -> Vec<HeaderNote> {
    let injected = [
        ("jku", HeaderNote::Jku),
        ("x5u", HeaderNote::X5u),
        ("jwk", HeaderNote::Jwk),
        ("x5c", HeaderNote::X5c),
        // Nothing that could be critical is understood; RFC 7797 §7 keeps `b64` out of JWTs.
        ("crit", HeaderNote::Crit),
    ];
    let mut notes: Vec<_> = injected
        .into_iter()
        .filter(|(name, _)| header.contains_key(*name))
        .map(|(_, note)| note)
        .collect();
    let is_odd = |kid: &Value| match kid.as_str() {
        Some(kid) => {
            let usual = |b: u8| b.is_ascii_alphanumeric() || b"-_.:=+/@".contains(&b);
            kid.len() > MAX_KID
                || !kid.bytes().all(usual)
                || kid.contains("..")
                || kid.contains("//")
                || kid.starts_with('/')
        }
        None => true,
    };
    if header.get("kid").is_some_and(is_odd) {
        notes.push(HeaderNote::OddKid);
    }
    notes
}

#[cfg(test)]
mod tests;

//! DPoP proofs (RFC 9449 §4.3). In: the `DPoP` field of a request, and what is known of the
//! request. Out: a [`Proof`] that is in order as far as can be told, or the check that failed.
//! What needs memory (nonces, replays) is in `binding.rs`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Map, Value};

use super::{
    Kind,
    address::{self, Address},
    examination::ProofCheck,
    issuer::Algorithm,
    jwk::{self, Key},
    jwt::{self, Header, Jws, Parsed},
};
use crate::{
    clock::Timestamp,
    flow::chunk::Transport,
    http::message::{Fields, Request},
    text::Cuts,
};

/// How far `iat` may lie from the moment of the request, in seconds: RFC 9449 §11.1 says seconds or
/// minutes, and servers in common use take up to five of them.
pub const WINDOW: u64 = 300;

/// Algorithms of proofs: those that are verified, but the symmetric ones (RFC 9449 §4.2).
fn algorithm(header: &Map<String, Value>) -> Option<Algorithm> {
    let alg = header.get("alg").and_then(Value::as_str)?;
    Algorithm::named(alg).filter(|algorithm| !algorithm.is_symmetric())
}

/// What is known of the request that a proof came with.
#[derive(Clone, Copy)]
pub(in crate::token) struct Proved<'a> {
    pub request: &'a Request,
    pub transport: Transport,
    /// Where clients call the service, if the policy says so.
    pub public_base_url: Option<&'a str>,
    /// SHA-256 of the token.
    pub token: &'a [u8; 32],
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
}

/// A proof without fault.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::token) struct Proof {
    /// Thumbprint of its key, in base64url.
    pub jkt: String,
    pub jti: String,
    pub nonce: Option<String>,
    /// Whether the request's address could not be known, and with it whether `htu` is it.
    pub is_uncertain: bool,
}

/// Checks `sent`, in the order of RFC 9449 §4.3.
pub(in crate::token) fn check(sent: &[u8], proved: &Proved<'_>) -> Result<Proof, ProofCheck> {
    let sent = std::str::from_utf8(sent.trim_ascii()).map_err(|_| ProofCheck::WellFormed)?;
    let Parsed::Jws(jws) = jwt::parse(sent) else { return Err(ProofCheck::WellFormed) };
    let Jws { header, claims, signed, signature } = &jws;
    let text =
        |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(jti), Some(htm), Some(htu), Some(ath)) =
        (text("jti"), text("htm"), text("htu"), text("ath"))
    else {
        return Err(ProofCheck::Claims);
    };
    let iat = claims.get("iat").and_then(jwt::as_date).ok_or(ProofCheck::Claims)?;
    // Also against `crit`: nothing that could stand there is understood.
    let read = Header::read(header, &mut Cuts::default());
    if read.kind() != Some(Kind::DpopProof) || header.contains_key("crit") {
        return Err(ProofCheck::Typ);
    }
    let algorithm = algorithm(header).ok_or(ProofCheck::Alg)?;
    let jwk = header.get("jwk").and_then(Value::as_object).ok_or(ProofCheck::Signature)?;
    if jwk::is_private(jwk) {
        return Err(ProofCheck::PublicKey);
    }
    let key = Key::from_jwk(jwk).map_err(|_| ProofCheck::Signature)?;
    if !key.made(signature, signed, algorithm) {
        return Err(ProofCheck::Signature);
    }
    if !proved.request.method.is_empty() && proved.request.method != htm {
        return Err(ProofCheck::Htm);
    }
    let is_uncertain = match address_is(htu, proved) {
        Some(false) => return Err(ProofCheck::Htu),
        Some(true) => proved.request.method.is_empty(),
        None => true,
    };
    if is_far(iat, proved.request.started, proved.leeway) {
        return Err(ProofCheck::Iat);
    }
    if ath != BASE64URL.encode(proved.token) {
        return Err(ProofCheck::Ath);
    }
    let jkt = jwk::thumbprint(jwk).map(|print| BASE64URL.encode(print));
    Ok(Proof {
        jkt: jkt.ok_or(ProofCheck::Signature)?,
        jti: jti.to_owned(),
        nonce: text("nonce").map(str::to_owned),
        is_uncertain,
    })
}

/// Thumbprint of the key in a proof, whether the proof is in order or not.
pub(in crate::token) fn key_of(sent: &[u8]) -> Option<String> {
    let sent = std::str::from_utf8(sent.trim_ascii()).ok()?;
    let Parsed::Jws(jws) = jwt::parse(sent) else { return None };
    jwk::thumbprint(jws.header.get("jwk")?.as_object()?).map(|print| BASE64URL.encode(print))
}

fn is_far(iat: u64, at: Timestamp, leeway: u64) -> bool {
    iat.abs_diff(at.as_secs()) > WINDOW.saturating_add(leeway)
}

/// Whether `htu` is the address of the request; `None` if that cannot be known, as behind a proxy
/// whose public address the policy does not tell.
fn address_is(htu: &str, proved: &Proved<'_>) -> Option<bool> {
    let Proved { request, transport, public_base_url, .. } = proved;
    // RFC 9449 §4.2: without query and fragment. What is no address is not the request's.
    let Some(claimed) = Address::read(htu) else { return Some(false) };
    let target = request.target.as_str();
    if target.is_empty() {
        return None;
    }
    let absolute = Address::read(target);
    if absolute.is_none() && !target.starts_with('/') {
        return None;
    }
    if let Some(base) = public_base_url {
        let base = Address::read(base)?;
        let path = absolute.map_or_else(
            || address::normalised(target.split(['?', '#']).next().unwrap_or_default()),
            |address| address.path,
        );
        // A proxy may or may not take off the path that it is called by.
        let below = format!("{}{path}", base.path.trim_end_matches('/'));
        let same = Address { path: claimed.path.clone(), ..base } == claimed;
        return Some(same && (claimed.path == path || claimed.path == below));
    }
    let fields = &request.fields;
    let host = fields.first(":authority").or_else(|| fields.first("host"));
    let seen = match (absolute, host.and_then(|host| std::str::from_utf8(host).ok())) {
        (Some(address), _) => address,
        (None, Some(host)) => Address::new(*transport == Transport::Tls, host, target)?,
        (None, None) => return None,
    };
    if seen == claimed {
        return Some(true);
    }
    // What a proxy changed on the way is not the client's fault.
    let is_proxied = *transport == Transport::Plain || PROXIED.iter().any(|name| has(fields, name));
    if is_proxied { None } else { Some(false) }
}

/// Fields by which proxies tell that they are there.
const PROXIED: &[&str] =
    &["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

fn has(fields: &Fields, name: &str) -> bool {
    fields.first(name).is_some()
}

#[cfg(test)]
mod tests;

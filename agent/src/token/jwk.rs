//! Keys of RFC 7517, as far as they verify signatures. In: a JWK, or a PEM public key. Out: a
//! [`Key`], checked once, which says whether it made a signature.
//!
//! A key fits algorithms of its own type only (RFC 8725 §3.1): no public key is ever an HMAC
//! secret. aws-lc-rs does the arithmetic; nothing in here signs.

use aws_lc_rs::{
    digest,
    encoding::AsDer as _,
    hmac,
    rsa::PublicKeyComponents,
    signature::UnparsedPublicKey,
    signature::{self, ParsedPublicKey, VerificationAlgorithm},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Secret, issuer::Algorithm};

/// Longest modulus, in bytes: 8192 bits, the most that aws-lc-rs verifies with.
const MAX_MODULUS: usize = 1024;

/// A key that verifies.
pub struct Key {
    /// `kid`
    pub id: Option<String>,
    /// `alg`, where it is one that is verified: then no other fits.
    algorithm: Option<Algorithm>,
    material: Material,
}

/// Public keys are kept as aws-lc-rs takes them: SPKI, or for `Ec` and `Ed25519` bare points.
enum Material {
    Rsa(Vec<u8>),
    Ec(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
    Octets(Secret<Vec<u8>>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Curve {
    P256,
    P384,
    P521,
}

/// Why a JWK is not used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum JwkError {
    /// RFC 7517 §4.1 has sets hold kinds that their reader does not know.
    #[error("a key of a type or curve that signs no token")]
    Unsupported,
    /// `use`, `key_ops` or `alg` (RFC 7517 §4.2 to §4.4).
    #[error("a key for another use")]
    OtherUse,
    /// RFC 7518 §6.
    #[error("a key whose members are no key")]
    Invalid,
    /// RFC 7518 §3.2 and §3.3.
    #[error("a key shorter than its algorithm allows")]
    Short,
}

impl Key {
    /// Reads a JWK.
    ///
    /// # Errors
    /// It is none that verifies signatures.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let ops = jwk.get("key_ops").and_then(Value::as_array);
        if text("use").is_some_and(|used| used != "sig")
            || ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify" || op == "sign"))
        {
            return Err(JwkError::OtherUse);
        }
        let material = material(jwk)?;
        let algorithm = match text("alg") {
            Some(alg) => Some(Algorithm::named(alg).ok_or(JwkError::OtherUse)?),
            None => None,
        };
        let key = Self { id: text("kid").map(str::to_owned), algorithm, material };
        match algorithm {
            Some(algorithm) if !key.fits(algorithm) => Err(JwkError::OtherUse),
            _ => Ok(key),
        }
    }

    /// A public key in its X.509 form (`SubjectPublicKeyInfo`, RFC 5280 §4.1.2.7), in DER.
    ///
    /// # Errors
    /// It is none that verifies signatures.
    pub fn from_spki(der: &[u8]) -> Result<Self, JwkError> {
        let is = |kind: &'static dyn VerificationAlgorithm| ParsedPublicKey::new(kind, der).is_ok();
        let curves = [Curve::P256, Curve::P384, Curve::P521];
        let material = if is(&signature::RSA_PKCS1_2048_8192_SHA256) {
            Material::Rsa(der.to_vec())
        } else if let Some(curve) = curves.into_iter().find(|curve| is(curve.verification())) {
            Material::Ec(curve, der.to_vec())
        } else if is(&signature::ED25519) {
            Material::Ed25519(der.to_vec())
        } else {
            return Err(JwkError::Unsupported);
        };
        Ok(Self { id: None, algorithm: None, material })
    }

    /// Whether a signature by `algorithm` can be this key's.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let of_type = match (&self.material, algorithm) {
            (Material::Rsa(_), Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512)
            | (Material::Rsa(_), Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512)
            | (Material::Ec(Curve::P256, _), Algorithm::Es256)
            | (Material::Ec(Curve::P384, _), Algorithm::Es384)
            | (Material::Ec(Curve::P521, _), Algorithm::Es512)
            | (Material::Ed25519(_), Algorithm::EdDsa) => true,
            // A key shorter than the hash must not be used (RFC 7518 §3.2).
            (Material::Octets(key), Algorithm::Hs256) => key.expose().len() >= 32,
            (Material::Octets(key), Algorithm::Hs384) => key.expose().len() >= 48,
            (Material::Octets(key), Algorithm::Hs512) => key.expose().len() >= 64,
            _ => false,
        };
        of_type && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Whether the key made `signature` over `message` by `algorithm`.
    #[must_use]
    pub fn made(&self, signature: &[u8], message: &[u8], algorithm: Algorithm) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let by = |kind: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(kind, key).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Rsa(key) => rsa(algorithm).is_some_and(|kind| by(kind, key)),
            Material::Ec(curve, key) => by(curve.verification(), key),
            Material::Ed25519(key) => by(&signature::ED25519, key),
            Material::Octets(key) => hash(algorithm).is_some_and(|hash| {
                let key = hmac::Key::new(hash, key.expose());
                hmac::verify(&key, message, signature).is_ok()
            }),
        }
    }

    /// Whether the key is a secret that signs as well.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.material, Material::Octets(_))
    }
}

impl Curve {
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }

    /// Octets of a coordinate (RFC 7518 §6.2.1.2).
    const fn octets(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

const fn hash(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::Hs256 => Some(hmac::HMAC_SHA256),
        Algorithm::Hs384 => Some(hmac::HMAC_SHA384),
        Algorithm::Hs512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// The key in a JWK (RFC 7518 §6, RFC 8037 §2).
fn material(jwk: &Map<String, Value>) -> Result<Material, JwkError> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let octets = |name: &str| {
        let text = text(name).ok_or(JwkError::Invalid)?;
        BASE64URL.decode(text).map_err(|_| JwkError::Invalid)
    };
    match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let (n, e) = (octets("n")?, octets("e")?);
            let (n, e) = (without_zeros(&n), without_zeros(&e));
            if n.len() > MAX_MODULUS {
                return Err(JwkError::Invalid);
            }
            if n.len() < 256 {
                return Err(JwkError::Short);
            }
            let der = PublicKeyComponents { n, e }.as_der().map_err(|_| JwkError::Invalid)?;
            let der = der.as_ref().to_vec();
            let valid = ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &der).is_ok();
            valid.then_some(Material::Rsa(der)).ok_or(JwkError::Invalid)
        }
        (Some("EC"), Some(name)) => {
            let curve = match name {
                "P-256" => Curve::P256,
                "P-384" => Curve::P384,
                "P-521" => Curve::P521,
                _ => return Err(JwkError::Unsupported),
            };
            let (x, y) = (octets("x")?, octets("y")?);
            if x.len() != curve.octets() || y.len() != curve.octets() {
                return Err(JwkError::Invalid);
            }
            // An uncompressed point (SEC 1 §2.3.3).
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            let valid = ParsedPublicKey::new(curve.verification(), &point).is_ok();
            valid.then_some(Material::Ec(curve, point)).ok_or(JwkError::Invalid)
        }
        (Some("OKP"), Some("Ed25519")) => {
            let point = octets("x")?;
            let valid =
                point.len() == 32 && ParsedPublicKey::new(&signature::ED25519, &point).is_ok();
            valid.then_some(Material::Ed25519(point)).ok_or(JwkError::Invalid)
        }
        (Some("oct"), _) => {
            let key = Zeroizing::new(octets("k")?);
            if key.len() < 32 {
                return Err(JwkError::Short);
            }
            Ok(Material::Octets(Secret::new(key)))
        }
        _ => Err(JwkError::Unsupported),
    }
}

/// Some issuers write a sign octet before the modulus, which RFC 7518 §6.3.1.1 forbids.
fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let Some((0, rest)) = number.split_first() {
        number = rest;
    }
    number
}

/// Thumbprint of a JWK (RFC 7638 §3), by SHA-256; `None` if members that it needs are missing.
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<[u8; 32]> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    // In lexicographic order, as RFC 7638 §3.2 has them.
    let members: &[&str] = match text("kty")? {
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        "OKP" => &["crv", "kty", "x"],
        "oct" => &["k", "kty"],
        _ => return None,
    };
    let members = members.iter().map(|name| {
        let value = Value::from(text(name)?);
        Some(format!("\"{name}\":{value}"))
    });
    let json = format!("{{{}}}", members.collect::<Option<Vec<_>>>()?.join(","));
    digest::digest(&digest::SHA256, json.as_bytes()).as_ref().try_into().ok()
}

/// Whether a JWK holds a private or secret key (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
#[must_use]
pub fn is_private(jwk: &Map<String, Value>) -> bool {
    ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name))
}

#[cfg(test)]
mod tests;

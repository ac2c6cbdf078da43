//! Access tokens, signed by the `openssl` command with a throw-away key.
//!
//! In: [`Claims`]. Out: a [`Token`], an RS256 JWT in the profile of RFC 9068, or an opaque one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::child;

/// Issuer of minted tokens unless [`Claims::issuer`] says otherwise.
pub const ISSUER: &str = "https://issuer.example";

/// Audience of minted tokens unless [`Claims::audience`] says otherwise.
pub const AUDIENCE: &str = "https://api.example";

/// What a JWT will say. Times are offsets from the moment of minting, in seconds.
#[derive(Clone, Debug)]
pub struct Claims {
    fields: Map<String, Value>,
    expires_in: i64,
}

impl Claims {
    /// Claims about `subject`, valid for an hour.
    #[must_use]
    pub fn of(subject: &str) -> Self {
        let mut fields = Map::new();
        fields.insert("iss".to_owned(), json!(ISSUER));
        fields.insert("aud".to_owned(), json!(AUDIENCE));
        fields.insert("sub".to_owned(), json!(subject));
        Self { fields, expires_in: 3600 }
    }

    /// Sets `client_id` (RFC 8693 §4.3).
    #[must_use]
    pub fn client_id(self, client: &str) -> Self {
        self.with("client_id", client)
    }

    /// Sets `scope`, space-separated (RFC 8693 §4.2).
    #[must_use]
    pub fn scope(self, scope: &str) -> Self {
        self.with("scope", scope)
    }

    /// Sets `iss`.
    #[must_use]
    pub fn issuer(self, issuer: &str) -> Self {
        self.with("iss", issuer)
    }

    /// Sets `aud`.
    #[must_use]
    pub fn audience(self, audience: &str) -> Self {
        self.with("aud", audience)
    }

    /// Sets `jti`.
    #[must_use]
    pub fn token_id(self, id: &str) -> Self {
        self.with("jti", id)
    }

    /// Sets `exp` to `seconds` from now; negative: expired that long ago.
    #[must_use]
    pub const fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = seconds;
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(name.to_owned(), json!(value));
        self
    }
}

/// A token as it stands in a request. It is a test's own secret: printing it is no leak.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    text: String,
}

impl Token {
    /// A token without structure, which only its issuer can read.
    #[must_use]
    pub fn opaque(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The token as transmitted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of an `Authorization` field (RFC 6750 §2.1).
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.text)
    }

    /// The signature part of a JWT, base64url; nothing for an opaque token.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.text.rsplit_once('.').map(|(_, signature)| signature)
    }
}

/// Signs tokens with one throw-away RSA key.
#[derive(Debug)]
pub struct Mint {
    key: PathBuf,
}

impl Mint {
    /// Makes the key in `dir`.
    ///
    /// # Errors
    /// When `openssl` is missing or fails.
    pub fn make(dir: &Path) -> Result<Self> {
        let key = dir.join("mint.key");
        let mut command = Command::new("openssl");
        command.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]);
        child::checked(command.arg(&key), b"").context("make the token signing key")?;
        Ok(Self { key })
    }

    /// Signs `claims`, adding `iat`, `exp` and, when none was given, a `jti`.
    ///
    /// # Errors
    /// When `openssl` fails or the clock stands before 1970.
    pub fn sign(&self, claims: &Claims) -> Result<Token> {
        let since_epoch =
            SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        let now = i64::try_from(since_epoch.as_secs()).context("the clock is out of range")?;
        let mut fields = claims.fields.clone();
        let expiry = now.saturating_add(claims.expires_in);
        fields.insert("iat".to_owned(), json!(now.min(expiry.saturating_sub(1))));
        fields.insert("exp".to_owned(), json!(expiry));
        fields.entry("jti").or_insert_with(|| json!(format!("{:x}", since_epoch.as_nanos())));
        let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": "throw-away"});
        let signed = format!("{}.{}", part(&header), part(&Value::Object(fields)));
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256", "-sign"]).arg(&self.key);
        let signature = child::checked(&mut command, signed.as_bytes()).context("sign a token")?;
        Ok(Token { text: format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)) })
    }

    /// The public half of the key, PEM.
    ///
    /// # Errors
    /// When `openssl` fails.
    pub fn public_key(&self) -> Result<String> {
        let mut command = Command::new("openssl");
        command.args(["pkey", "-pubout", "-in"]).arg(&self.key);
        let pem = child::checked(&mut command, b"").context("read the public key")?;
        String::from_utf8(pem).context("openssl printed a key that is not text")
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

//! The cipher suites that can be opened, as a table (RFC 8446 §B.4, RFC 5246 §A.5, RFC 5288,
//! RFC 5289, RFC 6655, RFC 7251, RFC 7905).

/// Protocol versions that can be opened.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Version {
    /// TLS 1.2 (RFC 5246)
    Tls12,
    /// TLS 1.3 (RFC 8446)
    Tls13,
}

impl Version {
    /// Name as OpenTelemetry's `tls.protocol.version` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }
}

/// Hash of a key schedule and transcript.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
}

/// Hash of a record's MAC.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mac {
    /// HMAC-SHA-1
    Sha1,
    /// HMAC-SHA-256
    Sha256,
    /// HMAC-SHA-384
    Sha384,
}

/// How records are protected.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protection {
    /// AES-128-GCM
    Aes128Gcm,
    /// AES-256-GCM
    Aes256Gcm,
    /// ChaCha20-Poly1305
    ChaCha20Poly1305,
    /// AES-128-CCM
    Aes128Ccm,
    /// AES-256-CCM
    Aes256Ccm,
    /// AES-128-CCM with a tag of 8 bytes
    Aes128Ccm8,
    /// AES-256-CCM with a tag of 8 bytes
    Aes256Ccm8,
    /// AES-128-CBC with this MAC
    Aes128Cbc(Mac),
    /// AES-256-CBC with this MAC
    Aes256Cbc(Mac),
}

impl Protection {
    /// Bytes of a key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ccm | Self::Aes128Ccm8 | Self::Aes128Cbc(_) => 16,
            Self::Aes256Gcm
            | Self::ChaCha20Poly1305
            | Self::Aes256Ccm
            | Self::Aes256Ccm8
            | Self::Aes256Cbc(_) => 32,
        }
    }

    /// Bytes of an initialisation vector that TLS 1.2's key block holds: a salt for GCM and CCM
    /// (RFC 5288 §3), none for CBC, whose records bring their own.
    #[must_use]
    pub const fn fixed_iv_length(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 => 12,
            Self::Aes128Cbc(_) | Self::Aes256Cbc(_) => 0,
            Self::Aes128Gcm
            | Self::Aes256Gcm
            | Self::Aes128Ccm
            | Self::Aes256Ccm
            | Self::Aes128Ccm8
            | Self::Aes256Ccm8 => 4,
        }
    }

    /// Bytes of a MAC key, zero for an AEAD.
    #[must_use]
    pub const fn mac_length(self) -> usize {
        match self {
            Self::Aes128Cbc(mac) | Self::Aes256Cbc(mac) => match mac {
                Mac::Sha1 => 20,
                Mac::Sha256 => 32,
                Mac::Sha384 => 48,
            },
            Self::Aes128Gcm
            | Self::Aes256Gcm
            | Self::ChaCha20Poly1305
            | Self::Aes128Ccm
            | Self::Aes256Ccm
            | Self::Aes128Ccm8
            | Self::Aes256Ccm8 => 0,
        }
    }

    /// Bytes of an AEAD's tag, zero for CBC.
    #[must_use]
    pub const fn tag_length(self) -> usize {
        match self {
            Self::Aes128Ccm8 | Self::Aes256Ccm8 => 8,
            Self::Aes128Cbc(_) | Self::Aes256Cbc(_) => 0,
            Self::Aes128Gcm
            | Self::Aes256Gcm
            | Self::ChaCha20Poly1305
            | Self::Aes128Ccm
            | Self::Aes256Ccm => 16,
        }
    }
}

/// One cipher suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Suite {
    /// IANA's number.
    pub id: u16,
    /// IANA's name.
    pub name: &'static str,
    /// The version that it belongs to.
    pub version: Version,
    /// How records are protected.
    pub protection: Protection,
    /// Hash of the key schedule; TLS 1.2's PRF.
    pub hash: Hash,
}

impl Suite {
    /// The suite with this number, unless it is one that cannot be opened.
    #[must_use]
    pub fn find(id: u16) -> Option<&'static Self> {
        SUITES.iter().find(|suite| suite.id == id)
    }
}

const fn tls13(id: u16, name: &'static str, protection: Protection, hash: Hash) -> Suite {
    Suite { id, name, version: Version::Tls13, protection, hash }
}

const fn tls12(id: u16, name: &'static str, protection: Protection, hash: Hash) -> Suite {
    Suite { id, name, version: Version::Tls12, protection, hash }
}

/// Every suite that can be opened. Keys are never exchanged here, so how they were is only in the
/// name.
pub const SUITES: &[Suite] = &[
    tls13(0x1301, "TLS_AES_128_GCM_SHA256", Protection::Aes128Gcm, Hash::Sha256),
    tls13(0x1302, "TLS_AES_256_GCM_SHA384", Protection::Aes256Gcm, Hash::Sha384),
    tls13(0x1303, "TLS_CHACHA20_POLY1305_SHA256", Protection::ChaCha20Poly1305, Hash::Sha256),
    tls13(0x1304, "TLS_AES_128_CCM_SHA256", Protection::Aes128Ccm, Hash::Sha256),
    tls13(0x1305, "TLS_AES_128_CCM_8_SHA256", Protection::Aes128Ccm8, Hash::Sha256),
    tls12(0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256", Protection::Aes128Gcm, Hash::Sha256),
    tls12(0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384", Protection::Aes256Gcm, Hash::Sha384),
    tls12(0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", Protection::Aes128Gcm, Hash::Sha256),
    tls12(0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", Protection::Aes256Gcm, Hash::Sha384),
    tls12(0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Protection::Aes128Gcm, Hash::Sha256),
    tls12(0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Protection::Aes256Gcm, Hash::Sha384),
    tls12(0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Protection::Aes128Gcm, Hash::Sha256),
    tls12(0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Protection::Aes256Gcm, Hash::Sha384),
    tls12(
        0xcca8,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Protection::ChaCha20Poly1305,
        Hash::Sha256,
    ),
    tls12(
        0xcca9,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Protection::ChaCha20Poly1305,
        Hash::Sha256,
    ),
    tls12(
        0xccaa,
        "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Protection::ChaCha20Poly1305,
        Hash::Sha256,
    ),
    tls12(0xc09c, "TLS_RSA_WITH_AES_128_CCM", Protection::Aes128Ccm, Hash::Sha256),
    tls12(0xc09d, "TLS_RSA_WITH_AES_256_CCM", Protection::Aes256Ccm, Hash::Sha256),
    tls12(0xc0a0, "TLS_RSA_WITH_AES_128_CCM_8", Protection::Aes128Ccm8, Hash::Sha256),
    tls12(0xc0a1, "TLS_RSA_WITH_AES_256_CCM_8", Protection::Aes256Ccm8, Hash::Sha256),
    tls12(0xc09e, "TLS_DHE_RSA_WITH_AES_128_CCM", Protection::Aes128Ccm, Hash::Sha256),
    tls12(0xc09f, "TLS_DHE_RSA_WITH_AES_256_CCM", Protection::Aes256Ccm, Hash::Sha256),
    tls12(0xc0a2, "TLS_DHE_RSA_WITH_AES_128_CCM_8", Protection::Aes128Ccm8, Hash::Sha256),
    tls12(0xc0a3, "TLS_DHE_RSA_WITH_AES_256_CCM_8", Protection::Aes256Ccm8, Hash::Sha256),
    tls12(0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", Protection::Aes128Ccm, Hash::Sha256),
    tls12(0xc0ad, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM", Protection::Aes256Ccm, Hash::Sha256),
    tls12(0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", Protection::Aes128Ccm8, Hash::Sha256),
    tls12(0xc0af, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8", Protection::Aes256Ccm8, Hash::Sha256),
    tls12(0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA", Protection::Aes128Cbc(Mac::Sha1), Hash::Sha256),
    tls12(0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA", Protection::Aes256Cbc(Mac::Sha1), Hash::Sha256),
    tls12(
        0x003c,
        "TLS_RSA_WITH_AES_128_CBC_SHA256",
        Protection::Aes128Cbc(Mac::Sha256),
        Hash::Sha256,
    ),
    tls12(
        0x003d,
        "TLS_RSA_WITH_AES_256_CBC_SHA256",
        Protection::Aes256Cbc(Mac::Sha256),
        Hash::Sha256,
    ),
    tls12(
        0x0033,
        "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
        Protection::Aes128Cbc(Mac::Sha1),
        Hash::Sha256,
    ),
    tls12(
        0x0039,
        "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
        Protection::Aes256Cbc(Mac::Sha1),
        Hash::Sha256,
    ),
    tls12(
        0x0067,
        "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
        Protection::Aes128Cbc(Mac::Sha256),
        Hash::Sha256,
    ),
    tls12(
        0x006b,
        "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
        Protection::Aes256Cbc(Mac::Sha256),
        Hash::Sha256,
    ),
    tls12(
        0xc009,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        Protection::Aes128Cbc(Mac::Sha1),
        Hash::Sha256,
    ),
    tls12(
        0xc00a,
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        Protection::Aes256Cbc(Mac::Sha1),
        Hash::Sha256,
    ),
    tls12(
        0xc023,
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        Protection::Aes128Cbc(Mac::Sha256),
        Hash::Sha256,
    ),
    tls12(
        0xc024,
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
        Protection::Aes256Cbc(Mac::Sha384),
        Hash::Sha384,
    ),
    tls12(
        0xc013,
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        Protection::Aes128Cbc(Mac::Sha1),
        Hash::Sha256,
    ),
    tls12(
        0xc014,
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        Protection::Aes256Cbc(Mac::Sha1),
        Hash::Sha256,
    ),
    tls12(
        0xc027,
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        Protection::Aes128Cbc(Mac::Sha256),
        Hash::Sha256,
    ),
    tls12(
        0xc028,
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
        Protection::Aes256Cbc(Mac::Sha384),
        Hash::Sha384,
    ),
];

#[cfg(test)]
mod tests {
    use super::{Hash, Protection, SUITES, Suite};

    #[test]
    fn no_number_or_name_occurs_twice() {
        for (index, suite) in SUITES.iter().enumerate() {
            let others = SUITES.iter().skip(index + 1);
            assert!(others.clone().all(|other| other.id != suite.id && other.name != suite.name));
        }
    }

    #[test]
    fn names_tell_what_the_columns_say() {
        for suite in SUITES {
            let long = suite.name.contains("_256_") || suite.name.contains("CHACHA20");
            assert_eq!(suite.protection.key_length(), if long { 32 } else { 16 }, "{}", suite.name);
            assert_eq!(suite.hash == Hash::Sha384, suite.name.ends_with("SHA384"));
        }
        assert_eq!(Suite::find(0xc0a1).map(|suite| suite.protection), Some(Protection::Aes256Ccm8));
        assert_eq!(Suite::find(0x0a0a), None);
    }
}

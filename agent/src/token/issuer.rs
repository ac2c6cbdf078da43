//! An issuer of tokens, as the operator describes it. In: the compiled policy. Out: what
//! verification needs to know of an issuer. Holds public keys only, except where `HS*` is allowed.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use super::profile::Profile;
use crate::{identity::process::Process, names::named_enum};

/// Position of an issuer among those of a policy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IssuerIndex(pub u16);

/// One issuer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer {
    /// Name in the policy, and in events.
    pub id: String,
    /// Values of `iss` that are this issuer's: exact, or with `{tenant}` where `tenants` lists
    /// what may stand there.
    pub matches: Vec<String>,
    /// What `{tenant}` may be.
    pub tenants: Vec<String>,
    /// How its tokens are read.
    pub profile: Profile,
    /// Algorithms that its tokens may be signed with (RFC 8725 §3.1); never empty.
    pub algorithms: BTreeSet<Algorithm>,
    /// Where its keys come from; nothing for an issuer whose tokens are not verified.
    pub keys: Vec<KeyOrigin>,
    /// How far its clock and this one may differ.
    pub leeway: Duration,
    /// Longest time from `iat` to `exp` that is in order.
    pub max_lifetime: Option<Duration>,
    /// Claims that every access token of it must have, beside those of its profile.
    pub required_claims: Vec<String>,
}

/// Stands for a tenant in [`Issuer::matches`].
const TENANT: &str = "{tenant}";

impl Issuer {
    /// Whether `iss` is this issuer: one of its names to the letter (RFC 9068 §4, RFC 7519
    /// §4.1.1), or a template with one of its tenants in it.
    #[must_use]
    pub fn is_named(&self, iss: &str) -> bool {
        self.matches.iter().any(|name| match name.split_once(TENANT) {
            None => name == iss,
            Some((before, after)) => {
                let tenant = iss.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                tenant.is_some_and(|tenant| self.tenants.iter().any(|each| each == tenant))
            }
        })
    }

    /// The host names that stand in its names, for what is only believed from its own host.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.matches.iter().filter_map(|name| {
            let (_, rest) = name.split_once("://")?;
            let authority = rest.split(['/', '?', '#']).next()?;
            Some(authority.split_once(':').map_or(authority, |(host, _)| host))
        })
    }
}

named_enum! {
    /// JWS algorithms that are verified (RFC 7518 §3.1, RFC 8037 §3.1).
    pub enum Algorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384
        Es384 = "ES384",
        /// ECDSA on P-521 with SHA-512
        Es512 = "ES512",
        /// EdDSA on edwards25519
        EdDsa = "EdDSA",
        /// HMAC with SHA-256
        Hs256 = "HS256",
        /// HMAC with SHA-384
        Hs384 = "HS384",
        /// HMAC with SHA-512
        Hs512 = "HS512",
    }
}

impl Algorithm {
    /// The algorithm that an `alg` names; names are case-sensitive (RFC 7515 §4.1.1).
    #[must_use]
    pub fn named(alg: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|each| each.as_str() == alg)
    }

    /// Whether who verifies could sign as well.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// Where keys come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyOrigin {
    /// A JWK set (RFC 7517 §5) or a PEM file, read again when it changes.
    File(PathBuf),
    /// A JWK set in the policy itself.
    Inline(String),
    /// A JWK set to fetch, only because the policy names it.
    Url {
        /// Its address.
        url: String,
        /// PEM file of certificate authorities to trust; none for those of the host.
        ca_file: Option<PathBuf>,
    },
    /// Key sets that processes on this host were answered.
    Observed(ObservedFrom),
}

/// Whose answers are believed. Each that is given must fit; with none given, nobody is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ObservedFrom {
    /// Path of the executable.
    pub exe: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// cgroup path, or a prefix of it.
    pub cgroup: Option<String>,
    /// Container id.
    pub container: Option<String>,
}

impl ObservedFrom {
    /// Whether `process` is the one that is believed.
    #[must_use]
    pub fn admits(&self, process: &Process) -> bool {
        let Self { exe, unit, cgroup, container } = self;
        let fits = |wanted: &Option<String>, found: &Option<String>| match wanted {
            Some(wanted) => found.as_ref() == Some(wanted),
            None => true,
        };
        let below = cgroup.as_ref().is_none_or(|wanted| {
            process.cgroup.as_deref().is_some_and(|path| is_at_or_below(path, wanted))
        });
        let any = [exe, unit, cgroup, container].into_iter().any(Option::is_some);
        any && below
            && fits(exe, &process.exe)
            && fits(unit, &process.unit)
            && fits(container, &process.container)
    }
}

/// Whether `path` is `place` or lies below it.
fn is_at_or_below(path: &str, place: &str) -> bool {
    let place = place.strip_suffix('/').unwrap_or(place);
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(matches: &[&str], tenants: &[&str]) -> Issuer {
        let texts = |texts: &[&str]| texts.iter().map(|each| (*each).to_owned()).collect();
        Issuer {
            id: "i".into(),
            matches: texts(matches),
            tenants: texts(tenants),
            profile: Profile::Lax,
            algorithms: BTreeSet::from([Algorithm::Rs256]),
            keys: Vec::new(),
            leeway: Duration::ZERO,
            max_lifetime: None,
            required_claims: Vec::new(),
        }
    }

    #[test]
    fn an_issuer_is_told_by_its_names_to_the_letter() {
        let one = issuer(&["https://sso.example/realms/corp", "https://sso.internal"], &[]);
        assert!(one.is_named("https://sso.example/realms/corp"));
        assert!(one.is_named("https://sso.internal"));
        for other in ["https://sso.example/realms/corp/", "https://SSO.example/realms/corp", ""] {
            assert!(!one.is_named(other), "{other}");
        }
    }

    #[test]
    fn a_template_admits_the_tenants_that_are_listed_and_no_others() {
        let names = ["https://login.example/{tenant}/v2.0"];
        let listed = issuer(&names, &["t1", "t2"]);
        assert!(listed.is_named("https://login.example/t1/v2.0"));
        for other in ["t3", "", "{tenant}", "t1/x", "t1/v2.0#t2"] {
            assert!(!listed.is_named(&format!("https://login.example/{other}/v2.0")), "{other}");
        }
        assert!(!issuer(&names, &[]).is_named("https://login.example/t1/v2.0"));
        assert!(!issuer(&names, &[]).is_named("https://login.example/{tenant}/v2.0"));
    }

    #[test]
    fn hosts_are_those_of_the_names() {
        let one = issuer(&["https://sso.example:8443/x", "joe", "https://b"], &[]);
        assert_eq!(one.hosts().collect::<Vec<_>>(), ["sso.example", "b"]);
    }

    #[test]
    fn algorithms_are_named_case_sensitively() {
        assert_eq!(Algorithm::named("RS256"), Some(Algorithm::Rs256));
        assert_eq!(Algorithm::named("rs256"), None);
        assert_eq!(Algorithm::named("none"), None);
    }

    #[test]
    fn only_the_process_that_is_named_is_believed() {
        let process = Process {
            exe: Some("/usr/bin/app".into()),
            cgroup: Some("/system.slice/app.service".into()),
            ..Process::unknown(1)
        };
        let from = |exe: Option<&str>, cgroup: Option<&str>| ObservedFrom {
            exe: exe.map(str::to_owned),
            cgroup: cgroup.map(str::to_owned),
            ..ObservedFrom::default()
        };
        assert!(from(Some("/usr/bin/app"), None).admits(&process));
        assert!(from(Some("/usr/bin/app"), Some("/system.slice")).admits(&process));
        assert!(!from(None, None).admits(&process));
        assert!(!from(Some("/usr/bin/app"), Some("/system")).admits(&process));
        assert!(!from(Some("/tmp/app"), Some("/system.slice/")).admits(&process));
        assert!(!from(Some("/usr/bin/app"), None).admits(&Process::unknown(1)));
    }
}

//! Opaque tokens that say by a prefix who issued them. In: a token. Out: its class, and whether its
//! checksum belies it. The prefixes
//! are those that issuers publish for secret scanners.

use crate::token::Kind;

/// A family of tokens that share a prefix.
#[derive(Debug, Eq, PartialEq)]
pub struct PrefixClass {
    /// What the tokens start with; case-sensitive.
    pub prefix: &'static str,
    /// Name in events.
    pub name: &'static str,
    /// What such a token is for.
    pub kind: Kind,
}

/// The class that `token` belongs to.
#[must_use]
pub fn prefix_class(token: &str) -> Option<&'static PrefixClass> {
    CLASSES.iter().find(|class| token.starts_with(class.prefix))
}

/// Characters behind the prefix of GitHub's tokens: entropy, then its checksum.
const GITHUB_BODY: usize = 36;
/// Digits of the checksum: a CRC-32 in base 62, filled up with zeroes.
const CHECKSUM: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Whether `token` has a prefix whose tokens have a checksum, and another checksum than that: its
/// issuer never made it. Others may be genuine.
#[must_use]
pub fn is_counterfeit(token: &str) -> bool {
    let body = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]
        .iter()
        .find_map(|prefix| token.strip_prefix(prefix))
        .filter(|body| {
            body.len() == GITHUB_BODY && body.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    let Some((entropy, checksum)) =
        body.and_then(|body| body.split_at_checked(GITHUB_BODY - CHECKSUM))
    else {
        return false;
    };
    let sent = checksum.bytes().try_fold(0_u64, |sum, byte| {
        let digit = BASE62.iter().position(|each| *each == byte)?;
        Some(sum * 62 + digit as u64)
    });
    sent != Some(u64::from(crc32fast::hash(entropy.as_bytes())))
}

/// Where one prefix starts with another, the longer one stands first.
const CLASSES: &[PrefixClass] = &[
    class("ghp_", "github_personal", Kind::ApiKey),
    class("github_pat_", "github_fine_grained", Kind::ApiKey),
    class("gho_", "github_oauth", Kind::Access),
    class("ghu_", "github_user_to_server", Kind::Access),
    class("ghs_", "github_installation", Kind::Access),
    class("ghr_", "github_refresh", Kind::Refresh),
    class("glpat-", "gitlab_personal", Kind::ApiKey),
    class("gldt-", "gitlab_deploy", Kind::ApiKey),
    class("glrt-", "gitlab_runner", Kind::ApiKey),
    class("glcbt-", "gitlab_ci_job", Kind::Access),
    class("xoxe.xox", "slack_rotated", Kind::Access),
    class("xoxe-", "slack_refresh", Kind::Refresh),
    class("xoxa-", "slack_workspace", Kind::Access),
    class("xoxb-", "slack_bot", Kind::Access),
    class("xoxo-", "slack_legacy", Kind::Access),
    class("xoxp-", "slack_user", Kind::Access),
    class("xoxr-", "slack_legacy_refresh", Kind::Refresh),
    class("xoxs-", "slack_legacy_workspace", Kind::Access),
    class("xapp-", "slack_app", Kind::ApiKey),
    class("ya29.", "google_oauth", Kind::Access),
    class("AIza", "google_api_key", Kind::ApiKey),
    class("npm_", "npm", Kind::ApiKey),
    class("pypi-", "pypi", Kind::ApiKey),
    class("hf_", "hugging_face", Kind::ApiKey),
    class("dapi", "databricks", Kind::ApiKey),
    class("doo_v1_", "digitalocean_oauth", Kind::Access),
    class("dop_v1_", "digitalocean_personal", Kind::ApiKey),
    class("dor_v1_", "digitalocean_refresh", Kind::Refresh),
    class("sk-ant-", "anthropic", Kind::ApiKey),
    class("sk-proj-", "openai_project", Kind::ApiKey),
    class("shpat_", "shopify_admin", Kind::Access),
    class("hvs.", "vault_service", Kind::Access),
    class("hvb.", "vault_batch", Kind::Access),
    class("glsa_", "grafana_service_account", Kind::ApiKey),
    class("sk_live_", "stripe_secret", Kind::ApiKey),
    class("rk_live_", "stripe_restricted", Kind::ApiKey),
];

const fn class(prefix: &'static str, name: &'static str, kind: Kind) -> PrefixClass {
    PrefixClass { prefix, name, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(token: &str, name: Option<&str>) {
        assert_eq!(prefix_class(token).map(|class| class.name), name);
    }

    #[test]
    fn tokens_are_classed_by_prefix() {
        check("ghp_16C7e42F292c6912E7710c838347Ae178B4a", Some("github_personal"));
        check("github_pat_11ABC", Some("github_fine_grained"));
        check("xoxe.xoxp-1-Mi0", Some("slack_rotated"));
        check("xoxe-1-My0x", Some("slack_refresh"));
        check("ya29.a0Af", Some("google_oauth"));
        check("GHP_16C7", None);
        check("", None);
    }

    #[test]
    fn checksums_of_github_are_checked() {
        // The checksums are python3's: zlib.crc32, in digits 0-9, A-Z, a-z.
        let genuine = concat!("ghp_", "scopewatchscopewatchscopewatch", "0pVJoe");
        assert!(!is_counterfeit(genuine));
        assert!(!is_counterfeit(concat!("ghs_", "Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0", "2ZFgkD")));
        assert!(is_counterfeit(&genuine.replacen("sco", "Sco", 1)));
        assert!(is_counterfeit(&genuine.replace("Joe", "Jof")));
        assert!(is_counterfeit("gho_16C7e42F292c6912E7710c838347Ae178B4a"));
        // Newer forms are longer, and other issuers have no checksum.
        for other in ["ghp_short", "ghs_16C7e42F292c6912E7710c838347Ae178B4a0", "glpat-x", ""] {
            assert!(!is_counterfeit(other), "{other}");
        }
    }

    #[test]
    fn no_class_hides_a_later_one() {
        for (at, class) in CLASSES.iter().enumerate() {
            let found = CLASSES.iter().position(|each| class.prefix.starts_with(each.prefix));
            assert_eq!(found, Some(at), "{}", class.prefix);
        }
    }
}

//! Which fields and cookies carry credentials beside those that standards name. In: names, from a
//! policy. Out: [`Sources`], which a request's fields are looked up in.

use std::sync::Arc;

use super::Kind;

/// Fields that proxies, gateways and vendors put tokens into, and what for.
const VENDOR_FIELDS: &[(&str, Kind)] = &[
    // oauth2-proxy
    ("x-auth-request-access-token", Kind::Access),
    ("x-forwarded-access-token", Kind::Access),
    // Cloudflare Access, AWS ALB, Google IAP: what they say of the user, signed.
    ("cf-access-jwt-assertion", Kind::Id),
    ("x-amzn-oidc-accesstoken", Kind::Access),
    ("x-goog-iap-jwt-assertion", Kind::Id),
    // Azure App Service
    ("x-ms-token-aad-access-token", Kind::Access),
    // GitLab
    ("private-token", Kind::ApiKey),
    ("job-token", Kind::Access),
    // HashiCorp Vault
    ("x-vault-token", Kind::Access),
    // Transaction tokens (draft-ietf-oauth-transaction-tokens)
    ("txn-token", Kind::Access),
];

/// Names of fields and cookies that carry tokens. A field of the standards, such as
/// `authorization`, is not listed: it is always read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sources {
    /// In lower case, sorted.
    fields: Vec<(Arc<str>, Kind)>,
    /// As they are written: names of cookies are case-sensitive.
    cookies: Vec<Arc<str>>,
    /// Bit n: a field with a name of n bytes is listed. Most fields are passed over by it.
    lengths: u64,
}

impl Default for Sources {
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

impl Sources {
    /// Vendors' fields, and beside them the `fields` and `cookies` of a policy, which carry access
    /// tokens.
    #[must_use]
    pub fn new(fields: &[String], cookies: &[String]) -> Self {
        let vendors = VENDOR_FIELDS.iter().map(|(name, kind)| (Arc::from(*name), *kind));
        let own = fields.iter().map(|name| (Arc::from(name.to_ascii_lowercase()), Kind::Access));
        let mut all: Vec<(Arc<str>, Kind)> = vendors.chain(own).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        let bit = |name: &str| 1_u64.checked_shl(u32::try_from(name.len()).unwrap_or(u32::MAX));
        let lengths = all.iter().filter_map(|(name, _)| bit(name)).fold(0, |all, bit| all | bit);
        let cookies = cookies.iter().map(|name| Arc::from(name.as_str())).collect();
        Self { fields: all, cookies, lengths }
    }

    /// What a field called `name`, in lower case, carries.
    pub(in crate::token) fn field(&self, name: &[u8]) -> Option<&(Arc<str>, Kind)> {
        // Names of 64 bytes and more are not worth a shortcut.
        let is_of_length = u32::try_from(name.len())
            .ok()
            .and_then(|len| self.lengths.checked_shr(len))
            .is_none_or(|bits| bits & 1 == 1);
        if !is_of_length {
            return None;
        }
        let at = self.fields.binary_search_by(|(each, _)| each.as_bytes().cmp(name)).ok()?;
        self.fields.get(at)
    }

    /// Cookies that carry access tokens.
    pub(in crate::token) fn cookies(&self) -> &[Arc<str>] {
        &self.cookies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_fields_are_found_and_others_are_not() {
        let long = "x".repeat(70);
        let sources = Sources::new(&["X-Session-JWT".into(), long.clone()], &[]);
        let kind = |name: &str| sources.field(name.as_bytes()).map(|(_, kind)| *kind);
        assert_eq!(kind("x-session-jwt"), Some(Kind::Access));
        assert_eq!(kind("private-token"), Some(Kind::ApiKey));
        assert_eq!(kind(&long), Some(Kind::Access));
        for other in ["", "accept", "x-session-jwu", "authorization", &"y".repeat(70)] {
            assert_eq!(kind(other), None, "{other}");
        }
        for (name, kind_of) in VENDOR_FIELDS {
            assert_eq!(kind(name), Some(*kind_of));
        }
    }

    #[test]
    fn a_vendors_field_keeps_its_kind_when_a_policy_lists_it_too() {
        let sources = Sources::new(&["Private-Token".into()], &[]);
        let kinds = sources.fields.iter().filter(|(name, _)| &**name == "private-token");
        assert_eq!(kinds.map(|(_, kind)| *kind).collect::<Vec<_>>(), [Kind::ApiKey]);
    }
}

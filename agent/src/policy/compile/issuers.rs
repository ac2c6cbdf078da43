//! Issuers of the policy. In: what is written of an issuer. Out: what verification needs to know.

use std::{collections::BTreeSet, time::Duration};

use super::Compiler;
use crate::{
    policy::{
        error::Problem,
        place::{At, Seconds},
        raw,
    },
    token::{
        issuer::{Issuer, KeyOrigin, ObservedFrom},
        profile::Profile,
    },
};

impl Compiler<'_> {
    pub(super) fn issuer(&mut self, raw: &raw::Issuer) -> Issuer {
        let defaults = &self.raw.defaults;
        let seconds =
            |own: Option<Seconds>, default: Seconds| Duration::from_secs(own.unwrap_or(default).0);
        let leeway = seconds(raw.leeway, defaults.leeway);
        let max_lifetime = seconds(raw.max_token_lifetime, defaults.max_token_lifetime);
        self.matches(raw);
        if raw.algs.value.is_empty() {
            let what = "`algs` must name an algorithm, or be left out";
            self.refuse(raw.algs.place, Problem::Invalid(what));
        }
        let count = raw.algs.value.iter().filter(|alg| alg.is_symmetric()).count();
        if count > 0 && count < raw.algs.value.len() {
            let what = "`algs` must not have HS algorithms beside others: a public key could be \
                        taken for a secret (RFC 8725 §2.1)";
            self.refuse(raw.algs.place, Problem::Invalid(what));
        }
        let keys = raw.jwks.as_ref().map(|jwks| self.keys(jwks)).unwrap_or_default();
        let opaque = matches!(
            raw.profile,
            Profile::Github | Profile::Gitlab | Profile::Slack | Profile::Google
        );
        if keys.is_empty() && !opaque {
            let what = "this issuer has no `jwks`: its tokens are read, and anybody can write them";
            self.warn(raw.id.place, Problem::Invalid(what));
        }
        Issuer {
            id: raw.id.value.clone(),
            matches: raw.r#match.iter().map(|it| it.value.clone()).collect(),
            tenants: raw.tenants.clone(),
            profile: raw.profile,
            algorithms: raw.algs.value.iter().copied().collect::<BTreeSet<_>>(),
            keys,
            leeway,
            max_lifetime: Some(max_lifetime),
            required_claims: raw.required_claims.clone(),
        }
    }

    fn matches(&mut self, raw: &raw::Issuer) {
        if raw.r#match.is_empty() {
            let what = "`match` must name the issuer as tokens do";
            self.refuse(raw.id.place, Problem::Invalid(what));
        }
        for one in &raw.r#match {
            let has_tenant = one.value.contains("{tenant}");
            if has_tenant && raw.tenants.is_empty() {
                let what = "`{tenant}` needs `tenants`, which lists what may stand there";
                self.refuse(one.place, Problem::Invalid(what));
            }
        }
    }

    fn keys(&mut self, at: &At<raw::Jwks>) -> Vec<KeyOrigin> {
        let raw::Jwks { file, inline, url, ca_file, observe } = &at.value;
        let mut keys = Vec::new();
        keys.extend(file.clone().map(KeyOrigin::File));
        keys.extend(inline.as_ref().map(|set| KeyOrigin::Inline(set.to_string())));
        if let Some(url) = url {
            if !url.starts_with("https://") {
                let what = "`url` must begin with https://";
                self.refuse(at.place, Problem::Invalid(what));
            }
            keys.push(KeyOrigin::Url { url: url.clone(), ca_file: ca_file.clone() });
        } else if ca_file.is_some() {
            let what = "`ca_file` has no effect without `url`";
            self.refuse(at.place, Problem::Invalid(what));
        }
        if let Some(raw::Observe { from }) = observe {
            let raw::From { exe, unit, cgroup, container } = from.clone();
            if [&exe, &unit, &cgroup, &container].into_iter().all(Option::is_none) {
                let what = "`from` must name a process: any process can show a key set";
                self.refuse(at.place, Problem::Invalid(what));
            }
            keys.push(KeyOrigin::Observed(ObservedFrom { exe, unit, cgroup, container }));
        }
        if keys.is_empty() {
            let what = "`jwks` needs one of `file`, `inline`, `url` and `observe`";
            self.refuse(at.place, Problem::Invalid(what));
        }
        keys
    }
}

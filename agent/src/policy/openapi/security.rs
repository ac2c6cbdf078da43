//! Security requirements. In: `security` of an operation, and the schemes of the document. Out:
//! what a call needs, in the policy's own words.

use super::{
    Import,
    document::{Alternative, Operation, Scheme},
};
use crate::policy::{
    compile::MAX_ALTERNATIVES,
    error::{Problem, nearest},
    place::{At, Place},
    raw::{Amount, BindingNeed, Needed, Require},
};

impl Import<'_> {
    /// Ways in which a call of the operation may be in order; never empty.
    pub(super) fn alternatives(&mut self, name: &str, at: &At<Operation>) -> Vec<Require> {
        let document = self.document;
        let listed = at.value.security.as_ref().or(document.security.as_ref());
        let Some(listed) = listed.filter(|listed| !listed.is_empty()) else {
            if listed.is_none() {
                let what = "neither this operation nor the document says what calls need: it and \
                            others like it are taken to need no credential";
                let problem = Problem::Invalid(what);
                if !self.out.warnings.iter().any(|told| told.problem == problem) {
                    self.warn(at.place, problem);
                }
            }
            return vec![anonymous()];
        };
        let all = listed.iter().take(MAX_ALTERNATIVES);
        all.map(|one| self.alternative(name, at.place, one)).collect()
    }

    fn alternative(&mut self, name: &str, at: Place, schemes: &Alternative) -> Require {
        let mut require = anonymous();
        let mut needed = Vec::new();
        for (scheme, listed) in schemes {
            let listed = listed.as_deref().unwrap_or_default();
            let Some(found) = self.document.scheme(scheme) else {
                let known = self.document.scheme_names();
                let nearest = nearest(scheme, &known);
                let (what, id) = ("security scheme", scheme.clone());
                self.warn(at, Problem::Unresolved { what, id, nearest });
                needed.push(Needed::Token);
                continue;
            };
            for scope in listed.iter().filter(|scope| found.defines(scope) == Some(false)) {
                let (operation, scope) = (name.to_owned(), scope.clone());
                self.warn(at, Problem::UndefinedScope { operation, scope });
            }
            needed.push(add(found, listed, &mut require));
        }
        needed.dedup();
        require.credentials = Some(needed);
        require
    }
}

fn anonymous() -> Require {
    Require { credentials: Some(Vec::new()), ..Require::default() }
}

/// The credential of a scheme; what is listed for it goes into `require`.
fn add(scheme: &Scheme, listed: &[String], require: &mut Require) -> Needed {
    let name = || scheme.name.clone().unwrap_or_default();
    let http = scheme.scheme.as_deref().unwrap_or_default().to_ascii_lowercase();
    let extend = |amount: &mut Amount| {
        let new = listed.iter().filter(|it| !amount.all.contains(it)).cloned();
        let new: Vec<String> = new.collect();
        amount.all.extend(new);
    };
    match (scheme.kind.as_str(), http.as_str()) {
        ("oauth2" | "openIdConnect", _) => extend(&mut require.scopes),
        // From 3.1 on, other schemes may list roles.
        ("http", "bearer") => extend(&mut require.roles),
        ("http", "dpop") => {
            extend(&mut require.roles);
            require.binding = BindingNeed::Dpop;
        }
        ("http", "basic") => return Needed::Basic,
        ("http", _) => return Needed::Header("authorization".to_owned()),
        ("mutualTLS", _) => return Needed::Mtls,
        ("apiKey", _) => {
            return match scheme.place.as_deref() {
                Some("query") => Needed::Query(name()),
                Some("cookie") => Needed::Cookie(name()),
                _ => Needed::Header(name()),
            };
        }
        _ => {}
    }
    Needed::Token
}

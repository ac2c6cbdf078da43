//! What calls are judged by at one moment: a policy, the keys of its issuers, and the places where
//! its services take tokens. In: what was loaded. Out: [`Rules`], a snapshot that nothing changes,
//! and for each worker a [`Follower`], which sees the newest at the cost of reading one number.
//!
//! Loading is not in here: `config/rulebook.rs` reads files, and who judges never waits for one.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    http::{
        body::route::{Mark, MarkedRoute, Template},
        operation,
    },
    keyring::Keyring,
    policy::{call::Source, compiled::Policy, evaluate::Engine, raw::Protocol},
    token::{keys::Trust, sources::Sources},
};

/// What calls are judged by.
#[derive(Clone, Default)]
pub struct Rules {
    /// Judges; `None` without a policy.
    pub engine: Option<Engine>,
    /// Issuers and their keys.
    pub trust: Arc<Trust>,
    /// Takes what the stages see of keys; `None` where keys are to stay as they are.
    pub keyring: Option<Arc<Keyring>>,
    /// Fields and cookies that carry tokens.
    pub sources: Sources,
    /// Routes whose bodies name operations.
    pub marks: Arc<[MarkedRoute]>,
}

impl Rules {
    /// Rules that judge by `policy`, and verify by `trust`.
    #[must_use]
    pub fn new(policy: Arc<Policy>, trust: Arc<Trust>, keyring: Option<Arc<Keyring>>) -> Self {
        let engine = Engine::new(policy);
        let (sources, marks) = (sources(&engine), marks(engine.policy()));
        Self { engine: Some(engine), trust, keyring, sources, marks }
    }
}

/// Routes whose bodies name operations: those that the policy has a protocol for, and more where
/// marks are coarser than its templates.
fn marks(policy: &Policy) -> Arc<[MarkedRoute]> {
    let routes = policy.services.iter().flat_map(|service| &service.routes);
    let marked = routes.filter_map(|route| {
        let protocol = match route.protocol? {
            Protocol::Mcp => operation::Protocol::Mcp,
            Protocol::Graphql => operation::Protocol::Graphql,
        };
        let path = template(route.template.as_str())?;
        // Methods are compared where calls are judged.
        Some(MarkedRoute { method: None, host: None, path, mark: Mark::Operation(protocol) })
    });
    marked.collect()
}

/// Fields and cookies in which services of the policy take tokens.
#[must_use]
pub fn sources(engine: &Engine) -> Sources {
    let (mut fields, mut cookies) = (Vec::new(), Vec::new());
    for source in engine.sources() {
        match source {
            Source::Header(name) => fields.push(name.to_string()),
            Source::Cookie(name) => cookies.push(name.to_string()),
            Source::Authorization | Source::Form | Source::Query | Source::Websocket => {}
        }
    }
    Sources::new(&fields, &cookies)
}

/// A template of the policy as marks have it: a segment with a name in it may be anything.
fn template(text: &str) -> Option<Template> {
    let plain = text.split('/').map(|segment| match segment {
        "**" => "**",
        segment if segment.contains(['{', '*']) => "*",
        segment => segment,
    });
    let mut path = String::new();
    for segment in plain.filter(|segment| !segment.is_empty()) {
        path.push('/');
        path.push_str(segment);
        if segment == "**" {
            break;
        }
    }
    if path.is_empty() {
        path.push('/');
    }
    path.parse().ok()
}

/// Rules that may be replaced while they are followed.
#[derive(Clone, Default)]
pub struct Standing(Arc<Place>);

#[derive(Default)]
struct Place {
    /// How often they were replaced.
    version: AtomicU64,
    rules: Mutex<Arc<Rules>>,
}

impl Standing {
    /// These, until they are replaced.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let standing = Self::default();
        standing.replace(rules);
        standing
    }

    /// Has whoever follows judge by `rules` from now on.
    pub fn replace(&self, rules: Rules) {
        *self.0.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// One that follows.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let (version, rules) = self.get();
        Follower { standing: self.clone(), version, rules }
    }

    /// The version is read first: at worst newer rules are taken for older ones, and fetched again.
    fn get(&self) -> (u64, Arc<Rules>) {
        let version = self.0.version.load(Ordering::Acquire);
        (version, Arc::clone(&self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Sees the newest rules.
#[derive(Clone)]
pub struct Follower {
    standing: Standing,
    version: u64,
    rules: Arc<Rules>,
}

impl Follower {
    /// The newest rules.
    pub fn current(&mut self) -> &Arc<Rules> {
        let _newer = self.renewed();
        &self.rules
    }

    /// The newest rules, if they were replaced since this follower was last asked.
    pub fn renewed(&mut self) -> Option<&Arc<Rules>> {
        if self.standing.0.version.load(Ordering::Acquire) == self.version {
            return None;
        }
        (self.version, self.rules) = self.standing.get();
        Some(&self.rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_generation(generation: u64) -> Rules {
        Rules { trust: Arc::new(Trust::new(Vec::new(), generation)), ..Rules::default() }
    }

    #[test]
    fn who_follows_sees_what_replaced_the_rules() {
        let standing = Standing::new(of_generation(1));
        let mut followers = [standing.follow(), standing.follow().clone()];
        assert!(followers.iter_mut().all(|each| each.current().trust.generation == 1));
        standing.replace(of_generation(2));
        assert!(followers.iter_mut().all(|each| each.current().trust.generation == 2));
        assert_eq!(standing.follow().current().trust.generation, 2);
    }

    #[test]
    fn rules_that_stay_are_not_fetched_again() {
        let standing = Standing::new(of_generation(1));
        let mut follower = standing.follow();
        assert!(follower.renewed().is_none());
        standing.replace(of_generation(2));
        assert_eq!(follower.renewed().map(|rules| rules.trust.generation), Some(2));
        assert!(follower.renewed().is_none());
        let before = Arc::clone(follower.current());
        assert!(Arc::ptr_eq(&before, follower.current()));
    }
}

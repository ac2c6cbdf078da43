//! Whether a call has what a route needs. In: a requirement, and a call. Out: what is lacking for
//! sure, and what cannot be told.

use std::collections::HashSet;

use crate::{
    flow::chunk::{Handshake, Transport},
    policy::{
        call::{Call, Shown, Source},
        compiled::{Accept, Requirement, Service, TokenRule},
        judgement::Verdict,
        path,
        raw::{BindingNeed, Needed},
        reason::Reason,
    },
    token::{
        Content, Evidence, Format, Kind,
        examination::{Binding, Fault, SignatureState},
        issuer::Issuer,
        profile::Profile,
        scheme::Scheme,
    },
};

/// What is known against a call, by one requirement.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// Each of these denies.
    pub against: Vec<Reason>,
    /// Each of these leaves open whether it is to be denied.
    pub open: Vec<Reason>,
    /// Scopes that the token lacks.
    pub missing: Vec<String>,
}

impl Findings {
    fn deny(&mut self, reason: Reason) {
        if !self.against.contains(&reason) {
            self.against.push(reason);
        }
    }

    fn leave_open(&mut self, reason: Reason) {
        if !self.open.contains(&reason) {
            self.open.push(reason);
        }
    }

    pub(super) const fn verdict(&self) -> Verdict {
        if !self.against.is_empty() {
            Verdict::Deny
        } else if self.open.is_empty() {
            Verdict::Allow
        } else {
            Verdict::Indeterminate
        }
    }

    pub(super) fn reasons(self) -> Vec<Reason> {
        if self.against.is_empty() { self.open } else { self.against }
    }
}

/// The token of a call that its service would look at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chosen<'c> {
    /// This one, by its position.
    Token(usize, &'c Shown<'c>),
    /// None, for that reason.
    Refused(&'static Reason),
    /// None was seen, and not all was.
    Unseen,
}

/// Picks the token of a call.
pub(super) fn choose<'c>(service: &Service, call: &Call<'c>) -> Chosen<'c> {
    let standard = call.credentials.iter().filter(|shown| shown.source.is_standard());
    if standard.count() > 1 {
        return Chosen::Refused(&Reason::MultipleCredentials);
    }
    let mut refused = false;
    for source in &service.sources {
        let here = call.credentials.iter().enumerate().filter(|(_, it)| it.source == *source);
        for (nth, shown) in here {
            let by_scheme = *source == Source::Authorization;
            if !by_scheme || service.schemes.contains(&shown.credential.scheme) {
                return Chosen::Token(nth, shown);
            }
            refused = true;
        }
    }
    let form = service.sources.contains(&Source::Form);
    if refused {
        Chosen::Refused(&Reason::SchemeUnsupported)
    } else if call.fields_complete && (!form || call.content_complete) {
        Chosen::Refused(&Reason::CredentialMissing)
    } else {
        Chosen::Unseen
    }
}

/// Whether a call meets a requirement.
pub(super) struct Trial<'t> {
    pub issuers: &'t [Issuer],
    pub service: &'t Service,
    pub call: &'t Call<'t>,
    pub chosen: Chosen<'t>,
    /// Parameters of the route.
    pub params: &'t [(&'t str, String)],
}

impl Trial<'_> {
    pub(super) fn findings(&self, requirement: &Requirement) -> Findings {
        let mut findings = Findings::default();
        if let Some(rule) = &requirement.token {
            match self.chosen {
                Chosen::Token(_, shown) => self.token(shown, rule, &mut findings),
                Chosen::Refused(reason) => findings.deny(reason.clone()),
                Chosen::Unseen => findings.leave_open(Reason::CaptureIncomplete),
            }
        }
        for needed in &requirement.others {
            match self.has(needed) {
                Some(true) => {}
                Some(false) => findings.deny(Reason::CredentialMissing),
                None => findings.leave_open(Reason::CaptureIncomplete),
            }
        }
        findings
    }

    /// Whether the call has another credential; `None` if that cannot be told.
    fn has(&self, needed: &Needed) -> Option<bool> {
        let call = self.call;
        let by_fields = |found: bool| (found || call.fields_complete).then_some(found);
        match needed {
            Needed::Token => Some(true),
            Needed::Basic => by_fields(
                call.credentials.iter().any(|shown| shown.credential.scheme == Scheme::Basic),
            ),
            Needed::Header(name) => {
                by_fields(call.fields.first(&name.to_ascii_lowercase()).is_some())
            }
            Needed::Cookie(name) => by_fields(has_cookie(call, name)),
            Needed::Query(name) => {
                if call.target.is_empty() {
                    return None;
                }
                let query = path::split_target(call.target).and_then(|(_, query)| query);
                let keys = query.into_iter().flat_map(|query| query.split('&'));
                Some(keys.filter_map(|pair| pair.split('=').next()).any(|key| key == name))
            }
            Needed::Mtls => {
                let handshake = call.endpoint.handshake;
                let shown =
                    handshake.is_some_and(|it| it.client_certificate.certificate().is_some());
                let seen = handshake.is_some_and(Handshake::is_uncertified);
                let plain = call.endpoint.transport == Transport::Plain;
                (shown || seen || plain).then_some(shown)
            }
        }
    }

    fn token(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let examination = shown.examination;
        if shown.credential.format() == Format::Malformed {
            return findings.deny(Reason::Malformed);
        }
        self.faults(shown, findings);
        self.binding(shown, rule, findings);
        let is_readable = matches!(shown.credential.content, Content::Jws(_));
        if !is_readable && examination.evidence == Evidence::Unknown {
            // A refresh token is known by its prefix (GitHub's), whatever it grants.
            if shown.credential.kind == Kind::Refresh {
                return findings.deny(Reason::KindMismatch);
            }
            return findings.leave_open(Reason::OpaqueUnlearned);
        }
        self.issuer(shown, rule, findings);
        if examination.grant.is_cut {
            return self.cut(shown, rule, findings);
        }
        self.grant(shown, rule, findings);
    }

    /// Judges a token of which more was granted than was kept: what it seems to lack it may have.
    fn cut(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let mut seeming = Findings::default();
        self.grant(shown, rule, &mut seeming);
        if seeming.verdict() != Verdict::Allow {
            findings.leave_open(Reason::CaptureIncomplete);
        }
    }

    fn grant(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        self.audience(shown, rule, findings);
        self.scopes(shown, rule, findings);
        self.roles(shown, rule, findings);
        for condition in &rule.claims {
            if !condition.holds(&shown.examination.grant.claims, self.params) {
                findings.deny(Reason::ClaimCondition(condition.id.clone()));
            }
        }
        self.authentication(shown, rule, findings);
    }

    fn faults(&self, shown: &Shown<'_>, findings: &mut Findings) {
        let examination = shown.examination;
        for fault in &examination.faults {
            match fault {
                // It may be a new key, which the agent has not got yet.
                Fault::KeyUnknown => findings.leave_open(Reason::KeyUnknown),
                // Without issuers in the policy, anybody may be one.
                Fault::IssuerUnknown if self.issuers.is_empty() => {}
                fault => findings.deny(fault.into()),
            }
        }
        if let Some(fault) = examination.fault_at(self.call.time) {
            findings.deny((&fault).into());
        }
    }

    fn issuer(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let examination = shown.examination;
        if self.issuers.is_empty() {
            return self.client(shown, None, rule, findings);
        }
        let accept = examination
            .issuer
            .filter(|index| rule.issuers.is_empty() || rule.issuers.contains(index))
            .and_then(|index| self.service.accept.iter().find(|accept| accept.issuer == index));
        let Some(accept) = accept else { return findings.deny(Reason::IssuerUnknown) };
        let issuer = self.issuers.get(usize::from(accept.issuer.0));
        let unchecked = examination.signature == SignatureState::NotChecked;
        let is_signed = matches!(shown.credential.content, Content::Jws(_));
        if is_signed && unchecked && issuer.is_some_and(|issuer| !issuer.keys.is_empty()) {
            findings.leave_open(Reason::KeyUnknown);
        }
        self.client(shown, Some(accept), rule, findings);
    }

    fn client(
        &self,
        shown: &Shown<'_>,
        accept: Option<&Accept>,
        rule: &TokenRule,
        findings: &mut Findings,
    ) {
        let client = shown.examination.grant.client_id.as_deref();
        let lists = [accept.map_or(&[][..], |accept| &accept.clients), &rule.clients];
        for list in lists.into_iter().filter(|list| !list.is_empty()) {
            if !client.is_some_and(|client| list.iter().any(|glob| glob.matches(client))) {
                findings.deny(Reason::ClientNotAllowed);
            }
        }
    }

    fn audience(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let grant = &shown.examination.grant;
        if rule.audiences.is_empty() {
            return;
        }
        if grant.audience.is_empty() {
            let issuer = shown.examination.issuer;
            let issuer = issuer.and_then(|index| self.issuers.get(usize::from(index.0)));
            // Cognito's access tokens have none, and an introspection need not tell it.
            let by_design = issuer.is_some_and(|issuer| issuer.profile == Profile::Cognito);
            let is_readable = matches!(shown.credential.content, Content::Jws(_));
            if by_design || !is_readable {
                return;
            }
        }
        if !grant.audience.iter().any(|audience| rule.audiences.contains(audience)) {
            findings.deny(Reason::AudienceMismatch);
        }
    }

    fn scopes(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let mut granted: HashSet<&str> = HashSet::new();
        for scope in &shown.examination.grant.scopes {
            granted.insert(scope);
            let implied = self.service.implied.get(scope);
            granted.extend(implied.into_iter().flatten().map(String::as_str));
        }
        let missing = lacking(&rule.scopes.all, &rule.scopes.any, &|it| granted.contains(it));
        if !missing.is_empty() {
            findings.missing.clone_from(&missing);
            findings.deny(Reason::ScopeMissing(missing));
        }
    }

    fn roles(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let roles = &shown.examination.grant.roles;
        let has = |role: &str| roles.iter().any(|it| it == role);
        if !lacking(&rule.roles.all, &rule.roles.any, &has).is_empty() {
            findings.deny(Reason::RoleMissing);
        }
    }

    fn binding(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let issuer = shown.examination.issuer;
        let accept = self.service.accept.iter().find(|accept| Some(accept.issuer) == issuer);
        let accepted = accept.map_or(BindingNeed::None, |accept| accept.binding);
        let is_met = |need: BindingNeed| match need {
            BindingNeed::None => true,
            BindingNeed::Dpop => shown.binding == Binding::Dpop,
            BindingNeed::Mtls => shown.binding == Binding::Mtls,
            BindingNeed::Any => matches!(shown.binding, Binding::Dpop | Binding::Mtls),
        };
        match Reason::of_binding(&shown.binding) {
            // The field with the proof may be among those that were lost.
            Some(Reason::BindingMissing) if !self.call.fields_complete => {
                findings.leave_open(Reason::CaptureIncomplete);
            }
            Some(Reason::BindingUnverifiable) => findings.leave_open(Reason::BindingUnverifiable),
            Some(reason) => findings.deny(reason),
            None if is_met(accepted) && is_met(rule.binding) => {}
            None => findings.deny(Reason::BindingMissing),
        }
    }

    fn authentication(&self, shown: &Shown<'_>, rule: &TokenRule, findings: &mut Findings) {
        let grant = &shown.examination.grant;
        let acr = grant.acr.as_deref();
        if !rule.acr.is_empty() && !acr.is_some_and(|acr| rule.acr.iter().any(|it| it == acr)) {
            findings.deny(Reason::AcrInsufficient);
        }
        let Some(most) = rule.max_auth_age else { return };
        let limit = most.as_secs().saturating_add(shown.examination.leeway);
        match grant.auth_time {
            Some(then) if self.call.time.as_secs().saturating_sub(then) > limit => {
                findings.deny(Reason::AuthTooOld);
            }
            Some(_) => {}
            // The server may ask the issuer.
            None => findings.leave_open(Reason::AuthTooOld),
        }
    }
}

/// What is lacking of `all`, and the whole of `any` if not one of it is there.
fn lacking(all: &[String], any: &[String], has: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut missing: Vec<String> = all.iter().filter(|it| !has(it)).cloned().collect();
    if !any.is_empty() && !any.iter().any(|it| has(it)) {
        missing.extend(any.iter().filter(|it| !all.contains(it)).cloned());
    }
    missing
}

/// Whether there is a cookie of that name (RFC 6265 §4.2).
fn has_cookie(call: &Call<'_>, name: &str) -> bool {
    call.fields.all("cookie").any(|field| {
        field.split(|b| *b == b';').any(|pair| {
            let key = pair.split(|b| *b == b'=').next().unwrap_or_default();
            key.trim_ascii() == name.as_bytes()
        })
    })
}

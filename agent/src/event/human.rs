//! An event as one line for people at a terminal, and counts over many. In: events. Out: text in
//! which nothing that came from traffic is obeyed by a terminal or can pose as another field.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
};

use crate::{
    event::{
        model::{Event, EventType, Process},
        notice::Notice,
    },
    http::message::{Note, Role},
    policy::outcome::Finding,
    text::printable,
    token::TokenState,
};

/// Most subjects that a [`Summary`] counts one by one; the rest share a line.
pub const MAX_SUBJECTS: usize = 1000;
/// Most subjects that a [`Summary`] prints.
const TOP_SUBJECTS: usize = 10;

/// Whether lines are coloured by ANSI sequences (ECMA-48 §8.3.117).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// Status and token state in green, yellow or red.
    On,
}

impl Colour {
    /// `text`, padded to `width`, in the colour of `mood`.
    fn paint(self, mood: Mood, text: &str, width: usize) -> String {
        let code = match (self, mood) {
            (Self::Off, _) | (Self::On, Mood::Plain) => return format!("{text:width$}"),
            (Self::On, Mood::Good) => 32,
            (Self::On, Mood::Odd) => 33,
            (Self::On, Mood::Bad) => 31,
        };
        format!("\x1b[{code}m{text:width$}\x1b[0m")
    }
}

#[derive(Clone, Copy)]
enum Mood {
    Plain,
    Good,
    Odd,
    Bad,
}

/// Whether `event` is shown to people: what is told beside an `access` stands in its line.
#[must_use]
pub fn is_shown(event: &Event) -> bool {
    event.event.r#type != EventType::ScopeCheck
}

/// `event` on one line, without line end: time, who, by which client, what, status, token state,
/// what the policy says if there is one, scopes, process, addresses. `peer` is the event of the connection's other end, if there is one.
#[must_use]
pub fn line(event: &Event, peer: Option<&Event>, colour: Colour) -> String {
    let client_id = event.identity.as_ref().and_then(|identity| identity.client_id.as_deref());
    let scopes: Vec<_> = event.authz.scopes.iter().map(|scope| printable(scope)).collect();
    let time = event.event.time.0.to_time_of_day();
    let who = who(event);
    let client_id = printable(client_id.unwrap_or("-"));
    let what = what(event);
    let status = status(event, colour);
    let state = state(event, colour);
    let verdict = verdict(event, colour);
    let scopes = if scopes.is_empty() { "-".to_owned() } else { scopes.join(",") };
    let role = event.observation.role;
    let ends = [
        Some(end(role, &event.process)),
        event.peer.as_ref().map(|process| end(role.other(), process)),
        peer.map(|peer| end(peer.observation.role, &peer.process)),
    ];
    let ends = ends.into_iter().flatten().collect::<Vec<_>>().join(" + ");
    let line = format!(
        "{time} {who:24} {client_id:12} {what:36} {status} {state} {verdict}{scopes:20} {ends} {}",
        addresses(event)
    );
    line.trim_end().to_owned()
}

/// The subject, else the token's fingerprint, else the scheme of a credential that has none.
/// `anonymous` only where the request is known to have had no credential.
fn who(event: &Event) -> String {
    let subject = event.identity.as_ref().and_then(|identity| identity.subject.as_deref());
    let fp = event.credential.as_ref().and_then(|credential| credential.fp.as_deref());
    match (subject, fp, &event.credential) {
        (Some(subject), _, _) => printable(subject).into_owned(),
        (None, Some(fp), _) => format!("fp:{}", printable(fp)),
        (None, None, Some(credential)) => format!("({})", credential.scheme),
        (None, None, None) if head_seen(event) => "anonymous".to_owned(),
        (None, None, None) => "(unseen)".to_owned(),
    }
}

fn head_seen(event: &Event) -> bool {
    let asked = event.http.as_ref().is_some_and(|http| http.method.is_some());
    let unsure = [Note::RequestHeadLost, Note::HeadersIncomplete].map(Note::as_str);
    asked && !event.observation.notes.iter().any(|note| unsure.contains(&note.as_str()))
}

fn what(event: &Event) -> String {
    let http = event.http.as_ref();
    let method = http.and_then(|http| http.method.as_deref()).unwrap_or("?");
    let path = http.and_then(|http| http.path.as_deref()).unwrap_or("-");
    let lasts = match event.event.r#type {
        EventType::Access
        | EventType::ScopeCheck
        | EventType::PolicyLoaded
        | EventType::PolicyChanged
        | EventType::PolicyRejected => "",
        EventType::AccessBegun => " (lasts)",
    };
    format!("{} {}{lasts}", printable(method), printable(path))
}

fn status(event: &Event, colour: Colour) -> String {
    let status = event.http.as_ref().and_then(|http| http.status);
    let mood = match status {
        Some(..400) => Mood::Good,
        Some(400..500) => Mood::Odd,
        Some(500..) => Mood::Bad,
        None => Mood::Plain,
    };
    colour.paint(mood, &status.map_or_else(|| "-".to_owned(), |code| code.to_string()), 3)
}

fn state(event: &Event, colour: Colour) -> String {
    let state = event.token.as_ref().map(|token| token.state);
    let mood = match state {
        Some(TokenState::Active) => Mood::Good,
        Some(TokenState::NotYetValid | TokenState::NoExpiry) => Mood::Odd,
        Some(TokenState::Expired | TokenState::Malformed) => Mood::Bad,
        Some(TokenState::Opaque | TokenState::Encrypted) | None => Mood::Plain,
    };
    colour.paint(mood, state.map_or("-", TokenState::as_str), 9)
}

/// What the policy says, and a blank; nothing where it says nothing.
fn verdict(event: &Event, colour: Colour) -> String {
    let Some(assessment) = event.authz.assessment else { return String::new() };
    let (mood, word) = match assessment {
        Finding::Normal => (Mood::Good, "allowed"),
        Finding::FailedElsewhere => (Mood::Plain, "allowed"),
        Finding::PolicyDrift => (Mood::Odd, "POLICY DRIFT"),
        Finding::EnforcementGap => (Mood::Bad, "ENFORCEMENT GAP"),
        Finding::DeniedAsExpected | Finding::DeniedElsewhere => (Mood::Odd, "denied"),
        Finding::Unassessed => (Mood::Plain, "unassessed"),
    };
    let reasons: Vec<_> = event.authz.reasons.iter().map(|reason| printable(reason)).collect();
    let reasons =
        if reasons.is_empty() { String::new() } else { format!(" {}", reasons.join(",")) };
    format!("{} ", colour.paint(mood, &format!("{word}{reasons}"), 10))
}

/// An event of the agent itself on one line, without line end.
#[must_use]
pub fn notice_line(notice: &Notice, colour: Colour) -> String {
    let Notice { event, policy, .. } = notice;
    let time = event.time.0.to_time_of_day();
    let mood = if event.r#type == EventType::PolicyRejected { Mood::Bad } else { Mood::Plain };
    let kind = colour.paint(mood, event.r#type.as_str(), 15);
    let problems = policy.problems.iter().map(|problem| format!(" {}", printable(problem)));
    format!("{time} {kind} {}{}", printable(&policy.file), problems.collect::<String>())
}

fn end(role: Role, process: &Process) -> String {
    let Process { pid, comm, .. } = process;
    format!("{role} {}[{pid}]", printable(comm))
}

/// Client and server, in the direction of the call.
fn addresses(event: &Event) -> String {
    let client = event.client.as_ref().map(|end| (end.ip, end.port));
    let server = event.server.as_ref().map(|end| (end.ip, end.port));
    match (address(client), address(server)) {
        (None, None) => String::new(),
        (client, server) => {
            let show = |end: Option<SocketAddr>| end.map_or("?".to_owned(), |at| at.to_string());
            format!("{}->{}", show(client), show(server))
        }
    }
}

fn address(end: Option<(Option<IpAddr>, Option<u16>)>) -> Option<SocketAddr> {
    let (ip, port) = end?;
    Some(SocketAddr::new(ip?, port?))
}

/// Counts over events: by status class, token state and subject.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    total: u64,
    statuses: BTreeMap<String, u64>,
    states: BTreeMap<TokenState, u64>,
    assessments: BTreeMap<Finding, u64>,
    subjects: BTreeMap<String, u64>,
    other_subjects: u64,
}

impl Summary {
    /// Counts `event`; of a call that both ends were seen of, count one. That a call has begun is
    /// not counted: it is at its end.
    pub fn add(&mut self, event: &Event) {
        if event.event.r#type == EventType::AccessBegun {
            return;
        }
        let status = event.http.as_ref().and_then(|http| http.status);
        let class = status.map_or("none".to_owned(), |code| format!("{}xx", code / 100));
        increment(self.statuses.entry(class).or_default());
        if let Some(token) = &event.token {
            increment(self.states.entry(token.state).or_default());
        }
        if let Some(assessment) = event.authz.assessment {
            increment(self.assessments.entry(assessment).or_default());
        }
        let subject = who(event);
        if self.subjects.len() < MAX_SUBJECTS || self.subjects.contains_key(&subject) {
            increment(self.subjects.entry(subject).or_default());
        } else {
            increment(&mut self.other_subjects);
        }
        increment(&mut self.total);
    }
}

fn increment(count: &mut u64) {
    *count = count.saturating_add(1);
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut top: Vec<_> = self.subjects.iter().collect();
        top.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rest =
            top.iter().skip(TOP_SUBJECTS).fold(0, |sum: u64, (_, n)| sum.saturating_add(**n));
        let rest = rest.saturating_add(self.other_subjects);

        writeln!(f, "calls    {}", self.total)?;
        write_counts(f, "status", self.statuses.iter())?;
        write_counts(f, "tokens", self.states.iter())?;
        write_counts(f, "policy", self.assessments.iter())?;
        let others = (&"(others)".to_owned(), &rest);
        let top = top.into_iter().take(TOP_SUBJECTS);
        write_counts(f, "who", top.chain((rest > 0).then_some(others)))
    }
}

fn write_counts<'a, K: Display + 'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counts: impl Iterator<Item = (&'a K, &'a u64)>,
) -> fmt::Result {
    let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title:8} {}", counts.join(", "))
}

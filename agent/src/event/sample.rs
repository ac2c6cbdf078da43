//! Exchanges and events for tests.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    clock::{NANOS_PER_SEC, Timestamp},
    event::{
        access::{Author, Origin},
        model::{Event, Host},
    },
    flow::chunk::{Attribution, Connection, Socket},
    http::{
        body::Content,
        message::{Exchange, Fields, Request, Response, Role, Version},
    },
    identity::process::Process,
    observation::{Naming, Observation, Observer, SubjectMode},
    rules::Standing,
    token::{fingerprint::FingerprintKey, pseudonym::Pseudonyms, testing::subject_key},
};

/// 2026-11-22T10:04:31.118204Z
pub(crate) const START: Timestamp = Timestamp(1_795_341_871_118_204_000);

/// A whole exchange at [`START`]: `method`, `target`, request fields, and the response's status.
pub(crate) fn exchange(
    role: Role,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    status: u16,
) -> Exchange {
    let mut sent = Fields::default();
    fields.iter().for_each(|(name, value)| sent.push(name.as_bytes(), value.as_bytes()));
    let request = Request {
        method: method.to_owned(),
        target: Zeroizing::new(target.to_owned()),
        version: Version::Http11,
        head_bytes: 120,
        fields: sent,
        body_bytes: 12,
        content: Content::Counted,
        started: START,
        ended: START.plus(1000),
    };
    let response = Response {
        status,
        version: Version::Http11,
        head_bytes: 80,
        fields: Fields::default(),
        trailers: Fields::default(),
        body_bytes: 345,
        content: Content::Counted,
        started: START.plus(2_000_000),
        ended: START.plus(2_500_000),
    };
    Exchange { request: Some(request), response: Some(response), ..Exchange::new(3, role) }
}

/// A connection from 192.0.2.44 to 198.51.100.7, seen from the end that `role` says.
pub(crate) fn connection(role: Role) -> Connection {
    let ends = ["192.0.2.44:51000", "198.51.100.7:443"].map(|at| at.parse().unwrap());
    let ([local, remote], pid, comm) = match role {
        Role::Client => (ends, 4711, "curl"),
        Role::Server => ([ends[1], ends[0]], 812, "orders"),
    };
    let process = Process {
        pid,
        started: Some(Timestamp(1_795_000_000 * NANOS_PER_SEC)),
        comm: comm.to_owned(),
        exe: Some(format!("/usr/bin/{comm}")),
        unit: Some(format!("{comm}.service")),
        container: None,
        cgroup: Some(format!("/system.slice/{comm}.service")),
    };
    let socket = Socket { cookie: 1, local, remote, netns: 0 };
    let process = Arc::new(process);
    let attribution = Attribution::SocketCall;
    let known = Connection::new(0xc0de, process);
    Connection { socket: Some(socket), attribution, ..known }
}

pub(crate) fn observe(
    exchange: &Exchange,
    connection: &Connection,
    mode: SubjectMode,
) -> Observation {
    let naming = match mode {
        SubjectMode::Plain => Naming::Plain,
        SubjectMode::Pseudonym => Naming::Pseudonym(Pseudonyms::new(subject_key(7))),
        SubjectMode::Drop => Naming::Drop,
    };
    observe_as(exchange, connection, naming)
}

pub(crate) fn observe_as(
    exchange: &Exchange,
    connection: &Connection,
    naming: Naming,
) -> Observation {
    let key = Arc::new(FingerprintKey::new(Zeroizing::new([7; 32])));
    let mut observer = Observer::new(key, naming, &Standing::default());
    observer.observe(exchange, connection, START.plus(3_000_000))
}

pub(crate) fn event(exchange: &Exchange) -> Event {
    event_of(exchange, &connection(exchange.role))
}

pub(crate) fn event_of(exchange: &Exchange, connection: &Connection) -> Event {
    author().access(42, &observe(exchange, connection, SubjectMode::Plain))
}

pub(crate) fn author() -> Author {
    Author::new(origin())
}

/// Where the events of tests come from.
pub(crate) fn origin() -> Origin {
    Origin::new(Host {
        id: "8f4e0c1d2b3a49588776655443322110".to_owned(),
        name: "h7".to_owned(),
        boot_id: "2f1c8a52-6a0e-4b1c-9d3e-7f6a5b4c3d2e".to_owned(),
    })
}

/// A JWT with a signature of noise.
pub(crate) fn jwt(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmF0dXJl", part(header), part(claims))
}

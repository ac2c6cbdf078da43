//! Key sets that are looked at, and those that are not.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    event::sample,
    http::{
        body::{Content, Sample},
        message::Note,
    },
    identity::process::Process,
    observation::asked,
    text::Cuts,
    token::{
        issuer::{Algorithm, Issuer, KeyOrigin, ObservedFrom},
        profile::Profile,
    },
};

const ISSUER: &str = "https://sso.example/realms/corp";

/// A ring that believes what `/usr/bin/orders` gets.
fn keyring() -> Keyring {
    let from = ObservedFrom { exe: Some("/usr/bin/orders".into()), ..ObservedFrom::default() };
    let issuer = Issuer {
        id: "corp".into(),
        matches: vec![ISSUER.into()],
        tenants: Vec::new(),
        profile: Profile::Lax,
        algorithms: BTreeSet::from([Algorithm::EdDsa]),
        keys: vec![KeyOrigin::Observed(from)],
        leeway: Duration::ZERO,
        max_lifetime: None,
        required_claims: Vec::new(),
    };
    Keyring::start(vec![issuer], 1).unwrap()
}

fn names(keyring: &Keyring) -> Vec<String> {
    let trust = keyring.trust();
    let (_, trusted) = trust.find(ISSUER).unwrap();
    let keys = trusted.keys.iter().flat_map(|held| held.set.keys());
    keys.map(|key| key.id.clone().unwrap()).collect()
}

/// An answer of key `kid` to `orders`, which asked for it.
fn answer(kid: &str) -> (Exchange, Connection) {
    // RFC 8037 A.2
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#);
    let mut body = Sample::default();
    body.take(set.as_bytes());
    let fields = [("host", "sso.example")];
    let mut exchange = sample::exchange(Role::Client, "GET", "/certs", &fields, 200);
    exchange.response.as_mut().unwrap().content = Content::Sampled(body);
    let exe = Some("/usr/bin/orders".to_owned());
    let process = Arc::new(Process { exe, ..Process::unknown(7) });
    (exchange, Connection { process, ..sample::connection(Role::Client) })
}

fn look(keyring: &Keyring, (exchange, connection): &(Exchange, Connection)) {
    let request = exchange.request.as_ref().unwrap();
    let mut cuts = Cuts::default();
    let asked = asked(request, &mut cuts);
    key_set(keyring, exchange, connection, Some(&asked), &mut cuts);
}

#[test]
fn only_a_whole_answer_that_a_process_got_itself_over_tls_is_looked_at() {
    let keyring = keyring();
    let but = |change: fn(&mut Exchange, &mut Connection)| {
        let (mut exchange, mut connection) = answer("wrong");
        change(&mut exchange, &mut connection);
        look(&keyring, &(exchange, connection));
    };
    but(|exchange, _| exchange.request.as_mut().unwrap().method = "POST".into());
    but(|exchange, _| exchange.response.as_mut().unwrap().status = 404);
    but(|exchange, _| exchange.notes = vec![Note::ResponseBodyLost]);
    but(|exchange, _| exchange.phase = Phase::Begun);
    but(|exchange, _| exchange.response.as_mut().unwrap().content = Content::Counted);
    but(|exchange, _| {
        let fields = &mut exchange.response.as_mut().unwrap().fields;
        fields.push(b"content-encoding", b"unheard-of");
    });
    but(|_, connection| connection.transport = Transport::Plain);
    but(|_, connection| connection.attribution = Attribution::KeyOnly);
    // The observed end is the server, and who asked is not known.
    but(|exchange, _| exchange.role = Role::Server);
    look(&keyring, &answer("right"));
    let start = Instant::now();
    while names(&keyring).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(names(&keyring), ["right"]);
    assert_eq!(keyring.trust().generation, (1 << 32) + 1, "one set was believed");
}

#[test]
fn seen_from_the_server_the_set_is_its_peers() {
    let keyring = keyring();
    let (exchange, connection) = answer("k");
    let exchange = Exchange { role: Role::Server, ..exchange };
    let connection = Connection {
        process: Arc::new(Process::unknown(8)),
        peer: Some(connection.process),
        peer_attribution: Some(Attribution::SocketCall),
        ..sample::connection(Role::Server)
    };
    look(&keyring, &(exchange, connection));
    let start = Instant::now();
    while names(&keyring) != ["k"] {
        assert!(start.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(10));
    }
}

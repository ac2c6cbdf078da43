//! TLS: records, handshake messages, and whole flows of recorded sessions under damage, with the
//! secrets that opened them and with decoys.

use std::sync::LazyLock;

use scopewatch::{
    clock::Timestamp,
    flow::chunk::Direction,
    tls::{
        certificate::Certificate,
        handshake::{EncryptedExtensions, Messages},
        hello::{ClientHello, ServerHello},
        ja4::ja4,
        open::Connection,
        output::Output,
        pool::SecretPool,
        record::{MAX_FRAGMENT, MAX_HELD, Next, RecordCursor},
        secret::{Digest, Label, Origin, Secret, SecretHit, Shown},
    },
};
use scopewatch_harness::talks::Dice;

use crate::unhex;

macro_rules! corpus {
    ($($path:literal),* $(,)?) => {
        [$(include_str!(concat!("../../tests/corpora/tls/", $path, ".txt"))),*]
    };
}

/// Sessions that are small, and differ in what happens in them.
static SESSIONS: LazyLock<Vec<Session>> = LazyLock::new(|| {
    corpus![
        "rfc8448/simple",
        "rfc8448/hello_retry",
        "rfc8448/client_authentication",
        "rfc8448/resumed_early_data",
        "openssl/tls12_rsa_aes256_gcm",
        "openssl/tls12_cbc_sha_etm",
        "openssl/tls12_cbc_sha384_mte",
        "openssl/tls12_dhe_chacha20",
        "openssl/tls12_renegotiation",
        "openssl/tls12_resumed_ticket",
        "openssl/tls13_aes128_ccm8",
        "openssl/tls13_early_data_refused",
        "openssl/tls13_early_data_retry",
        "openssl/tls13_key_update",
        "openssl/tls13_resumed",
    ]
    .map(session)
    .to_vec()
});

/// What was on the wire, what probes would have shown, and what the ends said.
#[derive(Clone, Default)]
struct Session {
    flow: Vec<(Direction, Vec<u8>)>,
    hits: Vec<SecretHit>,
    client: Vec<u8>,
    server: Vec<u8>,
}

fn session(text: &str) -> Session {
    let mut session = Session::default();
    let origin = Origin { pid: 1, tid: 1, cgroup: 0, netns: 0 };
    let hit = |shown| SecretHit { at: Timestamp(0), origin, shown };
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["client", bytes] => session.flow.push((Direction::Outbound, unhex(bytes))),
            ["server", bytes] => session.flow.push((Direction::Inbound, unhex(bytes))),
            ["expect", "client", bytes] => session.client = unhex(bytes),
            ["expect", "server", bytes] => session.server = unhex(bytes),
            ["derive", label, parent, transcript] => session.hits.push(hit(Shown::Derivation {
                label: Label::from_derivation(label.replace('_', " ").as_bytes()).unwrap(),
                parent: Secret::new(&unhex(parent)).unwrap(),
                transcript: Digest::new(&unhex(transcript)),
            })),
            ["keylog", label, random, secret] => {
                let client_random = unhex(random).try_into().unwrap();
                let secret = Secret::new(&unhex(secret)).unwrap();
                if label == "CLIENT_RANDOM" {
                    let (master, server_random) = (secret, None);
                    session.hits.push(hit(Shown::Master { master, client_random, server_random }));
                } else if let Some(label) = Label::from_key_log(label.as_bytes()) {
                    let client_random = Some(client_random);
                    session.hits.push(hit(Shown::Traffic { label, secret, client_random }));
                }
            }
            _ => panic!("cannot read {line}"),
        }
    }
    session
}

/// A cursor over any bytes and gaps: bounded, and always at an end.
pub fn record(input: &[u8]) {
    let mut dice = Dice::of(input);
    let mut cursor = RecordCursor::default();
    let mut fed = 0_usize;
    let mut taken = 0_usize;
    while !dice.is_exhausted() {
        match dice.below(8) {
            0 => cursor.gap(Timestamp(1), dice.below(5_000) as u64 + 1),
            1 => cursor.end_of_stream(),
            kind => {
                let len = dice.below(100);
                let mut bytes = dice.bytes(len);
                if kind < 5 {
                    let length = (bytes.len() as u16).to_be_bytes();
                    bytes.splice(0..0, [20 + kind as u8 % 4, 3, 3, length[0], length[1]]);
                }
                fed += bytes.len();
                cursor.feed(Timestamp(1), &bytes);
            }
        }
        let accept = dice.below(4) > 0;
        for _ in 0..1_000 {
            let len = match cursor.next_record() {
                Next::Record(record) => {
                    assert!(record.fragment.len() <= MAX_FRAGMENT);
                    record.fragment.len() + record.header.len()
                }
                Next::Lost(_) => continue,
                Next::More(missing) => {
                    assert!(missing > 0 && missing <= MAX_FRAGMENT + 5);
                    break;
                }
                Next::NotTls => {
                    cursor.clear();
                    break;
                }
                Next::End => break,
            };
            if accept {
                taken += len;
                cursor.consume();
            } else {
                taken += 1;
                cursor.reject();
            }
        }
        assert!(cursor.held() <= MAX_HELD && taken + cursor.held() <= fed);
    }
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    SESSIONS.iter().take(2).map(|session| session.flow[0].1.clone()).collect()
}

/// Every reader of handshake messages; and messages do not care how they were cut.
pub fn handshake(input: &[u8]) {
    if let Ok(hello) = ClientHello::parse(input) {
        assert!(ja4(&hello).len() <= 64);
    }
    let _ = ServerHello::parse(input);
    let _ = EncryptedExtensions::parse(input);
    let _ = Certificate::leaf_tls12(input);
    let _ = Certificate::leaf_tls13(input);
    let _ = Certificate::of_der(input);
    let read = |cut: usize| {
        let (mut messages, mut bodies) = (Messages::default(), Vec::new());
        for piece in input.chunks(cut) {
            messages.feed(piece);
            loop {
                match messages.next_message() {
                    Ok(Some(message)) => bodies.push(message.body().to_vec()),
                    Ok(None) => break,
                    Err(_) => return bodies,
                }
            }
        }
        bodies
    };
    assert!(read(1) == read(usize::MAX), "cuts change messages");
}

pub fn handshake_seeds() -> Vec<Vec<u8>> {
    let hellos = SESSIONS.iter().step_by(3).flat_map(|it| it.flow.iter().take(2));
    let whole: Vec<Vec<u8>> =
        hellos.filter_map(|(_, bytes)| Some(bytes.get(5..)?.to_vec())).collect();
    let bodies = whole.iter().filter_map(|bytes| Some(bytes.get(4..)?.to_vec()));
    bodies.chain(whole.iter().take(2).cloned()).filter(|bytes| bytes.len() < 4_000).collect()
}

/// A recorded session, damaged and cut as the input says: what is opened was said, in order, with
/// a gap wherever something is missing; undamaged and with all secrets, it is opened whole.
pub fn flow(input: &[u8]) {
    let mut dice = Dice::of(input);
    let session = &SESSIONS[dice.below(SESSIONS.len())];
    let mut pool = SecretPool::new();
    let complete = dice.below(3) > 0;
    for hit in &session.hits {
        if complete || dice.below(2) == 0 {
            pool.insert(hit.clone());
        }
    }
    let damaged = dice.below(4) > 0;
    let (mut connection, mut truth) = (Connection::new(), Truth::new(session));
    for (direction, bytes) in &session.flow {
        let (direction, at) = (*direction, Timestamp(1));
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let wanted = if dice.is_exhausted() { rest.len() } else { dice.below(700) + 1 };
            let (piece, behind) = rest.split_at(rest.len().min(wanted));
            rest = behind;
            let mut piece = piece.to_vec();
            let fate = if damaged && !dice.is_exhausted() { dice.below(16) } else { 15 };
            match fate {
                0 => connection.gap(direction, at, piece.len() as u64),
                1 => connection.gap(direction, at, u64::MAX),
                2 => {
                    let index = dice.below(piece.len());
                    piece[index] ^= dice.byte();
                    connection.feed(direction, at, &piece);
                }
                3 => {
                    connection.feed(direction, at, &piece);
                    connection.gap(direction, at, 0x1_0000);
                }
                _ => connection.feed(direction, at, &piece),
            }
            connection.resolve(&pool);
            truth.drain(&mut connection);
            assert!(connection.held() <= 2 * MAX_HELD);
        }
    }
    for direction in [Direction::Outbound, Direction::Inbound] {
        connection.end(direction, Timestamp(2));
    }
    connection.resolve(&pool);
    truth.drain(&mut connection);
    if complete && !damaged {
        assert_eq!(truth.gaps, 0, "gaps in a whole session");
        assert!(truth.rest.iter().all(|(_, rest, _)| rest.is_empty()), "something is missing");
    }
}

pub fn flow_seeds() -> Vec<Vec<u8>> {
    (0..SESSIONS.len() as u8)
        .flat_map(|nth| [vec![nth, 1, 0], vec![nth, 1, 1, 0, 200, 9, 0, 99, 0, 1, 9, 9, 2, 7, 7]])
        .collect()
}

/// What was said and is still to come, and how much of it may be missing.
struct Truth<'a> {
    rest: [(Direction, &'a [u8], Option<u64>); 2],
    gaps: usize,
}

impl<'a> Truth<'a> {
    fn new(session: &'a Session) -> Self {
        let client = (Direction::Outbound, session.client.as_slice(), Some(0));
        let server = (Direction::Inbound, session.server.as_slice(), Some(0));
        Self { rest: [client, server], gaps: 0 }
    }

    fn drain(&mut self, connection: &mut Connection) {
        while let Some(output) = connection.next_output() {
            let (Output::Gap { direction, .. } | Output::Data { direction, .. }) = output else {
                continue;
            };
            let of = self.rest.iter_mut().find(|(way, ..)| *way == direction);
            let (_, rest, slack) = of.unwrap();
            match output {
                Output::Gap { at_most, .. } => {
                    self.gaps += 1;
                    *slack = slack.zip(at_most).map(|(slack, more)| slack.saturating_add(more));
                }
                Output::Data { bytes, .. } => {
                    let limit = slack.map_or(rest.len(), |slack| rest.len().min(slack as usize));
                    let at = (0..=limit).find(|at| rest[*at..].starts_with(&bytes));
                    *rest = &rest[at.expect("nobody said that here") + bytes.len()..];
                    *slack = Some(0);
                }
                _ => {}
            }
        }
    }
}

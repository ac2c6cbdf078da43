//! What holds for any input: cuts, order, loss, lies and noise.

use std::sync::LazyLock;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
    sample::select,
    test_runner::Config,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    Seen, Session, Shown,
    corpus::{
        CBC, CLIENT_AUTHENTICATION, EARLY_DATA, EARLY_DATA_REFUSED, EARLY_DATA_RETRY, KEY_UPDATE,
        RENEGOTIATION, RETRY, SIMPLE,
    },
    end, hit,
    loss::body,
    pairs::{CLIENT, Ends, suites},
    session, show,
};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    tls::{
        certificate::Certificate,
        handshake::EncryptedExtensions,
        hello::{ClientHello, ServerHello},
        ja4::ja4,
        open::Connection,
        output::Output,
        pool::SecretPool,
        record::MAX_HELD,
        secret::{Secret, SecretHit},
    },
};

/// Sessions to choose from: recorded ones, and one per suite of rustls.
static SESSIONS: LazyLock<Vec<Session>> = LazyLock::new(|| {
    let texts = [
        SIMPLE,
        RETRY,
        CLIENT_AUTHENTICATION,
        CBC,
        RENEGOTIATION,
        KEY_UPDATE,
        EARLY_DATA,
        EARLY_DATA_REFUSED,
        EARLY_DATA_RETRY,
    ];
    let recorded = texts.into_iter().map(session);
    let (long, short) = (body(20_000), body(300));
    let turns: [(&[u8], &[u8]); 2] = [(&short, &long), (&long[300..], b"end")];
    let made = suites().map(|suite| Ends::new(suite, true).talk(b"", &turns));
    recorded.chain(made).collect()
});

/// Both directions' bytes, whatever the order in which they passed.
fn streams(session: &Session) -> [(Direction, Vec<u8>); 2] {
    [Direction::Outbound, Direction::Inbound].map(|direction| {
        let pieces = session.flow.iter().filter(|(way, _)| *way == direction);
        (direction, pieces.flat_map(|(_, bytes)| bytes.clone()).collect())
    })
}

/// Sizes of pieces: many of one byte, some of a segment, some of much more.
fn cuts() -> impl Strategy<Value = Vec<(bool, usize)>> {
    let size = prop_oneof![Just(1_usize), 1..20_usize, 100..2000_usize, Just(1 << 16)];
    vec((any::<bool>(), size), 1..60)
}

/// Feeds two streams in pieces, the directions interleaved at will, then the rest.
fn feed_cut(
    streams: &[(Direction, Vec<u8>); 2],
    cuts: &[(bool, usize)],
    mut feed: impl FnMut(Direction, &[u8]),
) {
    let mut rest = [streams[0].1.as_slice(), streams[1].1.as_slice()];
    let all = [(false, usize::MAX), (true, usize::MAX)];
    for (second, size) in cuts.iter().chain(&all) {
        let index = usize::from(*second);
        let (piece, behind) = rest[index].split_at((*size).min(rest[index].len()));
        rest[index] = behind;
        feed(streams[index].0, piece);
    }
}

fn check_all(session: &Session, seen: &Seen) {
    assert_eq!(show(&seen.client), show(&session.client));
    assert_eq!(show(&seen.server), show(&session.server));
    assert_eq!(
        (session.client.len(), session.server.len()),
        (seen.client.len(), seen.server.len())
    );
    assert!(seen.client == session.client && seen.server == session.server);
}

/// Checks data against what was said: every piece is where it may be, given the gaps before it.
struct Truth<'a> {
    rest: [(Direction, &'a [u8], Option<u64>); 2],
}

impl<'a> Truth<'a> {
    fn new(session: &'a Session) -> Self {
        let client = (Direction::Outbound, session.client.as_slice(), Some(0));
        let server = (Direction::Inbound, session.server.as_slice(), Some(0));
        Self { rest: [client, server] }
    }

    fn drain(&mut self, connection: &mut Connection) {
        while let Some(output) = connection.next_output() {
            match output {
                Output::Gap { direction, at_most, .. } => {
                    let (_, _, slack) = self.of(direction);
                    *slack = slack.zip(at_most).map(|(slack, more)| slack + more);
                }
                Output::Data { direction, bytes, .. } => {
                    let (_, rest, slack) = self.of(direction);
                    let limit = slack.map_or(rest.len(), |slack| {
                        rest.len().min(usize::try_from(slack).unwrap())
                    });
                    let at = (0..=limit).find(|at| rest[*at..].starts_with(&bytes));
                    let at = at.unwrap_or_else(|| panic!("{} is not there", show(&bytes)));
                    *rest = &rest[at + bytes.len()..];
                    *slack = Some(0);
                }
                _ => {}
            }
        }
    }

    fn of(&mut self, direction: Direction) -> &mut (Direction, &'a [u8], Option<u64>) {
        self.rest.iter_mut().find(|(way, ..)| *way == direction).unwrap()
    }
}

fn pool(hits: &[SecretHit]) -> SecretPool {
    let mut pool = SecretPool::new();
    hits.iter().for_each(|hit| pool.insert(hit.clone()));
    pool
}

/// The same hit with another secret.
fn decoy(of: &SecretHit, byte: u8) -> SecretHit {
    let lie = |secret: &Secret| Secret::new(&vec![byte; secret.bytes().len()]).unwrap();
    hit(match of.shown.clone() {
        Shown::Derivation { label, parent, transcript } => {
            Shown::Derivation { label, parent: lie(&parent), transcript }
        }
        Shown::Traffic { label, secret, client_random } => {
            Shown::Traffic { label, secret: lie(&secret), client_random }
        }
        Shown::Master { master, client_random, server_random } => {
            Shown::Master { master: lie(&master), client_random, server_random }
        }
    })
}

proptest! {
    #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_cut_and_any_arrival_of_secrets_give_the_same_plaintext(
        chosen in 0..SESSIONS.len(),
        cuts in cuts(),
        late in vec(0..60_usize, 8),
    ) {
        let session = &SESSIONS[chosen];
        let (mut connection, mut seen) = (Connection::new(), Seen::default());
        let mut pool = SecretPool::new();
        let mut step = 0;
        feed_cut(&streams(session), &cuts, |direction, bytes| {
            connection.feed(direction, Timestamp(1), bytes);
            for (hit, when) in session.hits.iter().zip(late.iter().cycle()) {
                if *when == step {
                    pool.insert(hit.clone());
                }
            }
            step += 1;
            connection.resolve(&pool);
            seen.drain(&mut connection);
        });
        session.hits.iter().for_each(|hit| pool.insert(hit.clone()));
        connection.resolve(&pool);
        end(&mut connection);
        seen.drain(&mut connection);
        check_all(session, &seen);
        assert_eq!(seen.gaps, []);
    }

    #[test]
    fn any_loss_gives_gaps_and_never_a_wrong_byte(
        chosen in 0..SESSIONS.len(),
        cuts in cuts(),
        lost in vec(select(vec![false, false, false, false, false, true]), 1..40),
    ) {
        let session = &SESSIONS[chosen];
        let pool = pool(&session.hits);
        let (mut connection, mut truth) = (Connection::new(), Truth::new(session));
        let mut lost = lost.iter().cycle();
        feed_cut(&streams(session), &cuts, |direction, bytes| {
            if *lost.next().unwrap() && !bytes.is_empty() {
                connection.gap(direction, Timestamp(1), bytes.len() as u64);
            } else {
                connection.feed(direction, Timestamp(1), bytes);
            }
            connection.resolve(&pool);
            truth.drain(&mut connection);
        });
        end(&mut connection);
        truth.drain(&mut connection);
    }

    #[test]
    fn any_changed_byte_gives_gaps_and_never_a_wrong_byte(
        chosen in 0..SESSIONS.len(),
        changes in vec((any::<bool>(), any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let session = &SESSIONS[chosen];
        let pool = pool(&session.hits);
        let mut streams = streams(session);
        for (second, index, byte) in changes {
            let stream = &mut streams[usize::from(second)].1;
            let at = index.index(stream.len());
            stream[at] = byte;
        }
        let (mut connection, mut truth) = (Connection::new(), Truth::new(session));
        feed_cut(&streams, &[], |direction, bytes| {
            connection.feed(direction, Timestamp(1), bytes);
            connection.resolve(&pool);
            truth.drain(&mut connection);
        });
        end(&mut connection);
        truth.drain(&mut connection);
    }

    #[test]
    fn decoys_open_nothing_and_hide_nothing(
        chosen in 0..SESSIONS.len(),
        lies in vec(any::<u8>(), 1..3),
    ) {
        let session = &SESSIONS[chosen];
        let decoys: Vec<_> = lies
            .iter()
            .flat_map(|byte| session.hits.iter().map(move |hit| decoy(hit, *byte)))
            .collect();
        let (mut connection, mut seen) = (Connection::new(), Seen::default());
        let lying = pool(&decoys);
        feed_cut(&streams(session), &[], |direction, bytes| {
            connection.feed(direction, Timestamp(1), bytes);
            connection.resolve(&lying);
        });
        seen.drain(&mut connection);
        assert_eq!((seen.client.len(), seen.server.len(), connection.origins().len()), (0, 0, 0));
        let mixed: Vec<_> = decoys.iter().chain(&session.hits).cloned().collect();
        let mixed = pool(&mixed);
        // Another pool counts its hits anew: a new connection, as in life.
        let mut connection = Connection::new();
        feed_cut(&streams(session), &[], |direction, bytes| {
            connection.feed(direction, Timestamp(1), bytes);
            connection.resolve(&mixed);
        });
        seen.drain(&mut connection);
        check_all(session, &seen);
    }

    #[test]
    fn parsers_take_any_bytes_and_any_change(
        bytes in vec(any::<u8>(), 0..300),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        length in any::<proptest::sample::Index>(),
    ) {
        let hello = &SESSIONS[0].flow[0].1[9..];
        let der = CertificateDer::from_pem_slice(CLIENT).unwrap();
        for whole in [hello, &der, &bytes] {
            let mut changed = whole.to_vec();
            for (index, byte) in &changes {
                if !changed.is_empty() {
                    let at = index.index(changed.len());
                    changed[at] = *byte;
                }
            }
            changed.truncate(length.index(changed.len() + 1));
            let _ = ClientHello::parse(&changed).map(|hello| ja4(&hello));
            let _ = ServerHello::parse(&changed);
            let _ = EncryptedExtensions::parse(&changed);
            let _ = Certificate::leaf_tls12(&changed);
            let _ = Certificate::leaf_tls13(&changed);
            let _ = Certificate::of_der(&changed);
        }
    }

    #[test]
    fn any_bytes_are_taken_calmly_and_little_is_held(
        pieces in vec((any::<bool>(), vec(any::<u8>(), 0..300), 0..3_u64), 1..40),
        headers in any::<bool>(),
    ) {
        let mut connection = Connection::new();
        for (second, bytes, gap) in pieces {
            let direction = if second { Direction::Inbound } else { Direction::Outbound };
            if headers {
                let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                connection.feed(direction, Timestamp(1), &[22, 3, 3, length[0], length[1]]);
            }
            connection.feed(direction, Timestamp(1), &bytes);
            if gap > 0 {
                connection.gap(direction, Timestamp(1), gap);
            }
            assert!(connection.held() <= 2 * MAX_HELD);
        }
        end(&mut connection);
    }
}

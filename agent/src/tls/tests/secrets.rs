//! How secrets find their connection, and whose they are.

use super::{
    Session, Shown, check,
    corpus::{CBC, KEY_UPDATE, RESUMED, SIMPLE},
    hit,
    loss::play_without,
    origin, play, session,
};
use crate::{
    clock::Timestamp,
    flow::chunk::Direction,
    tls::{
        open::Connection,
        output::State,
        pool::SecretPool,
        secret::{Index, Label, Random, Secret, Stage},
    },
};

/// A key log whose site shows no random: only trying can tell.
fn without_randoms(mut session: Session) -> Session {
    for hit in &mut session.hits {
        if let Shown::Traffic { client_random, .. } = &mut hit.shown {
            *client_random = None;
        }
    }
    session
}

/// A secret that opens nothing, of one who knows the connection's random.
fn noise(number: u32, client_random: Random) -> Shown {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    let (label, secret) = (Label::ServerApplication, Secret::new(&bytes).unwrap());
    Shown::Traffic { label, secret, client_random: Some(client_random) }
}

#[test]
fn secrets_without_an_index_are_tried() {
    check(&without_randoms(session(KEY_UPDATE)));
}

#[test]
fn both_ends_of_a_connection_are_told() {
    let mut recorded = session(SIMPLE);
    let mut other = recorded.hits[0].clone();
    other.origin = origin(2);
    recorded.hits.push(other);
    let (connection, _) = play(&recorded);
    assert_eq!(connection.origins(), [origin(1), origin(2)]);
}

#[test]
fn the_other_end_may_show_the_secret_later() {
    let recorded = session(SIMPLE);
    let (mut connection, _) = play(&recorded);
    let mut pool = SecretPool::new();
    let mut other = recorded.hits[0].clone();
    other.origin = origin(2);
    pool.insert(other);
    connection.attribute(&pool);
    assert_eq!(connection.origins(), [origin(1), origin(2)]);
}

#[test]
fn a_liar_is_no_end() {
    let mut recorded = session(CBC);
    let mut lie = recorded.hits[0].clone();
    lie.origin = origin(666);
    if let Shown::Master { master, .. } = &mut lie.shown {
        *master = Secret::new(&[1; 48]).unwrap();
    }
    recorded.hits.insert(0, lie);
    let (connection, _) = play(&recorded);
    assert_eq!(connection.origins(), [origin(1)]);
}

#[test]
fn a_process_seen_as_the_server_opens_the_same() {
    let mut recorded = session(RESUMED);
    for (direction, _) in &mut recorded.flow {
        *direction = direction.reverse();
    }
    std::mem::swap(&mut recorded.client, &mut recorded.server);
    check(&recorded);
}

#[test]
fn needs_name_what_the_flow_shows() {
    let recorded = session(SIMPLE);
    let mut connection = Connection::new();
    for (direction, bytes) in &recorded.flow[..3] {
        connection.feed(*direction, Timestamp(1), bytes);
    }
    let need = connection.needs().next().unwrap();
    assert_eq!((need.stage, connection.state()), (Stage::Handshake, State::WaitingForSecret));
    let index = recorded.hits[0].shown.indexes().next().unwrap();
    assert!(matches!(index, Index::Transcript(_)) && need.indexes.contains(&index));
    assert!(connection.offer(&recorded.hits[0]));
    assert_eq!((connection.needs().count(), connection.state()), (0, State::Open));
}

#[test]
fn searching_for_nothing_has_an_end() {
    let recorded = Session { hits: Vec::new(), ..session(SIMPLE) };
    let (mut connection, _) = play_without(&recorded, Direction::Inbound, &(300..320));
    let need = connection.needs().next().unwrap();
    let Some(Index::ClientRandom(random)) = need.indexes.last().copied() else {
        panic!("no random in {need:?}");
    };
    let mut pool = SecretPool::new();
    let mut rounds = 0;
    while !matches!(connection.state(), State::Failed(_)) {
        pool.insert(hit(noise(rounds, random)));
        connection.resolve(&pool);
        connection.feed(Direction::Inbound, Timestamp(1), &[23, 3, 3, 0, 17]);
        connection.feed(Direction::Inbound, Timestamp(1), &[0; 17]);
        rounds += 1;
        assert!(rounds < 5_000);
    }
}

//! As many connections as a host may have, all open at once: what they take, and who must go.

use std::collections::HashMap;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{ANSWER, CLIENT, Line, Local, REQUEST, Rig, SERVER};
use crate::{
    capture::CaptureEvent,
    flow::{
        chunk::Direction::{self, Inbound, Outbound},
        table::{self, Table},
    },
    identity::process::Process,
    tls::{
        schedule::{WriteKeys, key_block},
        secret::{Origin, Random, Secret, SecretHit, Shown},
        suite::Suite,
    },
};

/// Connections that are followed, unless `SOAK_FLOWS` says: enough that what the process takes once,
/// some megabytes, does not weigh. The long form has the 65,536 of the default configuration, and
/// half as many again that find no room.
const FOLLOWED: usize = 2048;

/// Most that a connection may take in the wire path and behind it, in bytes: state of TCP and TLS,
/// keys, names, codec.
const MOST_EACH: usize = 24 * 1024;

/// A session of TLS 1.2 that is made by hand, as thousands of real handshakes take minutes.
struct Handmade {
    client: Sealer,
    server: Sealer,
    randoms: [Random; 2],
    master: Secret,
}

/// One side's records.
struct Sealer {
    keys: WriteKeys,
    number: u64,
}

impl Sealer {
    fn seal(&mut self, content: u8, plaintext: &[u8]) -> Vec<u8> {
        let explicit = self.number.to_be_bytes();
        let length = u16::try_from(plaintext.len()).unwrap();
        let aad = [&explicit[..], &[content, 3, 3], &length.to_be_bytes()].concat();
        let nonce = [self.keys.iv.as_slice(), &explicit].concat();
        let nonce = Nonce::try_assume_unique_for_key(&nonce).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &self.keys.key).unwrap());
        let mut sealed = plaintext.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
        self.number += 1;
        record(content, &[&explicit[..], &sealed].concat())
    }
}

fn record(content: u8, fragment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fragment.len()).unwrap().to_be_bytes();
    [&[content, 3, 3][..], &length, fragment].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

impl Handmade {
    fn new(number: u32) -> Self {
        let random = |side: u8| {
            let mut random = [side; 32];
            random[..4].copy_from_slice(&number.to_be_bytes());
            random
        };
        let randoms = [random(1), random(2)];
        let master = Secret::new(&[number.to_be_bytes().as_slice(), &[3; 44]].concat()).unwrap();
        let suite = Suite::find(0xc02f).unwrap();
        let (client, server) = key_block(suite, &master, &randoms[0], &randoms[1]);
        let [client, server] = [client, server].map(|keys| Sealer { keys, number: 0 });
        Self { client, server, randoms, master }
    }

    fn hit(&self) -> Shown {
        let [client_random, server_random] = self.randoms;
        let server_random = Some(server_random);
        Shown::Master { master: self.master.clone(), client_random, server_random }
    }

    /// The handshake, and one exchange.
    fn flights(&mut self) -> [(Direction, Vec<u8>); 5] {
        let [client, server] = self.randoms;
        let suites = [0, 2, 0xc0, 0x2f, 1, 0];
        let offer = [&[3, 3][..], &client, &[0], &suites].concat();
        let choice = [&[3, 3][..], &server, &[0, 0xc0, 0x2f, 0]].concat();
        let finished = message(20, &[0; 12]);
        let turn = record(20, &[1]);
        [
            (Outbound, record(22, &message(1, &offer))),
            (Inbound, record(22, &message(2, &choice))),
            (Outbound, [turn.clone(), self.client.seal(22, &finished)].concat()),
            (Inbound, [turn, self.server.seal(22, &finished)].concat()),
            (Outbound, self.client.seal(23, REQUEST)),
        ]
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_crowd_of_connections_has_a_bound_and_who_is_idle_makes_room() {
    let asked = std::env::var("SOAK_FLOWS").ok().map(|text| text.parse().unwrap());
    let followed: usize = asked.unwrap_or(FOLLOWED);
    let offered = followed + followed / 2;
    let mut rig = Rig::with(followed);
    let limits =
        table::Limits { connections: followed, idle_nanos: u64::MAX, held_bytes: usize::MAX };
    let (mut table, mut seen) = (Table::new(limits), Vec::new());
    let before = resident();
    let mut open: HashMap<u32, (Line, Handmade)> = HashMap::new();
    let mut told = |rig: &mut Rig| {
        for event in rig.out.drain(..) {
            table.accept(&event.borrow(), &mut seen);
        }
        std::mem::take(&mut seen).len()
    };
    rig.out.push(CaptureEvent::Process(std::sync::Arc::new(Process::unknown(SERVER))));
    for number in 1..=u32::try_from(offered).unwrap() {
        let (mut line, mut session) = (Line::new(number, Local::Both), Handmade::new(number));
        rig.connect(&mut line);
        for pid in [CLIENT, SERVER] {
            let origin = Origin { pid, tid: pid, cgroup: 0, netns: 0 };
            let hit = SecretHit { at: rig.now, origin, shown: session.hit() };
            rig.wire.learn(hit, &mut rig.out);
        }
        rig.send(&mut line, &session.flights());
        open.insert(number, (line, session));
        told(&mut rig);
        // The first is used all the time.
        let (line, session) = open.get_mut(&1).unwrap();
        let answer = session.server.seal(23, ANSWER);
        rig.send(line, &[(Inbound, answer)]);
        assert_eq!(told(&mut rig), 1, "the {number}th answer");
        let request = session.client.seal(23, REQUEST);
        rig.send(line, &[(Outbound, request)]);
    }
    let each = resident().saturating_sub(before) / followed;
    let evicted = rig.wire.table.counters().flows_evicted;
    println!(
        "{offered} connections offered, {} followed, {evicted} evicted, {} opened; {each} bytes of \
         resident memory for each that is followed, those of the test itself included",
        rig.wire.flows.len(),
        rig.wire.counts.opened
    );
    assert_eq!(rig.wire.counts.opened, offered as u64);
    assert_eq!((rig.wire.flows.len(), evicted), (followed, (offered - followed) as u64));
    assert!(each < MOST_EACH, "{each} bytes each");
    // Neither the first, which was busy, nor the last had to go.
    let mut answers = |number: u32| {
        let (line, session) = open.get_mut(&number).unwrap();
        let answer = session.server.seal(23, ANSWER);
        rig.send(line, &[(Inbound, answer)]);
        told(&mut rig)
    };
    let last = u32::try_from(offered).unwrap();
    assert_eq!([1, last].map(&mut answers), [1, 1]);
}

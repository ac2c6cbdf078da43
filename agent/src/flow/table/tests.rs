//! What a table makes of events.

use super::*;
use crate::{
    flow::chunk::{Attribution, Handshake, Socket},
    http::message::Note,
};

const LIMITS: Limits =
    Limits { connections: 4, idle_nanos: 60 * NANOS_PER_SEC, held_bytes: 1024 * 1024 };
const REQUEST: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn session(pid: u32, object: u64) -> SessionKey {
    SessionKey { pid, object, generation: 1 }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * NANOS_PER_SEC)
}

fn data(
    seconds: u64,
    session: SessionKey,
    direction: Direction,
    offset: usize,
    text: &'static str,
) -> CaptureEvent<&'static [u8]> {
    let bytes = text.as_bytes();
    let offset = offset as u64;
    CaptureEvent::Data { at: at(seconds), session, direction, offset, lost: 0, bytes }
}

/// A process that started after the capture began.
fn young(pid: u32) -> CaptureEvent<&'static [u8]> {
    let process = Process { started: Some(at(1000)), ..Process::unknown(pid) };
    CaptureEvent::Process(Arc::new(process))
}

fn feed(
    table: &mut Table,
    events: impl IntoIterator<Item = CaptureEvent<&'static [u8]>>,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    for event in events {
        table.accept(&event, &mut seen);
    }
    seen
}

fn statuses(seen: &[Seen]) -> Vec<Option<u16>> {
    seen.iter().map(|seen| seen.exchange.response.as_ref().map(|r| r.status)).collect()
}

#[test]
fn an_exchange_carries_what_of_the_handshake_was_told_before_it_ended() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let told = |name: &str| CaptureEvent::Handshake {
        at: at(1),
        session: key,
        handshake: Arc::new(Handshake { server_name: Some(name.into()), ..Handshake::default() }),
    };
    let events = [
        young(7),
        told("first"),
        data(1, key, Direction::Inbound, 0, REQUEST),
        told("second"),
        data(1, key, Direction::Outbound, 0, RESPONSE),
        told("third"),
    ];
    let seen = feed(&mut table, events);
    let known = seen[0].connection.handshake.as_ref().unwrap();
    assert_eq!(known.server_name.as_deref(), Some("second"));
}

#[test]
fn an_exchange_carries_the_process_and_the_socket_that_were_told_before_it() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let socket = Socket {
        cookie: 3,
        local: "127.0.0.1:443".parse().unwrap(),
        remote: "127.0.0.1:50000".parse().unwrap(),
        netns: 0,
    };
    let seen = feed(
        &mut table,
        [
            young(7),
            CaptureEvent::Socket {
                at: at(1),
                session: key,
                socket,
                attribution: Attribution::KeyOnly,
                peer: None,
            },
            data(1, key, Direction::Inbound, 0, REQUEST),
            data(1, key, Direction::Outbound, 0, RESPONSE),
        ],
    );
    assert_eq!(statuses(&seen), [Some(204)]);
    assert_eq!(seen[0].connection.socket, Some(socket));
    assert_eq!(seen[0].connection.process.pid, 7);
}

#[test]
fn lost_bytes_are_counted_and_told_to_the_codec() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
    let seen = feed(
        &mut table,
        [
            young(7),
            data(1, key, Direction::Inbound, 0, request),
            data(1, key, Direction::Inbound, request.len() + 4, "567890"),
            data(1, key, Direction::Outbound, 0, RESPONSE),
        ],
    );
    assert_eq!(statuses(&seen), [Some(204)]);
    assert_eq!(seen[0].exchange.notes, [Note::RequestBodyLost]);
    assert_eq!((table.counts.gaps, table.counts.gap_bytes), (1, 4));
}

#[test]
fn a_full_table_gives_up_the_connection_that_was_idle_longest() {
    let mut table = Table::new(LIMITS);
    feed(&mut table, [young(7)]);
    for object in 0..4 {
        feed(&mut table, [data(object, session(7, object), Direction::Inbound, 0, REQUEST)]);
    }
    feed(&mut table, [data(5, session(7, 0), Direction::Inbound, REQUEST.len(), REQUEST)]);
    let seen = feed(&mut table, [data(6, session(7, 9), Direction::Inbound, 0, REQUEST)]);
    assert_eq!(seen.len(), 1, "the request of the evicted connection is reported unanswered");
    assert_eq!(seen[0].connection.id, connection_id(session(7, 1)));
    assert_eq!((table.len(), table.counts.evicted), (4, 1));
}

#[test]
fn idle_connections_are_given_up() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 1);
    feed(&mut table, [young(7), data(1, key, Direction::Inbound, 0, REQUEST)]);
    let seen = feed(&mut table, [CaptureEvent::Tick { at: at(60) }]);
    assert_eq!(phases(&seen), [(0, Phase::Begun)]);
    assert_eq!(feed(&mut table, [CaptureEvent::Tick { at: at(61) }]).len(), 1);
    assert_eq!((table.len(), table.counts.idle), (0, 1));
}

#[test]
fn a_process_takes_its_connections_with_it_and_leaves_those_of_others() {
    let mut table = Table::new(LIMITS);
    let (mine, other) = (session(7, 1), session(8, 1));
    feed(&mut table, [young(7), young(8)]);
    feed(&mut table, [data(1, mine, Direction::Inbound, 0, REQUEST)]);
    feed(&mut table, [data(1, other, Direction::Inbound, 0, REQUEST)]);
    let seen = feed(&mut table, [CaptureEvent::Exit { at: at(2), pid: 7 }]);
    assert_eq!(seen.len(), 1);
    assert_eq!((table.len(), table.by_pid.len()), (1, 1));
}

#[test]
fn a_response_that_ends_with_its_connection_ends_when_the_session_does() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 1);
    let events = [
        young(7),
        data(1, key, Direction::Inbound, 0, REQUEST),
        data(1, key, Direction::Outbound, 0, "HTTP/1.1 200 OK\r\n\r\nabc"),
        CaptureEvent::Close { at: at(2), session: key, direction: Some(Direction::Outbound) },
    ];
    let seen = feed(&mut table, events);
    assert_eq!(statuses(&seen), [Some(200)]);
    assert!(seen[0].exchange.notes.is_empty(), "{:?}", seen[0].exchange.notes);
}

#[test]
fn a_connection_older_than_the_capture_is_joined_in_the_middle_of_a_body() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 1);
    // No start time is known of process 7: it may be older.
    let seen = feed(
        &mut table,
        [
            data(1, key, Direction::Outbound, 0, "\0\u{1}rest of a binary body"),
            data(2, key, Direction::Inbound, 0, REQUEST),
            data(2, key, Direction::Outbound, 23, RESPONSE),
        ],
    );
    assert_eq!(statuses(&seen), [Some(204)]);
    assert!(seen[0].exchange.notes.is_empty(), "{:?}", seen[0].exchange.notes);
}

#[test]
fn bytes_that_are_not_http_make_no_exchange() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 1);
    let mut seen =
        feed(&mut table, [young(7), data(1, key, Direction::Inbound, 0, "\0\u{1}\u{2}")]);
    table.finish_all(at(3), &mut seen);
    assert!(seen.is_empty() && table.is_empty());
}

#[test]
fn connections_have_names_of_their_own() {
    let ids: HashSet<u64> = (0..1000)
        .flat_map(|n| [session(n, 0x1000), session(1, 1 << 40 | u64::from(n) << 4)])
        .map(connection_id)
        .collect();
    assert_eq!(ids.len(), 2000);
}

/// A loss of unknown length moves offsets on by more than any message has, and counted as that.
#[test]
fn losses_of_unknown_length_count_no_bytes() {
    let mut table = Table::new(LIMITS);
    let far = usize::try_from(UNKNOWN_LOSS).unwrap();
    let places = [0, 1 + far, 12 + far];
    let events = places.map(|offset| data(1, session(7, 1), Direction::Outbound, offset, "x"));
    feed(&mut table, [young(7)].into_iter().chain(events));
    assert_eq!((table.counts.gaps, table.counts.gap_bytes), (2, 10));
}

/// The count of lost bytes overflowed by what a recording says.
#[test]
fn losses_that_a_recording_makes_up_do_not_overflow_their_count() {
    let mut table = Table::new(LIMITS);
    table.counts.gap_bytes = u64::MAX;
    let lost = data(1, session(7, 1), Direction::Outbound, usize::MAX, "x");
    feed(&mut table, [young(7), lost]);
    assert_eq!((table.counts.gaps, table.counts.gap_bytes), (1, u64::MAX));
    let mut all = table.counts;
    all.add(table.counts);
    assert_eq!(all.gap_bytes, u64::MAX);
}

#[test]
fn the_rest_of_a_body_may_be_skipped_and_is_counted() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let (inbound, outbound) = (Direction::Inbound, Direction::Outbound);
    feed(&mut table, [young(7), data(1, key, inbound, 0, REQUEST)]);
    assert_eq!(table.skippable(key, inbound), None);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nfirst";
    feed(&mut table, [data(1, key, outbound, 0, head)]);
    let (from, until) = (head.len() as u64, head.len() as u64 - 5 + 100_000);
    assert_eq!(
        table.skippable(key, outbound),
        Some(Skip { session: key, direction: outbound, from, until })
    );
    let (offset, bytes) = (head.len() as u64, 99_990);
    let at = at(2);
    let skipped = CaptureEvent::Skipped { at, session: key, direction: outbound, offset, bytes };
    let rest = head.len() + 99_990;
    let seen = feed(&mut table, [skipped.clone(), skipped, data(3, key, outbound, rest, "last!")]);
    assert_eq!(statuses(&seen), [Some(200)]);
    assert_eq!(seen[0].exchange.response.as_ref().unwrap().body_bytes, 100_000);
    assert!(seen[0].exchange.notes.is_empty(), "{:?}", seen[0].exchange.notes);
    assert_eq!((table.counts.skipped_bytes, table.counts.gaps), (99_990, 0));
}

#[test]
fn bytes_that_were_skipped_where_none_could_be_are_lost() {
    let key = session(7, 0x10);
    let (at, direction) = (at(1), Direction::Inbound);
    let half = "POST / HTTP/1.1\r\nHost: h\r\nContent-Le";
    let offset = half.len() as u64;
    let outcome = |missing| {
        let mut table = Table::new(LIMITS);
        let events = [
            young(7),
            data(1, key, direction, 0, half),
            missing,
            data(1, key, direction, half.len() + 50, REQUEST),
            data(1, key, Direction::Outbound, 0, RESPONSE),
        ];
        let seen = feed(&mut table, events);
        seen.into_iter().map(|seen| seen.exchange.notes).collect::<Vec<_>>()
    };
    let skipped = CaptureEvent::Skipped { at, session: key, direction, offset, bytes: 50 };
    let lost = CaptureEvent::Data { at, session: key, direction, offset, lost: 50, bytes: &[][..] };
    let outcome_of_loss = outcome(lost);
    assert!(outcome_of_loss[0].contains(&Note::RequestHeadLost));
    assert_eq!(outcome(skipped), outcome_of_loss);
}

/// Two requests in one piece and their answers, of a process that is older than the capture.
#[track_caller]
fn check_pipelined(attribution: Attribution, paired: bool) {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let ends = ["127.0.0.1:443", "127.0.0.1:50000"].map(|end| end.parse().unwrap());
    let socket = Socket { cookie: 3, local: ends[0], remote: ends[1], netns: 0 };
    let asked = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    let answered = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let events = [
        CaptureEvent::Socket { at: at(1), session: key, socket, attribution, peer: None },
        data(1, key, Direction::Inbound, 0, asked),
        data(1, key, Direction::Outbound, 0, answered),
    ];
    let seen = feed(&mut table, events);
    let whole = |seen: &Seen| seen.exchange.request.is_some() && seen.exchange.response.is_some();
    assert_eq!(seen.iter().all(whole), paired, "{attribution}");
}

#[test]
fn only_calls_may_have_missed_the_start_of_a_connection_without_saying_so() {
    check_pipelined(Attribution::SocketCall, true);
    check_pipelined(Attribution::KeyOnly, true);
    check_pipelined(Attribution::TlsCall, false);
}

const TICK_NANOS: u64 = NANOS_PER_SEC;

/// What was seen, as the index and whether it is over.
fn phases(seen: &[Seen]) -> Vec<(u64, Phase)> {
    seen.iter().map(|seen| (seen.exchange.index, seen.exchange.phase)).collect()
}

#[test]
fn a_session_that_lasts_is_told_after_ten_seconds_and_counted_at_its_end() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let switch = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let opening = [
        young(7),
        data(1, key, Direction::Inbound, 0, REQUEST),
        data(1, key, Direction::Outbound, 0, switch),
    ];
    assert_eq!(phases(&feed(&mut table, opening)), []);
    let ticks = (2..=30).map(|second| CaptureEvent::Tick { at: Timestamp(second * TICK_NANOS) });
    let seen = feed(&mut table, ticks);
    assert_eq!(phases(&seen), [(0, Phase::Begun)]);
    assert_eq!(seen[0].at, at(11));
    assert_eq!(table.counts.exchanges, 0);
    let seen =
        feed(&mut table, [CaptureEvent::Close { at: at(40), session: key, direction: None }]);
    assert_eq!(phases(&seen), [(0, Phase::Ended)]);
    assert_eq!(table.counts.exchanges, 1);
}

#[test]
fn each_exchange_that_lasts_is_told_also_on_a_connection_that_had_others() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let events = [
        young(7),
        data(1, key, Direction::Inbound, 0, REQUEST),
        data(2, key, Direction::Outbound, 0, RESPONSE),
        data(5, key, Direction::Inbound, REQUEST.len(), REQUEST),
        CaptureEvent::Tick { at: at(11) },
        CaptureEvent::Tick { at: at(14) },
        CaptureEvent::Tick { at: at(21) },
        CaptureEvent::Tick { at: at(31) },
    ];
    assert_eq!(phases(&feed(&mut table, events)), [(0, Phase::Ended), (1, Phase::Begun)]);
}

#[test]
fn connections_that_wait_for_a_look_are_bounded_and_counted() {
    let mut table = Table::new(Limits { connections: 1, ..LIMITS });
    let waits = |nth: usize| data(1, session(7, nth as u64 * 16), Direction::Inbound, 0, REQUEST);
    feed(&mut table, std::iter::once(young(7)).chain((0..10).map(waits)));
    assert_eq!(table.watched.len(), WATCHED_PER_CONNECTION);
    assert_eq!(table.counts.unwatched, 10 - WATCHED_PER_CONNECTION as u64);
    feed(&mut table, [CaptureEvent::Tick { at: at(11) }]);
    assert_eq!(table.watched.len(), 0);
}

#[test]
fn beyond_the_bound_of_all_the_connections_that_hold_most_give_it_up() {
    const FIELD: &str = "GET /a HTTP/1.1\r\nHost: h\r\nX: 0123456789012345678901234567890123456789";
    const MORE: &str = "0123456789012345678901234567890123456789";
    let mut table = Table::new(Limits { held_bytes: 4 * FIELD.len(), ..LIMITS });
    let [small, large] = [session(7, 0x10), session(7, 0x20)];
    let mut events = vec![young(7), data(1, small, Direction::Inbound, 0, FIELD)];
    events.push(data(1, large, Direction::Inbound, 0, FIELD));
    let more = |nth: usize| data(1, large, Direction::Inbound, FIELD.len() + nth * 40, MORE);
    events.extend((0..5).map(more));
    let seen = feed(&mut table, events);
    assert_eq!(phases(&seen), [(0, Phase::Ended)], "reported as far as it was");
    assert_eq!(seen[0].connection.id, connection_id(large));
    assert_eq!(table.counts.relieved, 1);
    assert!(table.held <= 4 * FIELD.len());
    let end = FIELD.len() + 5 * 40;
    let rest = [
        data(2, large, Direction::Inbound, end, "\r\n\r\n"),
        data(2, large, Direction::Inbound, end + 4, REQUEST),
        data(2, large, Direction::Outbound, 0, RESPONSE),
        data(2, small, Direction::Inbound, FIELD.len(), "\r\n\r\n"),
        data(2, small, Direction::Outbound, 0, RESPONSE),
    ];
    let seen = feed(&mut table, rest);
    assert_eq!(phases(&seen), [(1, Phase::Ended), (0, Phase::Ended)]);
    assert_eq!(statuses(&seen), [Some(204), Some(204)]);
    feed(&mut table, [CaptureEvent::Exit { at: at(3), pid: 7 }]);
    assert_eq!(table.held, 0, "what is over holds nothing");
}

#[test]
fn limits_of_single_connections_are_counted_when_they_end() {
    let mut table = Table::new(LIMITS);
    let key = session(7, 0x10);
    let bad = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n";
    feed(&mut table, [young(7), data(1, key, Direction::Inbound, 0, bad)]);
    assert_eq!(table.counts.limits_hit, 0);
    let mut seen = Vec::new();
    table.finish_all(at(2), &mut seen);
    assert_eq!(table.counts.limits_hit, 1);
}

#[test]
fn a_session_that_is_not_followed_to_its_end_is_unfinished() {
    let check = |end: fn(&mut Table, SessionKey) -> Vec<Seen>, expected: &[Note]| {
        let mut table = Table::new(LIMITS);
        let key = session(7, 0x10);
        let switch = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let opening = [
            young(7),
            data(1, key, Direction::Inbound, 0, REQUEST),
            data(1, key, Direction::Outbound, 0, switch),
        ];
        feed(&mut table, opening);
        let seen = end(&mut table, key);
        assert_eq!(seen.last().unwrap().exchange.notes, expected);
        assert_eq!(table.counts.exchanges, 1);
    };
    let unfinished = [Note::Unfinished, Note::Upgraded];
    let close = |table: &mut Table, session| {
        feed(table, [CaptureEvent::Close { at: at(2), session, direction: None }])
    };
    check(close, &[Note::Upgraded]);
    check(|table, _| feed(table, [CaptureEvent::Exit { at: at(2), pid: 7 }]), &[Note::Upgraded]);
    check(|table, _| feed(table, [CaptureEvent::Tick { at: at(61) }]), &unfinished);
    let stop = |table: &mut Table, _| {
        let mut seen = Vec::new();
        table.finish_all(at(2), &mut seen);
        seen
    };
    check(stop, &unfinished);
}

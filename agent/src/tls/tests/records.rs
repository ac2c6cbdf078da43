//! Records cut from bytes and holes.

use crate::{
    clock::Timestamp,
    tls::record::{ContentType, HEADER, MAX_FRAGMENT, MAX_HELD, Next, RecordCursor},
};

/// What a cursor tells, in short.
#[derive(Debug, Eq, PartialEq)]
enum Told {
    Record(usize),
    Lost(u64, bool),
    More(usize),
    NotTls,
    End,
}

fn tell(cursor: &mut RecordCursor) -> Told {
    let told = match cursor.next_record() {
        Next::Record(record) => Told::Record(record.fragment.len()),
        Next::Lost(loss) => Told::Lost(loss.bytes, loss.record.is_some()),
        Next::More(bytes) => Told::More(bytes),
        Next::NotTls => Told::NotTls,
        Next::End => Told::End,
    };
    if matches!(told, Told::Record(_)) {
        cursor.consume();
    }
    told
}

fn record(length: u8) -> Vec<u8> {
    [&[23, 3, 3, 0, length][..], &vec![0xee; length.into()]].concat()
}

fn cursor(bytes: &[u8]) -> RecordCursor {
    let mut cursor = RecordCursor::default();
    cursor.feed(Timestamp(1), bytes);
    cursor
}

#[test]
fn says_how_much_is_missing() {
    let mut cursor = cursor(&[23, 3]);
    assert_eq!(tell(&mut cursor), Told::More(3));
    cursor.feed(Timestamp(2), &[3, 0, 9, 1]);
    assert_eq!(tell(&mut cursor), Told::More(8));
    cursor.feed(Timestamp(3), &[0; 8]);
    let Next::Record(record) = cursor.next_record() else { panic!("no record") };
    assert_eq!((record.content, record.at), (ContentType::ApplicationData, Timestamp(3)));
    assert_eq!(tell(&mut cursor), Told::Record(9));
    cursor.end_of_stream();
    assert_eq!(tell(&mut cursor), Told::End);
}

#[test]
fn a_hole_inside_a_record_loses_that_record_alone() {
    let mut cursor = cursor(&record(100)[..20]);
    cursor.gap(Timestamp(2), 30);
    cursor.feed(Timestamp(2), &[0xee; 25]);
    cursor.gap(Timestamp(2), 10);
    cursor.feed(Timestamp(2), &[0xee; 20]);
    cursor.feed(Timestamp(2), &record(50));
    assert_eq!(tell(&mut cursor), Told::Lost(105, true));
    assert_eq!(tell(&mut cursor), Told::Record(50));
}

#[test]
fn a_hole_beyond_a_record_is_searched_behind() {
    let mut cursor = cursor(&record(100)[..20]);
    cursor.gap(Timestamp(2), 200);
    cursor.feed(Timestamp(2), &[0xee; 33]);
    cursor.feed(Timestamp(2), &record(50));
    assert_eq!(tell(&mut cursor), Told::Lost(220, false));
    assert_eq!(tell(&mut cursor), Told::Record(50));
    assert_eq!(cursor.take_skipped(), 33);
}

#[test]
fn a_header_that_cannot_be_one_is_not_tls() {
    let long = u16::try_from(MAX_FRAGMENT + 1).unwrap().to_be_bytes();
    let headers =
        [[19, 3, 3, 0, 9], [23, 2, 0, 0, 9], [22, 3, 3, 0, 0], [23, 3, 3, long[0], long[1]]];
    for header in headers {
        assert_eq!(tell(&mut cursor(&header)), Told::NotTls);
    }
}

#[test]
fn what_is_held_is_bounded_by_bytes_and_by_marks() {
    let mut cursor = cursor(&vec![0; MAX_HELD + HEADER]);
    assert_eq!(cursor.held(), MAX_HELD);
    cursor.clear();
    // So many holes that the stream is given up from one of them on.
    for stamp in 0..5000 {
        cursor.feed(Timestamp(stamp), &[23]);
        cursor.gap(Timestamp(stamp), 1);
    }
    assert!(cursor.held() < 1100);
}

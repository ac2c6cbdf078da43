//! One frame at a time: RFC 9113 §6, type by type.

use super::super::{
    detect::{CHAIN_SPAN, Verdict, chain},
    frame::{Frame, FrameError, HEAD_LEN, Head, Kind, Settings, data},
};

fn head(len: u8, kind: u8, flags: u8, stream: u32) -> Head {
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    Head::parse([0, 0, len, kind, flags, s0, s1, s2, s3])
}

#[test]
fn rfc9113_4_1_a_head_has_nine_octets() {
    let octets: [u8; HEAD_LEN] = [1, 2, 3, 0, 0x9, 0x80, 0, 1, 5];
    let head = Head::parse(octets);
    assert_eq!((head.len, head.kind, head.flags), (0x01_0203, Kind::Data, 9));
    assert_eq!((head.stream, head.reserved), (0x105, true));
}

#[test]
fn lengths_and_streams_are_checked_by_type() {
    for (len, kind, flags, stream, is_valid, is_plausible) in [
        (5, 0, 0, 1, true, true),
        (5, 0, 0, 0, false, false),
        (5, 0, 0, 2, true, false),
        (0, 0, 0, 1, true, false),
        (0, 0, 1, 1, true, true),
        (5, 0, 4, 1, true, false),
        (5, 1, 0x2d, 1, true, true),
        (5, 1, 0x40, 1, true, false),
        (5, 2, 0, 1, true, true),
        (4, 2, 0, 1, true, false),
        (4, 3, 0, 1, true, true),
        (4, 3, 0, 0, false, false),
        (12, 4, 0, 0, true, true),
        (13, 4, 0, 0, false, false),
        (6, 4, 1, 0, false, false),
        (6, 4, 0, 1, false, false),
        (3, 5, 4, 1, false, false),
        (8, 6, 1, 0, true, true),
        (7, 6, 1, 0, false, false),
        (8, 7, 0, 0, true, true),
        (7, 7, 0, 0, false, false),
        (4, 8, 0, 0, true, true),
        (5, 8, 0, 0, false, false),
        (5, 9, 4, 1, true, true),
        (5, 9, 4, 0, false, false),
        (5, 0xbe, 0xff, 9, true, false),
    ] {
        let head = head(len, kind, flags, stream);
        assert_eq!((head.is_valid(), head.is_plausible()), (is_valid, is_plausible), "{head:?}");
    }
}

/// Else the search for frames would never end.
#[test]
fn a_chain_is_found_or_refuted_within_its_span() {
    let longest = [&[0, 0x40, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16_384]].concat();
    let headers = [&[0, 0, 9, 1, 0x20, 0, 0, 0, 1][..], &[0; 6]].concat();
    let bytes = [&longest[..], &longest, &headers].concat();
    assert_eq!(bytes.len(), CHAIN_SPAN);
    assert_eq!(chain(&bytes), Verdict::Yes);
    assert_eq!(chain(&bytes[..CHAIN_SPAN - 1]), Verdict::NeedMore);
}

#[test]
fn payloads_are_read_by_type() {
    let check = |kind, flags, payload: &[u8], expected| {
        let head = head(u8::try_from(payload.len()).unwrap(), kind, flags, 1);
        assert_eq!(Frame::parse(&head, payload), expected, "{head:?}");
    };
    check(1, 0, b"block", Ok(Frame::Headers(b"block")));
    check(1, 0x08, b"\x02block..", Ok(Frame::Headers(b"block")));
    check(1, 0x28, b"\x01.....block.", Ok(Frame::Headers(b"block")));
    check(1, 0x08, b"", Err(FrameError::Short(Kind::Headers)));
    check(1, 0x08, b"\x06block", Err(FrameError::Padding(Kind::Headers)));
    check(1, 0x20, b"....", Err(FrameError::Short(Kind::Headers)));
    check(3, 0, &[0, 0, 0, 8], Ok(Frame::RstStream(8)));
    check(3, 0, &[0], Err(FrameError::Short(Kind::RstStream)));
    check(5, 0, b"\x80\0\0\x02block", Ok(Frame::PushPromise { promised: 2, fragment: b"block" }));
    check(5, 0, b"\0\0", Err(FrameError::Short(Kind::PushPromise)));
    check(7, 0, &[0x80, 0, 0, 3, 0, 0, 0, 1, 9], Ok(Frame::GoAway { last_stream: 3, error: 1 }));
    check(7, 0, &[0; 7], Err(FrameError::Short(Kind::GoAway)));
    check(9, 0, b"block", Ok(Frame::Continuation(b"block")));
    check(2, 0, &[0; 5], Ok(Frame::Priority));
    check(6, 0, &[0; 8], Ok(Frame::Ping));
    check(8, 0, &[0; 4], Ok(Frame::WindowUpdate));
    check(0xbe, 0, b"?", Ok(Frame::Other));
}

#[test]
fn rfc9113_6_5_2_the_last_value_of_a_parameter_counts_and_unknown_ones_do_not() {
    let payload = [
        [0, 2, 0, 0, 0, 1],
        [0, 5, 0, 0, 0x40, 0],
        [0xfa, 0xfa, 1, 2, 3, 4],
        [0, 5, 0, 1, 0, 0],
        [0, 8, 0, 0, 0, 1],
    ];
    let expected = Settings {
        enable_push: Some(1),
        max_frame_size: Some(65_536),
        enable_connect_protocol: Some(1),
    };
    let frame = Frame::parse(&head(30, 4, 0, 0), payload.as_flattened());
    assert_eq!(frame, Ok(Frame::Settings(expected)));
}

#[test]
fn rfc9113_6_1_padding_is_shorter_than_the_payload() {
    assert_eq!(data(5, 4), Ok(0));
    assert_eq!(data(5, 5), Err(FrameError::Padding(Kind::Data)));
    assert_eq!(data(0, 0), Err(FrameError::Padding(Kind::Data)));
}

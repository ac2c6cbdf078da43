//! Segments for the tests of this module.

use std::net::SocketAddr;

use crate::{
    clock::Timestamp,
    wire::segment::{Endpoint, Flags, FlowKey, Segment},
};

/// Client and server of the usual test connection.
pub(super) fn client_to_server() -> FlowKey {
    FlowKey { netns: 0, source: endpoint("10.0.0.1:40000"), destination: endpoint("10.0.0.2:443") }
}

pub(super) fn endpoint(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

/// A segment from client to server, wholly captured, at time zero, that acknowledges nothing.
pub(super) fn segment(seq: u32, payload: &[u8]) -> Segment<'_> {
    Segment {
        at: Timestamp(0),
        cookie: 1,
        key: client_to_server(),
        seq,
        ack: 0,
        flags: Flags::default(),
        payload,
        wire_len: u32::try_from(payload.len()).unwrap(),
    }
}

pub(super) const FIN: Flags = Flags { fin: true, syn: false, rst: false, ack: false, first: false };

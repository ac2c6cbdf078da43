//! Requests. In: events as the spool has them. Out: as many of them as fit, as one body of the
//! protocol; and of an event that is too large by itself, less and less.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message as _;
use serde_json::Value;

use crate::{
    event::mapping::otlp::{
        Item, gathered, json,
        message::{AnyValueKind, Logs},
        pair,
    },
    sinks::otlp::{Protocol, answer::FRAME_HEAD},
};

/// Groups of an event that it can do without, in the order in which they go. What tells who did what,
/// and its place in the chain, stays.
const OPTIONAL: [&str; 13] = [
    "peer",
    "tls",
    "rpc",
    "trace",
    "observation",
    "server",
    "client",
    "route",
    "token",
    "process",
    "http",
    "policy",
    "authz",
];
/// Says that groups are gone, as in the formats of lines.
const MARK: &str = "is_truncated";

/// An event on its way.
pub struct Sending {
    event: Value,
    item: Item,
    /// Octets that it adds to a request, at most.
    size: usize,
    /// How many of [`OPTIONAL`] are gone.
    dropped: usize,
}

/// How requests are made.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// The protocol.
    pub protocol: Protocol,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// What is said of the resource besides.
    pub resource: &'a BTreeMap<String, String>,
}

impl Encoder<'_> {
    /// An event, ready to be sent; `None` if it is none.
    pub fn prepare(&self, event: &[u8]) -> Option<Sending> {
        let event: Value = serde_json::from_slice(event).ok()?;
        let item = self.item(&event)?;
        let size = self.size(&item);
        Some(Sending { event, item, size, dropped: 0 })
    }

    fn item(&self, event: &Value) -> Option<Item> {
        let mut item = Item::of(event)?;
        let attributes = &mut item.resource.attributes;
        attributes.retain(|pair| !self.resource.contains_key(&pair.key));
        let own = self.resource.iter();
        attributes.extend(own.map(|(key, value)| pair(key, AnyValueKind::String(value.clone()))));
        Some(item)
    }

    /// Octets of a request with nothing but this.
    fn size(&self, item: &Item) -> usize {
        let logs = gathered([item.clone()]);
        match self.protocol {
            Protocol::Grpc => FRAME_HEAD + logs.encoded_len(),
            Protocol::HttpProtobuf => logs.encoded_len(),
            Protocol::HttpJson => json::logs(&logs).to_string().len(),
        }
    }

    /// How many of `all` fit into `limit` bytes, one in any case.
    pub fn fitting(all: &[Sending], limit: usize) -> usize {
        let mut total = 0_usize;
        let fits = all.iter().take_while(|next| {
            total = total.saturating_add(next.size);
            total <= limit
        });
        fits.count().max(1)
    }

    /// One body with all of `part`.
    ///
    /// # Errors
    /// It cannot be compressed, or is larger than a length can say.
    pub fn body(&self, part: &[Sending]) -> io::Result<Vec<u8>> {
        let logs = gathered(part.iter().map(|sending| sending.item.clone()));
        match self.protocol {
            Protocol::HttpJson => self.packed(json::logs(&logs).to_string().into_bytes()),
            Protocol::HttpProtobuf => self.packed(logs.encode_to_vec()),
            Protocol::Grpc => self.framed(&logs),
        }
    }

    fn packed(&self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        if !self.gzip {
            return Ok(bytes);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes)?;
        encoder.finish()
    }

    /// A message of gRPC: whether it is compressed, its length, and it.
    fn framed(&self, logs: &Logs) -> io::Result<Vec<u8>> {
        let message = self.packed(logs.encode_to_vec())?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut frame = vec![u8::from(self.gzip)];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&message);
        Ok(frame)
    }

    /// Leaves out more of an event: first one group that it can do without, then twice as many each
    /// time. `false` if there is nothing more to leave out.
    pub fn shrink(&self, sending: &mut Sending) -> bool {
        let before = sending.size;
        while sending.dropped < OPTIONAL.len() {
            sending.dropped = (sending.dropped * 2).max(1).min(OPTIONAL.len());
            let Some(members) = sending.event.as_object_mut() else { return false };
            for group in OPTIONAL.iter().take(sending.dropped) {
                members.remove(*group);
            }
            members.insert(MARK.to_owned(), Value::Bool(true));
            let Some(item) = self.item(&sending.event) else { return false };
            sending.size = self.size(&item);
            sending.item = item;
            if sending.size < before {
                return true;
            }
        }
        false
    }
}

impl Sending {
    /// Octets that it adds to a request, at most.
    pub const fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::json;

    use super::*;

    fn event(uid: &str, pad: usize) -> Vec<u8> {
        json!({
            "event": {"uid": uid, "type": "access", "time": "2026-11-22T10:04:31.118204Z",
                "observed_time": "2026-11-22T10:04:31.121204Z", "severity": "info"},
            "host": {"name": "h7"}, "agent": {"version": "0.1.0"},
            "identity": {"subject": "f1c4"},
            "http": {"method": "GET", "path": "/"},
            "authz": {"reasons": ["x".repeat(pad)]},
        })
        .to_string()
        .into_bytes()
    }

    const fn encoder(protocol: Protocol, resource: &BTreeMap<String, String>) -> Encoder<'_> {
        Encoder { protocol, gzip: false, resource }
    }

    const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

    #[test]
    fn a_request_is_never_larger_than_its_limit() {
        let none = BTreeMap::new();
        for protocol in ALL {
            let encoder = encoder(protocol, &none);
            let all: Vec<_> =
                (0..50).map(|n| encoder.prepare(&event("a", n * 7)).unwrap()).collect();
            for limit in [1000, 3000, 20_000, 100_000] {
                let count = Encoder::fitting(&all, limit);
                let body = encoder.body(&all[..count]).unwrap();
                assert!(body.len() <= limit, "{protocol:?}: {} of {limit}", body.len());
                assert!(count > 1 || limit == 1000, "{protocol:?}: {count} in {limit}");
            }
            assert_eq!(Encoder::fitting(&all, 1), 1, "one in any case");
        }
    }

    #[test]
    fn a_record_shrinks_by_whole_groups_and_says_so() {
        let none = BTreeMap::new();
        for protocol in ALL {
            let encoder = encoder(protocol, &none);
            let mut sending = encoder.prepare(&event("a", 50_000)).unwrap();
            let (mut size, mut steps) = (sending.size(), 0);
            while encoder.shrink(&mut sending) {
                assert!(sending.size() < size);
                (size, steps) = (sending.size(), steps + 1);
            }
            assert!(size < 2000 && steps < 6, "{size} bytes after {steps} steps");
            let json = json::logs(&gathered([sending.item])).to_string();
            assert!(json.contains("scopewatch.is_truncated"), "{json}");
            assert!(json.contains("f1c4") && !json.contains("http.request.method"), "{json}");
        }
    }

    #[test]
    fn attributes_of_the_resource_can_be_added_and_replaced() {
        let resource = BTreeMap::from([
            ("service.name".to_owned(), "audit".to_owned()),
            ("deployment.environment.name".to_owned(), "prod".to_owned()),
        ]);
        let sending = encoder(Protocol::Grpc, &resource).prepare(&event("a", 0)).unwrap();
        let names: Vec<_> =
            sending.item.resource.attributes.iter().map(|pair| pair.key.as_str()).collect();
        let wanted =
            ["host.name", "service.version", "deployment.environment.name", "service.name"];
        assert_eq!(names, wanted);
    }

    /// Regenerate with `INSTA_UPDATE=always`; a change here is a change of what receivers get.
    #[test]
    fn every_protocol_has_these_bytes() {
        let none = BTreeMap::new();
        for protocol in ALL {
            let encoder = encoder(protocol, &none);
            let sending = [encoder.prepare(&event("a", 1)).unwrap()];
            let body = encoder.body(&sending).unwrap();
            let shown = match protocol {
                Protocol::HttpJson => String::from_utf8(body).unwrap(),
                Protocol::Grpc | Protocol::HttpProtobuf => body.escape_ascii().to_string(),
            };
            insta::assert_snapshot!(format!("body_{protocol:?}").to_lowercase(), shown);
        }
    }

    #[test]
    fn compressed_bodies_are_the_same_bodies() {
        let none = BTreeMap::new();
        for protocol in ALL {
            let plain = encoder(protocol, &none);
            let sending = [plain.prepare(&event("a", 5000)).unwrap()];
            let (plain, packed) = (
                plain.body(&sending).unwrap(),
                Encoder { gzip: true, ..plain }.body(&sending).unwrap(),
            );
            let skip = if protocol == Protocol::Grpc { FRAME_HEAD } else { 0 };
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&packed[skip..]).read_to_end(&mut read).unwrap();
            assert!(read == plain[skip..] && packed.len() < plain.len());
            if protocol == Protocol::Grpc {
                let length = u32::try_from(packed.len() - FRAME_HEAD).unwrap().to_be_bytes();
                assert_eq!((packed[0], &packed[1..FRAME_HEAD]), (1, length.as_slice()));
            }
        }
    }
}

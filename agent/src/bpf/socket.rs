//! What the kernel half is told of each socket, and of ports.

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData},
};
use scopewatch_common::{Capture, Session, session_stream_key, stream_key};

use crate::{
    bpf::{BpfError, load::map_error},
    capture::{SessionKey, unread::Unread, wire::Unwanted},
};

/// The kernel half's tables of sockets.
pub struct Decisions {
    captures: HashMap<MapData, u64, u32>,
    skips: HashMap<MapData, u64, u32>,
    unread: HashMap<MapData, [u64; 3], u64>,
}

impl Decisions {
    pub(in crate::bpf) fn of(ebpf: &mut Ebpf) -> Result<Self, BpfError> {
        Ok(Self {
            captures: table(ebpf, "DECISIONS")?,
            skips: table(ebpf, "SKIPS")?,
            unread: table(ebpf, "UNREAD")?,
        })
    }

    /// Says what to do with the segments of a socket from now on. A table that is full forgets
    /// what was used longest ago; a decision that cannot be written costs work, nothing else.
    pub fn decide(&mut self, cookie: u64, capture: Capture) {
        if let Err(error) = self.captures.insert(cookie, capture as u32, 0) {
            tracing::debug!(cookie, %error, "decision not written");
        }
    }

    /// Says what need not be copied of a stream from now on.
    pub fn skip(&mut self, unwanted: &Unwanted) {
        let Unwanted { cookie, way, end } = *unwanted;
        match self.skips.insert(stream_key(cookie, way), end, 0) {
            Ok(()) => self.decide(cookie, Capture::TlsSkips),
            Err(error) => tracing::debug!(cookie, %error, "nothing will be passed over"),
        }
    }

    /// Says what need not be copied of a session's calls from now on.
    pub fn leave(&mut self, unread: &Unread) {
        let Unread { session: SessionKey { pid, object, generation }, way, until } = *unread;
        let key = session_stream_key(Session { object, generation }, pid, way);
        if let Err(error) = self.unread.insert(key, until, 0) {
            tracing::debug!(pid, %error, "nothing will be passed over");
        }
    }
}

fn table<K: Pod, V: Pod>(
    ebpf: &mut Ebpf,
    map: &'static str,
) -> Result<HashMap<MapData, K, V>, BpfError> {
    let taken = ebpf.take_map(map).ok_or(BpfError::Missing(map))?;
    HashMap::try_from(taken).map_err(|source| map_error(map, source))
}

/// Tells the kernel half on which ports HTTP without TLS is captured: one bit for each.
///
/// # Errors
/// The map cannot be written.
pub(in crate::bpf) fn list_plain_ports(ebpf: &mut Ebpf, ports: &[u16]) -> Result<(), BpfError> {
    let error = |source| map_error("PLAIN_PORTS", source);
    let map = ebpf.map_mut("PLAIN_PORTS").ok_or(BpfError::Missing("map PLAIN_PORTS"))?;
    let mut listed: Array<_, u64> = Array::try_from(map).map_err(error)?;
    for &port in ports {
        let word = u32::from(port) / u64::BITS;
        let before = listed.get(&word, 0).map_err(error)?;
        let bit = 1 << (u32::from(port) % u64::BITS);
        listed.set(word, before | bit, 0).map_err(error)?;
    }
    Ok(())
}

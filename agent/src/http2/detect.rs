//! Is this HTTP/2? By the client's preface, or by several frame heads in a row that make sense.

use super::frame::{DEFAULT_MAX_FRAME, HEAD_LEN, Head, Kind, PADDED, PRIORITY};

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many plausible frames in a row are taken for frames. Binary data with many zeros has places
/// that pass for one head; that its length leads to a second and a third does not occur by chance.
pub const CHAIN_LEN: usize = 3;

/// Octets of a header frame's priority fields (RFC 9113 §6.2).
const PRIORITY_LEN: usize = 5;

/// Octets within which a chain is either found or refuted: the longest frames, and what is looked
/// at of the last.
pub const CHAIN_SPAN: usize =
    (CHAIN_LEN - 1) * (HEAD_LEN + DEFAULT_MAX_FRAME as usize) + HEAD_LEN + PRIORITY_LEN + 1;

/// What the first bytes of a direction say about its protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// HTTP/2.
    Yes,
    /// Something else.
    No,
    /// Too little to tell; at most [`CHAIN_SPAN`] bytes are needed.
    NeedMore,
}

/// Tells whether bytes that begin with `prefix` are one direction of an HTTP/2 connection, seen
/// from its start or from the start of any frame.
#[must_use]
pub fn looks_like_http2(prefix: &[u8]) -> Verdict {
    if prefix.starts_with(PREFACE) {
        return Verdict::Yes;
    }
    if PREFACE.starts_with(prefix) {
        return Verdict::NeedMore;
    }
    chain(prefix)
}

/// Tells whether `bytes` begin with a chain of [`CHAIN_LEN`] plausible frames.
#[must_use]
pub fn chain(bytes: &[u8]) -> Verdict {
    let (mut rest, mut evidence) = (bytes, 0);
    while evidence < CHAIN_LEN {
        let Some((head, payload)) = rest.split_first_chunk::<HEAD_LEN>() else {
            return Verdict::NeedMore;
        };
        let head = Head::parse(*head);
        if !head.is_plausible() {
            return Verdict::No;
        }
        let Some(weight) = weight(&head, payload) else { return Verdict::NeedMore };
        evidence += weight;
        rest = payload.get(head.len as usize..).unwrap_or_default();
    }
    Verdict::Yes
}

/// For how many frames a plausible one counts: a header block that begins with a method, path,
/// scheme or status from the static table, as almost all do, for two. So that who joins late need
/// not wait for several requests. `None` if that octet is still to come.
fn weight(head: &Head, payload: &[u8]) -> Option<usize> {
    if head.kind != Kind::Headers || head.has(PADDED) {
        return Some(1);
    }
    let first = payload.get(if head.has(PRIORITY) { PRIORITY_LEN } else { 0 })?;
    Some(if (0x82..=0x8e).contains(first) { 2 } else { 1 })
}

/// Where in `bytes` the longest run of plausible frames starts, at least one, of which the last ends
/// where they end. Goes through them once, from their end: a peer may send what begins such a run
/// everywhere.
#[must_use]
pub fn longest_chain_to_end(bytes: &[u8]) -> Option<usize> {
    let mut fits = vec![false; bytes.len()];
    let mut first = None;
    for at in (0..bytes.len()).rev() {
        let Some(head) = bytes.get(at..).and_then(<[u8]>::first_chunk::<HEAD_LEN>) else {
            continue;
        };
        let head = Head::parse(*head);
        let end = at.saturating_add(HEAD_LEN).saturating_add(head.len as usize);
        let goes_on = end == bytes.len() || fits.get(end).copied().unwrap_or(false);
        if head.is_plausible()
            && goes_on
            && let Some(slot) = fits.get_mut(at)
        {
            *slot = true;
            first = Some(at);
        }
    }
    first
}

/// Tells whether `bytes` are plausible frames, at least one, of which the last ends where they
/// end.
#[must_use]
pub fn chain_to_end(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((head, payload)) = rest.split_first_chunk::<HEAD_LEN>() {
        let head = Head::parse(*head);
        match payload.get(head.len as usize..) {
            Some(next) if head.is_plausible() => rest = next,
            _ => return false,
        }
    }
    rest.is_empty() && !bytes.is_empty()
}

//! What exchanges teach of issuers' keys. In: an exchange and its connection. Out: key sets, to the
//! ring of keys, which believes those that the policy tells it to.
//!
//! Only what a process of this host was answered over TLS, whole, and at a connection that is
//! known to be its own: anybody can send a key set to somebody.

use super::Asked;
use crate::{
    flow::chunk::{Attribution, Connection, Transport},
    http::{
        body::{
            coding::{self, End},
            sample::Purpose,
        },
        message::{Exchange, Phase, Role},
    },
    keyring::Keyring,
    text::Cuts,
};

/// Has `keyring` look at the answer, if it may be a key set (RFC 7517 §5).
pub(super) fn key_set(
    keyring: &Keyring,
    exchange: &Exchange,
    connection: &Connection,
    asked: Option<&Asked>,
    cuts: &mut Cuts,
) {
    // Answers to other methods hold tokens, which go no further.
    let Some((host, response)) = asked
        .filter(|asked| asked.method == "GET")
        .and_then(|asked| asked.target.host.as_deref())
        .zip(exchange.response.as_ref())
        .filter(|_| exchange.phase == Phase::Ended && exchange.notes.is_empty())
    else {
        return;
    };
    let (getter, attribution) = match exchange.role {
        Role::Client => (Some(&connection.process), Some(connection.attribution)),
        Role::Server => (connection.peer.as_ref(), connection.peer_attribution),
    };
    let is_theirs = attribution.is_some_and(|grade| grade != Attribution::KeyOnly);
    let Some(process) = getter.filter(|_| is_theirs && connection.transport == Transport::Tls)
    else {
        return;
    };
    let sample = response.content.sample().filter(|_| response.status == 200);
    let Some(sample) = sample.filter(|it| it.purpose() == Purpose::AuthorizationServer) else {
        return;
    };
    let body = coding::decode(sample, &response.fields, cuts);
    if body.end() == End::Whole {
        keyring.observed(process, host, body.octets(), response.ended);
    }
}

#[cfg(test)]
mod tests;

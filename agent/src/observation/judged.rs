//! An exchange beside the policy: was it allowed, and did the server agree? In: an exchange, its
//! connection, its credentials and what each proved. Out: [`Judged`], or nothing where no policy
//! says anything of the exchange.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;

use crate::{
    flow::chunk::{Connection, Handshake},
    http::{
        body::{Content, coding},
        message::{Exchange, Note, Phase, Request, Response, Role},
    },
    policy::{
        call::{Call, Endpoint, Shown, Source},
        evaluate::Engine,
        judgement::Judgement,
        outcome::{self, Assessment},
    },
    text::Cuts,
    token::{
        Credential,
        binding::{self, Binder},
        examination::Binding,
    },
};

/// Exchanges that last and were looked at once, of which what was proved is remembered: as many as
/// there are connections by default. One that was forgotten is looked at anew at its end, and its
/// proof is then taken for a replay.
const MAX_LASTING: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// What became of judging an exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// What the policy says.
    pub judgement: Judgement,
    /// What that means beside the server's answer.
    pub assessment: Assessment,
    /// Whether the same was told while the exchange lasted.
    pub is_told: bool,
}

/// What came of looking at an exchange.
#[derive(Default)]
pub(super) struct Looked {
    /// What was proved of each credential, in their order; nothing where no policy says anything.
    pub bindings: Vec<Binding>,
    pub judged: Option<Judged>,
}

/// Judges for one worker: it remembers proofs, and the nonces of servers, together with others.
pub(super) struct Judge {
    binder: Binder,
    /// By connection and position, exchanges that last.
    lasting: LruCache<(u64, u64), Lasting>,
}

/// What came of looking at an exchange while it lasted.
struct Lasting {
    bindings: Vec<Binding>,
    /// Whether the server had answered by then.
    is_answered: bool,
}

impl Default for Judge {
    fn default() -> Self {
        Self { binder: Binder::default(), lasting: LruCache::new(MAX_LASTING) }
    }
}

impl Judge {
    /// One for another worker, that knows the same proofs and nonces.
    pub(super) fn sharing(&self) -> Self {
        Self { binder: self.binder.clone(), ..Self::default() }
    }

    /// What `engine` makes of `scene`. To be asked once for each phase of an exchange: what was
    /// proved of credentials is settled by the first, as the second look would see a replay.
    pub(super) fn look(&mut self, engine: &Engine, scene: &Scene<'_>) -> Looked {
        let endpoint = scene.endpoint();
        let Some(service) = engine.service(&endpoint) else { return Looked::default() };
        let handshake = endpoint.handshake;
        let client = endpoint.remote.filter(|_| endpoint.role == Role::Server);
        let shown = binding::Call {
            request: scene.request,
            is_complete: scene.has_all_fields(),
            transport: endpoint.transport,
            place: place(&service.id, &endpoint),
            public_base_url: service.public_base_url.as_deref(),
            client_certificate: handshake
                .and_then(|handshake| handshake.client_certificate.certificate())
                .map(|certificate| &certificate.thumbprint),
            is_uncertified: handshake.is_some_and(Handshake::is_uncertified),
            trusts_forwarded: client.is_some_and(|client| {
                service.proxies.iter().any(|network| network.contains(client.ip()))
            }),
        };
        let name = (scene.connection.id, scene.exchange.index);
        let known = self.lasting.pop(&name);
        let known = known.filter(|known| known.bindings.len() == scene.credentials.len());
        let is_told = known.as_ref().is_some_and(|known| known.is_answered);
        let bindings = known.map_or_else(
            || {
                let credentials = scene.credentials.iter();
                credentials.map(|credential| self.binder.binding(credential, &shown)).collect()
            },
            |known| known.bindings,
        );
        if let Some(response) = &scene.exchange.response {
            self.binder.answered(&shown, response);
        }
        if scene.exchange.phase == Phase::Begun {
            let is_answered = scene.status.is_some();
            self.lasting.put(name, Lasting { bindings: bindings.clone(), is_answered });
        }
        let judged = scene.judge(engine, &bindings);
        Looked { judged: judged.map(|judged| Judged { is_told, ..judged }), bindings }
    }
}

/// Names the place of a call: a service is reached by its port, and seen from either end.
fn place(service: &str, endpoint: &Endpoint<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let port = endpoint.server().map(|address| address.port());
    (service, port, endpoint.role).hash(&mut hasher);
    hasher.finish()
}

/// An exchange, and what is known beside its bytes.
pub(super) struct Scene<'a> {
    pub exchange: &'a Exchange,
    pub request: &'a Request,
    pub connection: &'a Connection,
    /// Host that was asked for.
    pub host: Option<&'a str>,
    /// Operations within HTTP; `None` if they are not known.
    pub operations: Option<&'a [String]>,
    pub credentials: &'a [Arc<Credential>],
    /// Status that tells what the server did; for gRPC what it stands for.
    pub status: Option<u16>,
}

impl Scene<'_> {
    /// What `engine` makes of it; `bindings` has what was proved of each credential.
    fn judge(&self, engine: &Engine, bindings: &[Binding]) -> Option<Judged> {
        let shown: Vec<Shown<'_>> = self
            .credentials
            .iter()
            .zip(bindings)
            .map(|(credential, binding)| Shown {
                source: Source::of(credential),
                credential,
                examination: &credential.examination,
                binding: binding.clone(),
            })
            .collect();
        let call = Call {
            time: self.request.started,
            endpoint: self.endpoint(),
            method: &self.request.method,
            target: &self.request.target,
            fields: &self.request.fields,
            fields_complete: self.has_all_fields(),
            content_complete: self.has_whole_content(),
            credentials: &shown,
            operations: self.operations,
        };
        let judgement = engine.judge(&call)?;
        let assessment = outcome::assess(&judgement, self.status);
        Some(Judged { judgement, assessment, is_told: false })
    }

    /// Where it was seen.
    fn endpoint(&self) -> Endpoint<'_> {
        let Connection { process, socket, transport, handshake, proxied_for, .. } = self.connection;
        Endpoint {
            role: self.exchange.role,
            host: self.host,
            local: socket.map(|socket| socket.local),
            remote: socket.map(|socket| socket.remote),
            proxied_for: *proxied_for,
            transport: *transport,
            process,
            handshake: handshake.as_deref(),
        }
    }

    fn has_all_fields(&self) -> bool {
        !self.lacks(&[Note::RequestHeadLost, Note::HeadersIncomplete])
    }

    fn lacks(&self, any: &[Note]) -> bool {
        self.exchange.notes.iter().any(|note| any.contains(note))
    }

    /// Whether no credential can have been in a body that was not read. Only forms carry any (RFC
    /// 6750 §2.2).
    fn has_whole_content(&self) -> bool {
        if !self.request.fields.is_form() || self.request.body_bytes == 0 {
            return self.has_all_fields();
        }
        let is_read = match &self.request.content {
            Content::Sampled(sample) if self.request.fields.first("content-encoding").is_some() => {
                // What it exceeds was counted where its tokens were sought.
                let mut counted = Cuts::default();
                let decoded = coding::decode(sample, &self.request.fields, &mut counted);
                sample.is_whole() && decoded.is_whole()
            }
            Content::Sampled(sample) => sample.is_whole(),
            Content::Counted | Content::Grpc(_) | Content::GrpcWeb(_) => false,
        };
        is_read && !self.lacks(&[Note::RequestBodyLost, Note::Unfinished])
    }
}

/// Status that tells what the server did: that of HTTP, and for a gRPC call, which HTTP answers by
/// 200 whatever comes of it, the one that its own status stands for.
pub(super) fn status(response: Option<&Response>) -> Option<u16> {
    const PERMISSION_DENIED: u32 = 7;
    const UNAUTHENTICATED: u32 = 16;
    let response = response?;
    if !response.fields.is_grpc() || response.status >= 300 {
        return Some(response.status);
    }
    match response.grpc_status()? {
        0 => Some(response.status),
        UNAUTHENTICATED => Some(401),
        PERMISSION_DENIED => Some(403),
        _ => Some(500),
    }
}

#[cfg(test)]
mod tests;

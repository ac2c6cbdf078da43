//! One stream: a request and the response to it, as far as they are known (RFC 9113 §8.1).
//!
//! In: header blocks, and where bodies end or were lost. Out: the two messages of an exchange, and
//! whether more can come.

use zeroize::Zeroizing;

use super::block::{Block, Side};
use crate::{
    clock::Timestamp,
    http::{
        anomaly::{Anomalies, Anomaly},
        body::Wanted,
        message::{Note, Request, Response, Version},
    },
};

/// A header block on its stream.
pub struct Headers {
    /// Stream.
    pub stream: u32,
    /// What it says.
    pub block: Block,
    /// Whether the message ends with it.
    pub is_end: bool,
    /// When its first byte was captured.
    pub started: Timestamp,
    /// When its last byte was captured.
    pub ended: Timestamp,
}

/// Part of a body.
pub struct Body<'a> {
    /// Stream.
    pub stream: u32,
    /// Content.
    pub octets: &'a [u8],
    /// Octets of content before it that were lost.
    pub lost: u32,
    /// Whether bytes of it were lost.
    pub is_damaged: bool,
    /// Whether the message ends with it.
    pub is_end: bool,
    /// When its last byte was captured.
    pub at: Timestamp,
}

/// How far one message of a stream is.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub(super) enum Progress {
    #[default]
    Open,
    /// Open, unless the end was lost.
    Unsure,
    Ended,
}

#[derive(Default)]
pub(super) struct Stream {
    pub(super) request: Option<Request>,
    pub(super) response: Option<Response>,
    pub(super) request_progress: Progress,
    pub(super) response_progress: Progress,
    /// Whether the response's head may have been lost.
    pub(super) is_response_head_lost: bool,
    pub(super) notes: Vec<Note>,
    pub(super) anomalies: Anomalies,
    /// Lengths of the bodies, as far as the heads declare them.
    pub(super) declared: Declared,
    pub(super) size: usize,
    /// Which bodies are read.
    pub(super) wanted: Wanted,
    /// Whether it was told while under way.
    pub(super) is_told: bool,
}

/// Lengths that the two messages declare.
#[derive(Clone, Copy, Default)]
pub(super) struct Declared {
    pub(super) request: Option<u64>,
    pub(super) response: Option<u64>,
}

impl Stream {
    pub(super) fn add_request(&mut self, headers: Headers) {
        let Headers { block, is_end, started, ended, .. } = headers;
        self.anomalies.request.add_all(block.anomalies());
        self.declared.request = block.declared_length();
        let authority = || block.fields.first("host").map(String::from_utf8_lossy);
        let is_tunnel = block.method.as_deref() == Some("CONNECT");
        let target = match block.path {
            None if is_tunnel => authority().map(|host| Zeroizing::new(host.into_owned())),
            path => path,
        };
        if block.is_incomplete {
            self.note(Note::HeadersIncomplete);
        }
        if is_end {
            self.request_progress = Progress::Ended;
            self.check_length(Side::Request);
        }
        let target = target.unwrap_or_default();
        let method = block.method.unwrap_or_default();
        let request = Request {
            content: self.wanted.of_request(&method, &target, &block.fields),
            method,
            target,
            version: Version::Http2,
            head_bytes: block.octets as u64,
            fields: block.fields,
            body_bytes: 0,
            started,
            ended,
        };
        let strings = request.method.len().saturating_add(request.target.len());
        self.grow(request.fields.size().saturating_add(strings).saturating_add(size_of::<Self>()));
        self.request = Some(request);
    }

    /// Takes a whole request that was made otherwise.
    pub(super) fn adopt(&mut self, request: Request) {
        let strings = request.method.len().saturating_add(request.target.len());
        let size = request.fields.size().saturating_add(strings).saturating_add(size_of::<Self>());
        self.grow(size.saturating_add(request.content.size()));
        self.request_progress = Progress::Ended;
        self.request = Some(request);
    }

    /// A final head, trailers, or neither: with state missing, what is not known to be a head is
    /// taken for one if one is due.
    pub(super) fn add_response(
        &mut self,
        block: Block,
        is_end: bool,
        started: Timestamp,
        ended: Timestamp,
    ) {
        let is_due = match &self.response {
            None => !self.is_response_head_lost,
            Some(response) => response.status == 0 && !is_end,
        };
        let is_head = match block.status {
            Some(_) => self.response.as_ref().is_none_or(|response| response.status == 0),
            None => is_due && block.is_incomplete,
        };
        if block.is_lost {
            self.is_response_head_lost |= self.response.is_none();
        } else if is_head {
            let status = block.status.unwrap_or(0);
            self.set_response(status, block, started, ended);
        } else if let Some(response) = &mut self.response
            && is_end
        {
            response.trailers = block.fields;
            let size = response.trailers.size();
            self.grow(size);
            self.note_incomplete(block.is_incomplete);
        }
    }

    pub(super) fn set_response(
        &mut self,
        status: u16,
        block: Block,
        started: Timestamp,
        ended: Timestamp,
    ) {
        self.grow(block.fields.size().saturating_add(size_of::<Self>()));
        self.note_incomplete(block.is_incomplete);
        self.anomalies.response.add_all(block.anomalies());
        self.declared.response = block.declared_length();
        let asked = self.request.as_ref();
        self.response = Some(Response {
            status,
            version: Version::Http2,
            head_bytes: block.octets as u64,
            content: self.wanted.of_response(asked, &block.fields),
            fields: block.fields,
            trailers: Default::default(),
            body_bytes: 0,
            started,
            ended,
        });
    }

    /// Whether both messages have ended, or no more of them can come. A server that answers
    /// completely when the end of the request is in doubt has had the request.
    pub(super) fn is_over(&self, request_is_past: bool) -> bool {
        let request_is_over = match self.request {
            Some(_) => self.request_progress != Progress::Open,
            None => request_is_past,
        };
        request_is_over && self.response_progress == Progress::Ended
    }

    /// Whether the stream carries another protocol from now on (RFC 9113 §8.5, RFC 8441).
    pub(super) fn is_tunnel(&self) -> bool {
        let is_connect = self.request.as_ref().is_some_and(|request| request.method == "CONNECT");
        let accepts = |response: &Response| (200..300).contains(&response.status);
        is_connect && self.response.as_ref().is_some_and(accepts)
    }

    pub(super) fn lose_request(&mut self) {
        if self.request.is_some() && self.request_progress == Progress::Open {
            self.request_progress = Progress::Unsure;
            self.note(Note::RequestBodyLost);
        }
    }

    pub(super) fn lose_response(&mut self) {
        if self.response_progress == Progress::Ended {
            return;
        }
        self.response_progress = Progress::Unsure;
        if self.response.is_some() {
            self.note(Note::ResponseBodyLost);
        } else {
            self.is_response_head_lost = true;
        }
    }

    /// Takes content of one message.
    pub(super) fn add_body(&mut self, side: Side, body: &Body<'_>) {
        let (len, ended, content) = match (side, &mut self.request, &mut self.response) {
            (Side::Request, Some(it), _) => (&mut it.body_bytes, &mut it.ended, &mut it.content),
            (Side::Response, _, Some(it)) => (&mut it.body_bytes, &mut it.ended, &mut it.content),
            _ => return,
        };
        let lost = u64::from(body.lost);
        *len = len.saturating_add(lost).saturating_add(body.octets.len() as u64);
        if body.is_end {
            *ended = body.at;
        }
        let before = content.size();
        if lost > 0 {
            content.lose(lost);
        }
        content.take(body.octets);
        let grown = content.size().saturating_sub(before);
        self.grow(grown);
        if body.is_damaged {
            self.note(side.body_lost());
        }
    }

    /// When a message ended.
    pub(super) fn ended(&mut self, side: Side) -> Option<&mut Timestamp> {
        match side {
            Side::Request => self.request.as_mut().map(|it| &mut it.ended),
            Side::Response => self.response.as_mut().map(|it| &mut it.ended),
        }
    }

    /// The body of one message has ended: whether it is as long as declared (RFC 9113 §8.1.1).
    pub(super) fn check_length(&mut self, side: Side) {
        let method = self.request.as_ref().map(|request| request.method.as_str());
        let has_none = |response: &Response| {
            matches!(response.status, 204 | 304) || method.is_none_or(|method| method == "HEAD")
        };
        let (declared, seen) = match side {
            Side::Request => (self.declared.request, self.request.as_ref().map(|it| it.body_bytes)),
            Side::Response => {
                let response = self.response.as_ref().filter(|it| !has_none(it));
                (self.declared.response, response.map(|it| it.body_bytes))
            }
        };
        let differs = declared.zip(seen.or((side == Side::Request).then_some(0)));
        if differs.is_some_and(|(declared, seen)| declared != seen)
            && !self.notes.contains(&side.body_lost())
        {
            match side {
                Side::Request => self.anomalies.request.add(Anomaly::ContentLengthMismatch),
                Side::Response => self.anomalies.response.add(Anomaly::ContentLengthMismatch),
            }
        }
    }

    pub(super) fn progress(&mut self, side: Side) -> &mut Progress {
        match side {
            Side::Request => &mut self.request_progress,
            Side::Response => &mut self.response_progress,
        }
    }

    pub(super) fn grow(&mut self, octets: usize) {
        self.size = self.size.saturating_add(octets);
    }

    pub(super) fn note_incomplete(&mut self, is_incomplete: bool) {
        if is_incomplete {
            self.note(Note::ResponseHeadersIncomplete);
        }
    }

    pub(super) fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Side {
    pub(super) const fn body_lost(self) -> Note {
        match self {
            Self::Request => Note::RequestBodyLost,
            Self::Response => Note::ResponseBodyLost,
        }
    }
}

//! Calls made up for `policy explain` and `policy test`. In: a request as text, or its parts. Out:
//! a judgement of it, as if it had been seen whole, at its service.

use std::{net::SocketAddr, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    config::keyfile,
    failure::{ExitCode, Failure, chain},
    flow::chunk::Transport,
    http::{
        body::{Content, Wanted},
        message::{Fields, Request, Role, Version},
        operation,
        path::Target,
    },
    identity::process::Process,
    policy::{
        call::{Call, Endpoint, Shown, Source},
        compiled::ServiceIndex,
        evaluate::Engine,
        judgement::Judgement,
        select::Selected,
    },
    rules,
    text::Cuts,
    token::{Credential, examination::Binding, keys::Trust, reader::Reader},
};

/// A request, and what is assumed beside it.
pub(super) struct Sketch {
    pub request: Request,
    /// Service that it is made to; `None` to find it by host and port.
    pub service: Option<ServiceIndex>,
    /// Port that it is made to.
    pub port: u16,
    pub operations: Option<Vec<String>>,
}

/// Reads a request as it is sent: the request line, fields, an empty line, a body. Lines before it
/// that begin with `#` are comments. The body is read as far as the agent would, by `wanted`; the
/// end of the file's last line is no part of it.
pub(super) fn parse(text: &str, at: Timestamp, wanted: &Wanted) -> Option<Request> {
    let mut rest = text;
    let mut first = line(&mut rest)?;
    while first.is_empty() || first.starts_with('#') {
        first = line(&mut rest)?;
    }
    let mut words = first.split_ascii_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    // The forms of RFC 9112 §3.2; whoever hands over another file is told so, not answered.
    let is_target = target.starts_with('/') || target.contains("://") || target == "*";
    let is_request = is_target || method == "CONNECT";
    is_request.then_some(())?;
    words.next().is_none_or(|version| version.starts_with("HTTP/")).then_some(())?;
    let mut fields = Fields::default();
    while let Some(field) = line(&mut rest).filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':')?;
        fields.push(name.trim().as_bytes(), value.trim().as_bytes());
    }
    let body = rest.strip_suffix('\n').unwrap_or(rest);
    let body = body.strip_suffix('\r').unwrap_or(body);
    let mut content = wanted.of_request(method, target, &fields);
    content.take(body.as_bytes());
    let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    Some(Request { content, body_bytes, ..request(method, target, fields, at) })
}

/// The next line of `rest`, without its end.
fn line<'t>(rest: &mut &'t str) -> Option<&'t str> {
    if rest.is_empty() {
        return None;
    }
    let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
    *rest = after;
    Some(line.strip_suffix('\r').unwrap_or(line))
}

/// What the request asks for within HTTP, as policies name it; `None` if that is not known.
pub(super) fn operations(request: &Request) -> Option<Vec<String>> {
    operation::of_request(request, &[], &mut Cuts::default())?.named()
}

/// A request of these parts.
pub(super) fn request(method: &str, target: &str, fields: Fields, at: Timestamp) -> Request {
    Request {
        method: method.to_owned(),
        target: Zeroizing::new(target.to_owned()),
        version: Version::Http11,
        head_bytes: 0,
        fields,
        body_bytes: 0,
        content: Content::Counted,
        started: at,
        ended: at,
    }
}

/// The credentials of a request, as the agent would read them.
pub(super) fn credentials(
    engine: &Engine,
    request: &Request,
    trust: &Trust,
) -> Result<Vec<Arc<Credential>>, Failure> {
    let key = keyfile::ephemeral();
    let key = key.map_err(|error| Failure::new(ExitCode::Os, chain(&error)))?;
    let sources = rules::sources(engine);
    Ok(Reader::new(Arc::new(key)).credentials(request, &sources, trust, &mut Cuts::default()))
}

/// What the policy says of it. `bindings` are those of the credentials, in order.
pub(super) fn judge(
    engine: &Engine,
    sketch: &Sketch,
    credentials: &[Credential],
    bindings: &[Binding],
) -> Option<Judgement> {
    let Sketch { request, service, port, operations } = sketch;
    let target = Target::read(
        &request.method,
        &request.target,
        request.fields.first("host"),
        &mut Cuts::default(),
    );
    let shown: Vec<Shown<'_>> = credentials
        .iter()
        .zip(bindings)
        .map(|(credential, binding)| Shown {
            source: Source::of(credential),
            credential,
            examination: &credential.examination,
            binding: binding.clone(),
        })
        .collect();
    let process = Process::unknown(0);
    let call = Call {
        time: request.started,
        endpoint: Endpoint {
            role: Role::Server,
            host: target.host.as_deref(),
            local: Some(SocketAddr::from(([127, 0, 0, 1], *port))),
            remote: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            proxied_for: None,
            transport: Transport::Tls,
            process: &process,
            handshake: None,
        },
        method: &request.method,
        target: &request.target,
        fields: &request.fields,
        fields_complete: true,
        content_complete: true,
        credentials: &shown,
        operations: operations.as_deref(),
    };
    match service {
        Some(service) => {
            engine.judge_at(Selected { service: *service, host_unexpected: false }, &call)
        }
        None => engine.judge(&call),
    }
}

/// The service of that name; without a name, the only one that there is.
pub(super) fn service(
    engine: &Engine,
    name: Option<&str>,
) -> Result<Option<ServiceIndex>, Failure> {
    let services = &engine.policy().services;
    let Some(name) = name else {
        return Ok((services.len() == 1).then_some(ServiceIndex(0)));
    };
    let nth = services.iter().position(|service| &*service.id == name);
    nth.map(|nth| Some(ServiceIndex(nth))).ok_or_else(|| {
        let known: Vec<&str> = services.iter().map(|service| &*service.id).collect();
        let text = format!("the policy has no service {name}, only: {}", known.join(", "));
        Failure::new(ExitCode::Usage, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_sent() {
        let text = "# what it is\n\nPOST /a?b HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\nbody: no\n";
        let read = parse(text, Timestamp(1), &Wanted::default()).unwrap();
        assert_eq!((&*read.method, read.target.as_str()), ("POST", "/a?b"));
        assert_eq!((read.fields.len(), read.fields.first("x-y")), (2, Some(&b"z"[..])));
        let form =
            "POST /a HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\na=b\r\n";
        let read = parse(form, Timestamp(1), &Wanted::default()).unwrap();
        let body = read.content.sample().map(|sample| sample.bytes().to_vec());
        assert_eq!((body, read.body_bytes), (Some(b"a=b".to_vec()), 3));
        for target in ["*", "http://h/a", "/"] {
            assert!(
                parse(&format!("GET {target}\n"), Timestamp(1), &Wanted::default()).is_some(),
                "{target}"
            );
        }
        assert!(parse("CONNECT h:443 HTTP/1.1\n", Timestamp(1), &Wanted::default()).is_some());
        for text in ["GET", "GET / HTTP/1.1\nnonsense\n", "Dear all,\n", "GET / please\n"] {
            assert!(parse(text, Timestamp(1), &Wanted::default()).is_none(), "{text}");
        }
    }
}

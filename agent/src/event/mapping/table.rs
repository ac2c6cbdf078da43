//! Where each field of an event stands in each schema. A new field is one row; a field without a
//! row, or without a place in a schema, goes to where that schema keeps what it does not know.

/// A field, and its places. An empty one means: with the rest.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Path in the native event.
    pub field: &'static str,
    /// Path in OCSF 1.8.0.
    pub ocsf: &'static str,
    /// Path in ECS 9.
    pub ecs: &'static str,
    /// Name of the OpenTelemetry attribute; of the resource if the field is of host or agent.
    pub otlp: &'static str,
    /// Name in RFC 5424 structured data, at most 32 characters, in the order of what matters.
    pub syslog: &'static str,
    /// Key of a CEF extension.
    pub cef: &'static str,
    /// Key of a LEEF attribute.
    pub leef: &'static str,
}

const fn row(
    field: &'static str,
    ocsf: &'static str,
    ecs: &'static str,
    otlp: &'static str,
    [syslog, cef, leef]: [&'static str; 3],
) -> Row {
    Row { field, ocsf, ecs, otlp, syslog, cef, leef }
}

/// All rows: what matters most comes first, as formats with a limit drop from the end.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("event.uid", "metadata.uid", "event.id", "log.record.uid", ["uid", "externalId", "uid"]),
    row("event.type", "metadata.event_code", "event.action", "", ["type", "cat", "cat"]),
    row("event.is_truncated", "metadata.is_truncated", "", "",
        ["is_truncated", "isTruncated", "isTruncated"]),
    row("event.outcome", "", "event.outcome", "", ["outcome", "outcome", "outcome"]),
    row("authz.server_outcome", "", "", "", ["server_outcome", "act", "action"]),
    row("identity.subject", "actor.user.uid", "user.id", "user.id", ["sub", "suid", "usrName"]),
    row("identity.username", "actor.user.name", "user.name", "user.name",
        ["username", "suser", "userName"]),
    row("identity.client_id", "actor.app_uid", "", "", ["client", "cs1", "clientId"]),
    row("identity.evidence", "", "", "", ["evidence", "", "evidence"]),
    row("credential.jti", "api.token.uid", "", "", ["jti", "", "jti"]),
    row("credential.fp", "", "", "", ["fp", "cs2", "fp"]),
    row("http.method", "http_request.http_method", "http.request.method", "http.request.method",
        ["method", "requestMethod", "method"]),
    row("http.path", "http_request.url.path", "url.path", "url.path", ["path", "request", "url"]),
    row("http.status", "http_response.code", "http.response.status_code",
        "http.response.status_code", ["status", "cn1", "status"]),
    row("authz.scopes", "", "", "", ["scopes", "cs3", "scopes"]),
    row("token.iss", "", "", "", ["iss", "cs4", "iss"]),
    row("token.state", "", "", "", ["token_state", "cs5", "tokenState"]),
    row("client.ip", "src_endpoint.ip", "client.ip", "client.address", ["src", "src", "src"]),
    row("client.port", "src_endpoint.port", "client.port", "client.port", ["spt", "spt", "srcPort"]),
    row("client.ua", "http_request.user_agent", "user_agent.original", "user_agent.original",
        ["ua", "requestClientApplication", "userAgent"]),
    row("server.host", "dst_endpoint.hostname", "server.domain", "server.address",
        ["host", "dhost", "dstHost"]),
    row("server.ip", "dst_endpoint.ip", "server.ip", "network.local.address", ["dst", "dst", "dst"]),
    row("server.port", "dst_endpoint.port", "server.port", "server.port", ["dpt", "dpt", "dstPort"]),
    row("observation.role", "", "", "", ["role", "", "role"]),
    row("observation.complete", "", "", "", ["complete", "", "complete"]),
    row("integrity.chain", "", "", "", ["chain", "chain", "chain"]),
    row("integrity.seq", "", "", "", ["seq", "seq", "seq"]),
    row("integrity.prev", "", "", "", ["prev", "prev", "prev"]),
    row("integrity.hash", "", "", "", ["hash", "hash", "hash"]),
    row("gap.chain", "", "", "", ["gap_chain", "", "gapChain"]),
    row("gap.from", "", "", "", ["gap_from", "", "gapFrom"]),
    row("gap.to", "", "", "", ["gap_to", "", "gapTo"]),
    row("gap.count", "", "", "", ["gap_count", "cn2", "gapCount"]),
    row("gap.reason", "", "", "", ["gap_reason", "reason", "gapReason"]),
    row("checkpoint.note", "", "", "", ["", "", "checkpoint"]),
    row("event.seq", "metadata.sequence", "event.sequence", "", ["", "", ""]),
    row("event.severity", "", "log.level", "", ["severity", "", ""]),
    row("event.schema", "metadata.log_version", "", "", ["schema", "", ""]),
    row("host.id", "device.uid", "host.id", "host.id", ["", "", ""]),
    row("host.name", "device.hostname", "host.name", "host.name", ["", "dvchost", "identHostName"]),
    row("host.boot_id", "device.boot_uid", "host.boot.id", "", ["", "", ""]),
    row("agent.version", "metadata.product.version", "agent.version", "service.version", ["", "", ""]),
    row("process.pid", "actor.process.pid", "process.pid", "process.pid", ["pid", "spid", "pid"]),
    row("process.comm", "actor.process.name", "process.name", "process.executable.name",
        ["comm", "sproc", "process"]),
    row("process.exe", "actor.process.path", "process.executable", "process.executable.path",
        ["exe", "", "exe"]),
    row("process.start", "", "process.start", "", ["", "", ""]),
    row("process.unit", "", "", "", ["unit", "", "unit"]),
    row("process.cgroup", "", "", "process.linux.cgroup", ["", "", ""]),
    row("process.container.id", "", "container.id", "container.id", ["container", "", "container"]),
    row("volume.count", "count", "", "", ["count", "cnt", "count"]),
    row("volume.sampled", "", "", "", ["sampled", "", "sampled"]),
    row("http.scheme", "http_request.url.scheme", "url.scheme", "url.scheme", ["scheme", "", ""]),
    row("http.version", "http_request.version", "http.version", "network.protocol.version",
        ["", "", ""]),
    row("http.req_bytes", "http_request.body_length", "http.request.body.bytes",
        "http.request.body.size", ["req_bytes", "out", ""]),
    row("http.resp_bytes", "http_response.body_length", "http.response.body.bytes",
        "http.response.body.size", ["resp_bytes", "in", ""]),
    row("http.duration_ns", "", "event.duration", "", ["", "", ""]),
    row("trace.trace_id", "trace.uid", "trace.id", "", ["trace", "", ""]),
    row("trace.span_id", "", "span.id", "", ["span", "", ""]),
    // In structured data these keep their own names.
    row("authz.roles", "", "user.roles", "user.roles", ["authz.roles", "", ""]),
    row("http.path_template", "", "", "http.route", ["http.path_template", "", ""]),
    row("client.forwarded_for", "", "network.forwarded_ip", "", ["client.forwarded_for", "", ""]),
    row("server.sni", "", "tls.client.server_name", "tls.client.server_name",
        ["server.sni", "", ""]),
    row("tls.version", "", "tls.version", "tls.protocol.version", ["tls.version", "", ""]),
    row("tls.suite", "", "tls.cipher", "tls.cipher", ["tls.suite", "", ""]),
    row("tls.alpn", "", "tls.next_protocol", "tls.next_protocol", ["tls.alpn", "", ""]),
    row("tls.resumed", "", "tls.resumed", "tls.resumed", ["tls.resumed", "", ""]),
    row("tls.client_cert.subject", "", "tls.client.subject", "tls.client.subject",
        ["tls.client_cert.subject", "", ""]),
    row("tls.client_cert.issuer", "", "tls.client.issuer", "tls.client.issuer",
        ["tls.client_cert.issuer", "", ""]),
    row("rpc.status_code", "", "", "rpc.grpc.status_code", ["rpc.status_code", "", ""]),
];

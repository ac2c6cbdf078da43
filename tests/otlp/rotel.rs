//! A real receiver: rotel, a collector that prints each record that it got. What it prints is
//! compared, field by field, with what was sent. It has no TLS of its own: nginx has it, in front.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use scopewatch::{outbound, sinks::otlp::Protocol};
use scopewatch_harness::{certs::Certificates, child::Reaped, oauth};
use serde_json::{Value, json};

use crate::run::{ALL, options, start};

/// Events with all kinds of values.
fn sent(count: usize) -> Vec<Value> {
    let event = |nth: usize| {
        json!({
            "event": {"uid": format!("uid-{nth:05}"), "type": "scope_check", "severity": "high",
                "time": "2026-11-22T10:04:31.118204Z",
                "observed_time": "2026-11-22T10:04:31.121204Z", "outcome": "success"},
            "host": {"id": "8f4e", "name": "h7", "boot_id": "2f1c"},
            "agent": {"version": "0.1.0"},
            "identity": {"subject": format!("täter-{nth} \"x\"")},
            "http": {"method": "POST", "path": "/v1/refunds/{int}", "status": 200 + nth % 5},
            "authz": {"verdict": "deny", "missing": ["refunds:write", "x"], "reasons": []},
            "observation": {"complete": nth.is_multiple_of(2)},
            "token": {"exp": -5_i64},
            "trace": {"trace_id": format!("{:032x}", nth + 1), "span_id": "00f067aa0ba902b7"},
        })
    };
    (0..count).map(event).collect()
}

/// How rotel prints the `nth` of these events: its own words, and our mapping's names.
fn printed(nth: usize) -> (String, BTreeMap<String, String>) {
    let mut head = String::new();
    for line in [
        "ObservedTimestamp: 1795341871121204000",
        "Timestamp: 1795341871118204000",
        "SeverityText: high",
        "SeverityNumber: SEVERITY_NUMBER_ERROR(17)",
        "EventName: scopewatch.scope_check",
        "Body: Str(scope_check)",
        &format!("Trace ID       : {:032x}", nth + 1),
        "Span ID        : 00f067aa0ba902b7",
        "Flags: 0",
    ] {
        writeln!(head, "{line}").unwrap();
    }
    let status = 200 + nth % 5;
    let attributes = [
        ("log.record.uid", format!("Str(uid-{nth:05})")),
        ("scopewatch.event.type", "Str(scope_check)".to_owned()),
        ("scopewatch.event.severity", "Str(high)".to_owned()),
        ("scopewatch.event.outcome", "Str(success)".to_owned()),
        ("user.id", format!("Str(täter-{nth} \"x\")")),
        ("http.request.method", "Str(POST)".to_owned()),
        ("url.path", "Str(/v1/refunds/{int})".to_owned()),
        ("http.response.status_code", format!("Int({status})")),
        ("scopewatch.authz.verdict", "Str(deny)".to_owned()),
        ("scopewatch.authz.missing", "Slice(Str(refunds:write), Str(x))".to_owned()),
        ("scopewatch.authz.reasons", "Slice()".to_owned()),
        ("scopewatch.observation.complete", format!("Bool({})", nth.is_multiple_of(2))),
        ("scopewatch.token.exp", "Int(-5)".to_owned()),
    ];
    (head, attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The records in rotel's output: lines of each, and its attributes by name.
fn read(output: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut records: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for line in output.lines().map(str::trim) {
        let of_record = ["ObservedTimestamp", "Timestamp", "Severity", "EventName", "Body"];
        let behind = ["Trace ID", "Span ID", "Flags"];
        let is_of_record = of_record.iter().chain(&behind).any(|start| line.starts_with(start));
        if line.starts_with("LogRecord #") {
            records.push((String::new(), BTreeMap::new()));
        } else if let Some((head, attributes)) = records.last_mut() {
            if is_of_record {
                writeln!(head, "{line}").unwrap();
            } else if let Some((key, value)) =
                line.strip_prefix("-> ").and_then(|pair| pair.split_once(": "))
            {
                // Attributes of the next part's resource come behind those of a record.
                if !["service.", "host.", "scopewatch.host."].iter().any(|of| key.starts_with(of)) {
                    attributes.insert(key.to_owned(), value.to_owned());
                }
            }
        }
    }
    records
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts rotel; what it says goes to `output`.
fn rotel(output: &Path, grpc: u16, http: u16) -> Reaped {
    let library = fs::read_dir(oauth::python_dir().join("lib")).expect("run `cargo xtask setup`");
    let library = library.last().unwrap().unwrap().path();
    let program = library.join("site-packages/rotel/rotel-agent");
    let out = File::create(output).unwrap();
    let mut command = Command::new(program);
    command.args(["start", "--exporter", "blackhole", "--debug-log", "logs"]);
    command.args(["--debug-log-verbosity", "detailed"]);
    command.args(["--otlp-grpc-max-recv-msg-size-mib", "1"]);
    command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")]);
    command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")]);
    command.stdout(out.try_clone().unwrap()).stderr(out).stdin(Stdio::null());
    let mut rotel = Reaped::start(&mut command).expect("rotel starts");
    let from = Instant::now();
    while ![grpc, http].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
        assert!(from.elapsed() < Duration::from_secs(20), "rotel does not listen");
        assert!(rotel.ended().unwrap().is_none(), "{}", fs::read_to_string(output).unwrap());
        thread::sleep(Duration::from_millis(20));
    }
    rotel
}

/// Starts nginx, which wants a certificate of clients and takes 16 KiB at once.
fn nginx(dir: &Path, certificates: &Certificates, port: u16, grpc: u16, http: u16) -> Reaped {
    let Certificates { authority, server, server_key, .. } = certificates;
    let [authority, server, key] = [authority, server, server_key].map(|path| path.display());
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {name};")).join(" ");
    let config = format!(
        "daemon off; master_process off; user root; pid nginx.pid; error_log error.log; events {{}}
        http {{ access_log access.log; {temporary} client_max_body_size 16k;
          server {{ listen 127.0.0.1:{port} ssl http2;
            ssl_certificate {server}; ssl_certificate_key {key};
            ssl_client_certificate {authority}; ssl_verify_client on;
            location /opentelemetry.proto. {{ grpc_pass grpc://127.0.0.1:{grpc}; }}
            location / {{ proxy_pass http://127.0.0.1:{http}; }} }} }}"
    );
    fs::write(dir.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
    command.args(["-e", "error.log"]).stdin(Stdio::null());
    let mut nginx = Reaped::start(&mut command).expect("nginx starts");
    let from = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(from.elapsed() < Duration::from_secs(20), "nginx does not listen");
        assert!(nginx.ended().unwrap().is_none(), "nginx ended");
        thread::sleep(Duration::from_millis(20));
    }
    nginx
}

#[test]
fn behind_a_proxy_with_tls_that_takes_little_everything_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(directory.path()).unwrap();
    let count = 1500;
    let (events, output) = (sent(count), directory.path().join("rotel"));
    let [front, grpc, http] = [port(), port(), port()];
    let _rotel = rotel(&output, grpc, http);
    let _nginx = nginx(directory.path(), &certificates, front, grpc, http);
    for (nth, protocol) in (1..).zip(ALL) {
        let mut options = options(protocol, front);
        (options.endpoint.is_tls, options.gzip) = (true, false);
        // The first request is larger than what the kernel holds: the refusal comes in its middle.
        options.max_batch_bytes = 4 * 1024 * 1024;
        let identity = Some((certificates.client.clone(), certificates.client_key.clone()));
        let ca_file = Some(certificates.authority.clone());
        options.tls = outbound::Options { ca_file, identity, server_name: None };
        let (delivered, dead, pending, _) = start(options, &events).finish();
        assert_eq!((delivered, dead, pending), (1500, 0, 0), "{protocol:?}");
        let (from, mut text) = (Instant::now(), String::new());
        while text.matches("Flags: ").count() < 200 * nth
            && from.elapsed() < Duration::from_secs(20)
        {
            thread::sleep(Duration::from_millis(50));
            text = fs::read_to_string(&output).unwrap();
        }
        let records = read(&text);
        let of_this = records.get(count * (nth - 1)..).unwrap_or_default();
        assert_eq!(of_this.len(), count, "{protocol:?}");
        for (nth, record) in of_this.iter().enumerate() {
            assert_eq!(record, &printed(nth), "{protocol:?}");
        }
    }
    let access = fs::read_to_string(directory.path().join("access.log")).unwrap();
    for line in ["Export HTTP/2.0\" 413", "Export HTTP/2.0\" 200", "/v1/logs HTTP/1.1\" 413"] {
        assert!(access.contains(line), "{line}");
    }
}

#[test]
fn a_real_collector_has_every_field_of_every_event() {
    let directory = tempfile::tempdir().unwrap();
    let events = sent(300);
    for protocol in ALL {
        for gzip in [true, false] {
            let output = directory.path().join(format!("{protocol:?}-{gzip}"));
            let (grpc, http) = (port(), port());
            let rotel = rotel(&output, grpc, http);
            let port = if protocol == Protocol::Grpc { grpc } else { http };
            let mut options = options(protocol, port);
            (options.gzip, options.timeout) = (gzip, Duration::from_secs(10));
            let (delivered, dead, pending, _) = start(options, &events).finish();
            assert_eq!((delivered, dead, pending), (300, 0, 0), "{protocol:?}");
            let (from, mut text) = (Instant::now(), String::new());
            // It prints behind its answers.
            while text.matches("Flags: ").count() < 300 && from.elapsed() < Duration::from_secs(10)
            {
                thread::sleep(Duration::from_millis(50));
                text = fs::read_to_string(&output).unwrap();
            }
            drop(rotel);
            let records = read(&text);
            assert_eq!(records.len(), 300, "{protocol:?} {gzip}");
            for (nth, record) in records.iter().enumerate() {
                assert_eq!(record, &printed(nth), "{protocol:?} {gzip}");
            }
            assert!(text.contains("InstrumentationScope scopewatch 0.1.0"));
            for line in
                ["service.name: Str(scopewatch)", "host.name: Str(h7)", "host.id: Str(8f4e)"]
            {
                assert!(text.contains(line), "{line}");
            }
            assert!(text.contains("service.version: Str(0.1.0)"));
        }
    }
}

#[test]
fn a_collector_that_takes_small_messages_only_gets_all_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("rotel");
    let (grpc, http) = (port(), port());
    let _rotel = rotel(&output, grpc, http);
    // It takes 1 MiB at once over gRPC, and the spool gives a sink more than that: four of these.
    let pad = "x".repeat(300_000);
    let events: Vec<_> = sent(20)
        .into_iter()
        .map(|mut event| {
            event["authz"]["reasons"] = json!([pad]);
            event
        })
        .collect();
    let mut options = options(Protocol::Grpc, grpc);
    (options.max_batch_bytes, options.timeout) = (4 * 1024 * 1024, Duration::from_secs(20));
    // It measures what comes, compressed or not.
    options.gzip = false;
    let (delivered, dead, pending, _) = start(options, &events).finish();
    assert_eq!((delivered, dead, pending), (20, 0, 0));
}

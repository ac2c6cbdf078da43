//! gRPC by grpcio, client and server: without TLS on a port that is listed, and behind an nginx that
//! ends TLS. Its own TLS has no place at which secrets pass.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{Agent, Stopped, open_dir},
    calls::{Bearer, Testbed},
    clients::Request,
    events::{is_over, number, text},
    oauth, require_root,
};
use serde_json::{Value, json};

use super::{front::Front, lab::is_on, lines::Lines};
use crate::{EVENTS_TIMEOUT, clean};

const SCRIPT: &str = include_str!("grpc_peer.py");

/// The status of a method that is not there (gRPC's statuscodes.md).
const UNIMPLEMENTED: u64 = 12;

/// A call, and what must be told of it.
struct Call {
    method: &'static str,
    /// What the script makes of it depends on the method.
    number: u64,
    status: u64,
    /// Messages each way.
    messages: [u64; 2],
    severity: &'static str,
    server_outcome: &'static str,
}

const CALL: Call = Call {
    method: "",
    number: 1,
    status: 0,
    messages: [1, 1],
    severity: "info",
    server_outcome: "allowed",
};

/// Unary and streaming, each way; refused in different ways. The service answers by trailers alone
/// where it has no message.
const CALLS: [Call; 8] = [
    Call { method: "Get", number: 31, ..CALL },
    Call { method: "List", number: 40, messages: [1, 40], ..CALL },
    Call { method: "Put", number: 25, messages: [25, 1], ..CALL },
    Call { method: "Talk", number: 12, messages: [12, 24], ..CALL },
    Call {
        method: "Fail",
        number: 3,
        status: 8,
        messages: [1, 3],
        server_outcome: "failed",
        ..CALL
    },
    Call {
        method: "Refuse",
        number: 7,
        status: 7,
        messages: [1, 0],
        server_outcome: "denied",
        ..CALL
    },
    Call {
        method: "Refuse",
        number: 16,
        status: 16,
        messages: [1, 0],
        server_outcome: "denied",
        ..CALL
    },
    Call {
        method: "Nothing",
        status: UNIMPLEMENTED,
        messages: [1, 0],
        server_outcome: "failed",
        ..CALL
    },
];

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(oauth::python_dir().join("bin/python"));
    command.args(["-c", SCRIPT]).args(arguments);
    command
}

fn serve() -> Result<(Lines, u16)> {
    ensure!(oauth::is_there()[1], "packages of the peers are missing: run `cargo xtask setup`");
    Lines::serve(&mut python(&["serve"]))
}

/// Makes all calls, and has the client see what they came to.
fn make(client: &mut Lines, testbed: &Testbed) -> Result<()> {
    let request = testbed.with_token(Request::new("POST", "/"), Bearer::Alice)?;
    let token = request.headers.get("Authorization").context("no token")?;
    for Call { method, number, status, messages: [_, came], .. } in &CALLS {
        let answer: [u64; 2] = client.ask(&format!("{method} {number} {token}"))?;
        ensure!(answer == [*status, *came], "{method} {number} came to {answer:?}");
    }
    Ok(())
}

fn finish(mut agent: Agent, ports: &[u16]) -> Result<Stopped> {
    // What does not come is named below.
    let _late = agent.log().wait_for("all calls", EVENTS_TIMEOUT, |events| {
        ports.iter().all(|port| told_on(events, *port).len() >= CALLS.len())
    });
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    ensure!(stopped.dropped() == 0, "{:?}", stopped.counters());
    Ok(stopped)
}

fn told_on(events: &[Value], port: u16) -> Vec<&Value> {
    events.iter().filter(|event| is_on(event, port) && is_over(event)).collect()
}

/// The calls on `port` are told in the order in which they were made, with these fields.
fn check(stopped: &Stopped, port: u16, fields: &[(&str, Value)]) -> Result<()> {
    let told = told_on(&stopped.events, port);
    ensure!(told.len() == CALLS.len(), "{} calls: {told:#?}, {:?}", told.len(), stopped.counters());
    for (event, call) in told.into_iter().zip(&CALLS) {
        let name = format!("shop.Orders/{}", call.method);
        let [sent, came] = call.messages;
        // A method that is not there is refused by its head alone; nginx may then leave out the rest.
        let is_whole =
            call.status != UNIMPLEMENTED || number(event, "/rpc/req_messages") != Some(0);
        let sent = if is_whole { sent } else { 0 };
        let expected = [
            ("/http/method", json!("POST")),
            ("/http/version", json!("2")),
            ("/http/path", json!(format!("/{name}"))),
            ("/http/operation", json!([name])),
            ("/http/operation_protocol", json!("grpc")),
            ("/http/status", json!(200)),
            ("/rpc/status_code", json!(call.status)),
            ("/rpc/req_messages", json!(sent)),
            ("/rpc/resp_messages", json!(came)),
            ("/authz/server_outcome", json!(call.server_outcome)),
            ("/event/severity", json!(call.severity)),
            ("/observation/role", json!("server")),
            ("/observation/complete", json!(is_whole)),
            ("/identity/subject", json!("alice")),
            ("/token/state", json!("active")),
        ];
        for (field, value) in expected.iter().chain(fields) {
            ensure!(event.pointer(field) == Some(value), "{field} is not {value}: {event:#}");
        }
        ensure!(event.pointer("/rpc/at_least").is_none(), "messages may be missing: {event:#}");
    }
    Ok(())
}

#[test]
fn calls_without_tls_are_told_with_status_messages_and_token() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (server, port) = serve()?;
    let run = tempfile::tempdir()?;
    let configuration = format!("capture: {{plain_http: {{ports: [{port}]}}}}");
    let agent = Agent::run_configured(run.path(), &configuration)?;
    let mut client = Lines::start(&mut python(&["ask", &port.to_string()]))?;
    make(&mut client, &testbed)?;
    let stopped = finish(agent, &[port])?;
    let fields = [
        ("/observation/transport", json!("plain")),
        ("/process/pid", json!(server.process.pid())),
        ("/peer/pid", json!(client.process.pid())),
    ];
    check(&stopped, port, &fields)
}

/// The client's TLS is its own: nginx's end tells of the connection, and does not guess who asks.
#[test]
fn calls_by_tls_through_nginx_are_told_on_both_its_sides() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let (server, port) = serve()?;
    let dir = open_dir()?;
    let location = format!("grpc_pass grpc://127.0.0.1:{port};");
    let front = Front { listen: "ssl http2", http: "", location: &location };
    let (proxy, outer) = front.start(dir.path(), &testbed)?;
    let run = tempfile::tempdir()?;
    let configuration = format!("capture: {{plain_http: {{ports: [{port}]}}}}");
    let agent = Agent::run_configured(run.path(), &configuration)?;
    let authority = testbed.target().authority.to_str().context("a path is not UTF-8")?;
    let mut client = Lines::start(&mut python(&["ask", &outer.to_string(), authority]))?;
    make(&mut client, &testbed)?;
    let stopped = finish(agent, &[port, outer])?;
    let near = [("/observation/transport", json!("tls")), ("/process/pid", json!(proxy.pid()))];
    check(&stopped, outer, &near)?;
    let told = told_on(&stopped.events, outer);
    ensure!(told.iter().all(|event| event.get("peer").is_none()), "a process is guessed");
    ensure!(told.iter().all(|it| text(it, "/http/scheme") == Some("https")), "{told:#?}");
    let behind = [
        ("/observation/transport", json!("plain")),
        ("/process/pid", json!(server.process.pid())),
        ("/peer/pid", json!(proxy.pid())),
    ];
    check(&stopped, port, &behind)
}

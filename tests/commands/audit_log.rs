//! An audit log as the agent writes it, without privilege: a recording, replayed.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use scopewatch::{
    capture::{
        CaptureEvent, EventSink as _, SessionKey,
        recorder::{Preamble, Recorder},
    },
    clock::Timestamp,
    flow::chunk::{Attribution, Direction, Socket},
    identity::{host::Host, process::Process},
};
use scopewatch_harness::tokens::Token;

use crate::run;

/// The port of the server.
pub const PORT: u16 = 8443;

/// A call of an API, which answers with `status`.
pub struct Call<'a> {
    /// Method and target.
    pub request: &'a str,
    /// Sent as `Authorization: Bearer`.
    pub token: &'a Token,
    /// Status code.
    pub status: u16,
}

/// The log of `calls`, each on a connection of its own, made at `at` and judged by `policy`.
pub fn write(dir: &Path, policy: &Path, at: Timestamp, calls: &[Call<'_>]) -> Result<String> {
    let configuration = format!("policy: {{file: {:?}}}\n", policy.display().to_string());
    replay(dir, &configuration, at, calls)
}

/// The log of `calls`, each on a connection of its own, made at `at`, as the configuration has it.
pub fn replay(dir: &Path, config: &str, at: Timestamp, calls: &[Call<'_>]) -> Result<String> {
    let recording = dir.join("calls.swrec");
    record(&recording, at, calls)?;
    let configuration = dir.join("scopewatch.yaml");
    fs::write(&configuration, config)?;
    let key = dir.join("fingerprint.key");
    let arguments = ["replay", "--format", "json", "--config", path(&configuration)?];
    let arguments = [&arguments[..], &["--fingerprint-key", path(&key)?, path(&recording)?]];
    let said = run(&arguments.concat())?;
    assert_eq!(said.code, Some(0), "{}", said.err);
    Ok(said.out)
}

/// The path as an argument.
pub fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no UTF-8")
}

fn record(file: &Path, at: Timestamp, calls: &[Call<'_>]) -> Result<()> {
    const SERVER: u32 = 4242;
    let host = Host { id: "a".to_owned(), name: "host".to_owned(), boot_id: "b".to_owned() };
    let mut recorder = Recorder::create(file, &Preamble { host })?;
    recorder.accept(&CaptureEvent::Process(Arc::new(Process::unknown(SERVER))));
    for (number, call) in (1..).zip(calls) {
        let session = SessionKey { pid: SERVER, object: number, generation: 1 };
        let client_port = 40_000 + u16::try_from(number)?;
        let socket = Socket {
            cookie: number,
            local: ([127, 0, 0, 1], PORT).into(),
            remote: ([127, 0, 0, 1], client_port).into(),
            netns: 0,
        };
        let attribution = Attribution::TlsCall;
        recorder.accept(&CaptureEvent::Socket { at, session, socket, attribution, peer: None });
        let Call { request, token, status } = call;
        let request =
            format!("{request} HTTP/1.1\r\nHost: api\r\nAuthorization: {}\r\n\r\n", token.bearer());
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        for (direction, text) in [(Direction::Inbound, request), (Direction::Outbound, answer)] {
            let bytes = text.as_bytes();
            let (offset, lost) = (0, 0);
            recorder.accept(&CaptureEvent::Data { at, session, direction, offset, lost, bytes });
        }
        recorder.accept(&CaptureEvent::Close { at, session, direction: None });
    }
    recorder.finish().context("write the recording")
}

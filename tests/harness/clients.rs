//! Clients that call the API: curl, Python's ssl module, wrk.
//!
//! In: a server's port, the authority to trust, and [`Request`]s. Out: [`Reply`]s with the client's
//! own port, by which an event is found again. Tokens are handed over on standard input or in a
//! file, never as an argument that every user of the host can read.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    certs::Certificates,
    child::{self, Reaped},
};

/// The script that [`Python`] and [`Load`] run.
const PYTHON_CLIENT: &str = include_str!("python_client.py");

/// Time for a client to end after it was told to.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Where clients send their requests and whom they trust.
#[derive(Clone, Debug)]
pub struct Target {
    /// Port on 127.0.0.1; clients call it `localhost`.
    pub port: u16,
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
}

impl Target {
    /// The server that uses `certificates` on `port`.
    #[must_use]
    pub fn new(port: u16, certificates: &Certificates) -> Self {
        Self { port, authority: certificates.authority.clone() }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Method, upper case.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Fields, by name.
    pub headers: BTreeMap<String, String>,
    /// Body; none if empty.
    pub body: String,
}

impl Request {
    /// A request without fields or body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// The same with one more field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        let body = (!self.body.is_empty()).then_some(&self.body);
        json!({
            "method": self.method, "path": self.path, "headers": self.headers, "body": body,
            "expect": 200,
        })
    }
}

/// What came back, and which process on which port had asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Body length in bytes.
    pub length: u64,
    /// The client's port on 127.0.0.1.
    pub client_port: u16,
    /// The client's process.
    pub client_pid: u32,
    /// The client's name in `/proc/PID/comm`.
    pub client_comm: String,
}

/// Sends `request` by a curl of its own, over HTTP/1.1.
///
/// # Errors
/// When curl is missing or gets no answer.
pub fn curl(target: &Target, request: &Request) -> Result<Reply> {
    curl_by(&mut Command::new("curl"), target, request, &[])
}

/// The same with a version of TLS, by curl's option, and the session's secrets appended to
/// `key_log`.
///
/// # Errors
/// When curl is missing or gets no answer.
pub fn curl_with_key_log(
    target: &Target,
    request: &Request,
    key_log: &Path,
    version: &str,
) -> Result<Reply> {
    let mut command = Command::new("curl");
    curl_by(
        command.env("SSLKEYLOGFILE", key_log),
        target,
        request,
        &version.split('=').collect::<Vec<_>>(),
    )
}

/// The same within versions of TLS, by curl's options.
///
/// # Errors
/// When curl is missing or gets no answer.
pub fn curl_by_version(target: &Target, request: &Request, versions: [&str; 2]) -> Result<Reply> {
    let options: Vec<_> = versions.iter().flat_map(|option| option.split('=')).collect();
    curl_by(&mut Command::new("curl"), target, request, &options)
}

/// The same with the client's certificate.
///
/// # Errors
/// When curl is missing or gets no answer.
pub fn curl_with_certificate(
    target: &Target,
    request: &Request,
    certificates: &Certificates,
) -> Result<Reply> {
    let [certificate, key] = [&certificates.client, &certificates.client_key]
        .map(|path| path.to_str().context("a path is not UTF-8"));
    let options = ["--cert", certificate?, "--key", key?];
    curl_by(&mut Command::new("curl"), target, request, &options)
}

/// The same through a proxy on 127.0.0.1 to which curl speaks TLS, too; its port is the client's
/// there. To the server it speaks no newer TLS than `version`.
///
/// # Errors
/// When curl is missing or gets no answer.
pub fn curl_through(
    target: &Target,
    request: &Request,
    proxy: u16,
    version: &str,
) -> Result<Reply> {
    let proxy = format!("https://localhost:{proxy}");
    let authority = target.authority.to_str().context("a path is not UTF-8")?;
    let proxy = ["--noproxy", "", "--proxy", &proxy, "--proxy-cacert", authority];
    let options = [proxy.as_slice(), &["--tls-max", version]].concat();
    curl_by(&mut Command::new("curl"), target, request, &options)
}

fn curl_by(
    command: &mut Command,
    target: &Target,
    request: &Request,
    options: &[&str],
) -> Result<Reply> {
    let mut config = String::new();
    for (name, value) in &request.headers {
        config.push_str(&format!("header = \"{name}: {}\"\n", curl_quoted(value)));
    }
    if !request.body.is_empty() {
        config.push_str(&format!("data-binary = \"{}\"\n", curl_quoted(&request.body)));
    }
    config.push_str(&format!("url = \"{}\"\n", curl_quoted(&target.url(&request.path))));
    command
        .args(["-q", "--silent", "--show-error", "--http1.1", "--ipv4", "--noproxy", "*"])
        .args(["--max-time", "30", "--output", "/dev/null", "--config", "-", "--cacert"])
        .arg(&target.authority)
        .args(["--write-out", "%{http_code} %{size_download} %{local_port}"])
        .args(options);
    if request.method == "HEAD" {
        command.arg("--head");
    } else {
        command.args(["--request", &request.method]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut curl = command.spawn().context("start curl")?;
    let client_pid = curl.id();
    curl.stdin.take().context("curl has no stdin")?.write_all(config.as_bytes())?;
    let output = curl.wait_with_output().context("wait for curl")?;
    ensure!(
        output.status.success(),
        "curl failed, {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    let mut number = || -> Result<u64> {
        let word = words.next().with_context(|| format!("curl printed only {text:?}"))?;
        word.parse().with_context(|| format!("curl printed {text:?}"))
    };
    Ok(Reply {
        status: u16::try_from(number()?).context("status out of range")?,
        length: number()?,
        client_port: u16::try_from(number()?).context("port out of range")?,
        client_pid,
        client_comm: "curl".to_owned(),
    })
}

/// A value between double quotes in a curl configuration file.
fn curl_quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A Python process that keeps one TLS connection open and sends what it is told.
#[derive(Debug)]
pub struct Python {
    process: Reaped,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    comm: String,
}

impl Python {
    /// Starts the process, which connects at once.
    ///
    /// # Errors
    /// When Python is missing.
    pub fn start(target: &Target) -> Result<Self> {
        let mut process = Reaped::start(&mut python(target))?;
        let requests = process.inner().stdin.take().context("python has no stdin")?;
        let replies = process.inner().stdout.take().context("python has no stdout")?;
        Ok(Self { process, requests, replies: BufReader::new(replies), comm: String::new() })
    }

    /// Sends `request` and waits for its reply.
    ///
    /// # Errors
    /// When the process ended, which it does when a request fails.
    pub fn send(&mut self, request: &Request) -> Result<Reply> {
        writeln!(self.requests, "{}", request.to_json()).context("hand a request to python")?;
        let mut line = String::new();
        self.replies.read_line(&mut line).context("read python's reply")?;
        ensure!(!line.is_empty(), "the python client ended");
        let reply: Value = serde_json::from_str(&line)
            .with_context(|| format!("the python client said {line:?}"))?;
        let client_pid = self.process.pid();
        if self.comm.is_empty() {
            // Only now is it sure that the interpreter has replaced any wrapper script.
            let comm = fs::read_to_string(format!("/proc/{client_pid}/comm"));
            comm.context("read the python client's name")?.trim().clone_into(&mut self.comm);
        }
        Ok(Reply {
            status: number(&reply, "status")?,
            length: number(&reply, "length")?,
            client_port: number(&reply, "local_port")?,
            client_pid,
            client_comm: self.comm.clone(),
        })
    }
}

/// Python processes that repeat one request on several connections until told to stop.
#[derive(Debug)]
pub struct Load {
    process: Reaped,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

/// What a [`Load`] did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoadReport {
    /// Requests answered, whatever the status.
    pub requests: u64,
    /// Broken connections and other statuses than 200.
    pub errors: Vec<String>,
}

impl Load {
    /// Starts repeating `request`, which is expected to succeed, on `connections` connections.
    ///
    /// # Errors
    /// When Python is missing.
    pub fn start(target: &Target, request: &Request, connections: usize) -> Result<Self> {
        Self::start_with(target, request, &[connections])
    }

    /// The same at leisure, with another connection after each `lifetime` requests.
    ///
    /// # Errors
    /// When Python is missing.
    pub fn start_changing(
        target: &Target,
        request: &Request,
        connections: usize,
        lifetime: usize,
    ) -> Result<Self> {
        Self::start_with(target, request, &[connections, lifetime])
    }

    fn start_with(target: &Target, request: &Request, numbers: &[usize]) -> Result<Self> {
        let mut command = python(target);
        command.arg("load").args(numbers.iter().map(ToString::to_string));
        let mut process = Reaped::start(&mut command)?;
        let mut requests = process.inner().stdin.take().context("python has no stdin")?;
        let replies = process.inner().stdout.take().context("python has no stdout")?;
        writeln!(requests, "{}", request.to_json()).context("hand the request to python")?;
        Ok(Self { process, requests: Some(requests), replies: BufReader::new(replies) })
    }

    /// Lets requests under way finish, then tells what was done.
    ///
    /// # Errors
    /// When the process ended otherwise than by this call.
    pub fn finish(mut self) -> Result<LoadReport> {
        drop(self.requests.take());
        let mut line = String::new();
        self.replies.read_line(&mut line).context("read the load's report")?;
        let report: Value = serde_json::from_str(&line)
            .with_context(|| format!("the load client said {line:?}"))?;
        self.process.wait(END_TIMEOUT)?;
        let errors = report.get("errors").and_then(Value::as_array).context("no errors field")?;
        Ok(LoadReport {
            requests: number(&report, "requests")?,
            errors: errors.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// Debian's interpreter: a wrapper earlier in PATH may use another OpenSSL.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

fn python(target: &Target) -> Command {
    let program = if Path::new(PYTHON).exists() { PYTHON } else { "python3" };
    let mut command = Command::new(program);
    command.args(["-c", PYTHON_CLIENT, "localhost", &target.port.to_string()]);
    command.arg(&target.authority).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

pub(crate) fn number<T: TryFrom<u64>>(value: &Value, name: &str) -> Result<T> {
    let number = value.get(name).and_then(Value::as_u64);
    let Some(number) = number.and_then(|number| T::try_from(number).ok()) else {
        bail!("the client's {name} is missing or out of range");
    };
    Ok(number)
}

/// What wrk counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WrkReport {
    /// Requests answered.
    pub requests: u64,
    /// Connect, read, write and timeout errors.
    pub socket_errors: u64,
    /// Answers other than 2xx and 3xx.
    pub failures: u64,
}

/// Repeats `request` by wrk on `connections` connections for `duration`, at full speed. `dir`
/// takes the script that holds the request's fields.
///
/// # Errors
/// When wrk is missing or fails.
pub fn wrk(
    target: &Target,
    request: &Request,
    connections: usize,
    duration: Duration,
    dir: &Path,
) -> Result<WrkReport> {
    let script = dir.join("request.lua");
    let mut lua = format!("wrk.method = {}\n", json!(request.method));
    for (name, value) in &request.headers {
        lua.push_str(&format!("wrk.headers[{}] = {}\n", json!(name), json!(value)));
    }
    fs::write(&script, lua).context("write the wrk script")?;
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--connections", &connections.to_string()]);
    command.args(["--duration", &format!("{}s", duration.as_secs().max(1)), "--script"]);
    command.arg(&script).arg(target.url(&request.path));
    let output = child::checked(&mut command, b"")?;
    wrk_report(&String::from_utf8_lossy(&output))
}

fn wrk_report(text: &str) -> Result<WrkReport> {
    let mut report = WrkReport { requests: 0, socket_errors: 0, failures: 0 };
    let mut counted = false;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            report.requests = count.parse().with_context(|| format!("wrk printed {line:?}"))?;
            counted = true;
        } else if let Some(errors) = line.strip_prefix("Socket errors:") {
            let counts = errors.split([',', ' ']).filter_map(|word| word.parse::<u64>().ok());
            report.socket_errors = counts.sum();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            report.failures =
                count.trim().parse().with_context(|| format!("wrk printed {line:?}"))?;
        }
    }
    ensure!(counted, "wrk printed no count of requests: {text:?}");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_counts_are_read() {
        let text = "Running 1s test @ https://localhost:1/\n  1 threads and 8 connections\n\
                    \x20 25731 requests in 1.10s, 4.20MB read\n\
                    \x20 Socket errors: connect 1, read 2, write 0, timeout 3\n\
                    \x20 Non-2xx or 3xx responses: 7\nRequests/sec: 23391.81\n";
        let report = WrkReport { requests: 25731, socket_errors: 6, failures: 7 };
        assert_eq!(wrk_report(text).unwrap(), report);
        assert!(wrk_report("unable to connect to localhost:1 Connection refused").is_err());
    }

    #[test]
    fn curl_configuration_values_are_quoted() {
        assert_eq!(curl_quoted("Bearer realm=\"a\\b\"\n"), "Bearer realm=\\\"a\\\\b\\\"\\n");
    }
}

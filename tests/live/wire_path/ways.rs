//! What a connection may do after it has begun, and bodies of every kind.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    calls::{Bearer, Testbed},
    child::Reaped,
    clients::{Reply, Request, curl},
    openssl::{Client, Opening, Prelude, Release},
    require_root,
};

use super::{lab::Lab, pair::Pair};

#[test]
fn bodies_are_counted_whatever_frames_them() -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    for path in ["/static/large.bin", "/chunked/page.txt", "/api/orders/short"] {
        let request = lab.request(path)?;
        let reply = curl(lab.testbed.target(), &request)?;
        lab.tell(request, reply);
    }
    let body = "item=tea&".repeat(9_000);
    let request = Request::new("POST", "/api/orders/long").body(&body);
    let request = lab.testbed.with_token(request, Bearer::Alice)?;
    let reply = curl(lab.testbed.target(), &request)?;
    lab.tell(request, reply);
    lab.finish().map(drop)
}

#[test]
fn pipelined_requests_are_told_one_by_one() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let release = Release::named("system").context("no such release")?;
    let mut client = Client::start(release, testbed.target())?;
    let mut lab = Lab::watch(testbed, "")?;
    client.open("one", Opening::default())?;
    for round in ["first", "second"] {
        let [a, b] = ["a", "b"].map(|nth| lab.request(&format!("/api/{round}/{nth}")));
        let requests = [a?, b?];
        let exchanged = client.exchange_two(
            "pipelined_exchanges",
            ["one", "one"],
            [&requests[0], &requests[1]],
        )?;
        for (request, exchanged) in requests.into_iter().zip(exchanged) {
            lab.tell(request, exchanged.reply);
        }
    }
    lab.finish().map(drop)
}

/// What may come before TLS on a connection.
const PRELUDES: [(&str, Prelude); 3] = [
    ("a PROXY header", &[("client", "PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n")]),
    (
        "CONNECT to a proxy",
        &[
            ("client", "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"),
            ("server", "HTTP/1.1 200 Connection established\r\n\r\n"),
        ],
    ),
    (
        "STARTTLS of mail",
        &[
            ("server", "220 localhost ESMTP\r\n"),
            ("client", "EHLO localhost\r\n"),
            ("server", "250-localhost\r\n250 STARTTLS\r\n"),
            ("client", "STARTTLS\r\n"),
            ("server", "220 go ahead\r\n"),
        ],
    ),
];

#[test]
fn tls_may_begin_after_a_prelude() -> Result<()> {
    require_root()?;
    for (name, prelude) in PRELUDES {
        let mut pair = Pair::start_after("system", prelude)?;
        let opened = pair.client.open("one", Opening { prelude, ..Opening::default() });
        opened.with_context(|| name)?;
        for nth in ["first", "second"] {
            pair.exchange("one", &format!("/api/{nth}"))?;
        }
        pair.finish_opened().with_context(|| format!("after {name}"))?;
    }
    Ok(())
}

#[test]
fn keys_may_change_between_requests() -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    // `k` renews the client's keys, `K` both ends', `R` makes another handshake.
    for (name, options, changes) in [
        ("updated", ["-tls1_3", "-cipher", "ALL"], ["k", "K", "K"]),
        ("kept", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], ["", "", ""]),
    ] {
        let mut client = SClient::start(&lab, &options)?;
        for (nth, change) in ["first", "second", "third"].iter().zip(changes) {
            let request = lab.request(&format!("/api/{name}/{nth}"))?;
            let reply = client.exchange(&request)?;
            lab.tell(request, reply);
            if !change.is_empty() {
                client.say(change)?;
            }
        }
        let request = lab.request(&format!("/api/{name}/last"))?;
        let reply = client.exchange(&request)?;
        lab.tell(request, reply);
    }
    lab.finish().map(drop)
}

#[test]
fn a_request_in_early_data_is_told() -> Result<()> {
    require_root()?;
    let mut lab = Lab::start()?;
    let file = |name: &str| lab.testbed.dir().join(name).display().to_string();
    let (session, early) = (file("session.pem"), file("early.txt"));
    let request = lab.request("/api/early/not")?;
    let mut client = SClient::start(&lab, &["-tls1_3", "-sess_out", &session])?;
    let reply = client.exchange(&request)?;
    lab.tell(request, reply);
    drop(client);
    let request = lab.request("/api/early/indeed")?;
    std::fs::write(&early, text_of(&request)?.replace("\r\n\r", "\r\n\r\n"))?;
    let options = ["-tls1_3", "-sess_in", &session, "-early_data", &early];
    let mut client = SClient::start(&lab, &options)?;
    ensure!(client.began.contains("Early data was accepted"), "it was not: {}", client.began);
    let reply = client.answer()?;
    lab.tell(request, reply);
    lab.finish().map(drop)
}

/// OpenSSL's own client, which takes commands at the start of a line.
struct SClient {
    process: Reaped,
    answers: BufReader<std::process::ChildStdout>,
    port: u16,
    /// What it printed of the handshake, and maybe of an answer.
    began: String,
}

impl SClient {
    fn start(lab: &Lab, options: &[&str]) -> Result<Self> {
        let server = lab.testbed.nginx().address();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &server.to_string(), "-CAfile"]);
        command.arg(&lab.testbed.target().authority).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Reaped::start(&mut command)?;
        let answers = process.inner().stdout.take().context("s_client has no stdout")?;
        let mut client =
            Self { process, answers: BufReader::new(answers), port: 0, began: String::new() };
        client.began = client.wait_for("Verify return code")?;
        client.port = local_port(client.process.pid())?;
        Ok(client)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.process.inner().stdin.as_mut().context("s_client has no stdin")?;
        writeln!(stdin, "{line}").context("write to s_client")?;
        // It takes a command only if it is what one read gives.
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(())
    }

    fn exchange(&mut self, request: &Request) -> Result<Reply> {
        self.say(&text_of(request)?)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Reply> {
        let answer = self.wait_for("\"order\"")?;
        ensure!(answer.contains("200 OK"), "the answer was {answer}");
        let length = answer.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        Ok(Reply {
            status: 200,
            length: length.context("no length")?.trim().parse()?,
            client_port: self.port,
            client_pid: self.process.pid(),
            client_comm: "openssl".to_owned(),
        })
    }

    /// What is printed up to and with the line that has `text`.
    fn wait_for(&mut self, text: &str) -> Result<String> {
        let mut printed = String::new();
        while !printed.contains(text) {
            let mut line = Vec::new();
            let read = self.answers.read_until(b'\n', &mut line).context("read from s_client")?;
            ensure!(read > 0, "s_client ended: {printed}");
            printed.push_str(&String::from_utf8_lossy(&line));
        }
        Ok(printed)
    }
}

/// A request but for its last newline.
fn text_of(request: &Request) -> Result<String> {
    let token = request.headers.get("Authorization").context("no token")?;
    let path = &request.path;
    Ok(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r"))
}

/// The local port of the one TCP connection that `pid` has.
fn local_port(pid: u32) -> Result<u16> {
    let mut inodes = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        let inode = target.to_str().and_then(|to| to.strip_prefix("socket:["));
        inodes.extend(inode.and_then(|to| to.strip_suffix(']')).map(str::to_owned));
    }
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let port = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let inode = fields.get(9)?;
        let (_, port) = fields.get(1)?.split_once(':')?;
        inodes.iter().any(|own| own == inode).then(|| u16::from_str_radix(port, 16).ok())?
    });
    port.context("s_client has no connection")
}

//! A certified authorization server, APIs that it protects, and a client of both that can cheat.
//!
//! In: programs that `cargo xtask setup` installed below the target directory. Out: [`Peers`], whose
//! client is told call by call what to send, and the answer of the API to each. Tokens stay in the
//! client: a call describes how to get or to forge the one that it needs. Node and Python bring TLS.

pub mod matrix;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    certs::Certificates,
    child::Reaped,
    events::{number, text},
    target_dir,
};

/// Packages for Node.
pub const NODE_PACKAGES: &str = include_str!("oauth/node/package.json");
/// The same with all that they need, and their digests.
pub const NODE_LOCK: &str = include_str!("oauth/node/package-lock.json");
/// Packages for Python, with their versions.
pub const PYTHON_REQUIREMENTS: &str = include_str!("oauth/python/requirements.txt");

/// Scripts by the names under which they run.
const SCRIPTS: [(&str, &str); 4] = [
    ("authorization_server.mjs", include_str!("oauth/node/authorization_server.mjs")),
    ("api.mjs", include_str!("oauth/node/api.mjs")),
    ("client.mjs", include_str!("oauth/node/client.mjs")),
    ("api.py", include_str!("oauth/python/api.py")),
];

/// Secret of every client of the authorization server; tests search for it.
pub const CLIENT_SECRET: &str = "canary7c2e55d1-secret-of-every-client";

/// Where packages for Node are.
#[must_use]
pub fn node_dir() -> PathBuf {
    target_dir().join("peers/node")
}

/// Where packages for Python are: a virtual environment.
#[must_use]
pub fn python_dir() -> PathBuf {
    target_dir().join("peers/python")
}

/// Whether the packages are there, in the versions that are wanted.
#[must_use]
pub fn is_there() -> [bool; 2] {
    let same = |path: PathBuf, wanted: &str| fs::read_to_string(path).is_ok_and(|is| is == wanted);
    let node = node_dir();
    [
        same(node.join("package-lock.json"), NODE_LOCK) && node.join("node_modules/jose").is_dir(),
        same(python_dir().join("requirements.txt"), PYTHON_REQUIREMENTS),
    ]
}

/// Everybody, running. The order is that of their end.
#[derive(Debug)]
pub struct Peers {
    client: Script,
    apis: [Script; 2],
    _authorization_server: Script,
    issuer: String,
    ports: BTreeMap<String, u16>,
    keys: PathBuf,
    secrets: PathBuf,
    certificates: Certificates,
}

/// What an API answered to a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Its `WWW-Authenticate` field.
    pub challenge: Option<String>,
    /// Why it refused, in its own words.
    pub reason: Option<String>,
    /// The client's port.
    pub client_port: u16,
    /// The API's port.
    pub server_port: u16,
}

impl Peers {
    /// Starts all of them, with their files in `dir`.
    ///
    /// # Errors
    /// When packages are missing, or one of them does not start.
    pub fn start(dir: &Path) -> Result<Self> {
        ensure!(
            is_there() == [true; 2],
            "packages of the peers are missing: run `cargo xtask setup`"
        );
        for (name, script) in SCRIPTS {
            fs::write(dir.join(name), script).with_context(|| format!("write {name}"))?;
        }
        symlink(node_dir().join("node_modules"), dir.join("node_modules"))
            .context("link the packages for Node")?;
        let certificates = Certificates::make(dir)?;
        let own = (certificates.client.clone(), certificates.client_key.clone());
        let other = certificates.another_client(dir, "other")?;
        let [keys, private_keys, secrets] =
            ["keys.json", "private-keys.json", "secrets"].map(|name| dir.join(name));
        let server = json!({
            "certificate": certificates.server, "key": certificates.server_key,
            "authority": certificates.authority, "secret": CLIENT_SECRET,
            "private_keys": private_keys, "public_keys": keys,
        });
        let node = |script: &str, setup: &Value| {
            let mut command = Command::new("node");
            command.arg(script).env("NODE_EXTRA_CA_CERTS", &certificates.authority);
            Script::start(command.current_dir(dir), setup)
        };
        let authorization_server = node("authorization_server.mjs", &server)?;
        let issuer = format!("https://localhost:{}", authorization_server.said);
        let api = json!({
            "certificate": certificates.server, "key": certificates.server_key,
            "authority": certificates.authority, "issuer": issuer,
        });
        let mut python = Command::new(python_dir().join("bin/python"));
        let apis =
            [node("api.mjs", &api)?, Script::start(python.arg("api.py").current_dir(dir), &api)?];
        let ports = apis.iter().filter_map(|api| api.said.as_object()).flatten();
        let ports = ports.filter_map(|(name, port)| {
            Some((name.clone(), port.as_u64().and_then(|port| u16::try_from(port).ok())?))
        });
        let ports: BTreeMap<_, _> = ports.collect();
        let pair = |(certificate, key)| json!({"certificate": certificate, "key": key});
        let client = json!({
            "issuer": issuer, "authority": certificates.authority, "secret": CLIENT_SECRET,
            "ports": ports, "private_keys": private_keys, "secrets": secrets,
            "certificates": {"own": pair(own), "other": pair(other)},
        });
        let client = node("client.mjs", &client)?;
        Ok(Self {
            client,
            apis,
            _authorization_server: authorization_server,
            issuer,
            ports,
            keys,
            secrets,
            certificates,
        })
    }

    /// The issuer's name.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// File with the issuer's public keys, a JWK set.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// Every token, proof, code and verifier that the client had so far.
    ///
    /// # Errors
    /// When their file cannot be read.
    pub fn secrets(&self) -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(&self.secrets).context("read the client's secrets")?;
        Ok(text.lines().map(str::to_owned).chain([CLIENT_SECRET.to_owned()]).collect())
    }

    /// Ports of the APIs, by name.
    #[must_use]
    pub const fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    /// Certificates of the servers.
    #[must_use]
    pub const fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Process ids of the APIs and of the client.
    #[must_use]
    pub fn pids(&self) -> [u32; 3] {
        let [node, python] = &self.apis;
        [node, python, &self.client].map(|script| script.process.pid())
    }

    /// Has the client make a call.
    ///
    /// # Errors
    /// When the client cannot get the token, or gets no answer.
    pub fn ask(&mut self, call: &Value) -> Result<Answer> {
        let said = self.client.ask(call)?;
        if let Some(error) = text(&said, "/error") {
            bail!("{call}: {error}");
        }
        let small = |pointer| {
            let value = number(&said, pointer).and_then(|value| u16::try_from(value).ok());
            value.with_context(|| format!("no {pointer} in {said}"))
        };
        Ok(Answer {
            status: small("/status")?,
            challenge: text(&said, "/challenge").map(str::to_owned),
            reason: text(&said, "/reason").map(str::to_owned),
            client_port: small("/client_port")?,
            server_port: small("/server_port")?,
        })
    }
}

/// A script that says a line of JSON when it is ready, and one for each that it is told.
#[derive(Debug)]
struct Script {
    process: Reaped,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: Value,
}

impl Script {
    fn start(command: &mut Command, setup: &Value) -> Result<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Reaped::start(piped)?;
        let input = process.inner().stdin.take().context("no stdin")?;
        let output = BufReader::new(process.inner().stdout.take().context("no stdout")?);
        let mut script = Self { process, input, output, said: Value::Null };
        script.said = script.ask(setup).with_context(|| format!("start {command:?}"))?;
        Ok(script)
    }

    fn ask(&mut self, told: &Value) -> Result<Value> {
        writeln!(self.input, "{told}").context("tell a script")?;
        let mut line = String::new();
        self.output.read_line(&mut line).context("read a script's answer")?;
        serde_json::from_str(&line).with_context(|| format!("a script said {line:?}"))
    }
}

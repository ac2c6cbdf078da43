//! Releases of OpenSSL, and a client that makes its calls in every way there is.
//!
//! In: libraries that `cargo xtask setup` fetched below the target directory, or this system's own.
//! Out: [`Client`], a Python process on one of them that is told call by call what to do.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    certs::Certificates,
    child::Reaped,
    clients::{PYTHON, Reply, Request, Target, number},
    events::text,
    target_dir,
};

const CLIENT: &str = include_str!("openssl_client.py");

/// Where Debian's packages for x86-64 have their libraries.
const DEBIAN_LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Where this system may have its own.
const SYSTEM_LIBRARIES: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

const LOADER: &str = "ld-linux-x86-64.so.2";

/// Names under which [`Release::install`] puts libcrypto and libssl.
const INSTALLED: [&str; 2] = ["libcrypto.so", "libssl.so"];

/// A release of OpenSSL.
#[derive(Debug, Eq, PartialEq)]
pub struct Release {
    /// Name of its directory and in steps.
    pub name: &'static str,
    /// What the library says of itself begins so.
    pub version: &'static str,
    /// Debian's release that has it, unless it is this system's own.
    pub suite: Option<&'static str>,
    /// Packages that it consists of. Libraries of newer Debians need their own C library.
    pub packages: &'static [&'static str],
}

/// Tested releases, the oldest first.
pub const RELEASES: [Release; 4] = [
    Release {
        name: "1.1.1",
        version: "OpenSSL 1.1.1",
        suite: Some("bullseye"),
        packages: &["libssl1.1"],
    },
    Release { name: "system", version: "OpenSSL 3.", suite: None, packages: &[] },
    Release {
        name: "3.5",
        version: "OpenSSL 3.5",
        suite: Some("trixie"),
        packages: &["libssl3t64", "libc6"],
    },
    // Moves on: 3.6 when this was written.
    Release {
        name: "sid",
        version: "OpenSSL ",
        suite: Some("sid"),
        packages: &["libssl3t64", "libc6"],
    },
];

/// Files of a release.
#[derive(Clone, Debug)]
struct Libraries {
    crypto: PathBuf,
    ssl: PathBuf,
    /// The dynamic loader that goes with them, if it is not the system's.
    loader: Option<PathBuf>,
}

impl Release {
    /// The release of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        RELEASES.iter().find(|release| release.name == name)
    }

    /// Where its packages are unpacked.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        target_dir().join("peers").join(format!("openssl-{}", self.name))
    }

    /// Whether it can be used.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.libraries().is_ok()
    }

    /// Puts copies of its libraries into `dir`, as package managers do: what is there under their
    /// names is not written to but replaced, and who runs on it goes on with what it has.
    ///
    /// # Errors
    /// When the release is missing, or `dir` cannot be written to.
    pub fn install(&self, dir: &Path) -> Result<()> {
        let Libraries { crypto, ssl, .. } = self.libraries()?;
        for (library, name) in [crypto, ssl].iter().zip(INSTALLED) {
            let new = dir.join(format!("{name}.new"));
            fs::copy(library, &new).with_context(|| format!("copy {name}"))?;
            fs::rename(&new, dir.join(name)).with_context(|| format!("replace {name}"))?;
        }
        Ok(())
    }

    fn libraries(&self) -> Result<Libraries> {
        let dirs = match self.suite {
            Some(_) => vec![self.dir().join(DEBIAN_LIBRARIES)],
            None => SYSTEM_LIBRARIES.map(PathBuf::from).into(),
        };
        let found = dirs.iter().find_map(|dir| {
            let [crypto, ssl] = ["libcrypto.so.", "libssl.so."].map(|start| versioned(dir, start));
            let loader = self.packages.contains(&"libc6").then(|| dir.join(LOADER));
            Some(Libraries { crypto: crypto?, ssl: ssl?, loader })
        });
        let found = found.filter(|found| found.loader.as_ref().is_none_or(|path| path.exists()));
        found.with_context(|| format!("no OpenSSL {}: run `cargo xtask setup`", self.name))
    }
}

/// The file in `dir` whose name is `start` and a number.
fn versioned(dir: &Path, start: &str) -> Option<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let is_it = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    names.into_iter().rfind(is_it)
}

/// How the calls of an exchange are made.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Function that writes.
    pub write: &'static str,
    /// Function that reads.
    pub read: &'static str,
    /// Bytes asked for by each read.
    pub piece: usize,
    /// Whether `SSL_peek` looks at each piece before it is read.
    pub peek: bool,
    /// Whether reads go on until the server ends the session.
    pub until_end: bool,
}

impl Default for How {
    fn default() -> Self {
        let (write, read) = ("SSL_write", "SSL_read");
        Self { write, read, piece: 16 * 1024, peek: false, until_end: false }
    }
}

impl How {
    fn to_json(self) -> Value {
        let Self { write, read, piece, peek, until_end } = self;
        json!({"write": write, "read": read, "piece": piece, "peek": peek, "until_end": until_end})
    }
}

/// What a session insists on.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Version of TLS, `1.2` or `1.3`.
    pub version: &'static str,
    /// Cipher suite, by OpenSSL's name.
    pub suite: &'static str,
    /// Whether encrypt-then-MAC is offered (RFC 7366).
    pub encrypt_then_mac: bool,
    /// Whether it resumes, and replaces, the session that has its name.
    pub resume: bool,
}

/// How a session begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Whether calls wait.
    pub blocking: bool,
    /// Whether a write may accept a part of what it is given, or must take all (and the caller
    /// repeats it until it has).
    pub partial_writes: bool,
    /// Bytes of the socket's send buffer, 0 for the system's default.
    pub send_buffer: u32,
    /// Whether the handshake is made at once, or by the first call that needs it.
    pub handshake: bool,
    /// What it insists on, if on anything.
    pub terms: Option<Terms>,
    /// What is said before TLS.
    pub prelude: Prelude,
}

/// What a client and a server say before TLS: who (`client` or `server`) and what, in turn.
pub type Prelude = &'static [(&'static str, &'static str)];

impl Default for Opening {
    fn default() -> Self {
        let (blocking, handshake) = (true, true);
        let prelude: Prelude = &[];
        Self { blocking, partial_writes: false, send_buffer: 0, handshake, terms: None, prelude }
    }
}

/// An exchange that was made.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The answer.
    pub reply: Reply,
    /// Calls that read something, and that moved nothing.
    pub reads: (u64, u64),
    /// Calls that wrote something, and that moved nothing.
    pub writes: (u64, u64),
    /// Address of the session object.
    pub object: u64,
}

/// A process that makes TLS calls as it is told. Its sessions have names.
#[derive(Debug)]
pub struct Client {
    process: Reaped,
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    comm: String,
    version: String,
    has_write_ex2: bool,
}

impl Client {
    /// Starts a client of `target` on `release`. Its libraries are loaded when this returns.
    ///
    /// # Errors
    /// When the release or Python is missing.
    pub fn start(release: &Release, target: &Target) -> Result<Self> {
        Self::start_on(release, &release.libraries()?, target)
    }

    /// The same on the libraries that are [installed](Release::install) in `dir`.
    ///
    /// # Errors
    /// When Python is missing, or the libraries are those of another release.
    pub fn start_installed(release: &Release, target: &Target, dir: &Path) -> Result<Self> {
        let [crypto, ssl] = INSTALLED.map(|name| dir.join(name));
        Self::start_on(release, &Libraries { crypto, ssl, ..release.libraries()? }, target)
    }

    /// The same with a copy of libcrypto in `dir` that is not called so.
    ///
    /// # Errors
    /// When the release or Python is missing.
    pub fn start_disguised(release: &Release, target: &Target, dir: &Path) -> Result<Self> {
        let libraries = release.libraries()?;
        let crypto = dir.join("disguised.so");
        // Not over one that runs.
        if !crypto.exists() {
            fs::copy(&libraries.crypto, &crypto).context("copy libcrypto")?;
        }
        Self::start_on(release, &Libraries { crypto, ..libraries }, target)
    }

    /// The same with copies of both libraries in `dir`, neither of which is called so.
    ///
    /// # Errors
    /// When the release or Python is missing.
    pub fn start_hidden(release: &Release, target: &Target, dir: &Path) -> Result<Self> {
        let ssl = dir.join("hidden.so");
        if !ssl.exists() {
            fs::copy(release.libraries()?.ssl, &ssl).context("copy libssl")?;
        }
        let crypto = dir.join("disguised.so");
        if !crypto.exists() {
            fs::copy(release.libraries()?.crypto, &crypto).context("copy libcrypto")?;
        }
        Self::start_on(release, &Libraries { crypto, ssl, ..release.libraries()? }, target)
    }

    fn start_on(release: &Release, libraries: &Libraries, target: &Target) -> Result<Self> {
        let Libraries { crypto, ssl, loader } = libraries;
        let mut command = match loader {
            None => Command::new(PYTHON),
            Some(loader) => {
                let mut command = Command::new(loader);
                let dir = loader.parent().context("a loader in no directory")?;
                command.args(["--argv0", PYTHON, "--library-path"]).arg(dir).arg(PYTHON);
                command
            }
        };
        command.arg("-c").arg(CLIENT).args([crypto, ssl]).arg(target.port.to_string());
        // Configuration of the system's release may be beyond another one.
        command.env("OPENSSL_CONF", "/dev/null").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Reaped::start(&mut command)?;
        let commands = process.inner().stdin.take();
        let replies = process.inner().stdout.take().context("the client has no stdout")?;
        let mut client = Self {
            process,
            commands,
            replies: BufReader::new(replies),
            comm: String::new(),
            version: String::new(),
            has_write_ex2: false,
        };
        let about = client.reply()?;
        text(&about, "/version").context("no version")?.clone_into(&mut client.version);
        client.has_write_ex2 = about.get("has_write_ex2") == Some(&Value::Bool(true));
        let told = client.version.starts_with(release.version);
        ensure!(told, "OpenSSL {} says that it is {}", release.name, client.version);
        let comm = fs::read_to_string(format!("/proc/{}/comm", client.pid()));
        comm.context("read the client's name")?.trim().clone_into(&mut client.comm);
        Ok(client)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the library says of itself.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it has `SSL_write_ex2`, as OpenSSL 3.3 and newer.
    #[must_use]
    pub const fn has_write_ex2(&self) -> bool {
        self.has_write_ex2
    }

    /// Makes a command that has no result.
    ///
    /// # Errors
    /// When it failed.
    pub fn make(&mut self, what: &str, session: &str) -> Result<()> {
        self.tell(&json!({"do": what, "session": session})).map(drop)
    }

    /// Answers connections on the port that it returns, each request with 200, once the client has
    /// said its part of the prelude.
    ///
    /// # Errors
    /// When it cannot use the certificate.
    pub fn serve(&mut self, certificates: &Certificates, prelude: Prelude) -> Result<u16> {
        let reply = self.tell(&json!({
            "do": "serve", "certificate": certificates.server, "key": certificates.server_key,
            "prelude": prelude,
        }))?;
        number(&reply, "port")
    }

    /// Has sessions that are opened from here on show the client's certificate.
    ///
    /// # Errors
    /// When it cannot use the certificate.
    pub fn certify(&mut self, certificates: &Certificates) -> Result<()> {
        let (certificate, key) = (&certificates.client, &certificates.client_key);
        self.tell(&json!({"do": "certify", "certificate": certificate, "key": key})).map(drop)
    }

    /// Connects a new session and tells the address of its object.
    ///
    /// # Errors
    /// When it does not connect.
    pub fn open(&mut self, session: &str, opening: Opening) -> Result<u64> {
        let Opening { blocking, partial_writes, send_buffer, handshake, terms, prelude } = opening;
        let terms = terms.map(|Terms { version, suite, encrypt_then_mac, resume }| {
            json!({
                "version": version, "suite": suite,
                "encrypt_then_mac": encrypt_then_mac, "resume": resume,
            })
        });
        let reply = self.tell(&json!({
            "do": "open", "session": session, "blocking": blocking,
            "partial_writes": partial_writes, "send_buffer": send_buffer, "handshake": handshake,
            "terms": terms, "prelude": prelude,
        }))?;
        number(&reply, "object")
    }

    /// Makes an exchange.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn exchange(&mut self, session: &str, request: &Request, how: How) -> Result<Exchanged> {
        self.exchange_by("exchange", session, request, how)
    }

    /// Makes an exchange by another command than `exchange`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn exchange_by(
        &mut self,
        what: &str,
        session: &str,
        request: &Request,
        how: How,
    ) -> Result<Exchanged> {
        let request = request.to_json();
        let reply = self.tell(&json!({
            "do": what, "session": session, "request": request, "how": how.to_json(),
        }))?;
        self.exchanged(&reply)
    }

    /// Resumes the session of TLS 1.3 that has the name, with the request as early data.
    ///
    /// # Errors
    /// When the server does not accept that, or there is no answer.
    pub fn exchange_early(
        &mut self,
        session: &str,
        suite: &str,
        request: &Request,
    ) -> Result<Exchanged> {
        let reply = self.tell(&json!({
            "do": "exchange_early", "session": session, "suite": suite,
            "request": request.to_json(), "how": How::default().to_json(),
        }))?;
        self.exchanged(&reply)
    }

    /// Makes an exchange on each of two sessions by one command.
    ///
    /// # Errors
    /// When there are no two answers.
    pub fn exchange_two(
        &mut self,
        what: &str,
        sessions: [&str; 2],
        requests: [&Request; 2],
    ) -> Result<[Exchanged; 2]> {
        let requests = requests.map(Request::to_json);
        let how = How::default().to_json();
        let reply = self
            .tell(&json!({"do": what, "sessions": sessions, "requests": requests, "how": how}))?;
        let reply = |index| self.exchanged(reply.get(index).context("an exchange is missing")?);
        Ok([reply(0)?, reply(1)?])
    }

    /// Ends the process with its sessions open.
    ///
    /// # Errors
    /// When it does not end.
    pub fn leave(mut self) -> Result<()> {
        self.send(&json!({"do": "leave"}))?;
        self.process.wait(Duration::from_secs(5)).map(drop)
    }

    fn tell(&mut self, command: &Value) -> Result<Value> {
        self.send(command)?;
        let what = text(command, "/do").unwrap_or_default();
        self.reply().with_context(|| format!("{what}, on {}", self.version))
    }

    fn send(&mut self, command: &Value) -> Result<()> {
        let commands = self.commands.as_mut().context("the client has no stdin")?;
        writeln!(commands, "{command}").context("hand a command to the client")
    }

    fn reply(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.replies.read_line(&mut line).context("read the client's reply")?;
        ensure!(!line.is_empty(), "the client ended, see above");
        serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))
    }

    fn exchanged(&self, reply: &Value) -> Result<Exchanged> {
        let calls = |done: &str, blocked: &str| -> Result<(u64, u64)> {
            Ok((number(reply, done)?, number(reply, blocked)?))
        };
        Ok(Exchanged {
            reads: calls("reads", "blocked_reads")?,
            writes: calls("writes", "blocked_writes")?,
            object: number(reply, "object")?,
            reply: Reply {
                status: number(reply, "status")?,
                length: number(reply, "length")?,
                client_port: number(reply, "local_port")?,
                client_pid: number(reply, "pid")?,
                client_comm: self.comm.clone(),
            },
        })
    }
}

//! Real receivers of syslog: rsyslog and syslog-ng, on the configurations that users get.
//!
//! In: packages that `cargo xtask setup` unpacked below the target directory, and certificates. Out:
//! [`Receiver`], a process on ports of this host, and the lines of the files that it writes.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{certs::Certificates, child::Reaped, target_dir, wait_until};

/// A receiver, as Debian has it.
#[derive(Debug, Eq, PartialEq)]
pub struct Package {
    /// Name of its directory and in steps.
    pub name: &'static str,
    /// Debian's release that has it.
    pub suite: &'static str,
    /// Packages that it consists of, without libraries that systemd and curl bring.
    pub packages: &'static [&'static str],
    program: &'static str,
    modules: &'static str,
    config: &'static str,
}

/// Tested receivers. Their packages cannot be installed together: they are unpacked only, and no
/// service is started.
pub const PACKAGES: [Package; 2] = [
    Package {
        name: "rsyslog",
        suite: "bookworm",
        packages: &["rsyslog", "rsyslog-openssl", "libestr0", "libfastjson4", "liblognorm5"],
        program: "usr/sbin/rsyslogd",
        modules: "usr/lib/x86_64-linux-gnu/rsyslog",
        config: include_str!("../../packaging/siem/rsyslog/scopewatch.conf"),
    },
    Package {
        name: "syslog-ng",
        suite: "bookworm",
        packages: &[
            "syslog-ng-core",
            "libivykis0",
            "libnet1",
            "libpcre3",
            "libwrap0",
            "libglib2.0-0",
            "libjson-c5",
            "libnsl2",
            "libtirpc3",
        ],
        program: "usr/sbin/syslog-ng",
        modules: "usr/lib/syslog-ng/3.38",
        config: include_str!("../../packaging/siem/syslog-ng/scopewatch.conf"),
    },
];

/// Where Debian's packages have their libraries.
const LIBRARIES: [&str; 3] =
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/syslog-ng"];

impl Package {
    /// The receiver of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PACKAGES.iter().find(|package| package.name == name)
    }

    /// Where its packages are unpacked.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        target_dir().join("peers").join(self.name)
    }

    /// Whether it can be used.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.dir().join(self.program).exists() && self.dir().join(self.modules).exists()
    }

    fn is_rsyslog(&self) -> bool {
        self.name == "rsyslog"
    }
}

/// Where a receiver listens, on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// TLS, with certificates of clients.
    pub tls: u16,
    /// TCP, with lengths before messages.
    pub octet: u16,
    /// TCP, with line ends behind messages.
    pub lf: u16,
    /// UDP.
    pub udp: u16,
}

/// A receiver, running or not.
#[derive(Debug)]
pub struct Receiver {
    package: &'static Package,
    dir: PathBuf,
    /// Where it listens.
    pub ports: Ports,
    process: Option<Reaped>,
}

impl Receiver {
    /// Writes the configuration of a receiver that has all its files in `dir`, which is empty, and
    /// starts it.
    ///
    /// # Errors
    /// When it is not there, or does not listen.
    pub fn start(package: &'static Package, certs: &Certificates, dir: &Path) -> Result<Self> {
        ensure!(package.is_there(), "no {}: run `cargo xtask setup`", package.name);
        let tcp = || TcpListener::bind("127.0.0.1:0").context("find a port");
        let (tls, octet, lf) = (tcp()?, tcp()?, tcp()?);
        let udp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        // rsyslog tells the framings apart by itself.
        let by_line = if package.is_rsyslog() { &octet } else { &lf };
        let ports = Ports { tls: port(&tls)?, octet: port(&octet)?, lf: port(by_line)?, udp };
        drop((tls, octet, lf));
        fs::create_dir_all(dir).context("make the receiver's directory")?;
        let config = configured(package, certs, dir, ports)?;
        fs::write(dir.join("receiver.conf"), config).context("write the configuration")?;
        let mut receiver = Self { package, dir: dir.to_owned(), ports, process: None };
        receiver.restart()?;
        Ok(receiver)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn restart(&mut self) -> Result<()> {
        let Self { package, dir, ports, .. } = self;
        let root = package.dir();
        let libraries = LIBRARIES.map(|path| root.join(path).display().to_string()).join(":");
        let log = File::options().create(true).append(true).open(dir.join("said"))?;
        let modules = root.join(package.modules);
        let mut command = Command::new(root.join(package.program));
        command.env("LD_LIBRARY_PATH", libraries).current_dir(&*dir).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let of = |name: &str| dir.join(name);
        if package.is_rsyslog() {
            command.args(["-n", "-f"]).arg(of("receiver.conf"));
            command.arg("-i").arg(of("pid")).arg("-M").arg(modules);
        } else {
            command.args(["--foreground", "--no-caps", "--stderr", "-f"]).arg(of("receiver.conf"));
            command.arg("-R").arg(of("persist")).arg("-p").arg(of("pid")).arg("-c").arg(of("ctl"));
            command.arg(format!("--module-path={}", modules.display()));
        }
        // Of one that was killed these are left, and say nothing of the one that is started.
        for left in ["pid", "socket"] {
            let _absent = fs::remove_file(of(left));
        }
        let mut process = Reaped::start(&mut command)?;
        wait_until("the receiver to listen", Duration::from_secs(30), || {
            if let Some(status) = process.ended()? {
                let said = fs::read_to_string(dir.join("said")).unwrap_or_default();
                anyhow::bail!("the receiver ended, {status}: {said}");
            }
            let is_open = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
            let all = is_open(ports.octet) && is_open(ports.lf) && is_open(ports.tls);
            Ok((all && dir.join("socket").exists()).then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Kills it, so that it can do nothing more.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its socket for programs of this host.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The whole lines of a file that it writes: `events.log`, `events.jsonl` or
    /// `structured.jsonl`.
    ///
    /// # Errors
    /// When the file has something else than text.
    pub fn lines(&self, file: &str) -> Result<Vec<String>> {
        let bytes = fs::read(self.dir.join(file)).unwrap_or_default();
        let text = String::from_utf8(bytes).context("a file of the receiver is no text")?;
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        Ok(whole.map(str::to_owned).collect())
    }

    /// What it said of itself.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.dir.join("said")).unwrap_or_default()
    }
}

/// The packaged configuration with other paths and ports, each of which it must have.
fn configured(package: &Package, certs: &Certificates, dir: &Path, ports: Ports) -> Result<String> {
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let mut replaced = vec![
        ("\"/etc/scopewatch/ca.pem\"".to_owned(), quoted(&certs.authority)),
        ("\"/etc/scopewatch/server.pem\"".to_owned(), quoted(&certs.server)),
        ("\"/etc/scopewatch/server.key\"".to_owned(), quoted(&certs.server_key)),
        ("\"/run/scopewatch/syslog\"".to_owned(), quoted(&dir.join("socket"))),
        ("\"0.0.0.0\"".to_owned(), "\"127.0.0.1\"".to_owned()),
    ];
    for name in ["events.log", "events.jsonl", "structured.jsonl"] {
        replaced.push((format!("\"/var/log/scopewatch/{name}\""), quoted(&dir.join(name))));
    }
    let Ports { tls, octet, lf, udp } = ports;
    let mut of_ports = vec![(6514, tls), (601, octet), (514, udp)];
    if !package.is_rsyslog() {
        of_ports.push((602, lf));
    }
    for (from, to) in of_ports {
        replaced.push(if package.is_rsyslog() {
            (format!("port=\"{from}\""), format!("port=\"{to}\""))
        } else {
            (format!("port({from})"), format!("port({to})"))
        });
    }
    let mut config = package.config.to_owned();
    for (from, to) in replaced {
        let count = config.matches(&from).count();
        ensure!(count == 1, "the configuration has {from} {count} times");
        config = config.replace(&from, &to);
    }
    // In the main file, which includes the packaged one, this comes first.
    let version = if package.is_rsyslog() { "" } else { "@version: 3.38\n" };
    Ok(format!("{version}{config}"))
}

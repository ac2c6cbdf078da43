//! TLS that the kernel speaks: a server hands its keys to the kernel, and files to send with them.
//!
//! In: the kernel's modules, which the machine's memory holds. Out: whether the agent told of what was
//! sent so, completely; no call of the library carries those bytes. Kernels without the module are
//! left out, and say so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    agent::{self, Agent},
    certs::Certificates,
    child::{self, Reaped},
    clients::{Request, Target, curl},
    events::{number, text},
    wait_until,
};

/// Where the machine has modules, by the release of their kernel.
pub const MODULES: &str = "/scopewatch/modules";

/// What takes up records of AES-GCM in the kernel, each after what it needs. A kernel may have some
/// of them built in.
pub const NAMES: [&str; 6] = ["gf128mul", "ctr", "ghash-generic", "crypto_null", "gcm", "tls"];

/// What the kernel counts.
const COUNTS: &str = "/proc/net/tls_stat";

/// Loads modules by `finit_module(2)`; one that is there already is no error.
const LOAD: &str = "
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for path in sys.argv[1:]:
    if libc.syscall(313, os.open(path, os.O_RDONLY), b'', 0) != 0:
        if ctypes.get_errno() != errno.EEXIST:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
";

const PORT: u16 = 4433;

/// Bytes of the file that is sent: many records, and more than one piece of the file.
const LENGTH: usize = 3 << 20;

/// Modules of the kernel that runs, in the order in which they are loaded; none where it has not
/// that of TLS.
pub fn modules() -> Result<Vec<PathBuf>> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("ask for the release")?;
    let dir = Path::new(MODULES).join(release.trim());
    let paths: Vec<_> = NAMES.iter().map(|name| dir.join(format!("{name}.ko"))).collect();
    let has_tls = paths.last().is_some_and(|path| path.exists());
    Ok(paths.into_iter().filter(|path| has_tls && path.exists()).collect())
}

/// A file that the kernel encrypts and sends is told of as if the server had.
pub fn a_file_that_the_kernel_encrypts_is_told_of_completely(modules: &[PathBuf]) -> Result<()> {
    child::checked(Command::new("python3").args(["-c", LOAD]).args(modules), b"")?;
    let before = sent_by_kernel()?;
    let dir = agent::open_dir()?;
    let certificates = Certificates::make(dir.path())?;
    let server = serve(dir.path(), &certificates)?;
    let mut agent = Agent::run(dir.path())?;
    let reply = curl(&Target::new(PORT, &certificates), &Request::new("GET", "/large.bin"))?;
    ensure!(reply.length == u64::try_from(LENGTH)?, "{reply:?}");
    ensure!(sent_by_kernel()? > before, "the server did not hand its keys to the kernel");
    let is_it = |event: &serde_json::Value| text(event, "/http/path") == Some("/large.bin");
    agent.log().wait_for("the event", Duration::from_secs(60), |e| e.iter().any(is_it))?;
    let stopped = agent.terminate()?;
    let [event] = stopped.events.iter().filter(|e| is_it(e)).collect::<Vec<_>>()[..] else {
        anyhow::bail!("not one event: {:#?}", stopped.events)
    };
    let told = ["/http/resp_bytes", "/process/pid", "/peer/pid"].map(|field| number(event, field));
    let expected = [reply.length, server.pid().into(), reply.client_pid.into()].map(Some);
    ensure!(told == expected, "{told:?} instead of {expected:?}: {event:#}");
    let is_whole = event.pointer("/observation/complete") == Some(&true.into());
    ensure!(is_whole && stopped.counters().get("gaps") == Some(&0), "not whole: {event:#}");
    Ok(())
}

/// Connections whose keys for sending the kernel has had.
fn sent_by_kernel() -> Result<u64> {
    let counts = fs::read_to_string(COUNTS).context("the module is not there")?;
    let line = counts.lines().find_map(|line| line.strip_prefix("TlsTxSw"));
    line.context("the kernel does not count")?.trim().parse().context("read the kernel's count")
}

/// An nginx that hands its keys to the kernel and serves one file by `SSL_sendfile`.
fn serve(dir: &Path, certificates: &Certificates) -> Result<Reaped> {
    fs::write(dir.join("large.bin"), vec![b'k'; LENGTH]).context("make a file")?;
    let prefix = dir.display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {prefix}/{kind};"))
        .join(" ");
    let configuration = format!(
        "daemon off; master_process off; pid {prefix}/pid; error_log {prefix}/log;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; sendfile on; {temp}\n\
         server {{ listen 127.0.0.1:{PORT} ssl; root {prefix};\n\
         ssl_certificate {}; ssl_certificate_key {}; ssl_conf_command Options KTLS; }} }}\n",
        certificates.server.display(),
        certificates.server_key.display(),
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, configuration).context("write nginx's configuration")?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(dir).arg("-e").arg(dir.join("log")).arg("-c").arg(&file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Reaped::start(&mut command)?;
    wait_until("nginx to answer", Duration::from_secs(30), || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", PORT)).ok())
    })?;
    Ok(server)
}

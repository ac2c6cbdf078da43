//! Network namespaces, and a server and a client that are put into them.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Result;
use scopewatch_harness::{
    certs::Certificates,
    child::{self, Reaped},
    wait_until,
};

/// Calls ip(8).
pub fn ip(arguments: &[&str]) -> Result<()> {
    child::checked(Command::new("ip").args(arguments), b"").map(drop)
}

/// Removes namespaces with what is in them. What is not there need not be removed.
pub fn remove(names: &[&str]) {
    for name in names {
        let _gone = child::output(Command::new("ip").args(["netns", "del", name]), b"");
    }
}

/// A program in a namespace.
pub fn within(name: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name, program]);
    command
}

/// Starts `openssl` as a server of HTTP at a port or address.
pub fn serve(mut openssl: Command, accept: &str, certificates: &Certificates) -> Result<Reaped> {
    openssl.args(["s_server", "-quiet", "-www", "-accept", accept, "-cert"]);
    openssl.arg(&certificates.server).arg("-key").arg(&certificates.server_key);
    openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Reaped::start(&mut openssl)
}

/// Asks for `url` until it is answered, each time by another `curl`; the process that was.
pub fn ask(curl: impl Fn() -> Command, url: &str) -> Result<u32> {
    wait_until("s_server to answer", Duration::from_secs(5), || {
        let mut command = curl();
        command.args(["-q", "-s", "-k", "--http1.1", "--noproxy", "*", "-o", "/dev/null", url]);
        let mut asker = Reaped::start(&mut command)?;
        let pid = asker.pid();
        Ok(asker.wait(Duration::from_secs(5))?.success().then_some(pid))
    })
}

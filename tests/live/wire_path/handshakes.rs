//! New connections at the highest rate, beside others who derive keys: each gets its secret, and
//! what has nothing to do with TLS leaves no record.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use scopewatch_harness::{
    agent::Agent, calls::Testbed, child, clients::wrk, events::served_on, require_root,
};

use crate::{asked, clean};

/// Seconds of load, unless `SOAK_SECONDS` says.
const LOAD: u64 = 2;

/// Connections at once.
const AT_ONCE: usize = 8;

/// Longer than a connection waits for its secret before it is given up and counted.
const PATIENCE: Duration = Duration::from_secs(7);

/// Time for the events to be written.
const CATCH_UP: Duration = Duration::from_secs(60);

#[test]
fn every_new_connection_gets_its_secret() -> Result<()> {
    require_root()?;
    let testbed = Testbed::start()?;
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::run(dir.path())?;
    let seconds = Duration::from_secs(asked("SOAK_SECONDS", LOAD)?);
    let request = testbed.read_order(1)?.header("Connection", "close");
    let done = AtomicBool::new(false);
    let cpu_before = cpu_seconds(agent.pid())?;
    let derived = thread::scope(|scope| {
        let others = scope.spawn(|| derive_until(&done));
        // Each answer closes its connection, which the client counts as an error of reading.
        let load = wrk(testbed.target(), &request, AT_ONCE, seconds, testbed.dir());
        done.store(true, Ordering::Relaxed);
        let derived = others.join().map_err(|_| anyhow!("the derivations panicked"))??;
        load.map(|report| (report, derived))
    });
    let (report, derived) = derived?;
    ensure!(report.failures == 0, "the load was disturbed: {report:?}");
    let (served, port) = (testbed.nginx().served()?.len(), testbed.nginx().port());
    // What does not come is told by the counts below.
    let _late =
        agent.log().wait_for("all events", CATCH_UP, |events| served_on(events, port) >= served);
    thread::sleep(PATIENCE);
    let cpu = cpu_seconds(agent.pid())? - cpu_before;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let counters = stopped.counters();
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    let told = served_on(&stopped.events, port);
    let traps = count("secret_records") + count("other_derivations");
    println!(
        "{served} handshakes in {seconds:?} beside {derived} derivations of others: {told} told, \
         {} opened, {} uncovered, {} lost; {traps} traps; agent {cpu:.2} s of CPU, {:.0} us and \
         {:.1} traps a handshake",
        count("tls_opened"),
        count("tls_uncovered"),
        stopped.dropped(),
        cpu * 1e6 / to_float(served),
        to_float(usize::try_from(traps)?) / to_float(served),
    );
    ensure!(count("tls_uncovered") == 0, "connections without a secret: {counters:?}");
    ensure!(stopped.dropped() == 0, "records were lost: {counters:?}");
    ensure!(told == served, "{told} of {served} exchanges told: {counters:?}");
    Ok(())
}

#[test]
fn what_others_derive_leaves_no_record() -> Result<()> {
    require_root()?;
    let dir = tempfile::tempdir()?;
    let agent = Agent::run(dir.path())?;
    let derived = derive_until(&AtomicBool::new(true))?;
    let stopped = agent.terminate()?;
    clean(&stopped)?;
    let counters = stopped.counters();
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    ensure!(count("other_derivations") >= derived, "not looked at: {counters:?}");
    ensure!(count("secret_records") == 0, "secrets of others were taken: {counters:?}");
    Ok(())
}

/// Encrypts files and benchmarks disk encryption until told to stop, at least once each; how many
/// derivations that were at least.
fn derive_until(done: &AtomicBool) -> Result<u64> {
    let mut derived = 0;
    loop {
        let mut file = Command::new("openssl");
        file.args(["enc", "-aes-256-cbc", "-pbkdf2", "-iter", "20000", "-pass", "pass:not-secret"]);
        child::checked(&mut file, b"content")?;
        let mut disk = Command::new("cryptsetup");
        disk.args(["benchmark", "--hash", "sha256", "--pbkdf", "pbkdf2"]);
        child::checked(&mut disk, b"")?;
        derived += 2;
        if done.load(Ordering::Relaxed) {
            return Ok(derived);
        }
    }
}

/// CPU that a process has used, in seconds.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read the agent's stat")?;
    let (_, rest) = stat.rsplit_once(") ").context("a stat without name")?;
    let ticks = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<usize>().ok());
    // The kernel tells user space of 100 ticks a second, whatever it uses itself.
    Ok(to_float(ticks.sum()) / 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn to_float(count: usize) -> f64 {
    count as f64
}

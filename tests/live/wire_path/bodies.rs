//! Bodies that nobody reads are not copied out of the kernel, and what surrounds them is told as ever.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::{
    clients::{Python, Request, curl_by_version},
    require_root,
};

use super::lab::Lab;

/// Length of the answers, in bytes: they last long enough for the agent to say in time what it does
/// not want.
const ANSWER: u64 = 192 << 20;

/// Length of the requests' bodies, in bytes, below what the server takes.
const QUESTION: usize = 7 << 20;

/// Names of the requests that follow each other on one connection, and of those on their own.
const KEPT: [&str; 3] = ["first", "second", "third"];
const ALONE: [(&str, [&str; 2]); 2] =
    [("older", ["--tlsv1.2", "--tls-max=1.2"]), ("newer", ["--tlsv1.3", "--tls-max=1.3"])];

#[test]
fn long_bodies_are_passed_over_in_the_kernel_and_counted() -> Result<()> {
    require_root()?;
    for capture in ["packets: auto", "packets: tcx", "workers: 2"] {
        check(capture).with_context(|| format!("capture: {capture}"))?;
    }
    Ok(())
}

fn check(capture: &str) -> Result<()> {
    let mut lab = Lab::start_configured(&format!("capture:\n  {capture}\n"))?;
    let mut python = Python::start(lab.testbed.target())?;
    for name in KEPT {
        let mut post = lab.request(&format!("/api/to/{name}"))?.body(&"b".repeat(QUESTION));
        "POST".clone_into(&mut post.method);
        let small = lab.request(&format!("/api/{name}"))?;
        for request in [large(&lab, name)?, small, post] {
            let reply = python.send(&request)?;
            lab.tell(request, reply);
        }
    }
    for (name, versions) in ALONE {
        let request = large(&lab, name)?;
        let reply = curl_by_version(lab.testbed.target(), &request, versions)?;
        ensure!(reply.length == ANSWER, "{reply:?}");
        lab.tell(request, reply);
    }
    let counters = lab.finish()?.counters();
    let of = |name| counters.get(name).copied().unwrap_or(0);
    // How many goes by how soon the agent asks, which is a matter of load: on loopback most of a
    // body has passed by then.
    ensure!(of("not_copied_bytes") > 0, "everything was copied: {counters:?}");
    ensure!(of("gaps") == 0, "what was passed over was taken for lost: {counters:?}");
    Ok(())
}

/// A request for a long answer, which no other has.
fn large(lab: &Lab, name: &str) -> Result<Request> {
    let path = format!("/static/{name}.bin");
    let file = lab.testbed.dir().join("nginx/www").join(path.trim_start_matches('/'));
    File::create(file).and_then(|file| file.set_len(ANSWER)).context("make a long file")?;
    lab.request(&path)
}

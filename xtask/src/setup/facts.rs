//! Looks at the machine.
//!
//! In: packages, programs and toolchains, asked for by running what knows them. Out: [`Facts`].
//! What cannot be asked counts as absent.

use std::{collections::BTreeSet, env, fs, path::Path};

use scopewatch_harness::{is_root, oauth, openssl::RELEASES, receivers::PACKAGES};

use super::plan::{
    BPF_LINKER, DEBIAN_RUST, ELSEWHERE, Facts, LLVMS, PEERS, TOOLS, Tool, llvm_packages,
};
use crate::process::{answer, installed, succeeds};

/// A target for which Debian's `core` is prebuilt.
const BPF_TARGET: &str = "bpfel-unknown-none";

/// The machine at this moment. `lists_fresh` tells whether package lists were just fetched.
pub fn gather(lists_fresh: bool) -> Facts {
    let debian = installed("apt-get") && installed("dpkg-query");
    let named = env::var("SCOPEWATCH_BPF_TOOLCHAIN").ok();
    let known = if debian { known_packages() } else { Vec::new() };
    let versions = TOOLS.iter().chain([&BPF_LINKER]).filter_map(version);
    Facts {
        root: is_root(),
        debian,
        lists_fresh,
        packages: if debian { packages(&known) } else { BTreeSet::new() },
        candidates: if debian { candidates(&known) } else { BTreeSet::new() },
        programs: PEERS
            .iter()
            .map(|(program, _)| *program)
            .chain(ELSEWHERE.map(|(program, _)| program))
            .chain(["g++"])
            .filter(|program| installed(program))
            .map(str::to_owned)
            .collect(),
        components: components(),
        named: named.map(|name| {
            let runs = succeeds("rustup", &["run", &name, "rustc", "--version"]);
            (name, runs)
        }),
        bpf_linked: succeeds("rustup", &["run", "bpf", "rustc", "--version"]),
        bpf_core: bpf_core(),
        nightly_source: nightly_source(),
        tools: versions.collect(),
        openssl: RELEASES
            .iter()
            .filter(|release| release.is_there())
            .map(|release| release.name.to_owned())
            .collect(),
        receivers: PACKAGES
            .iter()
            .filter(|package| package.is_there())
            .map(|package| package.name.to_owned())
            .collect(),
        packages_of_peers: oauth::is_there(),
        fetched: succeeds("cargo", &["fetch", "--locked", "--offline"]),
    }
}

/// Every package that a plan may name.
fn known_packages() -> Vec<String> {
    let rust = DEBIAN_RUST.into_iter().flatten().copied();
    let peers = PEERS.iter().flat_map(|(_, packages)| packages.iter().copied());
    let elsewhere = ELSEWHERE.map(|(_, package)| package);
    let others = elsewhere.into_iter().chain(["g++", "python3-venv"]);
    let mut names: Vec<String> = rust.chain(peers).chain(others).map(str::to_owned).collect();
    names.extend(LLVMS.into_iter().flat_map(llvm_packages));
    names
}

fn packages(known: &[String]) -> BTreeSet<String> {
    let mut arguments = vec!["-W", "-f=${db:Status-Status} ${Package}\\n"];
    arguments.extend(known.iter().map(String::as_str));
    // It fails when it knows one package only by name, and answers for the others all the same.
    let output = crate::process::command("dpkg-query", &arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    installed_packages(&text.unwrap_or_default())
}

/// Names from lines such as `installed curl`.
pub fn installed_packages(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect()
}

fn candidates(known: &[String]) -> BTreeSet<String> {
    let mut arguments = vec!["policy"];
    arguments.extend(known.iter().map(String::as_str));
    candidate_packages(&answer("apt-cache", &arguments).unwrap_or_default())
}

/// Names from the output of `apt-cache policy`, of packages that have a candidate.
pub fn candidate_packages(text: &str) -> BTreeSet<String> {
    let mut package = "";
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            names.insert(package.to_owned());
        }
    }
    names
}

/// Components by their names without the host's triple.
fn components() -> Option<BTreeSet<String>> {
    let text = answer("rustup", &["component", "list", "--installed"])?;
    let name = |line: &str| line.split('-').next().unwrap_or_default().to_owned();
    Some(text.lines().map(name).collect())
}

fn bpf_core() -> bool {
    let ask = ["run", "bpf", "rustc", "--print", "target-libdir", "--target", BPF_TARGET];
    let Some(entries) = answer("rustup", &ask).and_then(|dir| fs::read_dir(dir).ok()) else {
        return false;
    };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn nightly_source() -> bool {
    let sysroot = answer("rustup", &["run", "nightly", "rustc", "--print", "sysroot"]);
    let source = Path::new("lib/rustlib/src/rust/library/core");
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join(source).is_dir())
}

fn version(tool: &Tool) -> Option<(&'static str, String)> {
    let (program, arguments) = tool.version_command.split_first()?;
    let text = answer(program, arguments)?;
    Some((tool.name, version_in(&text)?))
}

/// The version from a line such as `cargo-nextest 0.9.151 (6b3f99457 2026-11-02)`.
pub fn version_in(text: &str) -> Option<String> {
    text.split_whitespace().nth(1).map(str::to_owned)
}

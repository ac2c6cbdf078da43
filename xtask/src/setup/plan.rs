//! What is to be done, decided from what is there. Pure.
//!
//! In: [`Facts`]. Out: one [`Step`] for each thing that building, running and testing take.

use std::collections::BTreeSet;

use scopewatch_harness::{
    openssl::{RELEASES, Release},
    receivers::{PACKAGES, Package},
};

use super::{openssl, peers, receivers};

/// A program that cargo installs, pinned to the oldest version that is known to do.
#[derive(Debug)]
pub struct Tool {
    /// Crate, and name in steps.
    pub name: &'static str,
    /// Asks for its version.
    pub version_command: &'static [&'static str],
    /// The version that is installed when there is none or an older one.
    pub version: &'static str,
    options: &'static [&'static str],
}

/// Links the kernel half. Its LLVM must be at least as new as that of the compiler.
pub const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version_command: &["bpf-linker", "--version"],
    version: "0.13.0",
    options: &[],
};

/// Built without optimisation, which halves the time until they can be used.
pub const TOOLS: [Tool; 2] = [
    Tool {
        name: "cargo-nextest",
        version_command: &["cargo", "nextest", "--version"],
        version: "0.9.151",
        options: &["--debug", "--no-default-features", "--features", "default-no-update"],
    },
    Tool {
        name: "cargo-deny",
        version_command: &["cargo", "deny", "--version"],
        version: "0.20.2",
        options: &["--debug"],
    },
];

/// Rust for BPF from Debian, with a prebuilt `core`: the newer backport, or the release's own.
pub const DEBIAN_RUST: [&[&str]; 2] = [
    &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
    &["rustc", "cargo", "libstd-rust-dev-bpf"],
];

/// LLVM's major versions that bpf-linker can be built with, the one that was tried first.
pub const LLVMS: [u8; 3] = [22, 23, 21];

/// Programs that tests and demo run, each with the packages that have it, the best first.
pub const PEERS: [(&str, &[&str]); 11] = [
    ("nginx", &["nginx-light", "nginx", "nginx-core", "nginx-full", "nginx-extras"]),
    ("curl", &["curl"]),
    ("openssl", &["openssl"]),
    ("cryptsetup", &["cryptsetup-bin"]),
    ("python3", &["python3"]),
    ("wrk", &["wrk"]),
    ("node", &["nodejs"]),
    // Without the service that the package `apache2` would start.
    ("apache2", &["apache2-bin"]),
    ("h2load", &["nghttp2-client"]),
    ("setpriv", &["util-linux"]),
    ("nft", &["nftables"]),
];

/// Programs that often come from elsewhere than the system's packages, each with its package.
pub const ELSEWHERE: [(&str, &str); 2] = [("npm", "npm"), ("go", "golang-go")];

/// Needed by checks.
pub const COMPONENTS: [&str; 2] = ["rustfmt", "clippy"];

/// The machine as it is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// May install packages.
    pub root: bool,
    /// Has dpkg and apt.
    pub debian: bool,
    /// The package lists were fetched by this run.
    pub lists_fresh: bool,
    /// Packages that are installed.
    pub packages: BTreeSet<String>,
    /// Packages that could be.
    pub candidates: BTreeSet<String>,
    /// Programs in PATH.
    pub programs: BTreeSet<String>,
    /// rustup's components of the default toolchain; nothing without rustup.
    pub components: Option<BTreeSet<String>>,
    /// `SCOPEWATCH_BPF_TOOLCHAIN`, and whether that toolchain runs.
    pub named: Option<(String, bool)>,
    /// The toolchain `bpf` runs.
    pub bpf_linked: bool,
    /// The toolchain `bpf` has `core` for BPF.
    pub bpf_core: bool,
    /// A nightly toolchain with `rust-src` is there.
    pub nightly_source: bool,
    /// Tools with their versions.
    pub tools: Vec<(&'static str, String)>,
    /// Releases of OpenSSL that tests can load.
    pub openssl: BTreeSet<String>,
    /// Receivers of syslog that tests can start.
    pub receivers: BTreeSet<String>,
    /// Packages for the peers' languages are there.
    pub packages_of_peers: [bool; 2],
    /// Every crate of `Cargo.lock` is on the disk.
    pub fetched: bool,
}

/// One thing, and what becomes of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// It is there.
    Ok(String),
    /// It is not, and this command brings it.
    Do(String, Vec<String>),
    /// It is not, and the reader has to do something.
    Missing(String, String),
}

/// All steps, in the order in which they build on each other.
pub fn plan(facts: &Facts) -> Vec<Step> {
    let rust = bpf_rust(facts);
    let linker_there = has_tool(facts, &BPF_LINKER);
    let mut packages = Wanted::default();
    if let Rust::Debian = rust {
        packages.first_of_sets(facts, &DEBIAN_RUST);
    }
    if !linker_there {
        // bpf-linker links LLVM, which is C++.
        packages.any("g++", facts, &["g++"]);
        packages.llvm(facts);
    }
    for (program, names) in PEERS {
        packages.any(program, facts, names);
    }
    packages.often_from_elsewhere(facts);
    let complete = packages.is_complete()
        && RELEASES.iter().all(|one| has_openssl(facts, one))
        && PACKAGES.iter().all(|one| facts.receivers.contains(one.name));
    if facts.debian && facts.root && !facts.lists_fresh && !complete {
        return vec![doing("package lists", &["apt-get", "update"])];
    }
    let mut steps = packages.into_steps(facts);
    steps.push(components(facts));
    steps.push(rust_step(facts, &rust));
    steps.push(linker(facts, linker_there));
    steps.extend(TOOLS.iter().map(|tool| cargo_tool(facts, tool)));
    steps.extend(RELEASES.iter().filter(|one| one.suite.is_some()).map(|one| release(facts, one)));
    steps.extend(PACKAGES.iter().map(|one| receiver(facts, one)));
    steps.extend(peers::LANGUAGES.into_iter().zip(facts.packages_of_peers).map(
        |(language, are_there)| {
            let name = format!("packages of peers: {language}");
            if are_there { Step::Ok(name) } else { doing(&name, &peers::command(language)) }
        },
    ));
    steps.push(if facts.fetched {
        Step::Ok("crates of Cargo.lock".to_owned())
    } else {
        doing("crates of Cargo.lock", &["cargo", "fetch", "--locked"])
    });
    steps
}

/// Where the compiler for the kernel half comes from.
enum Rust {
    Named(String, bool),
    Linked,
    Nightly,
    Debian,
    Nowhere,
}

fn bpf_rust(facts: &Facts) -> Rust {
    match &facts.named {
        Some((name, runs)) => Rust::Named(name.clone(), *runs),
        None if facts.bpf_linked && facts.bpf_core => Rust::Linked,
        None if facts.nightly_source => Rust::Nightly,
        None if facts.debian => Rust::Debian,
        None => Rust::Nowhere,
    }
}

fn rust_step(facts: &Facts, rust: &Rust) -> Step {
    const NAME: &str = "Rust for BPF";
    match rust {
        Rust::Named(name, true) => Step::Ok(format!("{NAME}: toolchain {name}, as told")),
        Rust::Named(name, false) => missing(
            NAME,
            &format!("SCOPEWATCH_BPF_TOOLCHAIN names {name}, which does not run: correct it"),
        ),
        Rust::Nightly => Step::Ok(format!("{NAME}: nightly with rust-src")),
        Rust::Nowhere => missing(NAME, NIGHTLY_ADVICE),
        Rust::Linked => Step::Ok(format!("{NAME}: toolchain bpf")),
        Rust::Debian if facts.components.is_none() => missing(NAME, RUSTUP_ADVICE),
        Rust::Debian if facts.root || debian_rust_installed(facts) => {
            doing(NAME, &["rustup", "toolchain", "link", "bpf", "/usr"])
        }
        Rust::Debian => missing(NAME, NIGHTLY_ADVICE),
    }
}

fn debian_rust_installed(facts: &Facts) -> bool {
    DEBIAN_RUST.iter().any(|set| set.iter().all(|name| facts.packages.contains(*name)))
}

const NIGHTLY_ADVICE: &str = "run `rustup toolchain install nightly --component rust-src`";
const RUSTUP_ADVICE: &str = "install rustup with the stable toolchain, https://rustup.rs";

fn components(facts: &Facts) -> Step {
    let name = COMPONENTS.join(", ");
    let Some(installed) = &facts.components else {
        return missing(&name, RUSTUP_ADVICE);
    };
    let absent: Vec<&str> =
        COMPONENTS.into_iter().filter(|name| !installed.contains(*name)).collect();
    if absent.is_empty() {
        return Step::Ok(name);
    }
    doing(&name, &[["rustup", "component", "add"].as_slice(), &absent].concat())
}

fn linker(facts: &Facts, there: bool) -> Step {
    if there {
        return Step::Ok(format!("{} {}", BPF_LINKER.name, BPF_LINKER.version));
    }
    let llvm = facts.debian.then(|| LLVMS.into_iter().find(|major| llvm_known(facts, *major)));
    let Some(llvm) = llvm.flatten() else {
        return missing(
            BPF_LINKER.name,
            "install LLVM 22 with headers and Polly, then run `LLVM_PREFIX=<its prefix> cargo \
             install bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22`",
        );
    };
    let prefix = format!("LLVM_PREFIX=/usr/lib/llvm-{llvm}");
    let mut command = vec!["env".to_owned(), prefix];
    command.extend(install(&BPF_LINKER));
    command.extend(["--no-default-features", "--features"].map(str::to_owned));
    command.push(format!("llvm-{llvm}"));
    Step::Do(BPF_LINKER.name.to_owned(), command)
}

fn cargo_tool(facts: &Facts, tool: &Tool) -> Step {
    if has_tool(facts, tool) {
        return Step::Ok(format!("{} {}", tool.name, tool.version));
    }
    Step::Do(tool.name.to_owned(), install(tool))
}

fn install(tool: &Tool) -> Vec<String> {
    let command = ["cargo", "install", tool.name, "--version", tool.version, "--locked"];
    command.iter().chain(tool.options).map(|word| (*word).to_owned()).collect()
}

/// A release that tests load beside this system's own. It takes no root.
fn release(facts: &Facts, release: &Release) -> Step {
    let name = format!("OpenSSL {} for tests", release.name);
    if has_openssl(facts, release) {
        Step::Ok(name)
    } else if facts.debian {
        doing(&name, &openssl::command(release))
    } else {
        let packages = release.packages.join(", ");
        let advice = format!("unpack Debian's {packages} in {}", release.dir().display());
        missing(&name, &advice)
    }
}

fn receiver(facts: &Facts, package: &Package) -> Step {
    let name = format!("receiver for tests: {}", package.name);
    if facts.receivers.contains(package.name) {
        Step::Ok(name)
    } else if facts.debian {
        doing(&name, &receivers::command(package))
    } else {
        let packages = package.packages.join(", ");
        missing(&name, &format!("unpack Debian's {packages} in {}", package.dir().display()))
    }
}

fn has_openssl(facts: &Facts, release: &Release) -> bool {
    facts.openssl.contains(release.name) || release.suite.is_none()
}

fn has_tool(facts: &Facts, tool: &Tool) -> bool {
    let there = facts.tools.iter().find(|(name, _)| *name == tool.name);
    there.is_some_and(|(_, version)| numbers(version) >= numbers(tool.version))
}

/// The numbers of a version; what is not a number counts as zero.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Packages that have to be there.
#[derive(Default)]
struct Wanted {
    present: Vec<String>,
    absent: Vec<String>,
    unknown: Vec<String>,
}

impl Wanted {
    fn is_complete(&self) -> bool {
        self.absent.is_empty() && self.unknown.is_empty()
    }

    /// One of `packages`, which all have `program`.
    fn any(&mut self, program: &str, facts: &Facts, packages: &[&str]) {
        let installed = |name: &&&str| facts.packages.contains(**name);
        if !facts.debian {
            let list = if facts.programs.contains(program) {
                &mut self.present
            } else {
                &mut self.unknown
            };
            list.push(program.to_owned());
        } else if let Some(package) = packages.iter().find(installed) {
            self.present.push((*package).to_owned());
        } else if let Some(package) = packages.iter().find(|name| facts.candidates.contains(**name))
        {
            self.absent.push((*package).to_owned());
        } else {
            self.unknown.push(program.to_owned());
        }
    }

    /// All packages of the first set that can be had.
    fn first_of_sets(&mut self, facts: &Facts, sets: &[&[&str]]) {
        let to_be_had =
            |name: &&str| facts.packages.contains(*name) || facts.candidates.contains(*name);
        let set = sets.iter().find(|set| set.iter().all(&to_be_had));
        for name in set.or_else(|| sets.first()).into_iter().copied().flatten() {
            self.any(name, facts, &[name]);
        }
    }

    /// What often comes from elsewhere than the system's packages: what is in PATH will do.
    fn often_from_elsewhere(&mut self, facts: &Facts) {
        for (program, package) in ELSEWHERE {
            if !facts.programs.contains(program) {
                self.any(program, facts, &[package]);
            }
        }
        if facts.debian {
            self.any("python3-venv", facts, &["python3-venv"]);
        }
    }

    fn llvm(&mut self, facts: &Facts) {
        if !facts.debian {
            return;
        }
        let known = LLVMS.into_iter().find(|major| llvm_known(facts, *major));
        let [tried, ..] = LLVMS;
        for name in llvm_packages(known.unwrap_or(tried)) {
            self.any(&name, facts, &[&name]);
        }
    }

    fn into_steps(self, facts: &Facts) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.present.is_empty() {
            steps.push(Step::Ok(format!("packages: {}", self.present.join(" "))));
        }
        let install: Vec<&str> = ["apt-get", "install", "-y", "--no-install-recommends"]
            .into_iter()
            .chain(self.absent.iter().map(String::as_str))
            .collect();
        if !self.absent.is_empty() {
            let name = format!("packages: {}", self.absent.join(" "));
            let advice = format!("run as root `apt-get update && {}`", install.join(" "));
            steps.push(if facts.root { doing(&name, &install) } else { missing(&name, &advice) });
        }
        if !self.unknown.is_empty() {
            let advice = match (facts.debian, facts.root) {
                (true, true) => "no configured Debian release has them: add one that does",
                (true, false) => "run `apt-get update` as root, then this again",
                (false, _) => "install them with this system's package manager",
            };
            steps.push(missing(&format!("packages: {}", self.unknown.join(" ")), advice));
        }
        steps
    }
}

/// Packages that bpf-linker is built with.
pub fn llvm_packages(major: u8) -> [String; 2] {
    [format!("llvm-{major}-dev"), format!("libpolly-{major}-dev")]
}

fn llvm_known(facts: &Facts, major: u8) -> bool {
    let known = |name: &String| facts.packages.contains(name) || facts.candidates.contains(name);
    llvm_packages(major).iter().all(known)
}

fn doing(name: &str, command: &[&str]) -> Step {
    Step::Do(name.to_owned(), command.iter().map(|word| (*word).to_owned()).collect())
}

fn missing(name: &str, advice: &str) -> Step {
    Step::Missing(name.to_owned(), advice.to_owned())
}

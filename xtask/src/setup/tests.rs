//! Plans for machines other than this one.

use std::collections::BTreeSet;

use super::{
    archive::mirror,
    facts::{candidate_packages, installed_packages, version_in},
    plan::{Facts, Step, plan},
};

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

const PEER_PACKAGES: &str = "nginx-light curl openssl cryptsetup-bin python3 wrk nodejs npm \
     golang-go python3-venv apache2-bin nghttp2-client nftables util-linux";
const BUILD_PACKAGES: &str =
    "g++ rustc-web cargo-web libstd-rust-web-dev-bpf llvm-22-dev libpolly-22-dev";

/// A Debian 12 machine with everything, seen by root.
fn complete() -> Facts {
    let packages = set(&format!("{PEER_PACKAGES} {BUILD_PACKAGES}"));
    Facts {
        root: true,
        debian: true,
        candidates: packages.clone(),
        packages,
        components: Some(set("rustc cargo rustfmt clippy")),
        bpf_linked: true,
        bpf_core: true,
        tools: [("bpf-linker", "0.13.0"), ("cargo-nextest", "0.9.151"), ("cargo-deny", "0.20.2")]
            .map(|(name, version)| (name, version.to_owned()))
            .into(),
        openssl: set("1.1.1 system 3.5 sid"),
        receivers: set("rsyslog syslog-ng"),
        packages_of_peers: [true; 2],
        fetched: true,
        ..Facts::default()
    }
}

/// A Debian 12 machine with only rustup's stable toolchain, its package lists fresh.
fn fresh() -> Facts {
    Facts {
        packages: set("util-linux openssl"),
        components: Some(set("rustc cargo")),
        bpf_linked: false,
        bpf_core: false,
        tools: Vec::new(),
        openssl: set("system"),
        receivers: set(""),
        packages_of_peers: [false; 2],
        fetched: false,
        lists_fresh: true,
        ..complete()
    }
}

/// The commands of a plan, one a line.
fn commands(facts: &Facts) -> String {
    let mut lines = Vec::new();
    for step in plan(facts) {
        if let Step::Do(_, command) = step {
            lines.push(command.join(" "));
        }
    }
    lines.join("\n")
}

/// What a plan says is missing, one a line.
fn missing(facts: &Facts) -> String {
    let mut lines = Vec::new();
    for step in plan(facts) {
        if let Step::Missing(name, advice) = step {
            lines.push(format!("{name}: {advice}"));
        }
    }
    lines.join("\n")
}

#[test]
fn nothing_is_done_where_everything_is() {
    assert_eq!((commands(&complete()), missing(&complete())), (String::new(), String::new()));
    let newer = Facts { tools: complete().tools, lists_fresh: true, ..complete() };
    assert_eq!(commands(&newer), "");
}

#[test]
fn package_lists_are_fetched_before_packages_are_chosen() {
    let facts = Facts { lists_fresh: false, candidates: BTreeSet::new(), ..fresh() };
    assert_eq!(commands(&facts), "apt-get update");
}

#[test]
fn a_fresh_machine_gets_everything_in_order() {
    let expected = "\
apt-get install -y --no-install-recommends rustc-web cargo-web libstd-rust-web-dev-bpf g++ \
llvm-22-dev libpolly-22-dev nginx-light curl cryptsetup-bin python3 wrk nodejs apache2-bin \
nghttp2-client nftables npm golang-go python3-venv
rustup component add rustfmt clippy
rustup toolchain link bpf /usr
env LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked \
--no-default-features --features llvm-22
cargo install cargo-nextest --version 0.9.151 --locked --debug --no-default-features --features \
default-no-update
cargo install cargo-deny --version 0.20.2 --locked --debug
cargo xtask openssl 1.1.1
cargo xtask openssl 3.5
cargo xtask openssl sid
cargo xtask receiver rsyslog
cargo xtask receiver syslog-ng
cargo xtask peers node
cargo xtask peers python
cargo fetch --locked";
    assert_eq!(commands(&fresh()), expected);
    assert_eq!(missing(&fresh()), "");
}

#[test]
fn a_newer_debian_gets_its_own_compiler() {
    let newer = "rustc cargo libstd-rust-dev-bpf g++ llvm-21-dev libpolly-21-dev";
    let facts = Facts { candidates: set(&format!("{PEER_PACKAGES} {newer}")), ..fresh() };
    let commands = commands(&facts);
    assert!(commands.contains("recommends rustc cargo libstd-rust-dev-bpf g++ llvm-21-dev"));
    assert!(commands.contains("LLVM_PREFIX=/usr/lib/llvm-21"), "{commands}");
    assert!(commands.ends_with("cargo fetch --locked"), "{commands}");
}

#[test]
fn without_root_the_packages_and_the_command_are_named() {
    let facts = Facts { root: false, lists_fresh: false, ..fresh() };
    let said = missing(&facts);
    let expected = "packages: rustc-web cargo-web libstd-rust-web-dev-bpf g++ llvm-22-dev \
                    libpolly-22-dev nginx-light curl cryptsetup-bin python3 wrk nodejs apache2-bin \
                    nghttp2-client nftables npm golang-go python3-venv: run as root `apt-get update && apt-get install -y --no-install-recommends rustc-web cargo-web";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.contains("Rust for BPF: run `rustup toolchain install nightly"), "{said}");
    // What works without root is done all the same.
    assert!(commands(&facts).contains("cargo install cargo-nextest"));
    assert!(!commands(&facts).contains("apt-get"));
}

#[test]
fn elsewhere_than_on_debian_programs_are_looked_for() {
    let facts = Facts {
        debian: false,
        packages: BTreeSet::new(),
        candidates: BTreeSet::new(),
        programs: set(
            "nginx curl openssl cryptsetup python3 node npm go apache2 h2load setpriv nft",
        ),
        bpf_linked: false,
        ..complete()
    };
    let said = missing(&facts);
    assert!(said.starts_with("packages: wrk: install them with"), "{said}");
    assert!(said.contains("rustup toolchain install nightly --component rust-src"), "{said}");
}

#[test]
fn a_nightly_with_source_replaces_the_packages() {
    let packages = set(&format!("{PEER_PACKAGES} g++"));
    let facts = Facts { nightly_source: true, packages, bpf_linked: false, ..complete() };
    assert_eq!((commands(&facts), missing(&facts)), (String::new(), String::new()));
}

#[test]
fn a_linked_toolchain_will_do_wherever_it_came_from() {
    let programs =
        set("nginx curl openssl cryptsetup python3 wrk node npm go apache2 h2load setpriv nft");
    let packages = BTreeSet::new();
    let facts = Facts { debian: false, programs, packages, ..complete() };
    assert_eq!((commands(&facts), missing(&facts)), (String::new(), String::new()));
}

#[test]
fn a_linked_toolchain_without_core_is_linked_anew() {
    let facts = Facts { bpf_core: false, ..complete() };
    assert_eq!(commands(&facts), "rustup toolchain link bpf /usr");
}

#[test]
fn a_named_toolchain_has_to_run() {
    let facts = Facts { named: Some(("mine".to_owned(), false)), ..complete() };
    assert!(missing(&facts).contains("SCOPEWATCH_BPF_TOOLCHAIN names mine"));
    let facts = Facts { named: Some(("mine".to_owned(), true)), bpf_linked: false, ..complete() };
    assert_eq!(missing(&facts), "");
}

#[test]
fn only_older_tools_are_replaced() {
    let with = |version: &str| {
        let mut facts = complete();
        facts.tools.retain(|(name, _)| *name != "cargo-deny");
        facts.tools.push(("cargo-deny", version.to_owned()));
        commands(&facts)
    };
    assert!(with("0.19.9").contains("cargo install cargo-deny"));
    assert_eq!(with("0.20.10"), "");
    assert_eq!(with("1.0.0"), "");
}

#[test]
fn any_package_with_nginx_will_do() {
    let mut facts = complete();
    facts.packages.remove("nginx-light");
    facts.packages.insert("nginx-full".to_owned());
    assert_eq!(commands(&facts), "");
}

#[test]
fn an_unknown_package_is_missing_rather_than_asked_for() {
    let mut facts = Facts { lists_fresh: true, ..complete() };
    facts.packages.remove("wrk");
    facts.candidates.remove("wrk");
    assert_eq!(commands(&facts), "");
    assert!(missing(&facts).starts_with("packages: wrk: no configured Debian release"));
}

#[test]
fn answers_of_programs_are_read() {
    let status = "installed curl\nnot-installed rustc\nconfig-files wrk\ninstalled g++\n";
    assert_eq!(installed_packages(status), set("curl g++"));
    let policy = "curl:\n  Installed: (none)\n  Candidate: 7.88\n  Version table:\n\
                  wrk:\n  Installed: (none)\n  Candidate: (none)\n";
    assert_eq!(candidate_packages(policy), set("curl"));
    assert_eq!(version_in("cargo-deny 0.20.2").as_deref(), Some("0.20.2"));
    assert_eq!(version_in(""), None);
}

#[test]
fn only_missing_releases_of_openssl_are_fetched() {
    let facts = Facts { openssl: set("1.1.1 system sid"), ..complete() };
    assert_eq!(commands(&facts), "apt-get update");
    assert_eq!(commands(&Facts { lists_fresh: true, ..facts.clone() }), "cargo xtask openssl 3.5");
    // Without root the lists are taken as they are.
    assert_eq!(commands(&Facts { root: false, ..facts.clone() }), "cargo xtask openssl 3.5");
    let said = missing(&Facts { debian: false, programs: set("nginx curl openssl"), ..facts });
    assert!(
        said.contains("OpenSSL 3.5 for tests: unpack Debian's libssl3t64, libc6 in "),
        "{said}"
    );
}

#[test]
fn only_missing_receivers_are_fetched() {
    let facts = Facts { receivers: set("rsyslog"), lists_fresh: true, ..complete() };
    assert_eq!(commands(&facts), "cargo xtask receiver syslog-ng");
}

#[test]
fn the_mirror_is_debians_main_archive() {
    let archives = "Example|Example|main|https://a.example/deb/\n\
                    Debian|Debian-Security|main|https://b.example/debian-security/\n\
                    Debian|Debian|main|https://b.example/debian/\n";
    assert_eq!(mirror(archives), Some("https://b.example/debian/"));
    assert_eq!(mirror("Example|Example|main|https://a.example/deb/"), None);
}

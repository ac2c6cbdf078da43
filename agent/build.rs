//! Builds the kernel half into an object that `bpf/load.rs` embeds.
//!
//! Toolchain: `SCOPEWATCH_BPF_TOOLCHAIN` if set, else the rustup toolchain `bpf` (Debian's
//! compiler with a prebuilt `core` for BPF targets), else `nightly` with rust-src.

use std::{env, process::Command};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

const HELP: &str = "no toolchain for the kernel half was found: run `cargo xtask setup`";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=SCOPEWATCH_BPF_TOOLCHAIN");
    let toolchain = toolchain()?;
    which::which("bpf-linker").context(HELP)?;
    // The kernel half uses one unstable feature, as aya-ebpf does: let exactly these crates have
    // it on a stable compiler. Naming crates also keeps aya-build from asking for build-std,
    // which needs rust-src; a nightly is asked for it anyway.
    if toolchain != "nightly" {
        // SAFETY: a build script is single-threaded here.
        #[expect(unsafe_code, reason = "the only way to reach the compiler that aya-build spawns")]
        unsafe {
            env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,scopewatch_ebpf");
        }
    }
    // What the inner cargo prints comes out as warnings: only real ones should.
    // SAFETY: as above.
    #[expect(unsafe_code, reason = "the only way to reach the cargo that aya-build spawns")]
    unsafe {
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent-ebpf");
    let package = Package { name: "scopewatch-ebpf", root_dir, ..Default::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain)).context(HELP)
}

fn toolchain() -> Result<String> {
    if let Ok(name) = env::var("SCOPEWATCH_BPF_TOOLCHAIN") {
        return Ok(name);
    }
    for name in ["bpf", "nightly"] {
        let found = Command::new("rustup").args(["run", name, "rustc", "--version"]).output();
        if found.is_ok_and(|output| output.status.success()) {
            return Ok(name.to_owned());
        }
    }
    bail!(HELP)
}

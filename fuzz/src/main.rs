//! The program that libFuzzer drives: `FUZZ_TARGET` names the target. With `FUZZ_SEEDS` it writes
//! the inputs to begin with into that directory, one below it for each target, and ends; with
//! `FUZZ_LIST` it prints the names of all targets. `cargo xtask fuzz` builds and runs it.
#![no_main]

use std::{env, fs, path::Path, process, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use scopewatch_fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).expect("FUZZ_TARGET names no target")
});

fuzz_target!(init: instead(), |input: &[u8]| (TARGET.run)(input));

/// Does what was asked for in place of fuzzing, if anything was.
fn instead() {
    if env::var_os("FUZZ_LIST").is_some() {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        process::exit(0);
    }
    let Some(dir) = env::var_os("FUZZ_SEEDS") else { return };
    for target in TARGETS {
        let dir = Path::new(&dir).join(target.name);
        fs::create_dir_all(&dir).expect("make a directory for seeds");
        for (nth, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{nth:02}")), seed).expect("write a seed");
        }
    }
    process::exit(0);
}

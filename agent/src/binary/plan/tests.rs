//! Plans for the libraries of several releases.

use super::*;
use crate::binary::{
    fixture,
    site::{CostClass, Reason},
};

/// Each step as `function+distance instruction | cost | program`.
fn told(steps: &[Step]) -> Vec<String> {
    let tell = |step: &Step| {
        let Site { distance, instruction, cost, .. } = &step.site;
        format!("{}+{distance} {instruction} | {cost} | {}", step.function, step.program)
    };
    steps.iter().map(tell).collect()
}

fn check(name: &str, expected: &[&str]) {
    let plan = openssl(&fixture::library(name), true).unwrap();
    assert_eq!(told(&plan.steps), expected, "{name}");
}

#[test]
fn debian_11_is_probed_behind_its_wrappers() {
    check(
        "debian11-libssl",
        &[
            "ssl_read_internal+0 push r15 | emulated | ssl_return",
            "ssl_read_internal+0 push r15 | emulated | ssl_read_ex",
            "ssl_write_internal+0 push r15 | emulated | ssl_return",
            "ssl_write_internal+0 push r15 | emulated | ssl_write_ex",
            "SSL_shutdown+0 push rbp | emulated | ssl_shutdown",
            "SSL_free+3 je 0x3c7d0 | emulated | ssl_free",
            "SSL_clear+0 push r12 | emulated | ssl_free",
        ],
    );
}

#[test]
fn debian_12_is_probed_behind_its_wrappers() {
    check(
        "debian12-libssl",
        &[
            "ssl_read_internal+0 push r13 | emulated | ssl_return",
            "ssl_read_internal+0 push r13 | emulated | ssl_read_ex",
            "ssl_write_internal+0 push r14 | emulated | ssl_return",
            "ssl_write_internal+0 push r14 | emulated | ssl_write_ex",
            "SSL_shutdown+0 push rbx | emulated | ssl_shutdown",
            "SSL_free+3 je 0x3b730 | emulated | ssl_free",
            "SSL_clear+0 push rbp | emulated | ssl_free",
        ],
    );
}

#[test]
fn from_openssl_3_3_writes_take_flags() {
    check(
        "debian13-libssl",
        &[
            "ssl_read_internal+4 push r14 | emulated, behind endbr64 | ssl_return",
            "ssl_read_internal+4 push r14 | emulated, behind endbr64 | ssl_read_ex",
            "ssl_write_internal+4 push r14 | emulated, behind endbr64 | ssl_return",
            "ssl_write_internal+4 push r14 | emulated, behind endbr64 | ssl_write_ex2",
            "SSL_shutdown+4 push rbp | emulated, behind endbr64 | ssl_shutdown",
            "SSL_free+7 je 0x465d8 | emulated, behind endbr64 | ssl_free",
            "SSL_clear+11 je 0x3a530 | emulated, behind endbr64 | ssl_free",
        ],
    );
}

#[test]
fn where_no_cheap_place_is_proved_the_first_instruction_is_probed() {
    check(
        "debian-sid-libssl",
        &[
            "ssl_read_internal+0 endbr64 | single-stepped | ssl_return",
            "ssl_read_internal+0 endbr64 | single-stepped | ssl_read_ex",
            "ssl_write_internal+0 endbr64 | single-stepped | ssl_return",
            "ssl_write_internal+0 endbr64 | single-stepped | ssl_write_ex2",
            "SSL_shutdown+27 je 0x3fe8e | emulated, behind endbr64 | ssl_shutdown",
            "SSL_free+7 je 0x49228 | emulated, behind endbr64 | ssl_free",
            "SSL_clear+11 je 0x3b7e0 | emulated, behind endbr64 | ssl_free",
        ],
    );
    let plan = openssl(&fixture::library("debian-sid-libssl"), true).unwrap();
    assert_eq!(plan.steps[0].site.reason, Reason::First(NoSite::StackMoved(4)));
}

#[test]
fn where_the_internal_function_is_inlined_the_exported_ones_are_probed() {
    check(
        "node20",
        &[
            "SSL_read+0 push rbp | emulated | ssl_return",
            "SSL_read+0 push rbp | emulated | ssl_read",
            "SSL_read_ex+0 push rbp | emulated | ssl_return",
            "SSL_read_ex+0 push rbp | emulated | ssl_read_ex",
            "SSL_write+0 push rbp | emulated | ssl_return",
            "SSL_write+0 push rbp | emulated | ssl_write",
            "SSL_write_ex+0 push rbp | emulated | ssl_return",
            "SSL_write_ex+0 push rbp | emulated | ssl_write_ex",
            "SSL_shutdown+0 push rbp | emulated | ssl_shutdown",
            "SSL_free+3 je 0x1a6a16b | emulated | ssl_free",
            "SSL_clear+0 push rbp | emulated | ssl_free",
        ],
    );
    let plan = openssl(&fixture::library("node20"), true).unwrap();
    let why = NoInternal::OtherArguments("SSL_read");
    assert_eq!(plan.steps[0].choice, Choice::Exported(why));
}

#[test]
fn a_probe_stands_at_the_files_offset_of_its_address() {
    // Node's executable is linked at an address; its code begins elsewhere in the file.
    let plan = openssl(&fixture::library("node20"), true).unwrap();
    assert_eq!(plan.steps[0].site.offset, 0x1a6_b180 - 0xb7_2000 + 0x77_2000);
    assert_eq!(plan.points().len(), plan.steps.len());
}

#[test]
fn the_return_is_attached_before_the_entry() {
    let plan = openssl(&fixture::library("debian12-libssl"), true).unwrap();
    let [first, second, ..] = plan.steps.as_slice() else { panic!() };
    assert_eq!((first.program, second.program), (Program::SslReturn, Program::SslReadEx));
    assert_eq!(first.site.offset, second.site.offset);
}

#[test]
fn the_systems_library_gets_a_plan_without_single_steps() {
    let bytes = std::fs::read("/usr/lib/x86_64-linux-gnu/libssl.so.3").unwrap();
    let library = Library::parse(&bytes, &OPENSSL.map(|(name, _)| name)).unwrap();
    let plan = openssl(&library, true).unwrap();
    assert!(plan.steps.iter().all(|step| step.site.cost == CostClass::Emulated), "{plan:#?}");
}

#[test]
fn no_functions_no_plan() {
    let mut library = fixture::library("debian12-libssl");
    library.exports.remove("SSL_write");
    assert_eq!(openssl(&library, true), Err(NoPlan::NoFunctions));
}

#[test]
fn functions_without_code_make_no_plan() {
    let mut library = fixture::library("debian12-libssl");
    library.code.segments.clear();
    assert!(matches!(openssl(&library, true), Err(NoPlan::NoCode("SSL_read", _))));
}

#[test]
fn no_plan_where_return_probes_are_unsafe() {
    let library = fixture::library("debian12-libssl");
    assert_eq!(openssl(&library, false), Err(NoPlan::ReturnProbesUnsafe));
}

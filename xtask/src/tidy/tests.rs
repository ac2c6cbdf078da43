//! Each rule on texts that keep and that break it.

use super::{
    rules::{RULES, Severity},
    source::{Source, Tree, imports},
};

/// Lines of errors and warnings that the rule `id` finds in `text` at `path`.
fn found(id: &str, path: &str, text: &str) -> (Vec<usize>, Vec<usize>) {
    let rule = RULES.iter().find(|rule| rule.id == id).expect("a rule of this name");
    let tree = ["README.md", "docs/events.md", "agent/src/lib.rs"].map(str::to_owned);
    let findings = (rule.check)(&Source::new(path, text), &Tree::new(tree.into()));
    let of = |severity| {
        let findings = findings.iter().filter(|finding| finding.severity == severity);
        findings.map(|finding| finding.line).collect()
    };
    (of(Severity::Error), of(Severity::Warning))
}

/// Checks on which lines the rule `id` finds errors.
fn check(id: &str, cases: &[(&str, &str, &[usize])]) {
    for (path, text, lines) in cases {
        assert_eq!(found(id, path, text).0, *lines, "{id} on {path}: {text}");
    }
}

#[test]
fn aya_stays_in_its_module() {
    check(
        "aya-in-bpf",
        &[
            ("agent/src/bpf/load.rs", "use aya::Ebpf;", &[]),
            ("agent/src/bpf.rs", "use aya::Ebpf;", &[]),
            ("agent/src/pipeline.rs", "\nuse aya::Ebpf;", &[2]),
            ("agent/src/main.rs", "aya_log::EbpfLogger::init();", &[1]),
            ("agent/src/main.rs", "// aya loads it\nlet maya = \"aya\";", &[]),
            ("agent/build.rs", "use aya_build::Toolchain;", &[]),
        ],
    );
}

#[test]
fn unsafe_code_stays_in_its_places() {
    check(
        "unsafe-places",
        &[
            ("agent-ebpf/src/main.rs", "unsafe { read() }", &[]),
            ("agent/src/sandbox/confine.rs", "unsafe { prctl() }", &[]),
            ("agent/src/sandbox/broker.rs", "fn f() {\n    unsafe { g() }\n}", &[2]),
            ("agent/src/lib.rs", "#![deny(unsafe_code)] // unsafe", &[]),
            ("agent/src/bpfish/x.rs", "unsafe fn f() {}", &[1]),
        ],
    );
}

#[test]
fn stages_are_pure_outside_of_their_tests() {
    let path = "agent/src/token/jwt.rs";
    check(
        "pure-stages",
        &[
            (path, "use std::net::{IpAddr, SocketAddr};\nuse std::time::SystemTime;", &[]),
            (path, "use std::{\n    fmt,\n    net::{IpAddr, TcpStream},\n};", &[1]),
            (path, "use std::{fmt, fs};", &[1]),
            (path, "use std::net;", &[1]),
            (path, "use tokio::sync::mpsc;", &[1]),
            (path, "let now = jiff::Timestamp::now();", &[1]),
            (path, "let a = Instant::now();\nlet b = std::fs::read(\"x\");", &[1, 2]),
            (path, "// SystemTime::now() is not called\n", &[]),
            (path, "#[cfg(test)]\nmod tests {\n    use std::fs;\n}", &[]),
            (path, "#[cfg(test)]\nmod tests;\nuse std::fs;", &[3]),
            ("agent/src/token/tests.rs", "use std::fs;", &[]),
            ("agent/src/observation.rs", "use std::fs;", &[1]),
            ("agent/src/wire/mod.rs", "use std::fs;", &[1]),
            ("agent/src/capture/recorder.rs", "use std::fs;", &[]),
        ],
    );
}

#[test]
fn long_files_are_noticed_and_then_refused() {
    let lines = |count| "//! x\n".repeat(count);
    assert_eq!(found("file-size", "a.rs", &lines(500)), (vec![], vec![]));
    assert_eq!(found("file-size", "a.rs", &lines(501)), (vec![], vec![501]));
    assert_eq!(found("file-size", "a.rs", &lines(801)), (vec![801], vec![]));
    assert_eq!(found("file-size", "a.snap", &lines(801)), (vec![], vec![]));
    let generated = format!("//! x @generated\n{}", lines(900));
    assert_eq!(found("file-size", "a.rs", &generated), (vec![], vec![]));
}

#[test]
fn files_begin_with_their_doc() {
    check(
        "module-doc",
        &[
            ("agent/build.rs", "//! Builds the kernel half.\n", &[]),
            ("a.rs", "#![no_std]\n//! late", &[1]),
            ("a.rs", "", &[1]),
            ("a.py", "import os", &[]),
        ],
    );
}

#[test]
fn open_ends_say_what_is_open() {
    let marker = concat!("TO", "DO");
    let bare = format!("fn f() {{}} // {marker}\n// {marker}:\n# {marker}(me)");
    let told = format!("// {marker}: count evictions per shard");
    let text = format!("let x = \"{marker}\";");
    check("open-ends", &[("a.rs", &bare, &[1, 2]), ("a.rs", &told, &[]), ("a.rs", &text, &[])]);
    check("open-ends", &[("a.yaml", &format!("# {marker}"), &[1]), ("a.md", &told, &[])]);
}

#[test]
fn imports_name_what_they_import() {
    check(
        "no-globs",
        &[
            ("a.rs", "use super::*;", &[1]),
            ("a.rs", "use std::{fmt, io::*};", &[1]),
            ("a.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n}", &[]),
            ("a.rs", "#[cfg(test)]\nmod tests {\n    use std::io::*;\n}", &[3]),
            ("a/tests.rs", "use super::*;", &[]),
            ("a.rs", "let product = x * y; // use a::*;", &[]),
        ],
    );
}

#[test]
fn lines_end_where_their_text_ends() {
    check(
        "no-trailing-space",
        &[
            ("a.md", "one\ntwo \nthree\t", &[2, 3]),
            ("a.md", "one\r\n", &[]),
            ("a.snap", "one ", &[]),
        ],
    );
}

#[test]
fn no_machine_is_named() {
    let here = concat!("/wo", "rk/x");
    let home = concat!("/ro", "ot/.cargo");
    check(
        "no-machine-paths",
        &[
            ("a.md", &format!("see {here}"), &[1]),
            ("a.rs", &format!("\nlet x = \"{home}\";"), &[2]),
            ("a.rs", &format!("format!(\"/proc/{{pid}}{home}\")"), &[]),
            ("a.md", &format!("/proc/PID{home}"), &[]),
        ],
    );
}

#[test]
fn links_lead_somewhere() {
    check(
        "links-resolve",
        &[
            ("README.md", "[a](docs/events.md#fields) [b](#here) [c](https://example.org)", &[]),
            ("README.md", "[a](docs) and [b](agent/src/)", &[]),
            ("README.md", "[a](docs/absent.md)\n[b](../outside.md)", &[1, 2]),
            ("docs/events.md", "[up](../README.md) [there](events.md \"title\")", &[]),
            ("docs/events.md", "`[a](absent)`\n```\n[a](absent)\n```\n[a](absent)", &[5]),
            ("a.rs", "// [a](absent)", &[]),
        ],
    );
}

#[test]
fn lints_are_not_allowed_away() {
    check(
        "expect-not-allow",
        &[
            ("a.rs", "#[allow(dead_code)]\n#![allow(x)]", &[1, 2]),
            ("a.rs", "#[expect(dead_code, reason = \"#[allow(x)]\")]", &[]),
        ],
    );
}

#[test]
fn code_is_told_from_comments_and_texts() {
    let text = "let a = \"x // y \\\" z\"; // c1 \"q\"\nlet b = r#\"raw \" // \"#; /* c2 /* in */ c3 \
                */ let c = '\"'; // c4\nfor r in b\"bytes\" {}";
    let source = Source::new("a.rs", text);
    for absent in ["x", "y", "z", "raw", "c1", "c2", "c3", "c4", "bytes"] {
        assert!(!source.code.contains(absent), "{absent} in {}", source.code);
    }
    for present in ["let a", "let b", "let c", "for r in"] {
        assert!(source.code.contains(present), "{present} not in {}", source.code);
    }
    for present in ["c1", "\"q\"", "c2", "c3", "c4"] {
        assert!(source.comments.contains(present), "{present} not in {}", source.comments);
    }
    assert!(!source.comments.contains("raw") && !source.comments.contains("let"));
    assert_eq!(source.code.lines().count(), text.lines().count());
}

#[test]
fn groups_of_imports_are_taken_apart() {
    let code = "use a::{b, c::{self, d as e}};\npub use f::g;\nlet because = 1;\n    use h;";
    let paths: Vec<_> =
        imports(code).into_iter().map(|(line, path)| format!("{line} {path}")).collect();
    assert_eq!(paths, ["1 a::b", "1 a::c::self", "1 a::c::d", "2 f::g", "4 h"]);
}

#[test]
fn rules_have_names_of_their_own() {
    let ids: std::collections::BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len());
}

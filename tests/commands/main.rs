//! Commands that take no privilege, by the built binary, on files as operators have them: what they
//! print, what they complain of, and how they end.

mod audit_log;
mod fetched;
mod openapi;
mod policy;
mod schema;
mod subject;

use std::ffi::OsStr;

use anyhow::Result;
use scopewatch_harness::{agent::command, child};

/// `sysexits.h`: input is wrong, is not there, or is a policy that cannot be used.
const BAD_DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const CONFIG: i32 = 78;

/// How a command ended, and what it wrote.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the agent with `arguments`, and `input` on its standard input.
fn run_on<A: AsRef<OsStr>>(arguments: &[A], input: &[u8]) -> Result<Said> {
    let output = child::output(&mut command(arguments)?, input)?;
    let err = String::from_utf8(output.stderr)?;
    // A crash is none of the ways in which a command may end.
    assert!(output.status.code().is_some() && !err.contains("panicked"), "{err}");
    Ok(Said { code: output.status.code(), out: String::from_utf8(output.stdout)?, err })
}

fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Said> {
    run_on(arguments, b"")
}

impl Said {
    /// It ended well and complained of nothing.
    #[track_caller]
    fn well(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// It ended with `code`, and standard error holds each of `words`.
    #[track_caller]
    fn badly(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in: {}", self.err);
        }
        self.out
    }
}

//! Counts of tests, from what the test runners report. Pure.
//!
//! In: nextest's list and its JUnit report, or the output of doc tests. Out: [`List`], [`Counts`].

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Ran well.
    pub passed: usize,
    /// Failed, timed out or did not start.
    pub failed: usize,
    /// Did not run.
    pub skipped: usize,
}

impl Counts {
    /// Both together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// Tests that ran.
    pub const fn total(self) -> usize {
        self.passed + self.failed
    }
}

/// Tests by whether a run would run them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// It would.
    pub selected: Vec<String>,
    /// It would, were they not marked `#[ignore]`.
    pub ignored: Vec<String>,
}

/// Reads `cargo nextest list --message-format json`.
///
/// # Errors
/// When it is not what nextest prints.
pub fn list(json: &[u8]) -> Result<List> {
    let json: Value = serde_json::from_slice(json).context("read nextest's list")?;
    let suites = json.get("rust-suites").and_then(Value::as_object);
    let mut list = List::default();
    for (binary, suite) in suites.context("nextest's list has no suites")? {
        let tests = suite.get("testcases").and_then(Value::as_object);
        // A binary that no filter selects is listed without its tests.
        for (test, case) in tests.into_iter().flatten() {
            let name = format!("{binary} {test}");
            let matched =
                |pointer, value| case.pointer(pointer).and_then(Value::as_str) == Some(value);
            if matched("/filter-match/status", "matches") {
                list.selected.push(name);
            } else if matched("/filter-match/reason", "ignored") {
                list.ignored.push(name);
            }
        }
    }
    Ok(list)
}

/// Reads the counts in the first element of a JUnit report.
///
/// # Errors
/// When it is not a report of test suites.
pub fn junit(xml: &str) -> Result<Counts> {
    let (_, from) = xml.split_once("<testsuites ").context("the test report has no suites")?;
    let (element, _) = from.split_once('>').context("the test report is cut off")?;
    let attribute = |name: &str| -> Result<usize> {
        let start = element.split_once(&format!(" {name}=\""));
        let value = start.and_then(|(_, rest)| rest.split_once('"'));
        let (value, _) = value.with_context(|| format!("the test report has no {name}"))?;
        value.parse().with_context(|| format!("the test report's {name} is {value:?}"))
    };
    let failed = attribute("failures")? + attribute("errors")?;
    let skipped = attribute("skipped")?;
    let passed = attribute("tests")?.saturating_sub(failed + skipped);
    Ok(Counts { passed, failed, skipped })
}

/// Adds up the lines `test result: …` that rustdoc's test runner prints.
pub fn doc_tests(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        for part in line.split(['.', ';']).map(str::trim) {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_report_is_counted() {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                   <testsuites name=\"nextest-run\" tests=\"12\" skipped=\"1\" failures=\"2\" \
                   errors=\"1\" uuid=\"e1\" time=\"0.1\">\n<testsuite name=\"p\" tests=\"2\"/>";
        assert_eq!(junit(xml).unwrap(), Counts { passed: 8, failed: 3, skipped: 1 });
        assert!(junit("").is_err());
        assert!(junit("<testsuites tests=\"1\" failures=\"0\"").is_err());
        assert!(junit("<testsuites name=\"n\" tests=\"many\">").is_err());
    }

    #[test]
    fn ignored_tests_are_told_from_those_of_other_binaries() {
        let json = br#"{"rust-suites": {
            "p": {"testcases": {
                "a": {"ignored": false, "filter-match": {"status": "matches"}},
                "b": {"ignored": true, "filter-match": {"status": "mismatch", "reason": "ignored"}},
                "c": {"filter-match": {"status": "mismatch", "reason": "expression"}}}},
            "q": {"status": "skipped", "testcases": {}}}}"#;
        let expected = List { selected: vec!["p a".to_owned()], ignored: vec!["p b".to_owned()] };
        assert_eq!(list(json).unwrap(), expected);
        assert!(list(b"{}").is_err());
    }

    #[test]
    fn doc_tests_are_added_up() {
        let text = "running 3 tests\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(doc_tests(text), Counts { passed: 3, failed: 2, skipped: 1 });
        assert_eq!(doc_tests("running 0 tests"), Counts::default());
    }
}

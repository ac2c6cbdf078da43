//! The table of what breaks naive tools names tests that exist.

use std::{fs, path::Path};

/// In backticks, a file and what stands in it: a test, or a case of one.
#[test]
fn every_row_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/capture-tests.md")).expect("the page is there");
    let mut checked = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let tests = cells.last().copied().unwrap_or_default();
        let words: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!words.is_empty() && words.len().is_multiple_of(2), "no test: {row}");
        for pair in words.chunks(2) {
            let [file, name] = pair else { panic!("a file without a name: {row}") };
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            let is_there =
                text.contains(&format!("fn {name}(")) || text.contains(&format!("\"{name}\""));
            assert!(is_there, "{file} has no {name}");
        }
        checked += 1;
    }
    assert!(checked > 30, "the table has {checked} rows");
}

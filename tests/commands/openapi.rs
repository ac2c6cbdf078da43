//! `policy import` on documents that others wrote.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use scopewatch_harness::oauth::node_dir;

use crate::{CONFIG, Said, run};

/// Documents of the package, by what becomes of them: version and format, used, refused.
const EXPECTED: [(&str, [usize; 2]); 6] = [
    ("2.0/json", [0, 7]),
    ("2.0/yaml", [0, 7]),
    ("3.0/json", [51, 0]),
    ("3.0/yaml", [40, 0]),
    ("3.1/json", [12, 0]),
    ("3.1/yaml", [12, 0]),
];

#[test]
fn published_documents_are_used_or_refused_at_a_place() -> Result<()> {
    let package = node_dir().join("node_modules/@readme/oas-examples");
    ensure!(package.is_dir(), "example documents are missing: run `cargo xtask setup`");
    let dir = tempfile::tempdir()?;
    let mut seen = BTreeMap::new();
    for (group, _) in EXPECTED {
        for document in files(&package.join(group))? {
            let [used, refused] = seen.entry(group).or_insert([0, 0]);
            let said = run(&["policy".as_ref(), "import".as_ref(), document.as_os_str()])?;
            if said.code == Some(0) {
                *used += 1;
                is_a_policy(&document, said, dir.path())?;
            } else {
                *refused += 1;
                is_located(&document, &said);
            }
        }
    }
    assert_eq!(seen, BTreeMap::from(EXPECTED));
    Ok(())
}

#[test]
fn json_that_is_no_such_document_is_refused_at_a_place() -> Result<()> {
    let package = node_dir().join("node_modules/@readme/oas-examples/package.json");
    ensure!(package.is_file(), "example documents are missing: run `cargo xtask setup`");
    is_located(&package, &run(&["policy".as_ref(), "import".as_ref(), package.as_os_str()])?);
    Ok(())
}

/// What was printed is a policy, says of each oddity where it is, and has a route for each method.
fn is_a_policy(document: &Path, said: Said, dir: &Path) -> Result<()> {
    let text = said.well();
    let name = document.display();
    for oddity in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        assert!(place(oddity, document).is_some(), "{name}: no place in: {oddity}");
    }
    let policy = dir.join("imported.yaml");
    fs::write(&policy, &text)?;
    let checked = run(&["policy".as_ref(), "check".as_ref(), policy.as_os_str()])?.well();
    let routes = text.matches("- match: ").count();
    assert!(checked.contains(&format!("1 services, {routes} routes")), "{name}: {checked}");
    Ok(())
}

#[track_caller]
fn is_located(document: &Path, said: &Said) {
    assert_eq!(said.code, Some(CONFIG), "{}: {}", document.display(), said.err);
    let place = said.err.strip_prefix("scopewatch: ").and_then(|it| place(it, document));
    assert!(place.is_some(), "no place in: {}", said.err);
    assert_eq!(said.out, "");
}

/// Line and column of a message `FILE:LINE:COLUMN: …`.
fn place(message: &str, document: &Path) -> Option<(u32, u32)> {
    let rest = message.strip_prefix(document.to_str()?)?.strip_prefix(':')?;
    let mut parts = rest.splitn(3, ':');
    let mut number = || parts.next()?.parse().ok().filter(|number| *number > 0);
    Some((number()?, number()?))
}

/// Files in `dir` and below.
fn files(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|it| it != "md") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

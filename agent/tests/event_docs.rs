//! The pages that are made from code are current.

use scopewatch::event::docs;

/// `UPDATE_DOCS=1 cargo test` writes the page anew.
#[test]
fn the_page_of_event_fields_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/events.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, docs::markdown()).expect("docs/ is writable");
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(page == docs::markdown(), "docs/events.md is not current: run with UPDATE_DOCS=1");
}

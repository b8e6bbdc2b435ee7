//! What `docs/known-faults.md` names is there.

use std::path::Path;

/// Whether a file has this extension.
fn is_a(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// The tests and cases that a page of `docs/` names: `[name](../path)`.
fn named(page: &str) -> Vec<(&str, &str)> {
    let links = page.split('[').filter_map(|link| link.split_once("](../"));
    let links = links.filter_map(|(name, rest)| Some((name, rest.split_once(')')?.0)));
    links.filter(|(_, path)| is_a(path, "rs") || is_a(path, "jsonl")).collect()
}

#[test]
fn every_fault_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/known-faults.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.contains("| test |"));
    let mut count = 0;
    for row in rows {
        let tests = named(row);
        assert!(!tests.is_empty(), "no test: {row}");
        for (name, path) in tests {
            let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
            let there = if is_a(path, "rs") {
                text.contains(&format!("fn {name}("))
            } else {
                text.contains(&format!("\"id\":\"{name}\""))
                    || text.contains(&format!("\"id\": \"{name}\""))
            };
            assert!(there, "{path} has no {name}");
        }
        count += 1;
    }
    assert!(count > 50, "{count} faults");
}

//! The tables in `tests/conformance` name a test for every requirement, and the test exists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of all tests in the sources.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for place in ["proto", "dataplane", "controlplane", "registry", "tests"] {
        collect(&root().join(place), &mut names);
    }
    names
}

fn collect(place: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_in(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The functions with an attribute `test`, whatever its path, and all of a `proptest!` block.
fn tests_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    let mut block_end = None;
    for line in text.lines() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        if code.starts_with("proptest! {") {
            block_end = Some(format!("{indent}}}"));
        } else if block_end.as_deref() == Some(line) {
            block_end = None;
        } else if let Some(attribute) = code.strip_prefix("#[") {
            let path = attribute.split(['(', ']', ' ']).next().unwrap();
            is_test |= path.rsplit("::").next() == Some("test");
        } else if let Some(head) = code.trim_start_matches("async ").strip_prefix("fn ") {
            let name = head.split(['(', '<']).next().unwrap();
            let counts = is_test || block_end.is_some();
            names.extend(counts.then(|| name.to_owned()));
            is_test = false;
        }
    }
    names
}

/// What is wrong with a table.
fn faults(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let &[section, _, shown] = cells.as_slice() else {
            faults.push(format!("not three cells: {line}"));
            continue;
        };
        *rows.entry(section).or_default() += 1;
        if EXCUSES.iter().any(|excuse| shown.starts_with(excuse)) {
            continue;
        }
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let missing = names.iter().filter(|name| !tests.contains(**name));
        faults.extend(missing.map(|name| format!("§{section}: there is no test {name}")));
        if names.is_empty() {
            faults.push(format!("no test: {line}"));
        }
    }
    let keywords = text.lines().find_map(|line| line.strip_prefix("Keywords: "));
    for keyword in keywords.unwrap_or("none").split(", ") {
        let (section, count) = keyword.split_once(' ').unwrap_or((keyword, "1"));
        let (found, wanted) = (rows.get(section).copied().unwrap_or(0), count.parse().unwrap());
        if found < wanted {
            faults.push(format!("§{section}: {found} rows for {wanted} keywords"));
        }
    }
    faults
}

#[test]
fn every_requirement_has_its_test() {
    let tests = tests();
    let mut tables = 0;
    for entry in fs::read_dir(root().join("tests/conformance")).unwrap() {
        let path = entry.unwrap().path();
        let found = faults(&fs::read_to_string(&path).unwrap(), &tests);
        assert!(found.is_empty(), "{}:\n{}", path.display(), found.join("\n"));
        tables += 1;
    }
    assert!(tables >= 3, "{tables} tables");
}

#[test]
fn a_fault_is_found() {
    let tests = BTreeSet::from(["a_test".to_owned()]);
    let head = "Keywords: 1 2\n\n| section | requirement | shown by |\n|---|---|---|\n";
    let table = |rows: &str| faults(&format!("{head}{rows}"), &tests);
    assert_eq!(table("| 1 | a | `a_test` |\n| 1 | b | not applicable: so |\n"), [""; 0]);
    assert_eq!(table("| 1 | a | `a_test` |\n"), ["§1: 1 rows for 2 keywords"]);
    assert_eq!(
        table("| 1 | a | `other` |\n| 1 | b | `a_test` |\n"),
        ["§1: there is no test other"]
    );
    assert_eq!(table("| 1 | a | - |\n| 1 | b | `a_test` |\n"), ["no test: | 1 | a | - |"]);
}

#[test]
fn helpers_are_no_tests() {
    let text = "#[cfg(test)]\nmod tests {\n    fn helper() {}\n    #[test]\n    #[ignore]\n    fn one() {}\n\
                \x20   fn other() {}\n    #[tokio::test(flavor = \"current_thread\")]\n    async fn two() {}\n\
                \x20   proptest! {\n        fn three(x in 0..1) {}\n    }\n    fn last<T>() {}\n}\n";
    assert_eq!(tests_in(text), ["one", "two", "three"]);
}

/// What may stand in place of a test.
const EXCUSES: [&str; 3] = ["not applicable: ", "deviation: see README", "see `rfc"];

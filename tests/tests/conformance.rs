//! The tables in `tests/conformance` name a test for every requirement, and the test exists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of all functions in the sources.
fn functions() -> BTreeSet<String> {
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
            let text = fs::read_to_string(&path).unwrap();
            let heads = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            names.extend(heads.filter_map(|head| Some(head.split_once('(')?.0.to_owned())));
        }
    }
}

/// What is wrong with a table.
fn faults(text: &str, functions: &BTreeSet<String>) -> Vec<String> {
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
        let missing = names.iter().filter(|name| !functions.contains(**name));
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
    let functions = functions();
    let mut tables = 0;
    for entry in fs::read_dir(root().join("tests/conformance")).unwrap() {
        let path = entry.unwrap().path();
        let found = faults(&fs::read_to_string(&path).unwrap(), &functions);
        assert!(found.is_empty(), "{}:\n{}", path.display(), found.join("\n"));
        tables += 1;
    }
    assert!(tables >= 3, "{tables} tables");
}

#[test]
fn a_fault_is_found() {
    let functions = BTreeSet::from(["a_test".to_owned()]);
    let head = "Keywords: 1 2\n\n| section | requirement | shown by |\n|---|---|---|\n";
    let table = |rows: &str| faults(&format!("{head}{rows}"), &functions);
    assert_eq!(table("| 1 | a | `a_test` |\n| 1 | b | not applicable: so |\n"), [""; 0]);
    assert_eq!(table("| 1 | a | `a_test` |\n"), ["§1: 1 rows for 2 keywords"]);
    assert_eq!(
        table("| 1 | a | `other` |\n| 1 | b | `a_test` |\n"),
        ["§1: there is no test other"]
    );
    assert_eq!(table("| 1 | a | - |\n| 1 | b | `a_test` |\n"), ["no test: | 1 | a | - |"]);
}

/// What may stand in place of a test.
const EXCUSES: [&str; 3] = ["not applicable: ", "deviation: see README", "see `rfc"];

//! The manager could move to a package of its own with no source change.

use std::path::{Path, PathBuf};

const ROOTS: [&str; 6] = ["sixwire_proto", "std", "serde", "thiserror", "super", "self"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // Tests may use the test crates.
            if path.file_name().is_none_or(|name| name != "tests") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The first segments of all `use` declarations, and of all paths written out as `a::b`.
fn roots(text: &str, modules: &[String]) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut roots = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = &code[..at];
        let start = before
            .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
            .map_or(0, |i| i + 1);
        let path = &before[start..];
        let first = path.split("::").next().unwrap_or_default();
        let is_lower = first.starts_with(|c: char| c.is_ascii_lowercase());
        let is_turbofish = code[at..].starts_with("::<");
        if is_lower && !is_turbofish && !modules.iter().any(|module| module == first) {
            roots.push(first.to_owned());
        }
    }
    for line in code.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("use ").or(line.strip_prefix("extern crate ")) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            roots.push(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    roots.dedup();
    roots
}

#[test]
fn only_the_protocol_crate_and_std_are_imported() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tunnel");
    let mut files = Vec::new();
    sources(&folder, &mut files);
    assert!(files.len() > 10, "{files:?}");
    let modules: Vec<String> = files
        .iter()
        .filter_map(|file| file.file_stem().and_then(|stem| stem.to_str()))
        .map(str::to_owned)
        .collect();
    let primitive = ["u64", "u128", "u32", "u16", "usize", "f64"];
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        for root in roots(&text, &modules) {
            let known = ROOTS.contains(&root.as_str())
                || modules.contains(&root)
                || primitive.contains(&root.as_str())
                // Modules of std imported by name, and names of lints.
                || ["fmt", "mem", "clippy"].contains(&root.as_str());
            assert!(known, "{} uses `{root}`", file.display());
        }
    }
}

#[test]
fn the_check_finds_what_it_forbids() {
    let modules = vec!["peers".to_owned()];
    assert_eq!(roots("use tokio::net;\n", &modules), ["tokio"]);
    assert_eq!(roots("let x = crate::babel::Babel;", &modules), ["crate"]);
    assert_eq!(roots("use peers::Peers; // tokio::x", &modules), ["peers"]);
}

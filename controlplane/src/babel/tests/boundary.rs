//! The engine could move to a package of its own: it uses nothing of this crate.

use std::path::{Path, PathBuf};

/// What the engine may name at the start of a path.
const ALLOWED: [&str; 9] =
    ["sixwire_proto", "std", "core", "serde", "thiserror", "super", "self", "proptest", "Self"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// First segments of `use` declarations, of `pub use`, and of paths that leave the engine by name.
fn forbidden(text: &str) -> Vec<String> {
    let modules: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let import = line.strip_prefix("pub use ").or_else(|| line.strip_prefix("use "));
        if let Some(path) = import {
            let first = path.split([':', ';', ' ']).next().unwrap_or_default();
            if !ALLOWED.contains(&first) && !modules.contains(&first) {
                found.push(line.to_owned());
            }
        }
        for banned in ["crate::", "sixwire_controlplane", "sixwire_dataplane", "tokio", "nix::"] {
            if line.contains(banned) && !line.contains("(crate)") && !line.contains('"') {
                found.push(line.to_owned());
            }
        }
    }
    found
}

#[test]
fn only_the_protocol_crate_and_the_standard_library_are_imported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/babel");
    let files = sources(&root);
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(forbidden(&text), Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn a_foreign_import_is_found() {
    for line in [
        "use crate::daemon::Daemon;",
        "    use tokio::time;",
        "pub use sixwire_dataplane::model;",
        "let x = crate::tunnel::new();",
    ] {
        assert!(!forbidden(line).is_empty(), "{line}");
    }
    assert!(forbidden("mod route;\nuse route::Table;\nuse super::Babel;").is_empty());
}

//! Where the programs under test lie.

use std::path::PathBuf;

/// The program `name`: in `SIXWIRE_BIN_DIR`, else beside the running test or binary.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    directory().join(name)
}

/// The build directory (`target`), for logs and results.
#[must_use]
pub fn target_directory() -> PathBuf {
    let directory = directory();
    directory.parent().map_or_else(|| directory.clone(), PathBuf::from)
}

fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("SIXWIRE_BIN_DIR") {
        return directory.into();
    }
    let running = std::env::current_exe().expect("Linux knows the running program");
    let directory = running.parent().expect("a program lies in a directory");
    // Test executables lie one deeper than binaries.
    if directory.ends_with("deps") {
        directory.parent().map_or_else(PathBuf::new, PathBuf::from)
    } else {
        directory.to_owned()
    }
}

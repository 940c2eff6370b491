//! What users write: flags, and configuration files.

use std::cell::RefCell;
use std::str::FromStr;

use sixwire_controlplane::daemon::config::{
    self, BabelInterface, InterfaceName, PortRange, Table, Underlay, Uplink, UplinkName,
};
use sixwire_controlplane::daemon::standalone::{
    self, Announced, FilterRule, Interface, Protocol, Redistribute, Source,
};
use tempfile::NamedTempFile;

/// The value of a flag. Refused or not: it must come back.
pub(super) fn rules(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let _ = FilterRule::from_str(text);
    let _ = Redistribute::from_str(text);
    let _ = (Interface::from_str(text), Protocol::from_str(text), Source::from_str(text));
    let _ = (Uplink::from_str(text), UplinkName::from_str(text), PortRange::from_str(text));
    let _ = (BabelInterface::from_str(text), InterfaceName::from_str(text));
    let _ = (Underlay::from_str(text), Table::from_str(text));
    if let Ok(announced) = Announced::from_str(text) {
        let written = announced.0.to_string();
        assert_eq!(Announced::from_str(&written), Ok(announced), "{written}");
    }
}

/// A configuration file, of a node and of a routing engine alone. An error names a line that there is.
pub(super) fn config(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    FILE.with_borrow(|file| {
        std::fs::write(file.path(), text).expect("the folder for temporary files is there");
        let lines = text.bytes().filter(|octet| *octet == b'\n').count() + 1;
        let node = config::Config::load(Some(file.path()), config::Keys::default());
        node.err().iter().for_each(|error| names_a_line(error, lines));
        // Key files are read at once, and any file could be named, by escape sequences too.
        if !text.contains("file") && !text.contains('\\') {
            let alone = standalone::Config::load(Some(file.path()), standalone::Keys::default());
            alone.err().iter().for_each(|error| names_a_line(error, lines));
        }
    });
}

fn names_a_line(error: &config::ConfigError, lines: usize) {
    assert!(!error.to_string().is_empty());
    if let config::ConfigError::InFile { line, .. } = error {
        assert!((1..=lines).contains(line), "line {line} of {lines}: {error}");
    }
}

thread_local! {
    static FILE: RefCell<NamedTempFile> =
        RefCell::new(NamedTempFile::new().expect("a temporary file can be made"));
}

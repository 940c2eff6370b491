//! The file as text, so that an error can point into it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Rule, explain};

/// A configuration file that was read.
pub(in crate::daemon) struct Source {
    file: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file that must be there.
    pub(in crate::daemon) fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|reason| ConfigError::Unreadable { file: file.to_owned(), reason })?;
        Ok(Self { file: file.to_owned(), text })
    }

    /// Reads a file that counts as empty if it is missing.
    pub(super) fn read_if_there(file: &Path) -> Result<Self, ConfigError> {
        match Self::read(file) {
            Err(ConfigError::Unreadable { file, reason })
                if reason.kind() == ErrorKind::NotFound =>
            {
                Ok(Self { file, text: String::new() })
            }
            other => other,
        }
    }

    /// The keys it sets.
    pub(in crate::daemon) fn keys<K: DeserializeOwned>(&self) -> Result<K, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let path = self.table().map(|table| path_at(table.get_ref(), offset));
            let key = path.unwrap_or_default().join(".");
            let problem = explain(error.message());
            let problem = match key.as_str() {
                "" => format!("{problem}: {}", self.line(offset)),
                key => format!("{key}: {problem}"),
            };
            self.at(offset, problem)
        })
    }

    /// The error for a rule that the file alone breaks, with the line of the rule's key.
    pub(in crate::daemon) fn locate(&self, rule: &Rule) -> ConfigError {
        let offset = self.table().and_then(|table| offset_of(table.get_ref(), rule.key));
        offset.map_or_else(|| rule.clone().into(), |offset| self.at(offset, rule.to_string()))
    }

    fn table(&self) -> Option<Spanned<DeTable<'_>>> {
        DeTable::parse(&self.text).ok()
    }

    /// The line around `offset`, for errors that no key can be named for. What is said to be a value may
    /// be a secret.
    fn line(&self, offset: usize) -> &str {
        let start = self.text[..offset].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[start..].lines().next().unwrap_or_default().trim();
        if line.starts_with("value") { "value" } else { line }
    }

    fn at(&self, offset: usize, problem: String) -> ConfigError {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigError::InFile { file: self.file.clone(), line, problem }
    }
}

/// The keys that lead to the octet at `offset`.
fn path_at(table: &DeTable<'_>, offset: usize) -> Vec<String> {
    for (key, value) in table {
        let below = path_in(value.get_ref(), offset);
        let inside = |span: std::ops::Range<usize>| span.contains(&offset);
        if !below.is_empty() || inside(key.span()) || inside(value.span()) {
            return std::iter::once(key.get_ref().to_string()).chain(below).collect();
        }
    }
    Vec::new()
}

fn path_in(value: &DeValue<'_>, offset: usize) -> Vec<String> {
    match value {
        DeValue::Table(table) => path_at(table, offset),
        DeValue::Array(array) => array
            .iter()
            .map(|item| path_in(item.get_ref(), offset))
            .find(|path| !path.is_empty())
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Where a key with this full name stands.
fn offset_of(table: &DeTable<'_>, name: &str) -> Option<usize> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(a, b)| (a, Some(b)));
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    match (rest, value.get_ref()) {
        (Some(rest), DeValue::Table(below)) => offset_of(below, rest),
        _ => Some(key.span().start),
    }
}

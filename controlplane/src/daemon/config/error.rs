//! Why a configuration is refused, and what would be accepted.

use std::path::PathBuf;

/// A configuration that cannot be used. It changes nothing: the program stops before it starts.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file says something that is not allowed.
    #[error("{}, line {line}: {problem}", file.display())]
    InFile {
        /// Which file.
        file: PathBuf,
        /// Counted from one.
        line: usize,
        /// The key, and what is wrong with it.
        problem: String,
    },
    /// Flags and variables, together with the file, break a rule.
    #[error("{0}")]
    Rule(Rule),
}

/// A rule between keys that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct Rule {
    /// Full name, with dots.
    pub(super) key: &'static str,
    problem: String,
}

impl Rule {
    pub(in crate::daemon) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { key, problem: problem.into() }
    }
}

impl From<Rule> for ConfigError {
    fn from(rule: Rule) -> Self {
        Self::Rule(rule)
    }
}

/// serde's message in our words: which names are allowed, and which one was probably meant.
pub(super) fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let (true, Some(written)) = (unknown, quoted.next()) else {
        return OUR_WORDS
            .iter()
            .fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
    };
    let allowed: Vec<&str> = quoted.collect();
    let what = if message.starts_with("unknown field") { "key" } else { "value" };
    let hint = nearest(written, &allowed)
        .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    format!("no such {what} {written:?}{hint} (allowed: {})", allowed.join(", "))
}

/// The candidate the fewest edits away, if that is no more than half of what was written. A
/// different first letter weighs more: people seldom get that one wrong.
fn nearest<'a>(written: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let first_differs = |name: &str| usize::from(!written.starts_with(&name[..1]));
    let weight = |name: &str| edits(written, name) + 2 * first_differs(name);
    let best = candidates.iter().map(|name| (weight(name), *name)).min()?;
    (best.0 * 2 <= written.len()).then_some(best.1)
}

/// Levenshtein distance, case ignored.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.to_ascii_lowercase().into_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_ascii_lowercase().bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let swap = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = swap.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// What serde expects, and how a file says it.
const OUR_WORDS: [(&str, &str); 5] = [
    ("expected i64", "expected a number"),
    ("expected a string", "expected text in quotes"),
    ("expected path string", "expected a path in quotes"),
    ("expected struct Uplink", "expected a table, [[uplink]], with a name and a table in it"),
    ("expected struct BabelInterface", "expected a table, [[babel.interface]], with a name in it"),
];

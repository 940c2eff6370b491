//! What goes to the terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Writes to standard output. A reader that has seen enough is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Writes a report for programs.
pub(super) fn print_json<T: Serialize>(report: &T) -> io::Result<()> {
    print(&(serde_json::to_string(report)? + "\n"))
}

/// Writes an error: one line, with its causes.
pub(super) fn complain(error: &anyhow::Error) {
    eprintln!("sixwire: {error:#}");
}

/// Columns of a table.
#[derive(Clone, Copy)]
pub(super) enum Column {
    /// Text, aligned left.
    Text(&'static str),
    /// Numbers, aligned right.
    Number(&'static str),
}

/// Rows under their headings, two spaces between columns, no lines.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.iter().map(|column| match column {
        Column::Text(heading) | Column::Number(heading) => *heading,
    }));
    table.add_rows(rows);
    for (shape, column) in table.column_iter_mut().zip(columns) {
        shape.set_padding((0, 2));
        if let Column::Number(_) = column {
            shape.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// What is not there.
pub(super) fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Text in a terminal's colour.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Coloured,
    Plain,
}

impl Paint {
    /// Colours on a terminal, unless the user wants none (`NO_COLOR`).
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !unwanted { Self::Coloured } else { Self::Plain }
    }

    /// The text in the colour with this number (ECMA-48 §8.3.117, SGR).
    pub(super) fn paint(self, text: &str, colour: u8) -> String {
        match self {
            Self::Coloured => format!("\x1b[{colour}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

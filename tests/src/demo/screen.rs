//! How the demonstration looks on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::report::{Check, NodeRow, Report};
use crate::lab::binary;
use crate::network::Network;

/// For whom the demonstration prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prints as it goes.
    People,
    /// Prints one JSON document at the end.
    Json,
}

/// Where the demonstration prints.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    format: Format,
    ink: Ink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ink {
    Colour,
    Plain,
}

impl Screen {
    /// Colours only on a terminal, and not where `NO_COLOR` is set.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ink = if stdout().is_terminal() && !plain { Ink::Colour } else { Ink::Plain };
        Self { format, ink }
    }

    pub(super) fn title(&self, nodes: usize) {
        self.line(
            self.paint(BOLD, &format!("sixwire: a network of {nodes} nodes on this machine")),
        );
        self.line("a registry and its nodes in network namespaces; IPv4 below, IPv6 between them");
    }

    /// What is about to happen.
    pub(super) fn act(&self, what: &str) {
        self.line("");
        self.line(format!("{} {}", self.paint(CYAN, "▸"), self.paint(BOLD, what)));
    }

    /// A remark below an act.
    pub(super) fn note(&self, text: impl Display) {
        self.line(self.paint(DIM, &format!("  {text}")));
    }

    /// A claim and whether it held.
    pub(super) fn check(&self, check: &Check) {
        let mark = if check.held { self.paint(GREEN, "✔") } else { self.paint(RED, "✘") };
        self.line(format!("  {mark} {}: {}", check.claim, check.detail));
    }

    pub(super) fn nodes(&self, nodes: &[NodeRow]) {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "node",
            "underlay",
            "address",
            "WireGuard",
            "dialled",
            "served",
            "routes",
            "MiB",
        ]);
        for node in nodes {
            table.add_row([
                node.name.clone(),
                node.underlay.clone(),
                node.address.clone(),
                node.wireguard.clone(),
                node.dialled.to_string(),
                node.served.to_string(),
                node.routes.to_string(),
                format!("{:.1}", node.memory_mib),
            ]);
        }
        for column in table.column_iter_mut().skip(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.table(&table);
    }

    /// Round-trip times of all pairs; of many nodes only the extremes.
    pub(super) fn round_trips(&self, names: &[NodeRow], times: &[Vec<Option<Duration>>]) {
        if names.len() > WIDEST {
            let mut all: Vec<_> = times.iter().flatten().flatten().collect();
            all.sort_unstable();
            if let (Some(least), Some(median), Some(most)) =
                (all.first(), all.get(all.len() / 2), all.last())
            {
                let text = [least, median, most].map(|time| milliseconds(**time));
                self.note(format!(
                    "round trips in ms: least {}, median {}, most {}",
                    text[0], text[1], text[2]
                ));
            }
            return;
        }
        let mut table = Table::new();
        let corner = std::iter::once("ms".to_owned());
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_header(corner.chain(names.iter().map(|node| node.name.clone())));
        for (node, row) in names.iter().zip(times) {
            let cell = |time: &Option<Duration>| time.map_or_else(|| "·".to_owned(), milliseconds);
            table.add_row(std::iter::once(node.name.clone()).chain(row.iter().map(cell)));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.table(&table);
    }

    pub(super) fn verdict(&self, report: &Report, logs: &Path) {
        self.line("");
        let failed: Vec<_> = report.checks.iter().filter(|check| !check.held).collect();
        if failed.is_empty() {
            let text = format!("all {} checks held", report.checks.len());
            self.line(self.paint(GREEN, &text));
        }
        for check in failed {
            self.line(self.paint(RED, &format!("did not hold: {}", check.claim)));
        }
        self.note(format!("logs: {}", logs.display()));
        if self.format == Format::Json {
            println!("{}", serde_json::to_string_pretty(report).expect("a report is plain data"));
        }
    }

    pub(super) fn kept(&self, network: &Network) {
        let sixwire = binary("sixwire");
        let Some(node) = network.nodes.first() else { return };
        self.act("The network runs on");
        self.line(format!(
            "  {} status --run-dir {}",
            sixwire.display(),
            node.run_directory().display()
        ));
        self.line(format!("  ip netns exec {} ip -6 route", node.host.namespace.name()));
        if let Some(address) = network.addresses.last() {
            self.line(format!("  ip netns exec {} ping {address}", node.host.namespace.name()));
        }
        self.line(format!("  {} wg show", node.entry()));
        self.line("  scripts/demo --clean        removes it");
    }

    fn table(&self, table: &Table) {
        for line in table.lines() {
            self.line(format!("  {line}"));
        }
    }

    fn line(&self, text: impl Display) {
        if self.format == Format::People {
            println!("{text}");
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.ink {
            Ink::Colour => format!("\x1b[{colour}m{text}\x1b[0m"),
            Ink::Plain => text.to_owned(),
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";
/// Columns of times that fit a terminal of 100.
const WIDEST: usize = 12;

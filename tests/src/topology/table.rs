//! What a router's kernel does with packets.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::{Namespace, run};

/// The routes of a router that lead to neighbours, of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(BTreeMap<String, Hop>);

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The number of the neighbour.
    pub peer: usize,
    /// Its address, with `inet6 ` before it for IPv4 by IPv6.
    pub gateway: String,
}

impl Table {
    /// Reads it from the kernel.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn read(namespace: &Namespace) -> Result<Self> {
        let mut routes = BTreeMap::new();
        for family in ["-6", "-4"] {
            let mut command = Command::new("ip");
            let listed = run(command.args(["-n", namespace.name(), family, "route", "show"]));
            routes.extend(listed.context("listing routes")?.lines().filter_map(route));
        }
        Ok(Self(routes))
    }

    /// Where a destination's route leads, written as `ip` does: `fd11:1::/64`, `default from fd11::/32`.
    #[must_use]
    pub fn hop(&self, destination: &str) -> Option<&Hop> {
        self.0.get(destination)
    }
}

/// Reads a line of `ip route`; `None` for a route that leads to no neighbour.
fn route(line: &str) -> Option<(String, Hop)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let behind = |word: &str| {
        let position = words.iter().position(|one| *one == word)?;
        words.get(position + 1).copied()
    };
    let destination = match behind("from") {
        Some(source) => format!("{} from {source}", words.first()?),
        None => (*words.first()?).to_owned(),
    };
    let gateway = match behind("via")? {
        "inet6" => format!("inet6 {}", behind("inet6")?),
        gateway => gateway.to_owned(),
    };
    let peer = behind("dev")?.strip_prefix('e')?.parse().ok()?;
    Some((destination, Hop { peer, gateway }))
}

/// Follows a packet from router to router.
pub(super) fn arrives(
    tables: &[Table],
    destination: &str,
    from: usize,
    to: usize,
) -> Result<(), String> {
    let mut way = vec![from];
    let mut at = from;
    while at != to {
        let Some(hop) = tables[at].hop(destination) else {
            return Err(format!("{destination} has no route on {at}, by {way:?}"));
        };
        at = hop.peer;
        way.push(at);
        if way.len() > tables.len() {
            return Err(format!("{destination} goes in a circle: {way:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ip_are_read() {
        for (line, destination, peer, gateway) in [
            (
                "fd11:1::/64 via fe80::1 dev e3 proto babel metric 1 pref medium",
                "fd11:1::/64",
                3,
                "fe80::1",
            ),
            (
                "default from fd11::/32 via fe80::1 dev e0 proto 42",
                "default from fd11::/32",
                0,
                "fe80::1",
            ),
            (
                "10.11.1.0/24 via inet6 fe80::2 dev e2 proto babel onlink",
                "10.11.1.0/24",
                2,
                "inet6 fe80::2",
            ),
            ("10.11.1.0/24 via 172.16.0.1 dev e1 proto bird", "10.11.1.0/24", 1, "172.16.0.1"),
        ] {
            let hop = Hop { peer, gateway: gateway.to_owned() };
            assert_eq!(route(line), Some((destination.to_owned(), hop)));
        }
        for line in ["fe80::/64 dev e1 proto kernel", "unreachable fd11:1::/64 dev lo metric 1", ""]
        {
            assert_eq!(route(line), None, "{line}");
        }
    }
}

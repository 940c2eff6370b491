//! Who is wired to whom.

use std::collections::BTreeSet;
use std::fmt;

use sixwire_proto::seed::Seed;

/// A connected graph.
#[derive(Clone, Debug)]
pub struct Topology {
    name: String,
    pub(super) nodes: usize,
    /// The ends of each wire.
    pub(super) wires: Vec<Vec<usize>>,
}

impl Topology {
    /// One behind the other.
    #[must_use]
    pub fn line(nodes: usize) -> Self {
        let wires = (1..nodes).map(|node| vec![node - 1, node]).collect();
        Self { name: format!("line of {nodes}"), nodes, wires }
    }

    /// A line whose ends meet.
    #[must_use]
    pub fn ring(nodes: usize) -> Self {
        let mut ring = Self::line(nodes);
        ring.wires.push(vec![nodes - 1, 0]);
        Self { name: format!("ring of {nodes}"), ..ring }
    }

    /// A square.
    #[must_use]
    pub fn grid(side: usize) -> Self {
        let nodes = side * side;
        let mut wires = Vec::new();
        for node in 0..nodes {
            if node % side + 1 < side {
                wires.push(vec![node, node + 1]);
            }
            if node + side < nodes {
                wires.push(vec![node, node + side]);
            }
        }
        Self { name: format!("grid of {side} by {side}"), nodes, wires }
    }

    /// All around one.
    #[must_use]
    pub fn star(nodes: usize) -> Self {
        let wires = (1..nodes).map(|node| vec![0, node]).collect();
        Self { name: format!("star of {nodes}"), nodes, wires }
    }

    /// All on one LAN.
    #[must_use]
    pub fn lan(nodes: usize) -> Self {
        Self { name: format!("LAN of {nodes}"), nodes, wires: vec![(0..nodes).collect()] }
    }

    /// A random connected graph in which a node has about `degree` neighbours; fixed by its seed.
    #[must_use]
    pub fn mesh(nodes: usize, degree: usize, seed: u64) -> Self {
        let mut pick = Seed::new(seed ^ 0x6d65_7368);
        let mut pairs: BTreeSet<_> = (1..nodes).map(|node| (pick.below(node), node)).collect();
        let wanted = (nodes * degree / 2).min(nodes * (nodes - 1) / 2);
        while pairs.len() < wanted {
            let (a, b) = (pick.below(nodes), pick.below(nodes));
            if a != b {
                pairs.insert((a.min(b), a.max(b)));
            }
        }
        let wires = pairs.into_iter().map(|(a, b)| vec![a, b]).collect();
        Self { name: format!("mesh of {nodes}, degree {degree}"), nodes, wires }
    }

    /// How many wires there are.
    #[must_use]
    pub fn wires(&self) -> usize {
        self.wires.len()
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

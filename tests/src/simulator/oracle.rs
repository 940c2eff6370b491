//! Knows where packets go, and where they should.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sixwire_controlplane::babel::SWITCH_MARGIN;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::Metric;
use sixwire_proto::time::Instant;

use super::node::{Node, key, number};
use super::wire::{Carrier, Wire};

/// All kernels' routes. Every change is checked when it is made: only a loop through the changed node can be
/// new, so one walk from there finds it.
#[derive(Debug)]
pub(super) struct Oracle {
    nodes: usize,
    /// By prefix, then by node.
    hops: Vec<Option<Hop>>,
    /// By prefix: until then a loop is excused.
    clouded: Vec<Instant>,
    /// When any route changed last.
    pub(super) last_change: Instant,
    /// When a node last got a route that it had been without.
    pub(super) last_gain: Instant,
}

/// Where a node sends packets for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) node: usize,
    pub(super) link: LinkId,
    pub(super) metric: Metric,
}

/// What a change did.
#[derive(Debug)]
pub(super) enum Verdict {
    Fine,
    /// A loop that is excused for now.
    Passing,
    Loop(String),
}

impl Oracle {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            nodes,
            hops: vec![None; nodes * nodes],
            clouded: vec![Instant(0); nodes],
            last_change: Instant(0),
            last_gain: Instant(0),
        }
    }

    fn hop(&self, prefix: usize, node: usize) -> Option<Hop> {
        self.hops[prefix * self.nodes + node]
    }

    pub(super) fn set(
        &mut self,
        now: Instant,
        prefix: usize,
        node: usize,
        hop: Option<Hop>,
    ) -> Verdict {
        let before = std::mem::replace(&mut self.hops[prefix * self.nodes + node], hop);
        self.last_change = now;
        if before.is_none() && hop.is_some() {
            self.last_gain = now;
        }
        match self.circle(prefix, node) {
            None => Verdict::Fine,
            Some(_) if now < self.clouded[prefix] => Verdict::Passing,
            Some(circle) => Verdict::Loop(format!("{} goes in a circle: {circle:?}", key(prefix))),
        }
    }

    /// A node that lost power forwards nothing.
    pub(super) fn forget(&mut self, node: usize) {
        for prefix in 0..self.nodes {
            self.hops[prefix * self.nodes + node] = None;
        }
    }

    /// Excuses loops of a prefix until then.
    pub(super) fn cloud(&mut self, prefix: usize, until: Instant) {
        self.clouded[prefix] = self.clouded[prefix].max(until);
    }

    /// Whether the excuse has ended by now.
    pub(super) fn clear_up(&self, prefix: usize, now: Instant) -> bool {
        self.clouded[prefix] <= now
    }

    /// A loop of the prefix, wherever.
    pub(super) fn any_loop(&self, prefix: usize) -> Option<String> {
        let circle = (0..self.nodes).find_map(|node| self.circle(prefix, node))?;
        Some(format!("{} still goes in a circle: {circle:?}", key(prefix)))
    }

    /// The way from a node, if it leads back there.
    fn circle(&self, prefix: usize, start: usize) -> Option<Vec<usize>> {
        let mut at = start;
        for _ in 0..=self.nodes {
            at = self.hop(prefix, at)?.node;
            if at == start {
                let mut circle = vec![start];
                while let Some(hop) = self.hop(prefix, at).filter(|hop| hop.node != start) {
                    circle.push(hop.node);
                    at = hop.node;
                }
                return Some(circle);
            }
        }
        None
    }

    /// Whether every node has the right route to every prefix.
    pub(super) fn right(&self, graph: &Graph, owners: &[Option<usize>]) -> Result<(), String> {
        for (prefix, owner) in owners.iter().enumerate() {
            let shortest = graph.shortest(*owner);
            for (node, shortest) in shortest.iter().enumerate() {
                if Some(node) != *owner && graph.runs(node) {
                    self.right_route(graph, (prefix, node), *shortest)
                        .map_err(|what| format!("node {node} to {}: {what}", key(prefix)))?;
                }
            }
        }
        Ok(())
    }

    fn right_route(
        &self,
        graph: &Graph,
        (prefix, node): (usize, usize),
        shortest: Option<u32>,
    ) -> Result<(), String> {
        let (hop, shortest) = match (self.hop(prefix, node), shortest) {
            (None, None) => return Ok(()),
            (Some(hop), None) => return Err(format!("{hop:?}, but there is no way")),
            (None, Some(shortest)) => return Err(format!("no route, but a way of {shortest}")),
            (Some(hop), Some(shortest)) => (hop, shortest),
        };
        let cost = graph.cost(node, hop).ok_or_else(|| format!("{hop:?} is no neighbour"))?;
        let rest = self.hop(prefix, hop.node).map_or(0, |next| u32::from(next.metric.0));
        let metric = u32::from(hop.metric.0);
        if metric != rest + cost {
            return Err(format!("{hop:?}, but its way costs {rest} + {cost}"));
        }
        // Each node on the way may keep to a route that is worse by less than the margin.
        let margin = u32::from(SWITCH_MARGIN.0) * self.length(prefix, node);
        if metric < shortest || metric > shortest + margin {
            return Err(format!("{hop:?}, but the shortest way is {shortest}"));
        }
        Ok(())
    }

    fn length(&self, prefix: usize, node: usize) -> u32 {
        let (mut at, mut length) = (node, 0);
        while let Some(hop) = self.hop(prefix, at) {
            at = hop.node;
            length += 1;
        }
        length
    }
}

/// The network as it is: whole wires between running nodes, at the costs the nodes see.
#[derive(Debug)]
pub(super) struct Graph {
    running: Vec<bool>,
    /// By node: neighbour, link, cost of sending to it.
    edges: Vec<Vec<(usize, LinkId, u32)>>,
    /// The other way about.
    backward: Vec<Vec<(usize, u32)>>,
}

impl Graph {
    /// The graph, or which node misses a neighbour.
    pub(super) fn of(nodes: &[Node], wires: &[Wire]) -> Result<Self, String> {
        let running: Vec<_> = nodes.iter().map(|node| node.babel.is_some()).collect();
        let mut edges = vec![Vec::new(); nodes.len()];
        let mut backward = vec![Vec::new(); nodes.len()];
        for (from, babel) in
            nodes.iter().enumerate().filter_map(|(from, node)| Some((from, node.babel.as_ref()?)))
        {
            let seen = babel.neighbours().filter(|one| one.cost.is_finite());
            for one in seen {
                let (to, wire) = (number(one.address), &wires[one.link.0 as usize]);
                if wire.carrier != Carrier::Up || !running[to] {
                    return Err(format!("node {from} still uses its dead neighbour {to}"));
                }
                let cost = u32::from(one.cost.0);
                edges[from].push((to, one.link, cost));
                backward[to].push((from, cost));
            }
            let whole =
                nodes[from].wires.iter().filter(|wire| wires[**wire].carrier == Carrier::Up);
            let there = whole.flat_map(|wire| wires[*wire].ends.iter());
            let wanted = there.filter(|end| **end != from && running[**end]).count();
            if edges[from].len() != wanted {
                let usable = edges[from].len();
                return Err(format!("node {from} uses {usable} of {wanted} neighbours"));
            }
        }
        Ok(Self { running, edges, backward })
    }

    fn runs(&self, node: usize) -> bool {
        self.running[node]
    }

    fn cost(&self, from: usize, hop: Hop) -> Option<u32> {
        let edge =
            self.edges[from].iter().find(|(to, link, _)| (*to, *link) == (hop.node, hop.link))?;
        Some(edge.2)
    }

    /// Metrics of shortest ways to an owner, by node (Dijkstra).
    fn shortest(&self, owner: Option<usize>) -> Vec<Option<u32>> {
        let mut metrics = vec![None; self.edges.len()];
        let mut queue: BinaryHeap<_> = owner.map(|owner| Reverse((0, owner))).into_iter().collect();
        while let Some(Reverse((metric, node))) = queue.pop() {
            if metrics[node].is_some() || metric >= u32::from(Metric::INFINITY.0) {
                continue;
            }
            metrics[node] = Some(metric);
            let nearer = self.backward[node].iter().filter(|(from, _)| metrics[*from].is_none());
            queue.extend(nearer.map(|(from, cost)| Reverse((metric + cost, *from))));
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(node: usize) -> Option<Hop> {
        Some(Hop { node, link: LinkId(1), metric: Metric(96) })
    }

    #[test]
    fn a_circle_is_seen_when_it_closes() {
        let mut oracle = Oracle::new(4);
        for (node, hop) in [(1, 2), (2, 3), (3, 0)] {
            assert!(matches!(oracle.set(Instant(1), 0, node, to(hop)), Verdict::Fine));
        }
        let Verdict::Loop(what) = oracle.set(Instant(2), 0, 3, to(1)) else { panic!("unseen") };
        assert_eq!(what, "fd00:0:0:1::/64 goes in a circle: [3, 1, 2]");
        assert!(matches!(oracle.set(Instant(3), 1, 3, to(1)), Verdict::Fine), "another prefix");
    }

    #[test]
    fn an_excuse_ends() {
        let mut oracle = Oracle::new(2);
        oracle.cloud(0, Instant(10));
        assert!(matches!(oracle.set(Instant(1), 0, 0, to(1)), Verdict::Fine));
        assert!(matches!(oracle.set(Instant(9), 0, 1, to(0)), Verdict::Passing));
        assert!(!oracle.clear_up(0, Instant(9)) && oracle.clear_up(0, Instant(10)));
        assert!(oracle.any_loop(0).is_some());
        oracle.forget(1);
        assert_eq!(oracle.any_loop(0), None);
    }
}

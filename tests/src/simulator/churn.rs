//! Faults and their repair.

use std::time::Duration;

use anyhow::Result;
use sixwire_controlplane::babel::Input;
use sixwire_proto::metric::{Cost, Metric};

use super::events::What;
use super::wire::Carrier;
use super::{DEAR, Quality, Simulation, key, link};

/// One thing that goes wrong, or right again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A wire loses everything, and nobody is told.
    Cut(usize),
    /// It carries again.
    Mend(usize),
    /// A wire is gone, and both ends know.
    CarrierDown(usize),
    /// It is back.
    CarrierUp(usize),
    /// A node loses power: its kernel's routes are gone, its disk is not. Loops are excused for [`EXCUSE`]: its
    /// feasibility distances are forgotten as well.
    Kill(usize),
    /// It starts again.
    Start(usize),
    /// A wire costs an end so much more from now on.
    Dear(usize, usize, Cost),
    /// A prefix is no longer announced by anyone.
    Withdraw(usize),
    /// A prefix that nobody announces is announced by the node of its number. No loop is excused, unless the prefix
    /// was moved before.
    Announce(usize),
    /// A prefix is announced by this node, and by no other any more. Loops of this prefix are excused for [`EXCUSE`]:
    /// RFC 8966 §2.7 allows short ones between two originators.
    Move(usize, usize),
}

/// Which faults a storm has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    /// Those under which no loop is ever excused.
    Strict,
    /// All.
    Anything,
}

impl Simulation {
    /// Makes a fault happen now.
    pub fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(wire) => {
                if self.wires[wire].carrier == Carrier::Up {
                    self.wires[wire].carrier = Carrier::Cut;
                }
            }
            Fault::Mend(wire) => {
                if self.wires[wire].carrier == Carrier::Cut {
                    self.wires[wire].carrier = Carrier::Up;
                }
            }
            Fault::CarrierDown(wire) => {
                self.wires[wire].carrier = Carrier::Down;
                for node in self.wires[wire].ends.clone() {
                    self.input(node, Input::LinkDown { link: link(wire) });
                }
            }
            Fault::CarrierUp(wire) => {
                self.wires[wire].carrier = Carrier::Up;
                for node in self.wires[wire].ends.clone() {
                    self.link_up(node, wire);
                }
            }
            Fault::Kill(node) => self.kill(node),
            Fault::Start(node) => {
                (0..self.nodes.len()).for_each(|prefix| self.excuse(prefix));
                self.start(node);
            }
            Fault::Dear(wire, node, extra) => {
                self.input(node, Input::LinkCost { link: link(wire), extra });
            }
            Fault::Withdraw(prefix) => self.withdraw(prefix),
            Fault::Announce(prefix) => {
                if self.nodes.iter().all(|node| !node.own.contains(&prefix)) {
                    self.announce(prefix, prefix);
                }
            }
            Fault::Move(prefix, to) => {
                self.moved.insert(prefix);
                self.withdraw(prefix);
                self.announce(prefix, to);
            }
        }
    }

    /// Random faults, `faults` of them, up to `pause` apart.
    ///
    /// # Errors
    /// When the oracle saw a loop.
    pub fn storm(&mut self, storm: Storm, faults: usize, pause: Duration) -> Result<()> {
        for _ in 0..faults {
            let fault = self.any_fault(storm);
            self.fault(fault);
            let pause = self.seed.between(Duration::from_millis(1), pause);
            self.run(pause)?;
        }
        Ok(())
    }

    /// Ends all faults but moves: all wires are good, all nodes run, all prefixes are announced.
    pub fn repair(&mut self) {
        self.quality(Quality::GOOD);
        for node in 0..self.nodes.len() {
            if self.nodes[node].babel.is_none() {
                self.fault(Fault::Start(node));
            }
        }
        for wire in 0..self.wires.len() {
            match self.wires[wire].carrier {
                Carrier::Up => {}
                Carrier::Cut => self.fault(Fault::Mend(wire)),
                Carrier::Down => self.fault(Fault::CarrierUp(wire)),
            }
            for node in self.wires[wire].ends.clone() {
                self.fault(Fault::Dear(wire, node, Cost(0)));
            }
        }
        (0..self.nodes.len()).for_each(|prefix| self.fault(Fault::Announce(prefix)));
    }

    fn any_fault(&mut self, storm: Storm) -> Fault {
        let (wire, node) = (self.seed.below(self.wires.len()), self.seed.below(self.nodes.len()));
        let kinds = match storm {
            Storm::Strict => 7,
            Storm::Anything => 10,
        };
        match self.seed.below(kinds) {
            0 => Fault::Cut(wire),
            1 => Fault::Mend(wire),
            2 => Fault::CarrierDown(wire),
            3 => Fault::CarrierUp(wire),
            4 => {
                let ends = self.wires[wire].ends.clone();
                Fault::Dear(
                    wire,
                    ends[self.seed.below(ends.len())],
                    DEAR[self.seed.below(DEAR.len())],
                )
            }
            5 => Fault::Withdraw(node),
            6 => Fault::Announce(node),
            7 => Fault::Kill(node),
            8 => Fault::Start(node),
            _ => Fault::Move(self.seed.below(self.nodes.len()), node),
        }
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node].babel = None;
        self.nodes[node].armed = None;
        self.oracle.forget(node);
    }

    fn announce(&mut self, prefix: usize, by: usize) {
        if self.moved.contains(&prefix) {
            self.excuse(prefix);
        }
        self.nodes[by].own.insert(prefix);
        self.input(by, Input::Originate { route: key(prefix), metric: Metric::ZERO });
    }

    fn withdraw(&mut self, prefix: usize) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].own.remove(&prefix) {
                self.input(node, Input::Withdraw { route: key(prefix) });
            }
        }
    }

    fn excuse(&mut self, prefix: usize) {
        self.oracle.cloud(prefix, self.now + EXCUSE);
        self.events.push(self.now + EXCUSE, What::ClearUp(prefix));
    }
}

/// How long a loop may last that no distance vector protocol without memory can rule out: three Hello intervals, after
/// which every neighbour knows of a restart.
pub const EXCUSE: Duration = Duration::from_secs(12);

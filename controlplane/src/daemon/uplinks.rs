//! The uplinks of this node: the mark that makes each tunnel leave by its own, and the rules for the marks.

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use sixwire_dataplane::Router;
use sixwire_dataplane::model::{Family, Mark, Role, Rule};
use sixwire_proto::uplink::UplinkNumber;
use tracing::warn;

use super::config::Uplink;

/// What was configured, in order; often nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Uplinks(Vec<Uplink>);

impl Uplinks {
    /// The uplinks of a checked configuration.
    #[must_use]
    pub(super) fn new(configured: &[Uplink]) -> Self {
        Self(configured.to_vec())
    }

    /// Whether there are any: then each of our tunnels takes one of them.
    #[must_use]
    pub(super) fn are_configured(&self) -> bool {
        !self.0.is_empty()
    }

    /// The last of them; without any there is one, the machine's.
    #[must_use]
    pub(super) fn last(&self) -> UplinkNumber {
        self.numbered().last().map_or(UplinkNumber::FIRST, |(number, _)| number)
    }

    /// The mark on the packets of a tunnel. One that the other end dialled takes the machine's default route,
    /// as the other end may know no other address of ours.
    #[must_use]
    pub(super) fn fwmark(&self, tunnel: &Mark) -> Option<u32> {
        match tunnel.role {
            Role::Dialled => self.get(tunnel.uplink).map(|_| fwmark(tunnel.uplink)),
            Role::Served => None,
        }
    }

    /// The share of the flows to a node that a tunnel takes.
    #[must_use]
    pub(super) fn weight(&self, tunnel: &Mark) -> NonZeroU8 {
        match tunnel.role {
            Role::Dialled => self.get(tunnel.uplink).map_or(NonZeroU8::MIN, |uplink| uplink.weight),
            Role::Served => NonZeroU8::MIN,
        }
    }

    /// The name of one.
    #[must_use]
    pub(super) fn name(&self, number: UplinkNumber) -> Option<&str> {
        self.get(number).map(|uplink| uplink.name.as_str())
    }

    /// The names of all.
    pub(super) fn names(&self) -> impl Iterator<Item = (UplinkNumber, &str)> {
        self.numbered().map(|(number, uplink)| (number, uplink.name.as_str()))
    }

    /// Rules that lead marked packets to the table of their uplink.
    #[must_use]
    pub(super) fn rules(&self) -> BTreeSet<Rule> {
        let rule = |(number, uplink): (UplinkNumber, &Uplink)| {
            let (fwmark, table) = (fwmark(number), uplink.table.number());
            [Family::V4, Family::V6].map(|family| Rule {
                family,
                priority: RULE_PRIORITY,
                fwmark,
                table,
            })
        };
        self.numbered().flat_map(rule).collect()
    }

    /// Warns of tables that lead nowhere: what finds no route there takes the machine's own.
    pub(super) async fn warn_of_empty_tables(&self, router: &Router) {
        for uplink in &self.0 {
            let (name, table) = (&uplink.name, uplink.table.number());
            let mut leads = false;
            for family in [Family::V4, Family::V6] {
                // A kernel that does not tell is complained of elsewhere.
                leads |= router.has_default_route(family, table).await.unwrap_or(true);
            }
            if !leads {
                warn!(
                    "routing table {table} of uplink {name} has no default route: its tunnels take \
                     the main table until it has one (ip route add default via GATEWAY dev DEVICE \
                     table {table})"
                );
            }
        }
    }

    fn get(&self, number: UplinkNumber) -> Option<&Uplink> {
        self.0.get(usize::from(number.get().get()) - 1)
    }

    fn numbered(&self) -> impl Iterator<Item = (UplinkNumber, &Uplink)> {
        UplinkNumber::LAST.up_to_this().zip(&self.0)
    }
}

fn fwmark(number: UplinkNumber) -> u32 {
    FIRST_FWMARK + u32::from(u8::from(number)) - 1
}

/// The mark of the first uplink, in hexadecimal 18b60001; those of the others follow. Our number in the upper
/// half, far from the small ones that people choose.
const FIRST_FWMARK: u32 = (6326 << 16) + 1;
/// Before the rule of the main table (32766), behind those that people put first.
const RULE_PRIORITY: u32 = 6326;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_uplink_has_a_mark_and_a_rule_for_each_family() {
        let configured = ["dsl=101", "fibre=102*3"].map(|text| text.parse().unwrap());
        let uplinks = Uplinks::new(&configured);
        assert_eq!(u8::from(uplinks.last()), 2);
        let rules: Vec<_> = uplinks.rules().iter().map(|r| (r.fwmark, r.table)).collect();
        let expected = [(0x18b6_0001, 101), (0x18b6_0002, 102)];
        assert_eq!(rules, [expected, expected].concat());
        let node = "0123456789abcdef".parse().unwrap();
        let mark = |role, number: u8| Mark { node, role, uplink: number.try_into().unwrap() };
        assert_eq!(uplinks.fwmark(&mark(Role::Dialled, 2)), Some(0x18b6_0002));
        assert_eq!(uplinks.fwmark(&mark(Role::Dialled, 3)), None, "not configured any more");
        assert_eq!(uplinks.fwmark(&mark(Role::Served, 2)), None, "the other end's number");
        assert_eq!(uplinks.weight(&mark(Role::Dialled, 2)).get(), 3);
        let none = Uplinks::default();
        assert_eq!((none.last(), none.rules().len()), (UplinkNumber::FIRST, 0));
        assert_eq!(none.fwmark(&mark(Role::Dialled, 1)), None);
    }
}

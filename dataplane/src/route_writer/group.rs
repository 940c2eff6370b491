//! Neighbours that several links lead to: their routes name a group, and the kernel spreads flows over the
//! links. When a link comes or goes, one message changes the group, and no route is touched.
//!
//! All routes by such a neighbour are held as if they led over one of its links, the *anchor*, whichever link
//! the routing engine names: the engine may prefer now this link and now that, and the kernel has nothing to
//! do. The kernel itself takes a link that goes down out of its groups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sixwire_proto::link::LinkId;

use super::{Objects, RouteWriter, TargetId, Wanted};
use crate::error::Error;
use crate::model::{NextHop, RouteKey, RouteTarget, Shares};
use crate::netlink::nexthop::{self, Hop, Listing, Meaning, Members, ObjectId};

/// The groups there are, and what they are made of.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Neighbours that have, or have had, two working links at a time.
    bundles: BTreeMap<IpAddr, Bundle>,
    members: BTreeMap<Hop, ObjectId>,
    groups: BTreeMap<ObjectId, Members>,
}

#[derive(Debug)]
struct Bundle {
    anchor: LinkId,
    shares: Shares,
}

impl Groups {
    /// The target that stands for all links to its neighbour. The kernel has no groups for source-specific
    /// routes.
    pub(super) fn joint(&self, key: RouteKey, target: Option<RouteTarget>) -> Option<RouteTarget> {
        let Some(RouteTarget::Via(hop)) = target.filter(|_| key.source.is_none()) else {
            return target;
        };
        let bundle = self.bundles.get(&hop.gateway);
        let bundle = bundle.filter(|bundle| bundle.shares.contains_key(&hop.link));
        let link = bundle.map_or(hop.link, |bundle| bundle.anchor);
        Some(RouteTarget::Via(NextHop { link, ..hop }))
    }

    /// Takes over the groups that routes name; gives the objects that are of no use, groups first.
    pub(super) fn adopt(
        &mut self,
        found: &Listing,
        named: impl Fn(ObjectId) -> bool,
    ) -> Vec<ObjectId> {
        let groups = found.groups.iter().filter(|(id, _)| named(**id));
        self.groups = groups.map(|(id, members)| (*id, members.clone())).collect();
        let hops = found.hops.iter().filter(|(id, _)| self.is_member(**id));
        self.members = hops.map(|(id, hop)| (*hop, *id)).collect();
        let groups = found.groups.keys().filter(|id| !named(**id));
        let hops = found.hops.keys().filter(|id| !named(**id) && !self.is_member(**id));
        groups.chain(hops).copied().collect()
    }

    /// What an object means from now on.
    pub(super) fn note(&mut self, object: ObjectId, meaning: Meaning) {
        if let Meaning::Group(members) = meaning {
            self.groups.insert(object, members);
        }
    }

    /// The object is gone.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.groups.remove(&object);
    }

    /// Forgets the members of no group; gives them.
    pub(super) fn take_unused(&mut self) -> Vec<ObjectId> {
        let used: BTreeSet<ObjectId> =
            self.groups.values().flat_map(|members| members.keys().copied()).collect();
        let unused = self.members.extract_if(.., |_, member| !used.contains(member));
        unused.map(|(_, member)| member).collect()
    }

    fn is_member(&self, object: ObjectId) -> bool {
        self.groups.values().any(|members| members.contains_key(&object))
    }

    /// The links a target stands for.
    fn shares(&self, hop: NextHop) -> Option<&Shares> {
        let bundle = self.bundles.get(&hop.gateway)?;
        (bundle.anchor == hop.link).then_some(&bundle.shares)
    }

    /// Members that may be gone are made anew.
    fn distrust(&mut self, gateway: IpAddr) {
        self.members.retain(|hop, _| hop.gateway != gateway);
    }

    /// Compares with what the kernel has; gives the neighbours whose groups are not what they should be.
    fn differing(&mut self, found: &Listing) -> Vec<IpAddr> {
        // One that is gone as a whole took its routes with it, which is told.
        let differs = |(id, members): &(&ObjectId, &Members)| {
            found.groups.get(id).is_some_and(|present| present != *members)
        };
        let stale = self.groups.iter().filter(differs).flat_map(|(_, members)| members.keys());
        let stale: BTreeSet<ObjectId> = stale.copied().collect();
        let bad = |hop: Hop| {
            let member = self.members.get(&hop);
            member.is_none_or(|id| stale.contains(id) || !found.hops.contains_key(id))
        };
        let differing = self.bundles.iter().filter(|(gateway, bundle)| {
            working(&bundle.shares).any(|(link, _)| bad(Hop { link, gateway: **gateway }))
        });
        let differing = differing.map(|(gateway, _)| *gateway).collect();
        self.members.retain(|_, id| found.hops.contains_key(id));
        differing
    }
}

impl RouteWriter {
    /// Spreads flows to each of these neighbours over its links, by their shares. A neighbour that is not
    /// among them is one on each link. Where the kernel has no next-hop objects, nothing is spread. Gives the
    /// routes that the kernel refused.
    pub async fn spread(
        &mut self,
        neighbours: &BTreeMap<IpAddr, Shares>,
    ) -> Vec<(RouteKey, Error)> {
        let mut refused = Vec::new();
        if matches!(self.objects, Objects::Unknown) {
            return refused;
        }
        self.groups.bundles.retain(|gateway, _| neighbours.contains_key(gateway));
        for (gateway, shares) in neighbours {
            refused.extend(self.spread_one(*gateway, shares).await);
        }
        self.remove_unused();
        refused
    }

    /// Looks whether the groups in the kernel are what they should be, and mends them: an interface that was
    /// down for a moment is in none any more.
    pub async fn check_groups(&mut self) -> Vec<(RouteKey, Error)> {
        let mut refused = Vec::new();
        if self.groups.groups.is_empty() {
            return refused;
        }
        let Ok(found) = nexthop::objects(&mut self.socket, self.table.protocol) else {
            return refused;
        };
        for gateway in self.groups.differing(&found) {
            let Some(bundle) = self.groups.bundles.get_mut(&gateway) else { continue };
            let shares = std::mem::take(&mut bundle.shares);
            refused.extend(self.spread_one(gateway, &shares).await);
        }
        refused
    }

    /// The neighbours whose flows are spread, and the links that take part.
    pub fn spreads(&self) -> impl Iterator<Item = (IpAddr, BTreeSet<LinkId>)> {
        let working = |shares: &Shares| working(shares).map(|(link, _)| link).collect();
        self.groups.bundles.iter().map(move |(gateway, bundle)| (*gateway, working(&bundle.shares)))
    }

    /// Makes the object for a target: a group, if several links lead to its neighbour.
    pub(super) fn make_next_hop(&mut self, hop: NextHop) -> Option<ObjectId> {
        let plain = Hop { link: hop.link, gateway: hop.gateway };
        if self.groups.shares(hop).is_none() {
            return self.make_object(Meaning::Hop(plain));
        }
        for _ in 0..2 {
            let group = self.group(hop)?;
            let made = self.make_object(Meaning::Group(group));
            if made.is_some() {
                return made;
            }
            self.groups.distrust(hop.gateway);
        }
        None
    }

    /// What an object must mean for its routes to lead there; `None` if it cannot.
    pub(super) fn meaning(&mut self, object: ObjectId, to: NextHop) -> Option<Meaning> {
        if self.groups.groups.contains_key(&object) {
            return self.group(to).map(Meaning::Group);
        }
        let plain = Hop { link: to.link, gateway: to.gateway };
        self.groups.shares(to).is_none().then_some(Meaning::Hop(plain))
    }

    async fn spread_one(&mut self, gateway: IpAddr, shares: &Shares) -> Vec<(RouteKey, Error)> {
        let before = self.groups.bundles.get(&gateway);
        let idle = match (before, working(shares).count()) {
            // The routing engine takes away what leads nowhere.
            (_, 0) | (None, 1) => true,
            (before, _) => before.is_some_and(|bundle| bundle.shares == *shares),
        };
        if idle {
            return Vec::new();
        }
        let anchor = self.anchor(gateway, shares);
        let bundle = Bundle { anchor, shares: shares.clone() };
        self.groups.bundles.insert(gateway, bundle);
        self.refused.redirect(NextHop { link: anchor, gateway, preferred_source: None });
        let mut rewritten = BTreeMap::new();
        for (id, hop, object) in self.targets.by_gateway(gateway) {
            let to = NextHop { link: anchor, ..hop };
            let group = object.filter(|object| self.groups.groups.contains_key(object));
            if group.is_some_and(|object| self.regroup(object, to)) {
                self.targets.redirected(id, RouteTarget::Via(to));
            } else if group.is_some() || shares.contains_key(&hop.link) {
                self.targets.retire(id);
                rewritten.insert(id, RouteTarget::Via(to));
            }
        }
        let changes = self.routes_by(&rewritten);
        self.write_all(&changes).await
    }

    /// The link that stands for all: as before if it works, so that nothing has to be renamed.
    fn anchor(&self, gateway: IpAddr, shares: &Shares) -> LinkId {
        let works = |link: &LinkId| shares.get(link).is_some_and(Option::is_some);
        let before = self.groups.bundles.get(&gateway).map(|bundle| bundle.anchor).filter(works);
        let in_use = || {
            let targets = self.targets.by_gateway(gateway).into_iter();
            targets.map(|(_, hop, _)| hop.link).find(works)
        };
        let first = || working(shares).map(|(link, _)| link).next();
        before.or_else(in_use).or_else(first).expect("a bundle has a working link")
    }

    fn regroup(&mut self, object: ObjectId, to: NextHop) -> bool {
        for _ in 0..2 {
            let Some(group) = self.group(to) else { return false };
            if self.put(object, Meaning::Group(group)) {
                return true;
            }
            self.groups.distrust(to.gateway);
        }
        false
    }

    /// The members of the group that leads to a target, made where they are missing.
    fn group(&mut self, to: NextHop) -> Option<Members> {
        let alone = Shares::from([(to.link, Some(std::num::NonZeroU8::MIN))]);
        let shares = self.groups.shares(to).cloned().unwrap_or(alone);
        let mut members = Members::new();
        for (link, weight) in working(&shares) {
            // A link that is down has no place in a group. It gets one when the groups are looked at again.
            if let Some(member) = self.member(Hop { link, gateway: to.gateway }) {
                members.insert(member, weight);
            }
        }
        (!members.is_empty()).then_some(members)
    }

    fn member(&mut self, hop: Hop) -> Option<ObjectId> {
        if let Some(member) = self.groups.members.get(&hop) {
            return Some(*member);
        }
        let member = self.make_object(Meaning::Hop(hop))?;
        self.groups.members.insert(hop, member);
        Some(member)
    }

    /// The routes by these targets, as changes to others.
    fn routes_by(&self, targets: &BTreeMap<TargetId, RouteTarget>) -> Vec<Wanted> {
        if targets.is_empty() {
            return Vec::new();
        }
        let routes = self.routes.everywhere.iter();
        routes.filter_map(|(to, id)| Some((RouteKey::to(to), Some(*targets.get(&id)?)))).collect()
    }
}

/// The links that can be used now.
fn working(shares: &Shares) -> impl Iterator<Item = (LinkId, std::num::NonZeroU8)> {
    shares.iter().filter_map(|(link, weight)| Some((*link, (*weight)?)))
}

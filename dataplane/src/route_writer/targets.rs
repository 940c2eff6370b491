//! Where routes lead: each target once, with the next-hop object behind it and the number of its routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{NextHop, RouteTarget};
use crate::netlink::nexthop::ObjectId;

/// Names a target as long as a route leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetId(u16);

/// Where routes lead, each kept once.
#[derive(Debug, Default)]
pub(super) struct Targets {
    slots: Vec<Option<Known>>,
    /// For further routes, which name an object or do not.
    in_use: BTreeMap<(RouteTarget, Style), TargetId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) target: RouteTarget,
    pub(super) routes: usize,
    pub(super) naming: Naming,
}

/// How the routes of a target say where they lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// Each by itself.
    Bare,
    /// By an object, which leads there.
    Object(ObjectId),
    /// By an object that cannot be relied on, or by themselves: no further route names it.
    Stale(ObjectId),
}

/// How further routes are to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Style {
    Bare,
    Object,
}

impl Targets {
    pub(super) fn get(&self, id: TargetId) -> Option<&Known> {
        self.slots.get(usize::from(id.0))?.as_ref()
    }

    fn get_mut(&mut self, id: TargetId) -> Option<&mut Known> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    /// The object that routes of a target name.
    pub(super) fn object(&self, id: TargetId) -> Option<ObjectId> {
        match self.get(id)?.naming {
            Naming::Object(object) => Some(object),
            Naming::Bare | Naming::Stale(_) => None,
        }
    }

    /// Whether routes name this object.
    pub(super) fn names(&self, object: ObjectId) -> bool {
        self.slots.iter().flatten().any(|known| known.naming == Naming::Object(object))
    }

    /// The target that has an object to be named by further routes.
    pub(super) fn by_object(&self, target: RouteTarget) -> Option<TargetId> {
        self.in_use.get(&(target, Style::Object)).copied()
    }

    pub(super) fn intern(&mut self, target: RouteTarget, naming: Naming) -> TargetId {
        let key = (target, naming.style());
        if let Some(id) = self.in_use.get(&key) {
            return *id;
        }
        let id = self.add(Known { target, routes: 0, naming });
        self.in_use.insert(key, id);
        id
    }

    /// The id of a target that routes were found with.
    pub(super) fn adopted(&mut self, target: RouteTarget, object: Option<ObjectId>) -> TargetId {
        let naming = object.map_or(Naming::Bare, Naming::Object);
        let same = |known: &Known| known.target == target && known.naming == naming;
        let found = (0_u16..).zip(&self.slots).find(|(_, slot)| slot.as_ref().is_some_and(same));
        if let Some((number, _)) = found {
            return TargetId(number);
        }
        let id = self.add(Known { target, routes: 0, naming });
        self.in_use.entry((target, naming.style())).or_insert(id);
        id
    }

    fn add(&mut self, known: Known) -> TargetId {
        let free = self.slots.iter().position(Option::is_none);
        let position = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[position] = Some(known);
        TargetId(u16::try_from(position).expect("fewer neighbours than 65 536"))
    }

    pub(super) fn count(&mut self, id: TargetId, change: isize) {
        if let Some(known) = self.get_mut(id) {
            known.routes = known.routes.saturating_add_signed(change);
        }
    }

    /// All routes by this one lead elsewhere now.
    pub(super) fn redirected(&mut self, id: TargetId, to: RouteTarget) {
        let Some(before) = self.get_mut(id).map(|known| std::mem::replace(&mut known.target, to))
        else {
            return;
        };
        self.withdraw(before, id);
        self.in_use.entry((to, Style::Object)).or_insert(id);
    }

    /// The object of a target cannot be relied on: no further route names it.
    pub(super) fn retire(&mut self, id: TargetId) {
        let Some(known) = self.get_mut(id) else { return };
        if let Naming::Object(object) = known.naming {
            known.naming = Naming::Stale(object);
            let target = known.target;
            self.withdraw(target, id);
        }
    }

    /// The targets that lead to a neighbour, and the object that further routes name.
    pub(super) fn by_gateway(&self, gateway: IpAddr) -> Vec<(TargetId, NextHop, Option<ObjectId>)> {
        let known = (0..).zip(&self.slots).filter_map(|(number, slot)| {
            let hop = match slot.as_ref()?.target {
                RouteTarget::Via(hop) => hop,
                RouteTarget::Unreachable => return None,
            };
            Some((TargetId(number), hop, self.object(TargetId(number))))
        });
        known.filter(|(_, hop, _)| hop.gateway == gateway).collect()
    }

    /// Further routes to a target do not use this one.
    fn withdraw(&mut self, target: RouteTarget, id: TargetId) {
        for style in [Style::Bare, Style::Object] {
            if self.in_use.get(&(target, style)) == Some(&id) {
                self.in_use.remove(&(target, style));
            }
        }
    }

    /// Forgets targets without routes; gives their objects.
    pub(super) fn take_unused(&mut self) -> Vec<ObjectId> {
        let unused = |(number, slot): (u16, &Option<Known>)| {
            let known = slot.filter(|known| known.routes == 0)?;
            Some((TargetId(number), known))
        };
        let unused: Vec<_> = (0..).zip(&self.slots).filter_map(unused).collect();
        for (id, known) in &unused {
            self.withdraw(known.target, *id);
            self.slots[usize::from(id.0)] = None;
        }
        let object = |(_, known): (TargetId, Known)| match known.naming {
            Naming::Bare => None,
            Naming::Object(object) | Naming::Stale(object) => Some(object),
        };
        unused.into_iter().filter_map(object).collect()
    }
}

impl Naming {
    fn style(self) -> Style {
        match self {
            Self::Bare => Style::Bare,
            Self::Object(_) | Self::Stale(_) => Style::Object,
        }
    }
}

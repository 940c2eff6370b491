//! Writes routes by the thousand: what the kernel has is known and not asked for, changes go out in batches,
//! and routes by one neighbour share a next-hop object, so that all of them move with one message.

mod group;
mod refused;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_packet_route::route::RouteMessage;
use nix::errno::Errno;
use sixwire_proto::link::LinkId;
use sixwire_proto::prefix::Prefix;
use sixwire_proto::runs::Runs;

use self::group::Groups;
use self::refused::Refused;
pub use self::refused::Retried;
use self::targets::{Naming, TargetId, Targets};
use crate::error::Error;
use crate::model::{NextHop, ROUTE_METRIC, RouteChange, RouteKey, RouteTarget};
use crate::netlink::Netlink;
use crate::netlink::batch::{Batch, BatchSocket, MOST, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use crate::netlink::nexthop::{self, Hop, Listing, Meaning, ObjectId, Write};
use crate::netlink::route::{OwnRoute, RTM_DELROUTE, RTM_NEWROUTE, Table};

/// The routes of one table that bear our mark. Nobody else writes them meanwhile; what others remove is to
/// be told by [`Self::vanished`].
pub struct RouteWriter {
    socket: BatchSocket,
    netlink: Netlink,
    table: Table,
    targets: Targets,
    routes: Routes,
    objects: Objects,
    groups: Groups,
    refused: Refused,
}

/// What leads where. Routes from everywhere, which are nearly all, take no room for a source.
#[derive(Debug, Default)]
struct Routes {
    everywhere: Runs<(Prefix, TargetId)>,
    from_source: BTreeMap<(Prefix, Prefix), TargetId>,
}

/// Whether the kernel has next-hop objects, and the next number for one.
#[derive(Clone, Copy, Debug)]
enum Objects {
    Unknown,
    Numbered(u32),
}

/// A change on its way.
type Wanted = (RouteKey, Option<RouteTarget>);

impl RouteWriter {
    pub(crate) fn open(netlink: Netlink, table: Table) -> Result<Self, Error> {
        let taken = || io::Error::other("there is a writer already");
        let mut socket = netlink
            .take_batches()
            .ok_or_else(taken)
            .map_err(|error| Error::kernel("write routes", error))?;
        let objects = match nexthop::objects(&mut socket, table.protocol) {
            // The port is ours alone in this network namespace, so are these numbers, nearly always.
            Ok(_) => Objects::Numbered(FIRST_OBJECT | (socket.port() & 0xf_ffff) << 8),
            Err(error) => {
                tracing::info!(%error, "the kernel has no next-hop objects: routes move one by one");
                Objects::Unknown
            }
        };
        let (targets, routes) = (Targets::default(), Routes::default());
        let (groups, refused) = (Groups::default(), Refused::default());
        Ok(Self { socket, netlink, table, targets, routes, objects, groups, refused })
    }

    /// Reads what the kernel has of ours over these links (and what leads nowhere), to go on from there.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn adopt(
        &mut self,
        ours: impl Fn(LinkId) -> bool,
    ) -> Result<BTreeMap<RouteKey, RouteTarget>, Error> {
        let objects = nexthop::objects(&mut self.socket, self.table.protocol).unwrap_or_default();
        let mut adopted = BTreeMap::new();
        for (route, object) in self.table.routes_and_objects(&self.netlink, &objects).await? {
            let OwnRoute::Mesh(key, Some(target)) = route else { continue };
            if matches!(target, RouteTarget::Via(hop) if !ours(hop.link)) {
                continue;
            }
            adopted.insert(key, target);
            let id = self.targets.adopted(target, object);
            self.routes.insert(key, id);
            self.targets.count(id, 1);
        }
        let mut batch = Batch::default();
        for id in self.groups.adopt(&objects, |id| self.targets.names(id)) {
            if objects.hop(id).is_none_or(|hop| ours(hop.link)) {
                nexthop::remove(&mut batch, id);
            }
        }
        // What is refused is in use by somebody, or gone.
        drop(self.send(batch));
        Ok(adopted)
    }

    /// Whether the kernel has, or is to have, a route.
    #[must_use]
    pub fn has(&self, key: RouteKey) -> bool {
        self.routes.get(key).is_some()
    }

    /// All routes the kernel has, or is to have.
    pub fn keys(&self) -> impl Iterator<Item = RouteKey> {
        self.routes.keys().chain(self.refused.keys())
    }

    /// Puts back routes that somebody else removed; gives how many, and those the kernel refused.
    pub async fn vanished(
        &mut self,
        keys: impl Iterator<Item = RouteKey>,
    ) -> (usize, Vec<(RouteKey, Error)>) {
        let (mut again, mut ids) = (Vec::new(), BTreeSet::new());
        for key in keys {
            let Some(id) = self.routes.remove(key) else { continue };
            let Some(known) = self.targets.get(id).copied() else { continue };
            self.targets.count(id, -1);
            ids.insert(id);
            again.push((key, Some(known.target)));
        }
        self.retire_missing(ids);
        (again.len(), self.write(again).await)
    }

    /// No further route names an object that is gone as well; the routes that still name it are gone with it.
    fn retire_missing(&mut self, mut ids: BTreeSet<TargetId>) {
        ids.retain(|id| self.targets.object(*id).is_some());
        if ids.is_empty() {
            return;
        }
        let found = nexthop::objects(&mut self.socket, self.table.protocol).unwrap_or_default();
        for id in ids {
            if !self.is_whole(id, &found) {
                self.targets.retire(id);
            }
        }
    }

    /// Whether the object of a target leads there.
    fn is_whole(&self, id: TargetId, found: &Listing) -> bool {
        let (Some(object), Some(known)) = (self.targets.object(id), self.targets.get(id)) else {
            return false;
        };
        let RouteTarget::Via(NextHop { link, gateway, .. }) = known.target else { return false };
        let leads = found.hops.get(&object) == Some(&Hop { link, gateway });
        leads || found.groups.contains_key(&object)
    }

    /// Puts back the routes that named objects which somebody else, or the kernel, removed: it says nothing of them
    /// with nexthop_compat_mode=0. Gives how many, and those the kernel refused.
    pub async fn objects_vanished(
        &mut self,
        objects: &BTreeSet<u32>,
    ) -> (usize, Vec<(RouteKey, Error)>) {
        let named = |key: &RouteKey| {
            let object = self.routes.get(*key).and_then(|id| self.targets.object(id));
            object.is_some_and(|ObjectId(id)| objects.contains(&id))
        };
        let gone: Vec<RouteKey> = self.routes.keys().filter(named).collect();
        self.vanished(gone.into_iter()).await
    }

    /// Makes the kernel agree; gives what it refused. What it has already is not written.
    pub async fn write(&mut self, wanted: Vec<Wanted>) -> Vec<(RouteKey, Error)> {
        let wanted = wanted.into_iter().map(|(key, to)| (key, self.groups.joint(key, to)));
        let changes: Vec<Wanted> = wanted.filter(|one| self.is_change(one)).collect();
        let rest = self.redirect(changes);
        self.write_all(&rest).await
    }

    async fn write_all(&mut self, changes: &[Wanted]) -> Vec<(RouteKey, Error)> {
        let mut refused = Vec::new();
        for some in changes.chunks(MOST) {
            refused.extend(self.write_batch(some));
            // The kernel takes a millisecond for a batch: others get their turn.
            tokio::task::yield_now().await;
        }
        self.remove_unused();
        refused
    }

    fn is_change(&self, (key, wanted): &Wanted) -> bool {
        // Of one that was refused, something may be there all the same.
        self.target(*key) != *wanted || self.refused.contains(*key)
    }

    fn target(&self, key: RouteKey) -> Option<RouteTarget> {
        self.routes.get(key).and_then(|id| self.targets.get(id)).map(|known| known.target)
    }

    /// Moves whole neighbours: where all routes by one are to lead to another, its object is redirected.
    /// Gives the changes that are left.
    fn redirect(&mut self, changes: Vec<Wanted>) -> Vec<Wanted> {
        let mut moves: BTreeMap<(TargetId, NextHop), usize> = BTreeMap::new();
        for (key, wanted) in &changes {
            if let (Some(id), Some(RouteTarget::Via(hop))) = (self.routes.get(*key), wanted) {
                *moves.entry((id, *hop)).or_default() += 1;
            }
        }
        moves.retain(|(id, hop), count| self.may_redirect(*id, *hop, *count));
        moves.retain(|(id, hop), _| self.redirect_one(*id, *hop));
        if moves.is_empty() {
            return changes;
        }
        changes.into_iter().filter(|one| self.is_change(one)).collect()
    }

    fn may_redirect(&self, id: TargetId, to: NextHop, count: usize) -> bool {
        let Some(known) = self.targets.get(id) else { return false };
        let same_kind = match known.target {
            RouteTarget::Via(from) => {
                from.preferred_source == to.preferred_source
                    && from.gateway.is_ipv4() == to.gateway.is_ipv4()
            }
            RouteTarget::Unreachable => false,
        };
        let named = matches!(known.naming, Naming::Object(_));
        count == known.routes && count >= LEAST_MOVED && named && same_kind
    }

    fn redirect_one(&mut self, id: TargetId, to: NextHop) -> bool {
        let Some(object) = self.targets.object(id) else { return false };
        let redirected = self.meaning(object, to).is_some_and(|meaning| self.put(object, meaning));
        if redirected {
            self.targets.redirected(id, RouteTarget::Via(to));
        } else {
            // Gone, with its routes: they are written one by one.
            self.targets.retire(id);
        }
        redirected
    }

    /// Makes an object mean something else; `false` if it is gone, or cannot.
    fn put(&mut self, object: ObjectId, meaning: Meaning) -> bool {
        let mut batch = Batch::default();
        nexthop::write(&mut batch, Write::Redirect, (self.table.protocol, object, &meaning));
        let done = self.send(batch).is_ok_and(|refused| refused.is_empty());
        if done {
            self.groups.note(object, meaning);
        }
        done
    }

    fn write_batch(&mut self, changes: &[Wanted]) -> Vec<(RouteKey, Error)> {
        let targets: Vec<Option<TargetId>> =
            changes.iter().map(|(key, wanted)| Some(self.intern(*key, (*wanted)?))).collect();
        let mut refused = self.attempt(changes.iter().zip(&targets));
        let retry: Vec<usize> = refused
            .iter()
            .filter(|(_, error)| error.errno() == Some(Errno::EINVAL))
            .map(|(position, _)| *position)
            .collect();
        if !retry.is_empty() {
            // An object that somebody removed; without it, the routes can be made all the same.
            for id in retry.iter().filter_map(|position| *targets.get(*position)?) {
                self.targets.retire(id);
            }
            refused.retain(|(position, _)| !retry.contains(position));
            let again = retry.iter().filter_map(|at| Some((changes.get(*at)?, targets.get(*at)?)));
            let still = self.attempt(again);
            refused
                .extend(still.into_iter().filter_map(|(n, error)| Some((*retry.get(n)?, error))));
        }
        self.make_way(changes, &targets, &mut refused);
        self.remove_outdated(changes, &refused);
        for (position, ((key, wanted), target)) in changes.iter().zip(&targets).enumerate() {
            let failed = refused.iter().any(|(at, _)| *at == position);
            self.note(*key, target.filter(|_| !failed));
            self.refused.note(*key, wanted.filter(|_| failed));
        }
        let named = |(at, error): (usize, Error)| Some((changes.get(at)?.0, error));
        refused.into_iter().filter_map(named).collect()
    }

    /// Sends changes; what was refused, by position, that a route is gone already excepted.
    fn attempt<'a>(
        &mut self,
        changes: impl Iterator<Item = (&'a Wanted, &'a Option<TargetId>)>,
    ) -> Vec<(usize, Error)> {
        let (mut batch, mut sent) = (Batch::default(), Vec::new());
        let mut refused = Vec::new();
        for (position, ((key, wanted), id)) in changes.enumerate() {
            let change = match wanted {
                Some(target) => RouteChange::Replace(*key, *target),
                None => RouteChange::Remove(*key),
            };
            let object = id.and_then(|id| self.targets.object(id));
            match self.table.message(&change, ROUTE_METRIC, object) {
                Ok(message) => {
                    add(&mut batch, (&change, self.routes.get(*key)), &message);
                    sent.push((position, change));
                }
                Err(invalid) => {
                    let error = Error::kernel(change.to_string(), io::Error::other(invalid));
                    refused.push((position, error));
                }
            }
        }
        match self.send(batch) {
            Ok(errors) => refused.extend(errors.into_iter().filter_map(|(at, error)| {
                let (position, change) = sent.get(at)?;
                let error = Error::kernel(change.to_string(), error);
                let done = matches!(change, RouteChange::Remove(_)) && error.is_gone();
                (!done).then_some((*position, error))
            })),
            Err(error) => refused.extend(sent.iter().map(|(position, change)| {
                let copy = error.raw_os_error().map_or_else(
                    || io::Error::other(error.to_string()),
                    io::Error::from_raw_os_error,
                );
                (*position, Error::kernel(change.to_string(), copy))
            })),
        }
        refused
    }

    /// The id of a target, with an object behind it where it can have one.
    fn intern(&mut self, key: RouteKey, target: RouteTarget) -> TargetId {
        // The kernel has no objects for source-specific routes.
        let hop = match target {
            RouteTarget::Via(hop) if key.source.is_none() => hop,
            RouteTarget::Via(_) | RouteTarget::Unreachable => {
                return self.targets.intern(target, Naming::Bare);
            }
        };
        if let Some(id) = self.targets.by_object(target) {
            return id;
        }
        let object = self.make_next_hop(hop);
        self.targets.intern(target, object.map_or(Naming::Bare, Naming::Object))
    }

    /// Makes an object under the first free number.
    fn make_object(&mut self, meaning: Meaning) -> Option<ObjectId> {
        for _ in 0..ATTEMPTS {
            let Objects::Numbered(number) = &mut self.objects else { return None };
            *number = number.wrapping_add(1);
            let id = ObjectId(*number);
            let mut batch = Batch::default();
            nexthop::write(&mut batch, Write::Make, (self.table.protocol, id, &meaning));
            match self.send(batch).as_deref() {
                Ok([]) => {
                    self.groups.note(id, meaning);
                    return Some(id);
                }
                Ok([(_, error), ..]) if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
                Ok(_) | Err(_) => return None,
            }
        }
        None
    }

    /// Notes what the kernel has for a route now.
    fn note(&mut self, key: RouteKey, target: Option<TargetId>) {
        let before = match target {
            Some(id) => self.routes.insert(key, id),
            None => self.routes.remove(key),
        };
        if let Some(id) = target {
            self.targets.count(id, 1);
        }
        if let Some(id) = before {
            self.targets.count(id, -1);
        }
    }

    fn remove_unused(&mut self) {
        let mut batch = Batch::default();
        for object in self.targets.take_unused() {
            nexthop::remove(&mut batch, object);
            self.groups.forget(object);
        }
        // After the groups they are in: the kernel takes a group with its last member.
        for member in self.groups.take_unused() {
            nexthop::remove(&mut batch, member);
        }
        // An object whose interface is gone is gone with it.
        drop(self.send(batch));
    }

    fn send(&mut self, batch: Batch) -> io::Result<Vec<(usize, io::Error)>> {
        self.socket.send(batch)
    }
}

impl Routes {
    fn get(&self, key: RouteKey) -> Option<TargetId> {
        match key.source {
            None => self.everywhere.find(|(prefix, _)| prefix.cmp(&key.prefix)).map(|(_, id)| id),
            Some(source) => self.from_source.get(&(key.prefix, source)).copied(),
        }
    }

    fn insert(&mut self, key: RouteKey, id: TargetId) -> Option<TargetId> {
        if let Some(source) = key.source {
            return self.from_source.insert((key.prefix, source), id);
        }
        let from = |(prefix, _): (Prefix, TargetId)| prefix.cmp(&key.prefix);
        if let Some((_, before)) = self.everywhere.find_mut(from) {
            return Some(std::mem::replace(before, id));
        }
        self.everywhere.insert((key.prefix, id), from);
        None
    }

    fn remove(&mut self, key: RouteKey) -> Option<TargetId> {
        match key.source {
            None => self.everywhere.remove(|(prefix, _)| prefix.cmp(&key.prefix)).map(|(_, id)| id),
            Some(source) => self.from_source.remove(&(key.prefix, source)),
        }
    }

    fn keys(&self) -> impl Iterator<Item = RouteKey> {
        let from_source = self.from_source.keys();
        let from_source =
            from_source.map(|(prefix, from)| RouteKey { prefix: *prefix, source: Some(*from) });
        self.everywhere.iter().map(|(prefix, _)| RouteKey::to(prefix)).chain(from_source)
    }
}

fn add(
    batch: &mut Batch,
    (change, present): (&RouteChange, Option<TargetId>),
    message: &RouteMessage,
) {
    match change {
        // The kernel would replace a route of whatever protocol.
        RouteChange::Replace(..) => {
            let how = if present.is_some() { NLM_F_REPLACE } else { NLM_F_EXCL };
            batch.add(RTM_NEWROUTE, NLM_F_CREATE | how, message);
        }
        RouteChange::Remove(_) => batch.add(RTM_DELROUTE, 0, message),
    }
}

/// Fewer routes move as fast one by one.
const LEAST_MOVED: usize = 8;
/// Our objects' numbers begin here: far from those that people and the kernel choose.
const FIRST_OBJECT: u32 = 0x7000_0000;
/// Numbers tried for an object that others have taken.
const ATTEMPTS: u32 = 64;

//! Routing without tunnels of our own: the kernel's routes and the interfaces of others.

use std::collections::BTreeMap;

use crate::dataplane::opening::may_administer;
use crate::error::Error;
use crate::forwarding::ipv6_is_enabled;
use crate::model::{Family, IfName, RouteChange, RouteKey, RouteTarget};
use crate::netlink::Netlink;
use crate::netlink::foreign::{ForeignRoute, ForeignRoutes};
use crate::netlink::interface::{self, Interface};
use crate::netlink::monitor::{self, Events, Ours};
use crate::netlink::notices;
use crate::netlink::route::{OwnRoute, Table, has_default_route};
use crate::options::DEFAULT_PROTOCOL;
use crate::route_writer::RouteWriter;

/// The kernel's routing in one network namespace: that of the thread which opened it.
#[derive(Clone)]
pub struct Router {
    netlink: Netlink,
    table: Table,
}

impl Router {
    /// Looks whether routes can be written, and starts to watch the kernel. Our routes go to `table`,
    /// with protocol 42.
    ///
    /// # Errors
    /// When privileges or IPv6 are missing.
    pub async fn open(table: u32) -> Result<(Self, Events), Error> {
        if !may_administer() {
            return Err(Error::NotPermitted { doing: "write kernel routes".to_owned() });
        }
        if !ipv6_is_enabled() {
            return Err(Error::Ipv6Disabled);
        }
        let netlink = Netlink::connect()?;
        let (sender, events) = monitor::channel();
        let table = Table { table, protocol: DEFAULT_PROTOCOL };
        notices::start(&netlink, (table.protocol, None), sender.clone())?;
        monitor::start(&netlink, table, Ours::default(), sender).await?;
        Ok((Self { netlink, table }, events))
    }

    pub(crate) fn of(netlink: Netlink, table: Table) -> Self {
        Self { netlink, table }
    }

    /// Makes many changes of routes, in order, many to a send. One outcome each.
    pub async fn apply(&self, changes: &[RouteChange]) -> Vec<Result<(), Error>> {
        self.table.apply(&self.netlink, changes).await
    }

    /// A writer for many routes.
    ///
    /// # Errors
    /// When there is one already.
    pub fn writer(&self) -> Result<RouteWriter, Error> {
        RouteWriter::open(self.netlink.clone(), self.table)
    }

    /// Whether the kernel can hold IPv6 routes for packets of some sources only (RFC 9079).
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn routes_by_source(&self) -> Result<bool, Error> {
        self.table.routes_by_source(&self.netlink).await
    }

    /// The routes in our table that bear our mark and are as we make them.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn routes(&self) -> Result<BTreeMap<RouteKey, RouteTarget>, Error> {
        let own = self.table.routes(&self.netlink).await?;
        let as_we_make = |route| match route {
            OwnRoute::Mesh(key, target) => Some((key, target?)),
            OwnRoute::Unreachable(_) => None,
        };
        Ok(own.into_iter().filter_map(as_we_make).collect())
    }

    /// Whether a routing table has a default route of a family, whoever made it.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn has_default_route(&self, family: Family, table: u32) -> Result<bool, Error> {
        has_default_route(&self.netlink, family, table).await
    }

    /// All interfaces, by name.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub async fn interfaces(&self) -> Result<BTreeMap<IfName, Interface>, Error> {
        interface::interfaces(&self.netlink).await
    }

    /// Follows those routes of others that are `wanted`; our own, by their protocol, never are. Has a
    /// connection of its own: the kernel makes one list at a time for each.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn foreign_routes(
        &self,
        wanted: impl Fn(&ForeignRoute) -> bool + Send + Sync + 'static,
    ) -> Result<ForeignRoutes, Error> {
        let own = self.table.protocol;
        let wanted = move |route: &ForeignRoute| route.protocol != own && wanted(route);
        ForeignRoutes::new(Netlink::connect()?, own, Box::new(wanted))
    }
}

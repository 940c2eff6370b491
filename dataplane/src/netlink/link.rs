//! Network interfaces.

use std::pin::pin;

use futures_util::StreamExt as _;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::{LinkUnspec, LinkWireguard};
use sixwire_proto::link::LinkId;

use super::{Netlink, done, in_time, refusal, removed};
use crate::error::Error;
use crate::model::{IfName, LINK_GROUP, Mark};

/// An interface, as far as we look at it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) name: IfName,
    pub(crate) kind: Kind,
    pub(crate) mark: Option<Mark>,
    /// Its group is ours: set at its creation, before the alias.
    pub(crate) in_our_group: bool,
    pub(crate) state: LinkState,
    pub(crate) mtu: u32,
}

/// What made an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WireGuard,
    Tun,
    Other,
}

/// Whether an interface works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Switched off.
    Down,
    /// Switched on, without carrier.
    NoCarrier,
    /// Usable.
    Up,
}

impl Link {
    /// Reads a link message; `None` if it is not about a nameable interface.
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut name = None;
        let mut link = Self {
            id: LinkId(message.header.index),
            name: IfName::loopback(),
            kind: Kind::Other,
            mark: None,
            in_our_group: false,
            state: LinkState::of(message.header.flags),
            mtu: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = text.parse().ok(),
                LinkAttribute::IfAlias(alias) => link.mark = Mark::from_alias(alias),
                LinkAttribute::Group(group) => link.in_our_group = *group == LINK_GROUP,
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::LinkInfo(infos) => link.kind = Kind::of(infos),
                _ => {}
            }
        }
        link.name = name?;
        Some(link)
    }

    /// Whether it bears our mark.
    pub(crate) fn is_ours(&self) -> bool {
        self.name.is_tunnel_like() && (self.mark.is_some() || self.in_our_group)
    }
}

impl LinkState {
    fn of(flags: LinkFlags) -> Self {
        if !flags.contains(LinkFlags::Up) {
            Self::Down
        } else if flags.contains(LinkFlags::LowerUp) {
            Self::Up
        } else {
            Self::NoCarrier
        }
    }
}

impl Kind {
    fn of(infos: &[LinkInfo]) -> Self {
        let kind = infos.iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind),
            _ => None,
        });
        match kind {
            Some(InfoKind::Wireguard) => Self::WireGuard,
            Some(InfoKind::Tun) => Self::Tun,
            _ => Self::Other,
        }
    }
}

/// All interfaces.
pub(crate) async fn links(netlink: &Netlink) -> Result<Vec<Link>, Error> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let link = |object| match object {
        RouteNetlinkMessage::NewLink(message) => Link::from_message(&message),
        _ => None,
    };
    netlink.dump("list interfaces", request, link).await
}

/// The interface of that name.
pub(crate) async fn find(netlink: &Netlink, name: &IfName) -> Result<Option<Link>, Error> {
    let doing = format!("look up interface {name}");
    let answer = netlink.handle.link().get().match_name(name.as_str()).execute();
    let found = in_time(&doing, pin!(answer).next()).await?;
    let found = found.unwrap_or(Err(rtnetlink::Error::RequestFailed));
    match found.map_err(|error| Error::kernel(doing, refusal(error))) {
        Ok(message) => Ok(Link::from_message(&message)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a kernel WireGuard interface, down, in our group.
pub(crate) async fn create_wireguard(netlink: &Netlink, name: &IfName) -> Result<(), Error> {
    let message = LinkWireguard::new(name.as_str()).link_group(LINK_GROUP).build();
    let request = netlink.handle.link().add(message).execute();
    let outcome = done(format!("create WireGuard interface {name}"), request).await;
    outcome.map_err(|error| match error.errno() {
        Some(nix::errno::Errno::EOPNOTSUPP) => Error::NoKernelWireGuard,
        Some(nix::errno::Errno::EEXIST) => Error::Taken(name.clone()),
        _ => error,
    })
}

/// Sets alias and MTU, and keeps the kernel from making up link-local addresses.
pub(crate) async fn configure(
    netlink: &Netlink,
    link: LinkId,
    mark: Option<Mark>,
    mtu: Option<u32>,
) -> Result<(), Error> {
    let no_addresses = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let mut message = LinkUnspec::new_with_index(link.0)
        .link_group(LINK_GROUP)
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![no_addresses]))
        .build();
    message.attributes.extend(mark.map(|mark| LinkAttribute::IfAlias(mark.to_string())));
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    let request = netlink.handle.link().change(message).execute();
    done(format!("set alias and MTU of interface {link}"), request).await
}

/// Switches an interface on.
pub(crate) async fn bring_up(netlink: &Netlink, link: LinkId) -> Result<(), Error> {
    let message = LinkUnspec::new_with_index(link.0).up().build();
    let request = netlink.handle.link().change(message).execute();
    done(format!("bring up interface {link}"), request).await
}

/// Deletes an interface; that it is gone already is success. Takes the kernel about 0.1 s, within
/// the system call: not for the main thread.
pub(crate) async fn delete(netlink: &Netlink, link: LinkId) -> Result<(), Error> {
    let request = netlink.handle.link().del(link.0).execute();
    removed(format!("delete interface {link}"), request).await
}

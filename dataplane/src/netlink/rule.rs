//! Policy rules, marked by their protocol number.

use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::RuleAddRequest;

use super::{Netlink, added, removed};
use crate::error::Error;
use crate::model::{Family, Rule};

/// All rules with our protocol number.
pub(crate) async fn rules(netlink: &Netlink, protocol: u8) -> Result<Vec<Rule>, Error> {
    let mut rules = Vec::new();
    for family in [Family::V6, Family::V4] {
        let mut message = RuleMessage::default();
        message.header.family = address_family(family);
        let own = |object| match object {
            RouteNetlinkMessage::NewRule(message) => own(&message, family, protocol),
            _ => None,
        };
        rules.extend(netlink.dump("list rules", RouteNetlinkMessage::GetRule(message), own).await?);
    }
    Ok(rules)
}

/// Adds a rule; that it exists is success.
pub(crate) async fn add(netlink: &Netlink, rule: Rule, protocol: u8) -> Result<(), Error> {
    let doing = format!("add rule {}: fwmark {} lookup {}", rule.priority, rule.fwmark, rule.table);
    added(doing, request(netlink, rule, protocol).execute()).await
}

/// Removes a rule; that it is gone is success.
pub(crate) async fn remove(netlink: &Netlink, rule: Rule, protocol: u8) -> Result<(), Error> {
    let doing =
        format!("remove rule {}: fwmark {} lookup {}", rule.priority, rule.fwmark, rule.table);
    let message = request(netlink, rule, protocol).message_mut().clone();
    removed(doing, netlink.handle.rule().del(message).execute()).await
}

fn request(netlink: &Netlink, rule: Rule, protocol: u8) -> RuleAddRequest {
    let request = netlink.handle.rule().add().action(RuleAction::ToTable);
    let mut request = request.table_id(rule.table).priority(rule.priority).fw_mark(rule.fwmark);
    let message = request.message_mut();
    message.header.family = address_family(rule.family);
    message
        .attributes
        .extend([RuleAttribute::FwMask(u32::MAX), RuleAttribute::Protocol(protocol.into())]);
    request
}

fn own(message: &RuleMessage, family: Family, protocol: u8) -> Option<Rule> {
    let mut rule = Rule { family, priority: 0, fwmark: 0, table: u32::from(message.header.table) };
    let mut ours = false;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::FwMark(fwmark) => rule.fwmark = *fwmark,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Protocol(number) => ours = u8::from(*number) == protocol,
            _ => {}
        }
    }
    ours.then_some(rule)
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

//! A received packet, TLV by TLV.

use std::net::{IpAddr, Ipv6Addr};

use sixwire_proto::babel::{self, Destination, Hello, Ihu, Tlv, TlvError, Update};
use sixwire_proto::link::LinkId;

use super::Babel;
use super::counter::{Done, DropReason};
use super::neighbour::{Greeting, NeighbourId};
use super::sender::Reason;

impl Babel {
    /// Reads a packet. Only a Hello makes its sender a neighbour; the rest is for neighbours.
    pub(super) fn packet(&mut self, link: LinkId, source: Ipv6Addr, bytes: &[u8], to: Destination) {
        self.counters_mut().done(Done::PacketReceived);
        let Some(own) = self.links.get(&link).map(super::link::Link::address) else {
            return self.count(DropReason::UnknownLink);
        };
        if !source.is_unicast_link_local() || source == own {
            return self.count(DropReason::BadSource);
        }
        let Ok(reader) = babel::read(bytes, source) else {
            return self.count(DropReason::BadPacket);
        };
        for tlv in reader {
            self.tlv((link, source), to, tlv);
        }
    }

    fn tlv(
        &mut self,
        (link, source): (LinkId, Ipv6Addr),
        to: Destination,
        tlv: Result<Tlv, TlvError>,
    ) {
        let tlv = match tlv {
            Ok(Tlv::Hello(hello)) => return self.hello(link, source, &hello),
            Ok(tlv) => tlv,
            Err(_) => return self.count(DropReason::BadTlv),
        };
        let Some(from) = self.neighbours.at(link, source) else {
            return self.count(DropReason::UnknownNeighbour);
        };
        match tlv {
            Tlv::Hello(_) => {}
            Tlv::AckRequest { opaque, interval: _ } => {
                self.outbox.control(link, Destination::Unicast(source), Tlv::Ack { opaque });
            }
            Tlv::Ack { opaque } => self.acknowledged(from, opaque),
            Tlv::Ihu(ihu) => self.ihu(from, to, &ihu),
            Tlv::Update(update) => self.update(from, &update),
            Tlv::RouteRequest(None) => self.dump_wanted(from),
            Tlv::RouteRequest(Some(key)) => self.answer(from, key),
            Tlv::SeqnoRequest(request) => self.seqno_request(from, &request),
        }
    }

    fn hello(&mut self, link: LinkId, source: Ipv6Addr, hello: &Hello) {
        let known = self.neighbours.at(link, source);
        let goes_on = known.is_some_and(|id| self.continues(id, hello));
        match known {
            Some(id) if goes_on => self.hear_hello(id, hello),
            Some(id) => {
                self.forget(id, super::DownCause::Restarted);
                self.meet(link, source, hello);
            }
            None => {
                self.make_room_on(link);
                if self.has_room_on(link) {
                    self.meet(link, source, hello);
                }
            }
        }
    }

    /// An IHU counts if it is about us: by name; or without a name, if sent to us alone or on a link with
    /// nobody else.
    fn ihu(&mut self, from: NeighbourId, to: Destination, ihu: &Ihu) {
        let Some(link) = self.neighbours.get(from).map(|neighbour| neighbour.link) else { return };
        let own = self.links.get(&link).map(|link| IpAddr::V6(link.address()));
        let about_us = match ihu.address {
            Some(_) => ihu.address == own,
            None => to != Destination::Multicast || self.neighbours.on(link).count() == 1,
        };
        if !about_us {
            return;
        }
        let now = self.now;
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.hear_ihu(ihu, now);
        }
        self.neighbour_changed(from);
    }

    fn update(&mut self, from: NeighbourId, update: &Update) {
        self.counters_mut().done(Done::UpdateReceived);
        match update.route {
            None => self.retracted_everything(from),
            Some(key) => {
                if let Some(neighbour) = self.neighbours.get_mut(from) {
                    neighbour.greeting = Greeting::Spoken;
                }
                self.acquire(from, key, update);
            }
        }
    }

    fn dump_wanted(&mut self, from: NeighbourId) {
        let now = self.now;
        if let Some(neighbour) = self.neighbours.get_mut(from) {
            neighbour.sender.ask_dump(now);
            self.touch_unicast(from);
        }
    }

    /// Answers a request with an update, or with a retraction (RFC 8966 §3.8.1.1).
    pub(super) fn answer(&mut self, to: NeighbourId, key: babel::RouteKey) {
        let (now, most) = (self.now, self.params.limits.routes_per_neighbour);
        let Some(neighbour) = self.neighbours.get_mut(to) else { return };
        if neighbour.sender.len() >= most {
            return self.count(DropReason::TooManyQuestions);
        }
        neighbour.sender.enqueue(key, Reason::Answer, now);
        self.touch_unicast(to);
    }
}

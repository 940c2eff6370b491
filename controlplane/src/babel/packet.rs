//! A received packet, TLV by TLV.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sixwire_proto::babel::{self, Destination, Hello, Ihu, Tlv, TlvError, Update};
use sixwire_proto::link::LinkId;

use super::Babel;
use super::counter::{Done, DropReason};
use super::link::Link;
use super::neighbour::{Greeting, NeighbourId};
use super::output::{Complaint, Event};
use super::sender::Reason;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) link: LinkId,
    pub(super) source: Ipv6Addr,
    pub(super) destination: Destination,
}

impl Babel {
    /// Reads a packet. Only a Hello, or an IHU for us, makes its sender a neighbour; the rest is for
    /// neighbours, but that everybody's requests for an acknowledgement are answered.
    pub(super) fn packet(&mut self, arrival: Arrival, bytes: &[u8]) {
        self.counters_mut().done(Done::PacketReceived);
        let Some(own) = self.links.get(&arrival.link).map(Link::address) else {
            return self.count(DropReason::UnknownLink);
        };
        if !arrival.source.is_unicast_link_local() || arrival.source == own {
            self.count(DropReason::BadSource);
            return self.complain(arrival, Complaint::Source);
        }
        if let Err(refusal) = self.authenticate(arrival, bytes) {
            self.count(refusal.reason());
            if let Some(complaint) = Complaint::of(refusal) {
                self.complain(arrival, complaint);
            }
            return;
        }
        let reader = match babel::read(bytes, arrival.source) {
            Ok(reader) => reader,
            Err(error) => {
                self.count(DropReason::BadPacket);
                return self.complain(arrival, Complaint::Packet(error));
            }
        };
        for tlv in reader {
            self.tlv(arrival, tlv);
        }
        self.end_packet(arrival.link, arrival.source);
    }

    fn tlv(&mut self, arrival: Arrival, tlv: Result<Tlv, TlvError>) {
        let Arrival { link, source, .. } = arrival;
        let tlv = match tlv {
            Ok(Tlv::Hello(hello)) => return self.hello(link, source, &hello),
            Ok(Tlv::Ihu(ihu)) => return self.ihu(arrival, &ihu),
            Ok(tlv) => tlv,
            Err(error) => {
                self.count(DropReason::BadTlv);
                return self.complain(arrival, Complaint::Tlv(error));
            }
        };
        // Whoever asks gets it (RFC 8966 §3.3), also before its first Hello.
        if let Tlv::AckRequest { opaque, interval: _ } = tlv {
            return self.outbox.control(link, Destination::Unicast(source), Tlv::Ack { opaque });
        }
        let Some(from) = self.neighbours.at(link, source) else {
            return self.count(DropReason::UnknownNeighbour);
        };
        match tlv {
            Tlv::Hello(_) | Tlv::Ihu(_) | Tlv::AckRequest { .. } => {}
            Tlv::Ack { opaque } => self.acknowledged(from, opaque),
            Tlv::Update(update) => self.update(from, &update),
            Tlv::RouteRequest(None) => self.dump_wanted(from),
            Tlv::RouteRequest(Some(key)) => self.answer(from, key),
            Tlv::SeqnoRequest(request) => self.seqno_request(from, &request),
        }
    }

    /// Says what is wrong with what came. Everything is counted, but only so much is said: whoever sends
    /// rubbish must not fill the log.
    fn complain(&mut self, arrival: Arrival, complaint: Complaint) {
        if self.now >= self.next_complaint {
            self.next_complaint = self.now + COMPLAINT_GAP;
            let Arrival { link, source, .. } = arrival;
            self.outbox.event(Event::Refused { link, source, complaint });
        }
    }

    fn hello(&mut self, link: LinkId, source: Ipv6Addr, hello: &Hello) {
        match self.neighbours.at(link, source) {
            Some(id) if self.continues(id, hello) => self.hear_again(id, hello),
            Some(id) => self.restarted(id, hello),
            None => self.meet(link, source, hello),
        }
    }

    /// An IHU counts if it is about us: by name; or without a name, if sent to us alone or on a link with
    /// nobody else. It may well come before the first Hello of its sender, as the answer to ours.
    fn ihu(&mut self, arrival: Arrival, ihu: &Ihu) {
        let Arrival { link, source, destination } = arrival;
        let own = self.links.get(&link).map(|link| IpAddr::V6(link.address()));
        let about_us = match ihu.address {
            Some(_) => ihu.address == own,
            None => destination != Destination::Multicast || self.neighbours.on(link).count() == 1,
        };
        let known = self.neighbours.at(link, source);
        let Some(from) = known.or_else(|| about_us.then(|| self.make(link, source)).flatten())
        else {
            return self.count(DropReason::UnknownNeighbour);
        };
        if about_us {
            let now = self.now;
            if let Some(neighbour) = self.neighbours.get_mut(from) {
                neighbour.hear_ihu(ihu, now);
            }
            self.neighbour_changed(from);
        }
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

/// Time between two complaints.
const COMPLAINT_GAP: Duration = Duration::from_secs(1);

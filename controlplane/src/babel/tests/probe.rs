//! One engine, whose neighbours are the test.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sixwire_proto::babel::{
    Destination, Hello, HelloKind, Ihu, RouteKey, SeqnoRequest, Tlv, Update, Writer, read,
};
use sixwire_proto::interval::Interval;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::super::{Babel, Event, Input, LinkParams, Output, Params, RouteView, Target};
use super::network::unhurried;

/// Neighbour `n` is on link `n`, unless told otherwise.
pub(crate) struct Probe {
    pub(crate) babel: Babel,
    pub(crate) now: Instant,
    pub(crate) outputs: Vec<Output>,
    hellos: BTreeMap<u8, u16>,
}

pub(crate) const OWN: u8 = 0xee;

pub(crate) fn router(last: u8) -> RouterId {
    RouterId::new([0x02, 0, 0, 0, 0, 0, 0, last]).unwrap()
}

pub(crate) fn address(last: u8) -> Ipv6Addr {
    router(last).link_local()
}

pub(crate) fn prefix(text: &str) -> RouteKey {
    RouteKey::to(text.parse().unwrap())
}

pub(crate) fn link(n: u8) -> LinkId {
    LinkId(u32::from(n))
}

impl Probe {
    pub(crate) fn new() -> Self {
        Self::with(|params| params)
    }

    pub(crate) fn with(change: fn(Params) -> Params) -> Self {
        Self::made_of(change(unhurried(Params::new(router(OWN), Seqno(100)))), 1)
    }

    /// One that draws other random moments.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self::made_of(unhurried(Params::new(router(OWN), Seqno(100))), seed)
    }

    fn made_of(params: Params, seed: u64) -> Self {
        let now = Instant(1_000_000);
        let babel = Babel::new(params, Seed::new(seed), now);
        Self { babel, now, outputs: Vec::new(), hellos: BTreeMap::new() }
    }

    /// A probe with usable neighbours 1 to `count`, each on its own link; what it said to them is
    /// discarded.
    pub(crate) fn among(count: u8) -> Self {
        Self::new().join(count)
    }

    pub(crate) fn join(mut self, count: u8) -> Self {
        for n in 1..=count {
            self.link_up(n);
            self.greet(n);
        }
        self.wait(Duration::from_millis(300));
        self.outputs.clear();
        self
    }

    pub(crate) fn link_up(&mut self, n: u8) {
        self.input(Input::LinkUp { link: link(n), params: LinkParams::wired(address(OWN)) });
    }

    /// Hello and IHU of a neighbour.
    pub(crate) fn greet(&mut self, n: u8) {
        let hello = self.hello_tlv(n, 400);
        self.hear(n, &[hello, ihu(96)]);
    }

    /// The next Hello of neighbour `n`.
    pub(crate) fn hello_tlv(&mut self, n: u8, interval: u16) -> Tlv {
        let seqno = self.hellos.entry(n).or_insert(7);
        *seqno += 1;
        hello(*seqno, interval)
    }

    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.babel.handle(self.now, input);
        while let Some(output) = self.babel.poll_output() {
            self.outputs.push(output);
        }
    }

    /// A packet of neighbour `n` on link `n`.
    pub(crate) fn hear(&mut self, n: u8, tlvs: &[Tlv]) {
        self.hear_on(link(n), address(n), tlvs);
    }

    pub(crate) fn hear_on(&mut self, link: LinkId, source: Ipv6Addr, tlvs: &[Tlv]) {
        let mut writer = Writer::new(1400, source);
        tlvs.iter().for_each(|tlv| writer.push(tlv).unwrap());
        let packet = writer.finish().unwrap();
        let destination = Destination::Multicast;
        self.input(Input::Packet { link, source, destination, bytes: &packet.bytes });
    }

    /// An update of neighbour `n`.
    pub(crate) fn update(&mut self, n: u8, key: &str, distance: (u8, u16, u16)) {
        self.update_by(n, key, IpAddr::V6(address(n)), distance);
    }

    /// The same by another next hop.
    pub(crate) fn update_by(&mut self, n: u8, key: &str, hop: IpAddr, distance: (u8, u16, u16)) {
        let (origin, seqno, metric) = distance;
        let update = Update {
            route: Some(prefix(key)),
            router_id: Some(router(origin)),
            next_hop: Some(hop),
            seqno: Seqno(seqno),
            metric: Metric(metric),
            interval: Interval(1600),
        };
        self.hear(n, &[Tlv::Update(update)]);
    }

    pub(crate) fn retract(&mut self, n: u8, key: &str) {
        self.hear(n, &[retraction(Some(prefix(key)))]);
    }

    pub(crate) fn originate(&mut self, key: &str, metric: u16) {
        self.input(Input::Originate { route: prefix(key), metric: Metric(metric) });
    }

    pub(crate) fn ask(&mut self, n: u8, key: &str, (origin, seqno, hops): (u8, u16, u8)) {
        let (route, router_id) = (prefix(key), router(origin));
        let request = SeqnoRequest { route, seqno: Seqno(seqno), hop_count: hops, router_id };
        self.hear(n, &[Tlv::SeqnoRequest(request)]);
    }

    /// Lets time pass, deadline by deadline, neighbours silent.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.babel.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Deadline);
        }
        self.now = end;
    }

    /// Lets time pass with neighbours 1 to `count` saying Hello, IHU and acknowledging everything.
    pub(crate) fn live(&mut self, count: u8, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.wait(Duration::from_secs(1));
            for n in 1..=count {
                self.greet(n);
                self.acknowledge(n);
            }
        }
    }

    /// Acknowledges all that neighbour `n` was sent so far.
    pub(crate) fn acknowledge(&mut self, n: u8) {
        for (to, tlv) in self.sent_on(link(n)) {
            if let (Destination::Unicast(_), Tlv::AckRequest { opaque, .. }) = (to, tlv) {
                self.hear(n, &[Tlv::Ack { opaque }]);
            }
        }
    }

    /// All TLVs sent on a link since the outputs were last taken.
    pub(crate) fn sent_on(&self, on: LinkId) -> Vec<(Destination, Tlv)> {
        let mut sent = Vec::new();
        for output in &self.outputs {
            if let Output::Send { link, to, packet } = output
                && *link == on
            {
                let tlvs = read(&packet.bytes, address(OWN)).unwrap();
                sent.extend(tlvs.map(|tlv| (*to, tlv.unwrap())));
            }
        }
        sent
    }

    /// Forgets the outputs, and gives the TLVs sent to neighbour `n` since the last time.
    pub(crate) fn take(&mut self, n: u8) -> Vec<Tlv> {
        let sent = self.sent_on(link(n)).into_iter().map(|(_, tlv)| tlv).collect();
        self.outputs.clear();
        sent
    }

    /// Updates among the TLVs sent to neighbour `n`: prefix, seqno, metric.
    pub(crate) fn told(&self, n: u8) -> Vec<(String, u16, u16)> {
        let updates = self.sent_on(link(n)).into_iter().filter_map(|(_, tlv)| match tlv {
            Tlv::Update(update) => Some(update),
            _ => None,
        });
        updates
            .map(|u| (u.route.map_or("*".into(), |r| r.to_string()), u.seqno.0, u.metric.0))
            .collect()
    }

    /// Seqno requests sent to neighbour `n`: router-id, seqno, hop count.
    pub(crate) fn asked(&self, n: u8) -> Vec<(RouterId, u16, u8)> {
        let tlvs = self.sent_on(link(n)).into_iter();
        tlvs.filter_map(|(_, tlv)| match tlv {
            Tlv::SeqnoRequest(one) => Some((one.router_id, one.seqno.0, one.hop_count)),
            _ => None,
        })
        .collect()
    }

    /// The latest word to the kernel about a prefix.
    pub(crate) fn kernel(&self, key: &str) -> Option<Target> {
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Route { route, target, .. } if *route == prefix(key) => Some(*target),
            _ => None,
        })
    }

    /// The link of the selected route.
    pub(crate) fn via(&self, key: &str) -> Option<u8> {
        let selected = |one: &RouteView| {
            one.route == prefix(key) && one.state == super::super::RouteState::Selected
        };
        let route = self.babel.routes().find(selected)?;
        route.neighbour.map(|(link, _)| u8::try_from(link.0).unwrap())
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let event = |output: &Output| match output {
            Output::Event(event) => Some(*event),
            _ => None,
        };
        self.outputs.iter().filter_map(event).collect()
    }

    pub(crate) fn count(&self, label: &str) -> u64 {
        self.babel.counters().find(|(name, _)| *name == label).expect("a known label").1
    }

    pub(crate) fn cost(&self, n: u8) -> Cost {
        let on = |one: &super::super::NeighbourView| one.link == link(n);
        self.babel.neighbours().find(on).map_or(Cost::INFINITY, |one| one.cost)
    }
}

pub(crate) fn hello(seqno: u16, interval: u16) -> Tlv {
    Tlv::Hello(Hello {
        kind: HelloKind::Multicast,
        seqno: Seqno(seqno),
        interval: Interval(interval),
        timestamp: None,
    })
}

pub(crate) fn ihu(rxcost: u16) -> Tlv {
    let address = Some(IpAddr::V6(address(OWN)));
    Tlv::Ihu(Ihu { address, rxcost: Cost(rxcost), interval: Interval(1200), timestamps: None })
}

pub(crate) fn retraction(route: Option<RouteKey>) -> Tlv {
    Tlv::Update(Update {
        route,
        router_id: None,
        next_hop: None,
        seqno: Seqno(0),
        metric: Metric::INFINITY,
        interval: Interval(1600),
    })
}

//! Sequences of inputs: two engines that must agree, and a model that judges them.

use std::net::Ipv6Addr;
use std::time::Duration;

use sixwire_controlplane::babel::{
    Announcers, Babel, Forwarding, Input, LIMITS, Limits, LinkParams, OriginCheck, Output, Params,
};
use sixwire_proto::babel::{
    Destination, Hello, HelloKind, Ihu, RouteKey, SeqnoRequest, Tlv, Update, Writer,
};
use sixwire_proto::interval::Interval;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::model::{Model, next_hop};

/// Any octets: each step takes its kind and its values from the next ones.
pub(super) fn sequence(octets: &[u8]) {
    let mut octets = Octets(octets);
    let params = params(octets.next());
    let mut world = World {
        engines: [0, 1].map(|_| Babel::new(params, Seed::new(1), START)),
        model: Model::new(params.router_id, params.limits),
        now: START,
        hellos: 0,
    };
    for number in 0..3 {
        world.link_up(link(number), Announcers::Anyone, Cost::WIRED);
        world.meet(number);
    }
    for _ in 0..STEPS {
        if octets.0.is_empty() {
            break;
        }
        world.step(&mut octets);
    }
}

struct World {
    engines: [Babel; 2],
    model: Model,
    now: Instant,
    hellos: u16,
}

struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.next() % bound
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

impl World {
    fn step(&mut self, octets: &mut Octets<'_>) {
        // Mostly one of the three that were met, on its link.
        let choice = octets.next();
        let link = link(choice % 3);
        let from = address(if choice < 200 { choice % 3 } else { choice % 4 });
        match octets.below(16) {
            0 if choice.is_multiple_of(4) => {
                let only = Announcers::Only(router(octets.below(4)));
                let announcers = if octets.below(4) == 0 { only } else { Announcers::Anyone };
                self.link_up(link, announcers, Cost(u16::from(octets.next()) * 4));
            }
            1 if choice.is_multiple_of(4) => {
                self.model.link_lost(link);
                self.input(Input::LinkDown { link });
            }
            0..=2 => self.greet(link, from, octets),
            3..=8 => self.hear(link, from, &[Tlv::Update(update(from, octets))]),
            9 => self.hear(link, from, &[any_request(octets)]),
            10 => {
                let route = key(octets.below(6));
                let metric = [Metric::ZERO, Metric(300), Metric::INFINITY];
                let metric = metric[usize::from(octets.below(3))];
                self.input(Input::Originate { route, metric });
            }
            11 => self.pass(Duration::from_millis(u64::from(octets.next()) * 4)),
            12 => {
                self.pass(Duration::from_secs(u64::from(octets.next() % 32)));
                if choice < 240 {
                    (0..3).for_each(|number| self.meet(number));
                }
            }
            13 => self.other(link, from, octets),
            14 => {
                let length = usize::from(octets.below(64));
                self.packet(link, from, octets.take(length));
            }
            _ => {
                let prefixes = [key(octets.below(6)).destination, key(octets.below(6)).destination];
                let (router_id, count) = (router(octets.below(4)), usize::from(octets.below(3)));
                self.input(Input::Origin { router_id, prefixes: &prefixes[..count] });
            }
        }
    }

    fn link_up(&mut self, link: LinkId, announcers: Announcers, cost: Cost) {
        let params = LinkParams { announcers, cost, ..LinkParams::wired(own().link_local()) };
        self.model.link_lost(link);
        self.input(Input::LinkUp { link, params });
    }

    /// A neighbour is heard, and hears us.
    fn meet(&mut self, number: u8) {
        self.greet(link(number), address(number), &mut Octets(&[0, 0, 255, 0]));
    }

    /// Hello and IHU: the sender is a neighbour from now on.
    fn greet(&mut self, link: LinkId, from: Ipv6Addr, octets: &mut Octets<'_>) {
        self.hellos = self.hellos.wrapping_add(u16::from(octets.below(3) == 0));
        let hello = Hello {
            kind: [HelloKind::Multicast, HelloKind::Unicast][usize::from(octets.below(2))],
            seqno: Seqno(self.hellos),
            interval: Interval(u16::from(octets.next()) * 8),
            timestamp: None,
        };
        let rxcost = Cost([96, 1, 1000, 0xffff][usize::from(octets.below(4))]);
        let address = next_hop(own().link_local());
        let ihu = Ihu { address, rxcost, interval: Interval(1200), timestamps: None };
        self.hear(link, from, &[Tlv::Hello(hello), Tlv::Ihu(ihu)]);
    }

    fn other(&mut self, link: LinkId, from: Ipv6Addr, octets: &mut Octets<'_>) {
        match octets.below(6) {
            0 => self.input(Input::LinkCost { link, extra: Cost(u16::from(octets.next()) * 250) }),
            1 => self.input(Input::Answered { link, neighbour: from }),
            2 => self.input(Input::OriginGone { router_id: router(octets.below(4)) }),
            3 => self.hear(link, from, &[Tlv::Ack { opaque: u16::from(octets.next()) }]),
            4 => self.input(Input::Withdraw { route: key(octets.below(6)) }),
            _ => {
                let (opaque, interval) = (u16::from(octets.next()), Interval(100));
                self.hear(link, from, &[Tlv::AckRequest { opaque, interval }]);
            }
        }
    }

    fn hear(&mut self, link: LinkId, from: Ipv6Addr, tlvs: &[Tlv]) {
        let mut writer = Writer::new(1400, from);
        for tlv in tlvs {
            writer.push(tlv).expect("a few TLVs fit a packet");
        }
        if let Some(packet) = writer.finish() {
            self.packet(link, from, &packet.bytes);
        }
    }

    fn packet(&mut self, link: LinkId, source: Ipv6Addr, bytes: &[u8]) {
        self.model.packet(link, source, bytes);
        let destination = Destination::Unicast(own().link_local());
        self.input(Input::Packet { link, source, destination, bytes });
    }

    /// Lets time pass, deadline by deadline, of which there are not too many.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..DEADLINES {
            let due = self.engines[0].next_deadline().filter(|at| *at <= end);
            let Some(at) = due else { break };
            self.now = self.now.max(at);
            self.input(Input::Deadline);
        }
        self.now = self.now.max(end);
        self.input(Input::Deadline);
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.now;
        let [outputs, again] = self.engines.each_mut().map(|babel| {
            babel.handle(now, input);
            std::iter::from_fn(|| babel.poll_output()).collect::<Vec<Output>>()
        });
        assert_eq!(outputs, again, "the same inputs gave other outputs");
        assert_eq!(self.engines[0].next_deadline(), self.engines[1].next_deadline());
        assert!(outputs.len() <= OUTPUTS, "{} outputs", outputs.len());
        self.model.at(now);
        for output in &outputs {
            self.model.output(output, own().link_local());
        }
        self.model.check(&self.engines[0]);
    }
}

fn params(choice: u8) -> Params {
    Params {
        origin_check: if choice & 7 != 7 { OriginCheck::Off } else { OriginCheck::Required },
        forwarding: if choice & 24 != 24 { Forwarding::Transit } else { Forwarding::Leaf },
        limits: if choice & 32 == 0 { SMALL } else { LIMITS },
        ..Params::new(own(), Seqno(65_530))
    }
}

fn update(from: Ipv6Addr, octets: &mut Octets<'_>) -> Update {
    let route = (octets.below(32) > 0).then(|| key(octets.below(6)));
    let metric = [0, 1, 100, 104, 200, 300, 60_000, 0xffff, 0xffff][usize::from(octets.below(9))];
    Update {
        route,
        router_id: Some(router(octets.below(4))),
        next_hop: next_hop(from),
        seqno: Seqno(u16::from(octets.below(6)).wrapping_sub(3)),
        // A wildcard can only retract.
        metric: route.map_or(Metric::INFINITY, |_| Metric(metric)),
        interval: Interval(u16::from(octets.next()) * 16 + 1),
    }
}

fn any_request(octets: &mut Octets<'_>) -> Tlv {
    let route = key(octets.below(6));
    match octets.below(4) {
        0 => Tlv::RouteRequest(None),
        1 => Tlv::RouteRequest(Some(route)),
        _ => Tlv::SeqnoRequest(SeqnoRequest {
            route,
            seqno: Seqno(u16::from(octets.below(8)).wrapping_sub(4)),
            hop_count: octets.below(3) + 1,
            router_id: router(octets.below(4)),
        }),
    }
}

fn link(number: u8) -> LinkId {
    LinkId(u32::from(number))
}

/// The engine's own.
fn own() -> RouterId {
    router(0)
}

fn router(number: u8) -> RouterId {
    RouterId::new([2, 0, 0, 0, 0, 0, 0, number + 1]).expect("neither all zeros nor all ones")
}

fn address(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, u16::from(number) + 1)
}

/// Prefixes inside each other, and one for some sources only.
fn key(number: u8) -> RouteKey {
    let prefix = |text: &str| text.parse::<Prefix>().expect("written here");
    let destination = ["fd00::/16", "fd00:1::/32", "fd00:1:1::/64", "fd00:2::/32", "::/0", "::/0"];
    RouteKey {
        destination: prefix(destination[usize::from(number)]),
        source: (number == 5).then(|| prefix("fd00::/16")),
    }
}

const START: Instant = Instant(1_000_000);
const SMALL: Limits = Limits {
    neighbours_per_link: 2,
    routes_per_neighbour: 3,
    routes: 6,
    sources: 4,
    requests: 2,
    origins_wanted: 2,
};
const STEPS: usize = 150;
const DEADLINES: usize = 300;
/// Of one input: a few packets for each neighbour, a decision for each route.
const OUTPUTS: usize = 500;

//! Sequences of inputs: an engine, at times a twin that must agree with it, and a model that judges them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sixwire_controlplane::babel::{
    Action, Announcers, Babel, Delay, Direction, Filter, Forwarding, Input, LIMITS, Limits,
    LinkParams, LinkQuality, LinkTag, MetricChange, OriginCheck, Output, Params, RttCost,
    wire_time,
};
use sixwire_proto::babel::{
    Destination, EchoedTimes, Hello, HelloKind, Ihu, Packet, PseudoHeader, RouteKey, SeqnoRequest,
    Tlv, Update, Writer,
};
use sixwire_proto::interval::Interval;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seed::Seed;
use sixwire_proto::seqno::Seqno;
use sixwire_proto::time::Instant;

use super::model::{Heard, Model};
use super::signers::Signers;

/// Any octets: each step takes its kind and its values from the next ones.
pub(super) fn sequence(octets: &[u8]) {
    let mut octets = Octets(octets);
    let (choice, links) = (octets.next(), octets.next());
    let params = params(choice);
    let filters = if links & 1 == 0 { Vec::new() } else { filters() };
    let engine = || Babel::new(params, Seed::new(1), START).with_filters(filters.clone());
    let mut world = World {
        engine: engine(),
        twin: (choice & 192 == 192).then(engine),
        model: Model::new(params.router_id, params.limits),
        now: START,
        hellos: 0,
        links,
        signers: Signers::new(KEYED, own().link_local()),
    };
    if world.is_keyed(KEYED) {
        let authentication = Some(&world.signers.authentication());
        world.input(Input::Authentication { link: KEYED, authentication });
    }
    for number in 0..3 {
        world.link_up(link(number), Announcers::Anyone, Cost::WIRED);
        world.meet(number);
    }
    if world.is_keyed(KEYED) {
        // A neighbour is challenged first, and believed when it has replied.
        world.pass(Duration::from_millis(500));
        world.meet(2);
    }
    for _ in 0..STEPS {
        if octets.0.is_empty() {
            break;
        }
        world.step(&mut octets);
    }
}

struct World {
    engine: Babel,
    /// Told the same, in one sequence of four: it must say the same.
    twin: Option<Babel>,
    model: Model,
    now: Instant,
    hellos: u16,
    /// What the links are like.
    links: u8,
    /// The neighbours on the link that may have keys.
    signers: Signers,
}

/// Where a packet goes, and who signs it.
#[derive(Clone, Copy)]
struct Way {
    link: LinkId,
    from: Ipv6Addr,
    to: Destination,
    trust: Trust,
}

/// Whether a packet on the link with keys is signed.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    Signed,
    Unsigned,
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
        let own = Destination::Unicast(own().link_local());
        let to = if choice & 32 == 0 { own } else { Destination::Multicast };
        let trust = if choice < 224 { Trust::Signed } else { Trust::Unsigned };
        let way = Way { link, from, to, trust };
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
            0..=2 => self.greet(way, octets),
            3..=8 => self.hear(way, &[Tlv::Update(update(from, octets))]),
            9 => self.hear(way, &[any_request(octets)]),
            10 => {
                let route = key(octets.below(KEYS));
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
            13 => self.other(way, octets),
            14 => {
                let length = usize::from(octets.below(64));
                self.packet(way, octets.take(length).to_vec());
            }
            _ => {
                let prefixes = [(); 2].map(|()| key(octets.below(KEYS)).destination);
                let (router_id, count) = (router(octets.below(4)), usize::from(octets.below(3)));
                self.input(Input::Origin { router_id, prefixes: &prefixes[..count] });
            }
        }
    }

    fn link_up(&mut self, link: LinkId, announcers: Announcers, cost: Cost) {
        let delay = match self.links & 2 {
            0 => Delay::Measured,
            _ => Delay::Charged(RttCost::RECOMMENDED),
        };
        let quality = (self.links & 4 != 0).then_some(LinkQuality::Etx);
        let tag = u16::try_from(link.0).ok().map(LinkTag);
        let v4 = (link == WITH_V4).then_some(OWN_V4);
        let wired = LinkParams::wired(own().link_local());
        let params = LinkParams { announcers, cost, delay, quality, tag, v4, ..wired };
        self.model.link_lost(link);
        self.input(Input::LinkUp { link, params });
    }

    fn is_keyed(&self, link: LinkId) -> bool {
        link == KEYED && self.links & 8 != 0
    }

    /// A neighbour is heard, and hears us.
    fn meet(&mut self, number: u8) {
        let to = Destination::Multicast;
        let way = Way { link: link(number), from: address(number), to, trust: Trust::Signed };
        self.greet(way, &mut Octets(&[0, 0, 255, 0]));
    }

    /// Hello and IHU: the sender is a neighbour from now on.
    fn greet(&mut self, way: Way, octets: &mut Octets<'_>) {
        self.hellos = self.hellos.wrapping_add(u16::from(octets.below(3) == 0));
        let kind = [HelloKind::Multicast, HelloKind::Unicast][usize::from(octets.below(2))];
        let interval = Interval(u16::from(octets.next()) * 8);
        let rxcost = Cost([96, 1, 1000, 0xffff][usize::from(octets.below(4))]);
        let times = octets.next();
        // Its clock differs from ours; what it echoes is some time ago, or nonsense.
        let now = wire_time(self.now);
        let clock = now.wrapping_sub(u32::from(times & 15) << 28);
        let ago = [0, 1_000, 30_000, 90_000, 500_000, 200_000_000, 1 << 31, u32::MAX];
        let ago = ago[usize::from(times >> 4 & 7)];
        let echo = EchoedTimes { origin: now.wrapping_sub(ago), receive: clock.wrapping_sub(500) };
        let is_stamped = times & 128 != 0;
        let timestamp = is_stamped.then_some(clock);
        let hello = Hello { kind, seqno: Seqno(self.hellos), interval, timestamp };
        let address = Some(IpAddr::V6(own().link_local()));
        let timestamps = is_stamped.then_some(echo);
        let ihu = Ihu { address, rxcost, interval: Interval(1200), timestamps };
        self.hear(way, &[Tlv::Hello(hello), Tlv::Ihu(ihu)]);
    }

    fn other(&mut self, way: Way, octets: &mut Octets<'_>) {
        let link = way.link;
        match octets.below(7) {
            0 => self.input(Input::LinkCost { link, extra: Cost(u16::from(octets.next()) * 250) }),
            1 => self.input(Input::Answered { link, neighbour: way.from }),
            2 => self.input(Input::OriginGone { router_id: router(octets.below(4)) }),
            3 => self.hear(way, &[Tlv::Ack { opaque: u16::from(octets.next()) }]),
            4 => self.input(Input::Withdraw { route: key(octets.below(KEYS)) }),
            5 => {
                let address = (octets.below(2) == 0).then_some(OWN_V4);
                self.input(Input::LinkV4 { link, address });
            }
            _ => {
                let (opaque, interval) = (u16::from(octets.next()), Interval(100));
                self.hear(way, &[Tlv::AckRequest { opaque, interval }]);
            }
        }
    }

    fn hear(&mut self, way: Way, tlvs: &[Tlv]) {
        let mut writer = Writer::new(1400, way.from);
        for tlv in tlvs {
            writer.push(tlv).expect("a few TLVs fit a packet");
        }
        if let Some(mut packet) = writer.finish() {
            // Transmit times stay as the sender wrote them.
            packet.stamps.clear();
            self.signed(way, packet);
        }
    }

    /// On the link with keys a packet is signed, or must leave no trace.
    fn signed(&mut self, way: Way, packet: Packet) {
        if !self.is_keyed(way.link) || way.trust == Trust::Unsigned {
            return self.packet(way, packet.seal(0));
        }
        let header = PseudoHeader { source: way.from, destination: way.to };
        let bytes = self.signers.sign(packet, header);
        // It may be dropped all the same, until its sender has replied to a challenge.
        self.model.packet(way.link, way.from, &bytes, Heard::Perhaps);
        self.deliver(way, &bytes);
    }

    fn packet(&mut self, way: Way, bytes: Vec<u8>) {
        if !self.is_keyed(way.link) {
            self.model.packet(way.link, way.from, &bytes, Heard::Surely);
        }
        self.deliver(way, &bytes);
    }

    fn deliver(&mut self, way: Way, bytes: &[u8]) {
        let Way { link, from: source, to: destination, .. } = way;
        self.input(Input::Packet { link, source, destination, bytes });
    }

    /// Lets time pass, deadline by deadline, of which there are not too many.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..DEADLINES {
            let due = self.engine.next_deadline().filter(|at| *at <= end);
            let Some(at) = due else { break };
            self.now = self.now.max(at);
            self.input(Input::Deadline);
        }
        self.now = self.now.max(end);
        self.input(Input::Deadline);
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.now;
        let outputs = outputs(&mut self.engine, now, input);
        if let Some(twin) = &mut self.twin {
            assert_eq!(
                outputs,
                self::outputs(twin, now, input),
                "the same inputs gave other outputs"
            );
            assert_eq!(self.engine.next_deadline(), twin.next_deadline());
        }
        assert!(outputs.len() <= OUTPUTS, "{} outputs", outputs.len());
        self.model.at(now);
        for output in &outputs {
            self.model.output(output, own().link_local());
            self.signers.output(output);
        }
        self.model.check(&self.engine);
    }
}

/// What an engine says to an input.
fn outputs(babel: &mut Babel, now: Instant, input: Input<'_>) -> Vec<Output> {
    babel.handle(now, input);
    std::iter::from_fn(|| babel.poll_output()).collect()
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
    let route = (octets.below(32) > 0).then(|| key(octets.below(KEYS)));
    // IPv4 leads through IPv6, or through IPv4.
    let is_v4 = route.is_some_and(|key| !key.destination.is_v6()) && octets.below(2) == 0;
    let next_hop = if is_v4 { IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)) } else { IpAddr::V6(from) };
    let metric = [0, 1, 100, 104, 200, 300, 60_000, 0xffff, 0xffff][usize::from(octets.below(9))];
    Update {
        route,
        router_id: Some(router(octets.below(4))),
        next_hop: Some(next_hop),
        seqno: Seqno(u16::from(octets.below(6)).wrapping_sub(3)),
        // A wildcard can only retract.
        metric: route.map_or(Metric::INFINITY, |_| Metric(metric)),
        interval: Interval(u16::from(octets.next()) * 16 + 1),
    }
}

fn any_request(octets: &mut Octets<'_>) -> Tlv {
    let route = key(octets.below(KEYS));
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

fn prefix(text: &str) -> Prefix {
    text.parse().expect("written here")
}

/// Prefixes inside each other, one for some sources only, two of IPv4.
fn key(number: u8) -> RouteKey {
    let destination = [
        "fd00::/16",
        "fd00:1::/32",
        "fd00:1:1::/64",
        "fd00:2::/32",
        "::/0",
        "::/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
    ];
    RouteKey {
        destination: prefix(destination[usize::from(number)]),
        source: (number == 5).then(|| prefix("fd00::/16")),
    }
}

/// A rule of each kind.
fn filters() -> Vec<Filter> {
    let rule = |direction, text: &str, action| Filter {
        direction,
        prefix: Some(prefix(text)),
        length: None,
        source: None,
        link: None,
        neighbour: None,
        router_id: None,
        action,
    };
    let add = |more| Action::Allow(MetricChange::Add(Cost(more)));
    let set = |metric| Action::Allow(MetricChange::Set(Metric(metric)));
    let link = Some(LinkTag(0));
    vec![
        Filter { link, ..rule(Direction::In, "fd00:2::/32", Action::Deny) },
        Filter { neighbour: Some(address(1)), ..rule(Direction::In, "::/0", add(50)) },
        Filter { router_id: Some(router(2)), ..rule(Direction::In, "fd00::/16", set(250)) },
        Filter { link, ..rule(Direction::Out, "fd00:1::/32", set(200)) },
        Filter { length: Some(64..=64), ..rule(Direction::Out, "::/0", Action::Deny) },
        rule(Direction::Install, "10.1.0.0/16", Action::Deny),
    ]
}

/// How many keys there are.
const KEYS: u8 = 8;
/// The link that has keys, in half of the sequences.
const KEYED: LinkId = LinkId(2);
/// The link on which we have an IPv4 address.
const WITH_V4: LinkId = LinkId(1);
const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const START: Instant = Instant(1_000_000);
const SMALL: Limits = Limits {
    neighbours_per_link: 2,
    routes_per_neighbour: 3,
    routes: 6,
    sources: 4,
    requests: 2,
    origins_wanted: 2,
};
/// Most faults need few steps, and the time is better spent on more sequences.
const STEPS: usize = 60;
const DEADLINES: usize = 100;
/// Of one input: a few packets for each neighbour, a decision for each route.
const OUTPUTS: usize = 500;

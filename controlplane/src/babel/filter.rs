//! Filters: what is believed, what is told, what is used. The first rule that matches decides; where none
//! does, everything is allowed as it is.
//!
//! No rule can make a loop. The feasibility condition (RFC 8966 §3.5.1) looks at metrics as neighbours sent
//! them, the source table gets them as they leave, and a metric that a rule sets is raised above that of the
//! neighbour the route leads to (RFC 8966 §3.5.2).

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use sixwire_proto::babel::RouteKey;
use sixwire_proto::link::LinkId;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;

use super::Babel;
use super::neighbour::NeighbourId;
use super::route::{Entry, Route, Selection};

/// A rule. What it does not name, it does not ask about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Where it is asked.
    pub direction: Direction,
    /// The destination is this prefix, or inside it.
    pub prefix: Option<Prefix>,
    /// The destination's length is one of these.
    pub length: Option<RangeInclusive<u8>>,
    /// The source prefix of the route.
    pub source: Option<SourceMatch>,
    /// The link: the route's, or in [`Direction::Out`] the one it is told on.
    pub link: Option<LinkTag>,
    /// The neighbour the route was heard from. Matches nothing in [`Direction::Out`]: a link may be told
    /// something by one packet for all.
    pub neighbour: Option<Ipv6Addr>,
    /// The originator.
    pub router_id: Option<RouterId>,
    /// What is done.
    pub action: Action,
}

/// Where a rule is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// An update came. What is denied was never heard.
    In,
    /// An update is to leave, for a route of others or our own. What is denied is not told on the link, and
    /// retracted there if it was.
    Out,
    /// A route could be used. What is denied is kept, but neither used nor told: others would send us
    /// packets that we have no route for.
    Install,
}

/// What kind of source prefix (RFC 9079) a route has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceMatch {
    /// None: it is for packets from everywhere.
    Unspecific,
    /// One that is this prefix, or inside it.
    Within(Prefix),
}

/// What rules know a link by: it stays when the link goes and comes again under another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkTag(pub u16);

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Refuses.
    Deny,
    /// Allows, with another metric. In [`Direction::Install`] the metric stays as it is.
    Allow(MetricChange),
}

/// What becomes of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricChange {
    /// So much is added; infinity is denial.
    Add(Cost),
    /// It is this, or one more than the next router's if that is greater. An unusable link stays so.
    Set(Metric),
}

impl MetricChange {
    /// No change.
    pub const NONE: Self = Self::Add(Cost(0));

    /// The changed metric, above `floor` where the route has one.
    fn of(self, metric: Metric, floor: Option<Metric>) -> Metric {
        match self {
            Self::Add(more) => metric + more,
            Self::Set(_) if !metric.is_finite() => metric,
            Self::Set(to) => to.max(floor.map_or(Metric::ZERO, |floor| floor + Cost(1))),
        }
    }
}

/// What a rule is asked about.
#[derive(Clone, Copy, Debug)]
struct Subject {
    key: RouteKey,
    router_id: RouterId,
    link: Option<LinkTag>,
    neighbour: Option<Ipv6Addr>,
}

impl Filter {
    fn matches(&self, subject: &Subject) -> bool {
        self.is_about(subject.key, subject.link)
            && self.neighbour.is_none_or(|one| subject.neighbour == Some(one))
            && self.router_id.is_none_or(|one| one == subject.router_id)
    }

    /// Whether it matches as far as destination, source and link go.
    fn is_about(&self, key: RouteKey, link: Option<LinkTag>) -> bool {
        self.prefix.is_none_or(|prefix| prefix.contains(key.destination))
            && self.length.as_ref().is_none_or(|some| some.contains(&key.destination.length()))
            && self.source.is_none_or(|source| source.matches(key.source))
            && self.link.is_none_or(|one| link == Some(one))
    }
}

impl SourceMatch {
    /// Whether a route with this source prefix is meant.
    #[must_use]
    pub fn matches(self, source: Option<Prefix>) -> bool {
        match (self, source) {
            (Self::Unspecific, source) => source.is_none(),
            (Self::Within(prefix), Some(source)) => prefix.contains(source),
            (Self::Within(_), None) => false,
        }
    }
}

/// All rules, by direction and in their order.
#[derive(Debug, Default)]
pub(super) struct Filters {
    inward: Vec<Filter>,
    outward: Vec<Filter>,
    install: Vec<Filter>,
}

impl Filters {
    fn new(all: Vec<Filter>) -> Self {
        let mut filters = Self::default();
        for filter in all {
            match filter.direction {
                Direction::In => filters.inward.push(filter),
                Direction::Out => filters.outward.push(filter),
                Direction::Install => filters.install.push(filter),
            }
        }
        filters
    }

    /// Whether something about this prefix can be told on the link, whoever originates it.
    fn may_tell(&self, key: RouteKey, link: Option<LinkTag>) -> bool {
        let mut about = self.outward.iter().filter(|rule| rule.is_about(key, link));
        let decisive = about.find(|rule| rule.action != Action::Deny || rule.router_id.is_none());
        decisive.is_none_or(|rule| rule.action != Action::Deny)
    }
}

/// What the first rule that matches says.
fn verdict(rules: &[Filter], subject: impl FnOnce() -> Subject) -> Action {
    if rules.is_empty() {
        return Action::Allow(MetricChange::NONE);
    }
    let subject = subject();
    let first = rules.iter().find(|rule| rule.matches(&subject));
    first.map_or(Action::Allow(MetricChange::NONE), |rule| rule.action)
}

impl Babel {
    /// The same speaker with these rules, which hold for its life. To be called before any input.
    #[must_use]
    pub fn with_filters(self, filters: Vec<Filter>) -> Self {
        Self { filters: Filters::new(filters), ..self }
    }

    /// Whether an update of a neighbour is believed.
    pub(super) fn is_let_in(&self, from: NeighbourId, key: RouteKey, router_id: RouterId) -> bool {
        let subject = || self.subject(from, key, router_id);
        verdict(&self.filters.inward, subject) != Action::Deny
    }

    /// Our metric by a route of a neighbour.
    pub(super) fn metric(&self, key: RouteKey, route: &Route) -> Metric {
        self.filtered_metric(key, route, route.metric(self.neighbours.cost(route.neighbour)))
    }

    /// What the filters make of a metric by such a route.
    pub(super) fn filtered_metric(&self, key: RouteKey, route: &Route, metric: Metric) -> Metric {
        let subject = || self.subject(route.neighbour, key, route.router_id);
        match verdict(&self.filters.inward, subject) {
            Action::Deny => Metric::INFINITY,
            Action::Allow(change) => change.of(metric, Some(route.refmetric)),
        }
    }

    /// Whether a route may be used.
    pub(super) fn may_install(&self, key: RouteKey, route: &Route) -> bool {
        let subject = || self.subject(route.neighbour, key, route.router_id);
        verdict(&self.filters.install, subject) != Action::Deny
    }

    /// Whether a link hears of a prefix at all: of one that no rule could allow there, it does not even
    /// hear that it is lost.
    pub(super) fn may_tell(&self, key: RouteKey, link: LinkId) -> bool {
        self.filters.outward.is_empty() || self.filters.may_tell(key, self.tag(link))
    }

    /// The metric to tell on a link; infinite if the route is not to be told there.
    pub(super) fn told_metric(&self, entry: &Entry, selected: &Selection, link: LinkId) -> Metric {
        let (key, router_id) = (entry.key, selected.router_id);
        let subject = || Subject { key, router_id, link: self.tag(link), neighbour: None };
        match verdict(&self.filters.outward, subject) {
            Action::Deny => Metric::INFINITY,
            Action::Allow(change) => {
                change.of(selected.metric, entry.selected_route().map(|route| route.refmetric))
            }
        }
    }

    fn subject(&self, from: NeighbourId, key: RouteKey, router_id: RouterId) -> Subject {
        let neighbour = self.neighbours.get(from);
        let link = neighbour.and_then(|one| self.tag(one.link));
        Subject { key, router_id, link, neighbour: neighbour.map(|one| one.address) }
    }

    fn tag(&self, link: LinkId) -> Option<LinkTag> {
        self.links.get(&link).and_then(|link| link.params.tag)
    }
}

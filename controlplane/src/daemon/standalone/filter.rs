//! Filters as a user writes them: a table of the file, or one line of a flag.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;
use sixwire_dataplane::model::IfName;
use sixwire_proto::metric::{Cost, Metric};
use sixwire_proto::prefix::Prefix;
use sixwire_proto::router_id::RouterId;

use crate::babel::{Action, Direction, Filter, LinkTag, MetricChange, SourceMatch};
use crate::daemon::config::Count;

/// A rule about routes. The first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct FilterRule {
    /// The rule, but for its link.
    rule: Filter,
    /// Its link.
    interface: Option<IfName>,
}

/// The keys of a rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "filter")]
struct Written {
    direction: WrittenDirection,
    prefix: Option<Prefix>,
    length: Option<Length>,
    source: Option<Source>,
    interface: Option<IfName>,
    neighbour: Option<Ipv6Addr>,
    router_id: Option<RouterId>,
    action: Option<WrittenAction>,
    metric: Option<WrittenMetric>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenDirection {
    In,
    Out,
    Install,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenAction {
    Allow,
    Deny,
}

/// Which source prefix a route has: `none`, or a prefix around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Source(pub SourceMatch);

/// Prefix lengths: `64`, or `48-64`.
#[derive(Deserialize)]
#[serde(try_from = "NumberOrText")]
struct Length(RangeInclusive<u8>);

/// What becomes of a metric: `+96`, or `=256`.
#[derive(Deserialize)]
#[serde(try_from = "NumberOrText")]
struct WrittenMetric(MetricChange);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, or text in quotes")]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl FilterRule {
    /// The interface it names.
    pub(super) fn interface(&self) -> Option<&IfName> {
        self.interface.as_ref()
    }
}

/// What the engine is told of rules: interfaces have tags there.
pub(super) fn filters(rules: &[FilterRule], by_source: BySource) -> Vec<Filter> {
    // Linux has no source-specific routes for IPv4 at all.
    let unusable = match by_source {
        BySource::Ipv6 => &[Prefix::V4_DEFAULT][..],
        BySource::Never => &[Prefix::V4_DEFAULT, Prefix::V6_DEFAULT],
    };
    let unusable = unusable.iter().map(|sources| Filter {
        direction: Direction::Install,
        prefix: None,
        length: None,
        source: Some(SourceMatch::Within(*sources)),
        link: None,
        neighbour: None,
        router_id: None,
        action: Action::Deny,
    });
    let tagged = rules.iter().map(|one| Filter {
        link: one.interface().and_then(|name| tag(rules, name)),
        ..one.rule.clone()
    });
    unusable.chain(tagged).collect()
}

/// What the engine knows an interface by; `None` if no rule names it.
pub(super) fn tag(rules: &[FilterRule], name: &IfName) -> Option<LinkTag> {
    let position = rules.iter().position(|rule| rule.interface() == Some(name))?;
    u16::try_from(position).ok().map(LinkTag)
}

/// For which packets the kernel can have source-specific routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BySource {
    /// Those of IPv6.
    Ipv6,
    /// None.
    Never,
}

impl TryFrom<Written> for FilterRule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let direction = written.direction.into();
        let action = action(direction, written.action, written.metric)?;
        let length = written.length.map(|Length(range)| range);
        let source = written.source.map(|Source(source)| source);
        if direction == Direction::Out && written.neighbour.is_some() {
            return Err("neighbour: with direction \"out\" name the interface: all on a link are \
                        told the same"
                .to_owned());
        }
        if let (Some(prefix), Some(length)) = (written.prefix, &length) {
            let bits = if prefix.is_v6() { 128 } else { 32 };
            if *length.end() < prefix.length() || *length.start() > bits {
                let (from, to) = (prefix.length(), bits);
                return Err(format!(
                    "length: what lies inside {prefix} has a length of {from}-{to}"
                ));
            }
        }
        let rule = Filter {
            direction,
            prefix: written.prefix,
            length,
            source,
            link: None,
            neighbour: written.neighbour,
            router_id: written.router_id,
            action,
        };
        Ok(Self { rule, interface: written.interface })
    }
}

fn action(
    direction: Direction,
    action: Option<WrittenAction>,
    metric: Option<WrittenMetric>,
) -> Result<Action, String> {
    match (action, metric) {
        (None, None) => {
            Err("it does nothing: give it an action (\"allow\", \"deny\") or a metric \
                             (\"+96\", \"=256\")"
                .to_owned())
        }
        (Some(WrittenAction::Deny), Some(_)) => {
            Err("metric: what is denied has none; remove it, or the action".to_owned())
        }
        (_, Some(_)) if direction == Direction::Install => {
            Err("metric: can be changed with direction \"in\" and \"out\" only".to_owned())
        }
        (Some(WrittenAction::Deny), None) => Ok(Action::Deny),
        (Some(WrittenAction::Allow), None) => Ok(Action::Allow(MetricChange::NONE)),
        (_, Some(WrittenMetric(change))) => Ok(Action::Allow(change)),
    }
}

impl FromStr for FilterRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = toml::Table::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is no KEY=VALUE"))?;
            if keys.insert(key.to_owned(), value.into()).is_some() {
                return Err(format!("{key} is given twice"));
            }
        }
        keys.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(SourceMatch::Unspecific));
        }
        let prefix: Prefix =
            text.parse().map_err(|error| format!("source: {error}, or \"none\""))?;
        if !prefix.is_v6() {
            return Err("source: only IPv6 routes can be for some sources".to_owned());
        }
        Ok(Self(SourceMatch::Within(prefix)))
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<WrittenDirection> for Direction {
    fn from(written: WrittenDirection) -> Self {
        match written {
            WrittenDirection::In => Self::In,
            WrittenDirection::Out => Self::Out,
            WrittenDirection::Install => Self::Install,
        }
    }
}

impl TryFrom<NumberOrText> for Length {
    type Error = String;

    fn try_from(written: NumberOrText) -> Result<Self, String> {
        let text = written.text();
        let (from, to) = text.split_once('-').unwrap_or((&text, &text));
        match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) if from <= to && to <= 128 => Ok(Self(from..=to)),
            _ => Err(format!("{text:?} is no prefix length: want 64, or a range such as 48-64")),
        }
    }
}

impl TryFrom<NumberOrText> for WrittenMetric {
    type Error = String;

    fn try_from(written: NumberOrText) -> Result<Self, String> {
        let text = written.text();
        let number = |digits: &str| digits.parse::<Count<0, 65_534>>().ok().map(|count| count.0);
        let add = |digits| number(digits).map(|more| MetricChange::Add(Cost(more)));
        let set = |digits| number(digits).map(|metric| MetricChange::Set(Metric(metric)));
        let change = match text.split_at_checked(1) {
            Some(("+", digits)) => add(digits),
            Some(("=", digits)) => set(digits),
            _ => None,
        };
        change.map(Self).ok_or_else(|| {
            format!("{text:?} is no change of a metric: want +N to add, =N to set, up to 65534")
        })
    }
}

impl NumberOrText {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Most rules of one engine.
pub(super) const MOST_FILTERS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_the_same_as_a_table() {
        let line = "direction=in,prefix=2001:db8::/32,length=48-64,interface=eth0,\
                    neighbour=fe80::1,router_id=0123456789abcdef,source=none,metric=+96";
        let table = "direction = \"in\"\nprefix = \"2001:db8::/32\"\nlength = \"48-64\"\n\
                     interface = \"eth0\"\nneighbour = \"fe80::1\"\n\
                     router_id = \"0123456789abcdef\"\nsource = \"none\"\nmetric = \"+96\"\n";
        let rule: FilterRule = line.parse().unwrap();
        assert_eq!(rule, toml::from_str(table).unwrap());
        assert_eq!(rule.rule.length, Some(48..=64));
        assert_eq!(rule.rule.action, Action::Allow(MetricChange::Add(Cost(96))));
        let set: FilterRule = "direction=out,metric==256".parse().unwrap();
        assert_eq!(set.rule.action, Action::Allow(MetricChange::Set(Metric(256))));
        let one: FilterRule =
            toml::from_str("direction = \"install\"\nlength = 64\naction = \"deny\"").unwrap();
        assert_eq!((one.rule.length, one.rule.action), (Some(64..=64), Action::Deny));
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_what_would() {
        for (text, about) in [
            ("prefix=::/0,action=deny", "direction"),
            ("direction=in", "does nothing"),
            ("direction=sideways,action=deny", "sideways"),
            ("direction=in,action=deny,metric=+1", "what is denied has none"),
            ("direction=install,metric=+1", "\"in\" and \"out\" only"),
            ("direction=out,neighbour=fe80::1,action=deny", "name the interface"),
            ("direction=in,prefix=fd00::/48,length=16-32,action=deny", "48-128"),
            ("direction=in,prefix=10.0.0.0/8,length=64,action=deny", "8-32"),
            ("direction=in,length=64-48,action=deny", "48-64"),
            ("direction=in,metric=96", "+N to add"),
            ("direction=in,metric=+70000", "65534"),
            ("direction=in,source=10.0.0.0/8,action=deny", "only IPv6"),
            ("direction=in,colour=red,action=deny", "colour"),
            ("direction=in,direction=out,action=deny", "twice"),
            ("deny", "KEY=VALUE"),
        ] {
            let refused = text.parse::<FilterRule>().unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
        }
    }

    #[test]
    fn rules_of_one_interface_share_its_tag_and_what_the_kernel_cannot_do_is_never_used() {
        let rules = ["direction=in,interface=b,action=deny", "direction=out,interface=b,metric=+1"];
        let rules: Vec<FilterRule> = rules.iter().map(|text| text.parse().unwrap()).collect();
        let b = tag(&rules, &"b".parse().unwrap());
        let links: Vec<_> = filters(&rules, BySource::Ipv6).iter().map(|one| one.link).collect();
        assert_eq!(links, [None, b, b]);
        assert!(b.is_some() && tag(&rules, &"a".parse().unwrap()).is_none());
        let denied = |one: &Filter| one.direction == Direction::Install;
        assert_eq!(filters(&rules, BySource::Never).iter().filter(|one| denied(one)).count(), 2);
    }
}

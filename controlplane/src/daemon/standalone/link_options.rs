//! How links are used: cost, quality and delay of one interface, timers of all.

use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use sixwire_proto::metric::Cost;
use sixwire_proto::router_id::RouterId;
use sixwire_proto::seqno::Seqno;

use crate::babel::{
    Delay, LinkParams, LinkQuality, LinkSensing, LinkStart, Params, RttCost, UPDATE_INTERVAL,
};
use crate::daemon::config::{Count, Period};

/// How soon a silent link is noticed, and what that costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Within 3.5 s
    #[default]
    Default,
    /// Within 0.7 s, at four times the traffic
    Fast,
}

impl Profile {
    /// Parameters of an engine with these timers.
    pub(super) fn params(self, router_id: RouterId, seqno: Seqno) -> Params {
        match self {
            Self::Default => Params::new(router_id, seqno),
            Self::Fast => Params::fast(router_id, seqno),
        }
    }

    /// Hello and update interval, as given or by the profile. An update interval follows the Hello
    /// interval that is given (RFC 8966 appendix B: four times as long).
    pub(super) fn intervals(
        self,
        hello: Option<Duration>,
        update: Option<Duration>,
    ) -> (Duration, Duration) {
        let four_hellos = hello.map(|hello| hello * UPDATE_PER_HELLO);
        let own = match self {
            Self::Default => crate::babel::HELLO_INTERVAL,
            Self::Fast => crate::babel::FAST_HELLO_INTERVAL,
        };
        (hello.unwrap_or(own), update.or(four_hellos).unwrap_or(UPDATE_INTERVAL))
    }
}

/// How an interface is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// Cost of its links, above zero and finite.
    pub cost: Cost,
    /// How their quality is estimated; `None` as usual: two Hellos out of three.
    pub quality: Option<LinkQuality>,
    /// What their delay is good for.
    pub delay: Delay,
}

impl LinkOptions {
    /// Parameters of a link.
    pub(super) fn params(self, address: Ipv6Addr, start: LinkStart) -> LinkParams {
        let Self { cost, quality, delay } = self;
        LinkParams { cost, quality, delay, start, ..LinkParams::wired(address) }
    }
}

/// The same as said by the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkKeys {
    pub(super) cost: Option<Count<1, 65_534>>,
    pub(super) quality: Option<Quality>,
    pub(super) rtt_min: Option<RttBound>,
    pub(super) rtt_max: Option<RttBound>,
    pub(super) rtt_penalty: Option<Count<0, 65_534>>,
}

/// A delay that is free, or the greatest that is charged for.
pub(super) type RttBound = Period<0, 60_000>;

/// `etx`, or `K/J`: K of the last J Hellos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quality(LinkQuality);

impl FromStr for Quality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "etx" {
            return Ok(Self(LinkQuality::Etx));
        }
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(k, j)| Some((k.parse().ok()?, j.parse().ok()?)));
        let sensing = numbers.and_then(|(k, j)| LinkSensing::new(k, j));
        let quality = sensing.map(|sensing| Self(LinkQuality::KOutOfJ(sensing)));
        quality.ok_or_else(|| {
            format!("`{text}` is neither `etx` nor `K/J` with 1 <= K <= J <= 16, as `2/3`")
        })
    }
}

impl<'de> Deserialize<'de> for Quality {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl LinkKeys {
    /// Reads `COST` and `KEY=VALUE`, in any order, separated by commas.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Self::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or(("cost", part));
            let done = match key {
                "cost" => set(&mut keys.cost, value),
                "quality" => set(&mut keys.quality, value),
                "rtt-min" => set(&mut keys.rtt_min, value),
                "rtt-max" => set(&mut keys.rtt_max, value),
                "rtt-penalty" => set(&mut keys.rtt_penalty, value),
                _ => Err("no such key; there are cost, quality, rtt-min, rtt-max and rtt-penalty"
                    .to_owned()),
            };
            done.map_err(|problem| format!("{part}: {problem}"))?;
        }
        Ok(keys)
    }

    /// Fills in what is not said. A penalty alone, or bounds alone, turn the charge on.
    pub(super) fn check(self) -> Result<LinkOptions, String> {
        let etx = matches!(self.quality, Some(Quality(LinkQuality::Etx)));
        let usual = if etx { ETX_COST } else { Cost::WIRED };
        let cost = self.cost.map_or(usual, |count| Cost(count.0));
        let quality = self.quality.map(|quality| quality.0);
        Ok(LinkOptions { cost, quality, delay: self.delay()? })
    }

    fn delay(self) -> Result<Delay, String> {
        if (self.rtt_min, self.rtt_max, self.rtt_penalty) == (None, None, None) {
            return Ok(Delay::Measured);
        }
        let usual = RttCost::RECOMMENDED;
        let rule = RttCost {
            least: self.rtt_min.map_or(usual.least, Period::duration),
            most: self.rtt_max.map_or(usual.most, Period::duration),
            penalty: self.rtt_penalty.map_or(usual.penalty, |count| Cost(count.0)),
        };
        if rule.least > rule.most {
            return Err("rtt_min is above rtt_max".to_owned());
        }
        Ok(if rule.penalty == Cost(0) { Delay::Measured } else { Delay::Charged(rule) })
    }
}

fn set<T: FromStr<Err: ToString>>(field: &mut Option<T>, text: &str) -> Result<(), String> {
    *field = Some(text.parse().map_err(|problem: T::Err| problem.to_string())?);
    Ok(())
}

/// What RFC 8966 §A.2.2 has for a link without loss.
const ETX_COST: Cost = Cost(256);
/// RFC 8966 appendix B: an update interval is four Hello intervals.
const UPDATE_PER_HELLO: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<LinkOptions, String> {
        LinkKeys::parse(text)?.check()
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let wired = LinkOptions { cost: Cost(96), quality: None, delay: Delay::Measured };
        assert_eq!(options("96"), Ok(wired));
        assert_eq!(options("cost=200"), Ok(LinkOptions { cost: Cost(200), ..wired }));
        let etx = LinkOptions { cost: Cost(256), quality: Some(LinkQuality::Etx), ..wired };
        assert_eq!(options("quality=etx"), Ok(etx));
        let charged = |rule| Ok(LinkOptions { delay: Delay::Charged(rule), ..wired });
        let usual = RttCost::RECOMMENDED;
        assert_eq!(options("rtt-max=120ms"), charged(usual));
        let penalty = Cost(1000);
        assert_eq!(options("rtt-penalty=1000"), charged(RttCost { penalty, ..usual }));
        assert_eq!(options("rtt-penalty=0"), Ok(wired));
        let sensing = LinkSensing { least_heard: 12, heard_of: 16 };
        let quality = Some(LinkQuality::KOutOfJ(sensing));
        assert_eq!(options("quality=12/16"), Ok(LinkOptions { quality, ..wired }));
    }

    #[test]
    fn nonsense_is_named() {
        for (text, about) in [
            ("0", "0"),
            ("quality=3/2", "K <= J"),
            ("quality=1/17", "16"),
            ("quality=good", "etx"),
            ("rtt-min=1s", "rtt_max"),
            ("rtt-min=1", "rtt-min"),
            ("speed=3", "no such key"),
        ] {
            let refused = options(text).unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
        }
    }
}

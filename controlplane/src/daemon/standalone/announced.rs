//! Destinations of our own: `fd00:a::/64`, or `::/0 from fd00::/48` (RFC 9079).

use std::str::FromStr;

use serde::Deserialize;
use sixwire_proto::babel::RouteKey;
use sixwire_proto::prefix::Prefix;

/// A destination to announce, whether the kernel has a route there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Announced(pub RouteKey);

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let prefix = |text: &str| text.trim().parse::<Prefix>().map_err(|error| error.to_string());
        let (destination, source) = match text.split_once(" from ") {
            Some((destination, source)) => (prefix(destination)?, Some(prefix(source)?)),
            None => (prefix(text)?, None),
        };
        if !destination.is_routable() {
            return Err(format!(
                "{destination} is of one link, one machine or a group: nobody routes it"
            ));
        }
        match source {
            Some(source) if !source.is_v6() || !destination.is_v6() => {
                Err(format!("{text:?}: only IPv6 routes can be for some sources"))
            }
            Some(source) if source.is_default() => {
                Err(format!("{text:?} is for all sources: write {destination} alone"))
            }
            source => Ok(Self(RouteKey { destination, source })),
        }
    }
}

impl TryFrom<String> for Announced {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_can_be_named_and_has_to_be_one() {
        for text in ["fd00:a::/64", "::/0 from fd00::/48", "10.0.0.0/8"] {
            assert_eq!(text.parse::<Announced>().unwrap().0.to_string(), text);
        }
        for (text, about) in [
            ("fd00:a::1/64", "fd00:a::/64"),
            ("::/0 from ::/0", "write ::/0 alone"),
            ("10.0.0.0/8 from 10.1.0.0/16", "only IPv6"),
            ("::/0 via fe80::1", "not a prefix"),
            ("fe80::/64", "of one link"),
            ("127.0.0.0/8", "of one link"),
        ] {
            let refused = text.parse::<Announced>().unwrap_err();
            assert!(refused.contains(about), "{text}: {refused}");
        }
    }
}

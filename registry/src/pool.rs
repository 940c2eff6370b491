//! The pool: prefixes for nodes inside the network's prefix.
//!
//! The lowest free block of the wanted size is given, so short and long prefixes share the network
//! without a plan made in advance: a long prefix goes into the first hole that a short one left.
//! What counts as taken, and for how long, is the caller's to say.

use std::net::{IpAddr, Ipv6Addr};

use sixwire_proto::prefix::Prefix;

/// Why no prefix was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every block of that size is taken at least in part.
    #[error("no /{length} is left in {network}")]
    Empty {
        /// Length asked for.
        length: u8,
        /// The network.
        network: Prefix,
    },
    /// Not a length of a prefix inside the network.
    #[error(
        "a node prefix in {network} has a length of {} to 128, not {length}: choose one with \
         --prefix-length", network.length() + 1
    )]
    Length {
        /// Length asked for.
        length: u8,
        /// The network.
        network: Prefix,
    },
}

/// The lowest prefix of `length` bits in the IPv6 prefix `network` that shares no address with
/// any of `taken`.
///
/// The first address of the network is never given as a /128: it is the subnet-router anycast
/// address (RFC 4291 §2.6.1).
///
/// # Errors
/// [`PoolError`].
pub fn allocate(network: Prefix, length: u8, taken: &[Prefix]) -> Result<Prefix, PoolError> {
    check_length(network, length)?;
    let empty = PoolError::Empty { length, network };
    let mut spans: Vec<Span> = taken.iter().copied().filter_map(Span::of).collect();
    spans.sort_unstable();
    let whole = Span::of(network).ok_or(empty)?;
    let size = 1_u128 << (128 - length);
    let mut first = if length == 128 { whole.first + 1 } else { whole.first };
    for span in spans {
        if first + (size - 1) < span.first {
            break;
        }
        if span.last >= first {
            first = next_multiple(span.last, size).ok_or(empty)?;
        }
        if first > whole.last {
            return Err(empty);
        }
    }
    let address = IpAddr::V6(Ipv6Addr::from(first));
    Prefix::containing(address, length).map_err(|_| PoolError::Length { length, network })
}

/// Whether a node prefix of `length` bits can lie inside `network` at all.
///
/// # Errors
/// [`PoolError::Length`].
pub fn check_length(network: Prefix, length: u8) -> Result<(), PoolError> {
    if length > network.length() && length <= 128 {
        Ok(())
    } else {
        Err(PoolError::Length { length, network })
    }
}

/// First and last address of an IPv6 prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    first: u128,
    last: u128,
}

impl Span {
    fn of(prefix: Prefix) -> Option<Self> {
        let IpAddr::V6(address) = prefix.address() else { return None };
        let first = u128::from(address);
        let hosts = u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
        Some(Self { first, last: first | hosts })
    }
}

/// The least multiple of `size` above `last`; `None` past the end of the address space.
fn next_multiple(last: u128, size: u128) -> Option<u128> {
    let masked = last & !(size - 1);
    masked.checked_add(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_node_gets_the_first_prefix_and_holes_are_filled_from_below() {
        let network = prefix("fd00:1:2::/48");
        let give = |length, taken: &[&str]| {
            let taken: Vec<Prefix> = taken.iter().map(|text| prefix(text)).collect();
            allocate(network, length, &taken).unwrap().to_string()
        };
        assert_eq!(give(64, &[]), "fd00:1:2::/64");
        assert_eq!(give(64, &["fd00:1:2::/64", "fd00:1:2:2::/64"]), "fd00:1:2:1::/64");
        assert_eq!(give(64, &["fd00:1:2::7/128"]), "fd00:1:2:1::/64");
        assert_eq!(give(128, &["fd00:1:2::/64", "fd00:1:2:2::/64"]), "fd00:1:2:1::/128");
        assert_eq!(give(56, &["fd00:1:2:100::/64"]), "fd00:1:2::/56");
        assert_eq!(give(56, &["fd00:1:2:ff::/64"]), "fd00:1:2:100::/56");
    }

    #[test]
    fn the_anycast_address_is_nobodys() {
        assert_eq!(allocate(prefix("fd00::/120"), 128, &[]), Ok(prefix("fd00::1/128")));
    }

    #[test]
    fn a_full_network_and_a_wrong_length_say_so() {
        let network = prefix("fd00::/63");
        let taken = [prefix("fd00::/64"), prefix("fd00:0:0:1::/64")];
        assert_eq!(
            allocate(network, 64, &taken).unwrap_err().to_string(),
            "no /64 is left in fd00::/63"
        );
        for length in [0, 62, 63, 129, 255] {
            let refused = allocate(network, length, &[]).unwrap_err();
            assert_eq!(refused, PoolError::Length { length, network });
        }
    }

    #[test]
    fn the_end_of_the_address_space_is_an_end() {
        let network = prefix("ffff:ffff:ffff:ffff::/64");
        assert!(allocate(network, 65, &[network]).is_err());
        let halves = [prefix("ffff:ffff:ffff:ffff::/65"), prefix("ffff:ffff:ffff:ffff:8000::/65")];
        assert!(allocate(network, 65, &halves).is_err());
    }

    proptest! {
        #[test]
        fn what_is_given_lies_inside_overlaps_nothing_and_runs_out_only_when_full(
            lengths in prop::collection::vec(57_u8..=64, 1..200),
            freed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let network = prefix("fd00:1:2:300::/56");
            let mut taken: Vec<Prefix> = Vec::new();
            for (step, length) in lengths.into_iter().enumerate() {
                if let Some(index) = freed.get(step / 7).filter(|_| step % 7 == 6 && !taken.is_empty()) {
                    taken.swap_remove(index.index(taken.len()));
                }
                match allocate(network, length, &taken) {
                    Ok(given) => {
                        prop_assert!(network.contains(given));
                        prop_assert_eq!(given.length(), length);
                        prop_assert!(!taken.iter().any(|other| other.overlaps(given)));
                        let mut reversed = taken.clone();
                        reversed.reverse();
                        prop_assert_eq!(allocate(network, length, &reversed), Ok(given));
                        taken.push(given);
                    }
                    Err(_) => prop_assert!(every_block_is_hit(network, length, &taken)),
                }
            }
        }
    }

    /// The dull model: tries every block in turn.
    fn every_block_is_hit(network: Prefix, length: u8, taken: &[Prefix]) -> bool {
        let IpAddr::V6(base) = network.address() else { return false };
        (0..1_u128 << (length - network.length())).all(|n| {
            let address = Ipv6Addr::from(u128::from(base) + (n << (128 - length)));
            let block = Prefix::containing(address.into(), length).unwrap();
            taken.iter().any(|other| other.overlaps(block))
        })
    }
}

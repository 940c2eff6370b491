//! Expected Transmission Cost (RFC 8966 §A.2.2), for links that lose some packets all the time. What the
//! RFC writes as 256 is here the nominal cost of the link, 256 for those who follow it.

use sixwire_proto::metric::Cost;

use super::hello::History;

/// Cost of receiving: the nominal cost divided by the share of Multicast Hellos received lately.
pub(super) fn rxcost(multicast: &History, nominal: Cost) -> Cost {
    let (heard, of) = multicast.heard_of_last(WINDOW);
    if heard == 0 {
        return Cost::INFINITY;
    }
    clamp(u32::from(nominal.0) * u32::from(of) / u32::from(heard))
}

/// Cost of the link both ways: the nominal cost divided by both shares.
pub(super) fn cost(rxcost: Cost, txcost: Cost, nominal: Cost) -> Cost {
    if !rxcost.is_finite() || !txcost.is_finite() {
        return Cost::INFINITY;
    }
    clamp(u32::from(txcost.max(nominal).0) * u32::from(rxcost.0) / u32::from(nominal.0.max(1)))
}

fn clamp(cost: u32) -> Cost {
    Cost(u16::try_from(cost).unwrap_or(u16::MAX))
}

/// How many Hellos count. The RFC has 6; 8 make finer steps.
const WINDOW: u8 = 8;

#[cfg(test)]
mod tests {
    use sixwire_proto::interval::Interval;
    use sixwire_proto::seqno::Seqno;
    use sixwire_proto::time::Instant;

    use super::*;

    const NOMINAL: Cost = Cost(256);

    /// A history of these Hellos, oldest first.
    fn history(heard: &str) -> History {
        let mut history = History::default();
        for (seqno, heard) in (1..).zip(heard.chars()) {
            if heard == '1' {
                history.receive(Seqno(seqno), Interval(400), Instant(0));
            }
        }
        history
    }

    #[test]
    fn rxcost_is_the_nominal_cost_over_the_share_of_hellos_received() {
        for (heard, cost) in [
            ("1", 256),
            ("101", 384),
            ("11111111", 256),
            ("11110111", 292),
            ("10101011", 409),
            ("1000000000000001", 2048),
            ("0000000011111111", 256),
        ] {
            assert_eq!(rxcost(&history(heard), NOMINAL), Cost(cost), "{heard}");
        }
        assert_eq!(rxcost(&History::default(), NOMINAL), Cost::INFINITY);
    }

    #[test]
    fn the_cost_is_the_product_of_both_directions() {
        for (rxcost, txcost, expected) in [
            (256, 256, 256),
            (512, 256, 512),
            (256, 512, 512),
            (512, 512, 1024),
            // alpha is at most 1: a wired neighbour's 96 makes the link no better.
            (256, 96, 256),
            (60_000, 60_000, 0xffff),
            (0xffff, 256, 0xffff),
            (256, 0xffff, 0xffff),
        ] {
            assert_eq!(cost(Cost(rxcost), Cost(txcost), NOMINAL), Cost(expected));
        }
    }
}

//! What a driver would be told.

use sixwire_proto::babel::RouteKey;
use sixwire_proto::metric::Metric;

pub(super) enum Command {
    Originate(RouteKey, Metric),
    Withdraw(RouteKey),
}

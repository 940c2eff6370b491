//! Requirements of RFC 8966 that no other test is about; the table of all of them is
//! `tests/conformance/rfc8966.md`.

use super::probe::{Probe, router};

const P: &str = "fd00:1::/64";

#[test]
fn a_request_follows_the_route_in_use() {
    let mut probe = Probe::among(3);
    probe.update(2, P, (9, 5, 10));
    probe.update(1, P, (9, 5, 10));
    assert_eq!(probe.via(P), Some(2), "as good, and there first");
    probe.ask(3, P, (9, 6, 64));
    assert_eq!(probe.asked(2), [(router(9), 6, 63)]);
    assert!(probe.asked(1).is_empty(), "its newer number would not be announced");
}

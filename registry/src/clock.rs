//! The machine's clock, for the drivers.

use sixwire_proto::time::Timestamp;

/// The present, by the machine's calendar.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_types, reason = "the driver reads the clock for the cores")]
    let now = std::time::SystemTime::now();
    #[expect(clippy::disallowed_types, reason = "the origin of the calendar")]
    let origin = std::time::SystemTime::UNIX_EPOCH;
    Timestamp(now.duration_since(origin).map_or(0, |passed| passed.as_secs()))
}

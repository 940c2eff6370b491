//! Quantities in a few characters.

/// Octets with a binary unit: `812`, `1.2K`, `34M`.
pub(super) fn octets(count: u64) -> String {
    let mut unit = 0;
    let mut whole = count;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 || whole >= 10 {
        return format!("{whole}{}", UNITS[unit]);
    }
    let tenths = (count >> (10 * (unit - 1))) % 1024 * 10 / 1024;
    format!("{whole}.{tenths}{}", UNITS[unit])
}

const UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// A time in its two largest units: `45s`, `3m12s`, `5h7m`, `12d4h`.
pub(super) fn period(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// A time in its largest unit: `45s`, `3m`, `5h`, `12d`.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds with three digits at the most: `0.42ms`, `12.5ms`, `140ms`.
pub(super) fn milliseconds(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}ms"),
        ..100.0 => format!("{value:.1}ms"),
        _ => format!("{value:.0}ms"),
    }
}

/// A count with its noun, which forms its plural by an `s`.
pub(super) fn counted(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_have_a_binary_unit() {
        let cases = [(0, "0"), (1023, "1023"), (1024, "1.0K"), (1536, "1.5K"), (10_239, "9.9K")];
        let large = [(10_240, "10K"), (1 << 20, "1.0M"), (u64::MAX, "15E")];
        for (count, text) in cases.into_iter().chain(large) {
            assert_eq!(octets(count), text);
        }
    }

    #[test]
    fn times_have_their_largest_units() {
        for (seconds, long, short) in [
            (0, "0s", "0s"),
            (192, "3m12s", "3m"),
            (18_420, "5h7m", "5h"),
            (1_051_200, "12d4h", "12d"),
        ] {
            assert_eq!((period(seconds), age(seconds)), (long.to_owned(), short.to_owned()));
        }
    }

    #[test]
    fn round_trip_times_have_three_digits() {
        assert_eq!(milliseconds(0.416), "0.42ms");
        assert_eq!(milliseconds(12.49), "12.5ms");
        assert_eq!(milliseconds(140.2), "140ms");
    }
}

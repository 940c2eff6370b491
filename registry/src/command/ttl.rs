//! Lengths of time as operators write them.

use std::time::Duration;

/// Longest length of time: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Reads `90s`, `30m`, `24h`, `7d` or `2w`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time; write 30m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let length = Duration::from_secs(count.saturating_mul(seconds));
    if length.is_zero() || length > LONGEST {
        return Err(format!("{text} is not between 1s and {}d", LONGEST.as_secs() / 86_400));
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_not() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("2w", 1_209_600)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        for text in
            ["", "24", "h", "-1h", "+1h", "1.5h", "0s", "99999999999999999999d", "11y", "5é"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

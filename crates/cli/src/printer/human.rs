// SPDX-License-Identifier: Apache-2.0
//! Sizes, times and names as people read them; the words are the docker CLI's.

/// Bytes with three digits and a decimal unit: `4.26kB`, `117MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    let mut number = format!("{value:.decimals$}");
    if number.contains('.') {
        number.truncate(number.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{number}{}", UNITS[unit])
}

/// How long ago `then` was (both in seconds since the epoch).
pub(crate) fn ago(then: i64, now: i64) -> String {
    format!("{} ago", api_types::human_duration(u64::try_from(now - then).unwrap_or(0)))
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The first twelve digits of an id, without the algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

/// `text` in `width` characters, the last one an ellipsis where it is longer.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (4_264, "4.26kB"),
            (117_000_000, "117MB"),
            (1_240_000_000, "1.24GB"),
            (12_000, "12kB"),
            (99_960, "100kB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_time_to_come_is_now() {
        assert_eq!(ago(100, 40), "Less than a second ago");
        assert_eq!(ago(40, 100), "About a minute ago");
    }

    #[test]
    fn ids_and_commands_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("ab"), "ab");
        assert_eq!(ellipsis("0123456789", 5), "0123…");
        assert_eq!(ellipsis("éé", 2), "éé");
    }
}

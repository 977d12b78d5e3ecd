// SPDX-License-Identifier: Apache-2.0
//! Wall-clock times as RFC 3339 in UTC with nine fractional digits, so that their texts sort as the times do.
//! Written here because a date library would be the largest part of a shim.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as `2026-11-23T06:17:56.123456789Z`.
pub(crate) fn now() -> String {
    let mut text = String::with_capacity(30);
    // Writing into a String cannot fail.
    let _ = write_time(&mut text, SystemTime::now());
    text
}

/// A moment as text, and the ones after it. Of a fixed size, because every line of a log has one.
#[derive(Debug)]
pub(crate) struct Stamp([u8; Stamp::LENGTH]);

impl Stamp {
    const LENGTH: usize = "2026-11-23T06:17:56.123456789Z".len();
    /// Where the nanoseconds are.
    const FRACTION: std::ops::Range<usize> = Stamp::LENGTH - 10..Stamp::LENGTH - 1;

    pub(crate) fn now() -> Stamp {
        Stamp::of(&now())
    }

    /// Years have four digits until 9999: the text is as long as the stamp. Another clock's is cut off.
    fn of(text: &str) -> Stamp {
        let mut stamp = Stamp([b'0'; Stamp::LENGTH]);
        stamp.0.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        stamp
    }

    pub(crate) fn text(&self) -> &[u8; Stamp::LENGTH] {
        &self.0
    }

    /// The next nanosecond. The last one of a second stays: a moment too early is better than one that has not come.
    pub(crate) fn advance(&mut self) {
        let digits = &mut self.0[Stamp::FRACTION];
        if let Some(last) = digits.iter().rposition(|&digit| digit != b'9') {
            digits[last] += 1;
            digits[last + 1..].fill(b'0');
        }
    }
}

/// Appends `time` to `out`. Times before 1970 are shown as 1970: no clock that runs containers is there.
fn write_time(out: &mut impl std::fmt::Write, time: SystemTime) -> std::fmt::Result {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), since.subsec_nanos());
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The proleptic Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the leap day
/// is the last of its year; 400 years are one whole cycle of 146,097 days, which starts 719,468 days before 1970.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_next_nanosecond() {
        let next = |fraction: &str| {
            let mut stamp = Stamp::of(&format!("2026-01-01T00:00:00.{fraction}Z"));
            stamp.advance();
            String::from_utf8_lossy(&stamp.text()[20..29]).into_owned()
        };
        assert_eq!(next("000000000"), "000000001");
        assert_eq!(next("129999999"), "130000000");
        assert_eq!(next("999999999"), "999999999");
        let (before, stamp, after) = (now(), Stamp::now(), now());
        let text = std::str::from_utf8(stamp.text()).unwrap();
        assert!(*before <= *text && *text <= *after && text.ends_with('Z'), "{before} {text} {after}");
    }

    #[test]
    fn known_moments() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199, 0, "2024-02-29T23:59:59.000000000Z"),
            (1_709_251_200, 0, "2024-03-01T00:00:00.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (1_735_689_599, 0, "2024-12-31T23:59:59.000000000Z"),
        ] {
            let mut out = String::new();
            write_time(&mut out, UNIX_EPOCH + Duration::new(seconds, nanos)).unwrap();
            assert_eq!(out, text);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Spans of time: `90s`, `1h30m`.

use std::time::Duration;

use super::FlagError;

/// The time in `text`: whole numbers with the units s, m, h and d, added up; `0` needs none.
pub(crate) fn duration(text: &str) -> Result<Duration, FlagError> {
    let invalid = || FlagError::invalid(text, "is no time: write numbers with s, m, h or d, as in 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        let scale = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 24 * 3600,
            _ => return Err(invalid()),
        };
        seconds = number.checked_mul(scale).and_then(|more| seconds.checked_add(more)).ok_or_else(invalid)?;
        rest = &rest[digits + 1..];
    }
    if text.is_empty() { Err(invalid()) } else { Ok(Duration::from_secs(seconds)) }
}

/// The nanoseconds in `text`, written as Go and Docker write spans: numbers, perhaps with a fraction, with the units h, m, s,
/// ms, us and ns, added up; `0` needs none.
pub(crate) fn nanos(text: &str) -> Result<i64, FlagError> {
    let invalid = || FlagError::invalid(text, "is no time: write numbers with h, m, s or ms, as in 1m30s or 500ms");
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() && text != "0" {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        nanos += number
            * match &rest[digits..digits + unit] {
                "ns" => 1.0,
                "us" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(invalid()),
            };
        rest = &rest[digits + unit..];
    }
    // As many as fit; a float that is smaller is converted exactly enough.
    if text.is_empty() || nanos >= i64::MAX as f64 { Err(invalid()) } else { Ok(nanos.round() as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("30s", 30_000_000_000),
            ("1h2m3s4ms", 3_723_004_000_000),
            ("1.5s", 1_500_000_000),
            (".5ms", 500_000),
            ("250us", 250_000),
            ("7ns", 7),
        ] {
            assert_eq!(nanos(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "10", "s", "-1s", "1 s", "1d", "1.2.3s", "1e3s", "9999999999h", "1µ", "1s2", ".s", "é"] {
            assert!(nanos(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn units_add_up() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in ["", "1", "s", "1x", "-1s", "1.5h", "1h ", "99999999999999999999d", "9999999999999999d", "1é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

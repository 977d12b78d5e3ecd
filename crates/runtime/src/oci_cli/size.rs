// SPDX-License-Identifier: Apache-2.0
//! Sizes and durations as runc's users write them.

use std::time::Duration;

/// `-1`, or a size in bytes: a number, perhaps with a fraction, and perhaps `k`, `m`, `g`, `t` or `p`, each 1024 times the
/// one before, with or without `b` or `ib`, in either case.
pub(super) fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let power =
        match unit.strip_suffix("ib").filter(|unit| !unit.is_empty()).or(unit.strip_suffix('b')).unwrap_or(&unit) {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            "p" => 5,
            _ => return None,
        };
    let factor = 1024_i64.pow(power);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor);
    }
    // A fraction; beyond 2^53 nobody counts single bytes.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let scaled = |fraction: f64| (fraction * factor as f64) as i64;
    number.parse::<f64>().ok().map(scaled).filter(|size| *size >= 0 && *size < i64::MAX)
}

/// A duration as Go writes it: numbers with units, one after the other: `5s`, `1m30s`, `1.5h`, `100ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let seconds = match &after[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = &after[unit..];
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            ("-1", -1),
            ("0", 0),
            ("512", 512),
            ("1k", 1024),
            ("32M", 32 << 20),
            ("1.5GiB", 3 << 29),
            ("2 kb", 2048),
            ("7b", 7),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "-2", "x", "1x", "1.2.3", "m", "9999999999999t", "1ibb"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        let cases = [("5s", 5_000), ("1m30s", 90_000), ("100ms", 100), ("1.5h", 5_400_000)];
        for (text, milliseconds) in cases {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0s", "5", "s", "-5s", "5 s", "5d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}

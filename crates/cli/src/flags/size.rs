// SPDX-License-Identifier: Apache-2.0
//! Sizes (`512m`) and numbers of processors (`0.5`), as Docker writes them.

use engine::Threshold;

use super::FlagError;

/// Bytes in `text`: a number, perhaps with a fraction, and perhaps a unit: b, k, m, g, t or p (powers of 1024, in
/// either case, also written kb or kib).
pub(crate) fn bytes(text: &str) -> Result<i64, FlagError> {
    let invalid = || FlagError::invalid(text, "is no size: write a number and b, k, m or g, as in 512m");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let mut letters = unit.chars();
    let scale: i64 = match letters.next() {
        None => 1,
        Some('b') if unit == "b" => 1,
        Some(letter) => {
            let power = "kmgtp".find(letter).ok_or_else(invalid)?;
            if !matches!(letters.as_str(), "" | "b" | "ib") {
                return Err(invalid());
            }
            1 << (10 * (power + 1))
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() {
        return Err(invalid());
    }
    let whole: i64 = whole.parse().map_err(|_| invalid())?;
    let whole = whole.checked_mul(scale).ok_or_else(invalid)?;
    let part = if fraction.is_empty() {
        0
    } else if fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        // Below one unit a double is exact enough: at most 2^50 and 15 digits.
        let share: f64 = format!("0.{fraction}").parse().map_err(|_| invalid())?;
        (share * scale as f64) as i64
    } else {
        return Err(invalid());
    };
    whole.checked_add(part).ok_or_else(invalid)
}

/// Room on a disk: bytes, or hundredths of it as in `10%`; 0 for none.
pub(crate) fn threshold(text: &str) -> Result<Threshold, FlagError> {
    let Some(percent) = text.strip_suffix('%') else {
        return Ok(match bytes(text)? {
            0 => Threshold::Off,
            // A size is never negative.
            size => Threshold::Bytes(size.unsigned_abs()),
        });
    };
    match percent.parse() {
        Ok(0) => Ok(Threshold::Off),
        Ok(percent @ 1..100) => Ok(Threshold::Percent(percent)),
        _ => Err(FlagError::invalid(text, "is no part of a disk: write 1% to 99%, or a size as in 10g")),
    }
}

/// Bytes of swap and memory together; -1 is no limit.
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, FlagError> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Billionths of a processor in a decimal number.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, FlagError> {
    let invalid = || FlagError::invalid(text, "is no number of processors: write it as in 0.5 or 2");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
        return Err(invalid());
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let billionths: i64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    let nanos = whole.checked_mul(1_000_000_000).and_then(|nanos| nanos.checked_add(billionths)).ok_or_else(invalid)?;
    if nanos == 0 { Err(invalid()) } else { Ok(nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32Kib", 32 << 10),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("32 mb", 32 << 20),
            ("2t", 2 << 40),
            ("1p", 1 << 50),
            ("0.5k", 512),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "m", "hello", "-32", "32x", "32bb", "32mm", "1.2.3m", ".3k", "99999999999p", "é"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(bytes_or_unlimited("-1").unwrap(), -1);
        assert!(bytes_or_unlimited("-2").is_err());
    }

    #[test]
    fn a_threshold_is_a_size_or_a_part() {
        for (text, expected) in [
            ("0", Threshold::Off),
            ("0%", Threshold::Off),
            ("10%", Threshold::Percent(10)),
            ("99%", Threshold::Percent(99)),
            ("10g", Threshold::Bytes(10 << 30)),
            ("1000", Threshold::Bytes(1000)),
        ] {
            assert_eq!(threshold(text).unwrap(), expected, "{text}");
        }
        for text in ["", "%", "100%", "-1%", "1.5%", "300%", "full", "-5"] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_are_counted_exactly() {
        assert_eq!(nano_cpus("0.5").unwrap(), 500_000_000);
        assert_eq!(nano_cpus(".25").unwrap(), 250_000_000);
        assert_eq!(nano_cpus("2").unwrap(), 2_000_000_000);
        assert_eq!(nano_cpus("1.000000001").unwrap(), 1_000_000_001);
        for text in ["", ".", "0", "-1", "half", "1.0000000001", "1e3", "99999999999999"] {
            assert!(nano_cpus(text).is_err(), "{text}");
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

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

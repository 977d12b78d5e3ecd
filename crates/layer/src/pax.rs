// SPDX-License-Identifier: Apache-2.0
//! PAX extended headers (IEEE Std 1003.1, `pax`, "pax Extended Header"): records `length key=value\n`. Pure.

use crate::error::FormatError;

/// A time as the kernel takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since 1970; may be negative.
    pub seconds: i64,
    /// 0 to 999,999,999, forward from `seconds`.
    pub nanoseconds: u32,
}

/// Iterates over the records of `header`: key and value.
pub(crate) fn records(header: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), FormatError>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((record, after)) = split(rest) else {
            rest = &[];
            return Some(Err(FormatError::Pax));
        };
        rest = after;
        Some(Ok(record))
    })
}

type Record<'b> = (&'b [u8], &'b [u8]);

/// The first record of `bytes`, and what is behind it.
fn split(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let record = bytes.get(space + 1..length)?;
    let (&newline, record) = record.split_last()?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let valid = newline == b'\n' && !key.is_empty() && !key.contains(&0);
    valid.then_some(((key, value), &bytes[length..]))
}

/// A number in decimal digits, without sign.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A time in seconds, perhaps negative, perhaps with a fraction. What is finer than a nanosecond is dropped.
pub(crate) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or(b"");
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanoseconds = digits.fold(0, |value, &digit| value * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: (-seconds).checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(header: &[u8]) -> Result<Vec<Record<'_>>, FormatError> {
        records(header).collect()
    }

    #[test]
    fn records_carry_any_bytes_in_their_values() {
        let header = b"11 path=a/b\n17 SCHILY.x=a\n\0=b\n";
        assert_eq!(all(b"12 path=a/b\n"), Ok(vec![(&b"path"[..], &b"a/b"[..])]));
        assert_eq!(all(b"18 SCHILY.x=a\n\0=b\n"), Ok(vec![(&b"SCHILY.x"[..], &b"a\n\0=b"[..])]));
        assert!(all(header).is_err(), "a length one short");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=b",
            b"7 a=b\n",
            b"06 a=b\n0",
            b"5 ab\n",
            b"4 =\n",
            b" a=b\n",
            b"-6 a=b\n",
            b"99999999999999999999 a=b\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"2 a=b\n",
            b"7 \0a=b\n",
        ] {
            assert!(all(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_round_towards_the_past() {
        let at = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        assert_eq!(time(b"1350244992.023960108"), at(1_350_244_992, 23_960_108));
        assert_eq!(time(b"7"), at(7, 0));
        assert_eq!(time(b"-1.5"), at(-2, 500_000_000));
        assert_eq!(time(b"1.1234567899"), at(1, 123_456_789));
        for bad in [&b""[..], b"-", b".5", b"1.x", b"1e3", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (all(&bytes), time(&bytes), decimal(&bytes));
        }
    }
}

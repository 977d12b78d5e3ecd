// SPDX-License-Identifier: Apache-2.0
//! The two ways to speak of a part: `Range` of a blob that is read (RFC 9110, section 14), and `Content-Range` of a chunk
//! that is pushed (distribution-spec, "Pushing a blob in chunks").

use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, RANGE};

use crate::error::ApiError;

/// The bytes of a blob of `size` bytes that are wanted; `None` for all: without the header, with one that is not
/// understood, or one with several ranges (a server may ignore it).
///
/// # Errors
/// [`ApiError::Range`] when the blob has none of the bytes that are asked for.
pub(crate) fn wanted(headers: &HeaderMap, size: u64) -> Result<Option<Range<u64>>, ApiError> {
    let Some(text) = headers.get(RANGE).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let Some((unit, spec)) = text.split_once('=') else { return Ok(None) };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes")) else {
        return Ok(None);
    };
    let range = match (digits(first), digits(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        // The last so many bytes.
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Ok(None),
    };
    if range.is_empty() { Err(ApiError::Range { size }) } else { Ok(Some(range)) }
}

/// The bytes that a chunk says to be, if it does: `<first>-<last>`, both included.
///
/// # Errors
/// [`ApiError::UploadInvalid`] when it is written otherwise.
pub(crate) fn announced(headers: &HeaderMap) -> Result<Option<Range<u64>>, ApiError> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| {
        // Some clients write it as RFC 9110 has it.
        let text = text.trim().strip_prefix("bytes ").unwrap_or(text).split('/').next()?;
        let (first, last) = text.split_once('-')?;
        let (first, last) = (digits(first)?, digits(last)?);
        (first <= last).then_some(first..last.checked_add(1)?)
    });
    parsed.map(Some).ok_or(ApiError::UploadInvalid("the Content-Range is not <first>-<last>"))
}

/// A number of digits only: `u64::from_str` would take a plus.
fn digits(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        let wanted = |text: &str| wanted(&headers(RANGE, text), 10).ok();
        assert_eq!(wanted("bytes=0-4"), Some(Some(0..5)));
        assert_eq!(wanted("bytes=5-"), Some(Some(5..10)));
        assert_eq!(wanted("bytes=5-99999999999999"), Some(Some(5..10)));
        assert_eq!(wanted("bytes=-3"), Some(Some(7..10)));
        assert_eq!(wanted("bytes=-30"), Some(Some(0..10)));
        assert_eq!(wanted("bytes=5-18446744073709551615"), Some(Some(5..10)));
        for refused in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
            assert_eq!(wanted(refused), None, "{refused}");
        }
        let nonsense =
            ["bytes=", "bytes=a-b", "bytes=4-2", "items=0-1", "bytes", "bytes=0-1,3-4", "bytes=+1-2", "bytes=--1"];
        for ignored in nonsense {
            assert_eq!(wanted(ignored), Some(None), "{ignored}");
        }
        assert_eq!(super::wanted(&headers(RANGE, "bytes=0-0"), 0).ok(), None, "nothing has no bytes");
    }

    #[test]
    fn a_chunk_says_where_it_belongs() {
        let announced = |text: &str| announced(&headers(CONTENT_RANGE, text)).ok().flatten();
        assert_eq!(announced("0-9"), Some(0..10));
        assert_eq!(announced("bytes 10-19/20"), Some(10..20));
        for bad in ["9-0", "a-b", "1", "-", "0-18446744073709551615", ""] {
            assert_eq!(announced(bad), None, "{bad}");
        }
    }
}

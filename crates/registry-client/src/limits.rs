// SPDX-License-Identifier: Apache-2.0
//! How much a registry still allows (`RateLimit-Limit`, `RateLimit-Remaining`, as Docker Hub sends them), how long it wants to
//! be left alone (`Retry-After`; RFC 9110, section 10.2.3), and how long to wait unasked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use ring::rand::{SecureRandom as _, SystemRandom};

/// How many pulls a registry allows to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// In all, in each window.
    pub limit: u64,
    /// In what is left of this one.
    pub remaining: u64,
    /// The window's length.
    pub window: Option<Duration>,
}

impl RateLimit {
    /// Whether so few are left that the user should know: a tenth of all.
    pub fn is_nearly_used_up(&self) -> bool {
        self.remaining <= self.limit / 10
    }

    fn of(headers: &HeaderMap) -> Option<RateLimit> {
        let (limit, window) = quota(headers, "ratelimit-limit")?;
        let (remaining, other) = quota(headers, "ratelimit-remaining")?;
        Some(RateLimit { limit, remaining, window: window.or(other) })
    }
}

/// `76;w=21600`: a number, and the seconds of its window.
fn quota(headers: &HeaderMap, name: &'static str) -> Option<(u64, Option<Duration>)> {
    let value = headers.get(HeaderName::from_static(name))?.to_str().ok()?;
    let mut parts = value.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window.map(Duration::from_secs)))
}

/// What registries said last, by registry.
#[derive(Clone, Default)]
pub(crate) struct Limits(Arc<Mutex<HashMap<String, RateLimit>>>);

impl Limits {
    /// Notes what an answer says of it.
    pub(crate) fn hear(&self, registry: &str, headers: &HeaderMap) {
        if let Some(limit) = RateLimit::of(headers) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned(), limit);
        }
    }

    pub(crate) fn get(&self, registry: &str) -> Option<RateLimit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(registry).copied()
    }
}

/// The pause that `Retry-After` asks for: seconds, or a date, which is compared with the registry's own clock where it
/// shows it.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wanted = text(RETRY_AFTER)?;
    if let Ok(seconds) = wanted.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // What day of the week it is decides nothing.
    let moment = |text: &str| DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
    let now = text(DATE).and_then(moment).unwrap_or(now);
    // A date that has passed is no reason to wait.
    Some(Duration::try_from(moment(wanted)?.duration_since(now)).unwrap_or_default())
}

/// `base`, twice as long for each of the earlier `failures`, of which a random half is left out: those who failed together
/// shall not come back together.
pub(crate) fn pause(base: Duration, failures: u32) -> Duration {
    let whole = base.saturating_mul(1 << failures.min(8));
    let mut random = [0; 2];
    // Without random numbers the pause is the shortest.
    let _ = SystemRandom::new().fill(&mut random);
    whole / 2 + (whole / 2).mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_docker_hub_says_of_its_limit_is_read() {
        let limit =
            RateLimit::of(&headers(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "9;w=21600")]));
        let expected = RateLimit { limit: 100, remaining: 9, window: Some(Duration::from_secs(21600)) };
        assert_eq!(limit, Some(expected));
        assert!(expected.is_nearly_used_up() && !RateLimit { remaining: 76, ..expected }.is_nearly_used_up());
        assert_eq!(RateLimit::of(&headers(&[("ratelimit-limit", "100")])), None);
        assert_eq!(RateLimit::of(&headers(&[("ratelimit-limit", "x"), ("ratelimit-remaining", "1")])), None);
    }

    #[test]
    fn a_pause_may_be_asked_for_in_seconds_or_until_a_date() {
        let now: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        let asked = |list: &[(&'static str, &str)]| retry_after(&headers(list), now);
        assert_eq!(asked(&[("retry-after", "120")]), Some(Duration::from_secs(120)));
        let date = ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(asked(&[date]), Some(Duration::from_secs(60)));
        assert_eq!(asked(&[date, ("date", "Sun, 06 Nov 1994 08:50:27 GMT")]), Some(Duration::from_secs(10)));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")]), Some(Duration::ZERO));
        assert_eq!((asked(&[("retry-after", "soon")]), asked(&[])), (None, None));
    }

    #[test]
    fn pauses_grow_and_differ() {
        let base = Duration::from_millis(100);
        for failures in 0..12 {
            let (longest, found) = (base * (1 << failures.min(8)), pause(base, failures));
            assert!((longest / 2..=longest).contains(&found), "{failures}: {found:?}");
        }
        let found: std::collections::BTreeSet<_> = (0..20).map(|_| pause(base, 3)).collect();
        assert!(found.len() > 10, "{found:?}");
    }
}

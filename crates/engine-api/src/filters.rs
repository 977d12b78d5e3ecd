// SPDX-License-Identifier: Apache-2.0
//! The `filters` parameter: JSON, `{"NAME": ["VALUE", …]}`, or as older clients write it, `{"NAME": {"VALUE": true}}`.

use std::collections::{BTreeMap, HashMap};

use engine::EventFilter;
use image::Filters as ImageFilters;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::error::ApiError;
use crate::extract::Parameters;

/// What is to be filtered by, and not yet taken.
#[derive(Debug)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(HashMap<String, bool>),
}

impl Filters {
    pub(crate) fn of(parameters: &Parameters) -> Result<Filters, ApiError> {
        let Some(text) = parameters.get("filters") else { return Ok(Filters(BTreeMap::new())) };
        let parsed: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| ApiError::invalid("filters", format!("no JSON of names and values: {error}")))?;
        let listed = parsed.into_iter().map(|(name, values)| {
            let values = match values {
                Values::List(list) => list,
                Values::Set(set) => set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect(),
            };
            (name, values)
        });
        Ok(Filters(listed.collect()))
    }

    /// The values of `name`.
    fn take(&mut self, name: &str) -> Vec<String> {
        self.0.remove(name).unwrap_or_default()
    }

    /// The last value of `name`.
    fn take_one(&mut self, name: &str) -> Option<String> {
        self.take(name).pop()
    }

    /// The value of `name`, which is yes or no.
    fn take_flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(text) = self.take_one(name) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Ok(Some(true)),
            "0" | "f" | "false" => Ok(Some(false)),
            _ => Err(ApiError::invalid("filters", format!("{name}={text}: neither true nor false"))),
        }
    }

    /// The moment that `name` is set to.
    fn take_moment(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.take_one(name) else { return Ok(None) };
        let problem = || format!("{name}={text}: neither a time nor a span, as in 2024-05-06T07:08:09Z or 24h");
        moment(&text, Timestamp::now()).map(Some).ok_or_else(|| ApiError::invalid("filters", problem()))
    }

    /// Refuses what nobody has taken.
    fn finish(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::invalid("filters", format!("there is no filter {name:?} for this"))),
        }
    }

    /// The filters of `image prune`.
    pub(crate) fn into_prune(mut self) -> Result<ImageFilters, ApiError> {
        let filters = ImageFilters {
            dangling: self.take_flag("dangling")?,
            labels: self.take("label"),
            without_labels: self.take("label!"),
            until: self.take_moment("until")?,
            ..ImageFilters::default()
        };
        self.finish()?;
        Ok(filters)
    }

    /// The filters of `events`.
    pub(crate) fn into_events(mut self) -> Result<EventFilter, ApiError> {
        // What Docker tells of and Corten does not, or not yet: nothing is heard of any of them.
        let others = ["config", "daemon", "network", "node", "plugin", "secret", "service", "volume"];
        let filter = EventFilter {
            nothing: others.map(|name| !self.take(name).is_empty()).contains(&true),
            kinds: self.take("type"),
            actions: self.take("event"),
            containers: self.take("container"),
            images: self.take("image"),
            labels: self.take("label"),
            scopes: self.take("scope"),
        };
        self.finish()?;
        Ok(filter)
    }

    /// The filters of `images`.
    pub(crate) fn into_list(mut self) -> Result<ImageFilters, ApiError> {
        let filters = ImageFilters {
            dangling: self.take_flag("dangling")?,
            references: self.take("reference"),
            labels: self.take("label"),
            without_labels: self.take("label!"),
            before: self.take_one("before"),
            since: self.take_one("since"),
            until: self.take_moment("until")?,
        };
        self.finish()?;
        Ok(filters)
    }
}

/// A moment: RFC 3339, a date, seconds since the epoch, or a span before `now`.
pub(crate) fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Timestamp::from_second(seconds).ok();
    }
    now.checked_sub(text.parse::<SignedDuration>().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(json: &str) -> Result<ImageFilters, ApiError> {
        let parsed: BTreeMap<String, Values> = serde_json::from_str(json).unwrap();
        let listed = parsed.into_iter().map(|(name, values)| match values {
            Values::List(list) => (name, list),
            Values::Set(set) => (name, set.into_keys().collect()),
        });
        Filters(listed.collect()).into_list()
    }

    #[test]
    fn both_ways_of_writing_them_are_read() {
        let new = filters(r#"{"dangling":["true"],"label":["a","b=c"],"reference":["x*"]}"#).unwrap();
        assert_eq!(
            (new.dangling, new.labels, new.references),
            (Some(true), vec!["a".into(), "b=c".into()], vec!["x*".into()])
        );
        assert_eq!(filters(r#"{"dangling":{"0":true}}"#).unwrap().dangling, Some(false));
        for bad in [r#"{"colour":["red"]}"#, r#"{"dangling":["perhaps"]}"#, r#"{"until":["soon"]}"#] {
            assert!(filters(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_of_events_are_dockers_and_others_are_refused() {
        let filters = |json: &str| {
            let parameters = Parameters(vec![("filters".to_owned(), json.to_owned())]);
            Filters::of(&parameters).unwrap().into_events()
        };
        let both = r#"{"type":["image"],"event":{"pull":true,"push":false}}"#;
        let filter = filters(both).unwrap();
        let wanted =
            EventFilter { kinds: vec!["image".into()], actions: vec!["pull".into()], ..EventFilter::default() };
        assert_eq!(filter, wanted);
        // Known, and never heard of.
        assert!(filters(r#"{"network":["bridge"]}"#).unwrap().nothing);
        assert!(filters(r#"{"colour":["red"]}"#).is_err());
    }

    #[test]
    fn a_moment_is_a_time_or_a_span_before_now() {
        let now: Timestamp = "2024-05-06T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09Z"),
            ("2024-05-06", "2024-05-06T00:00:00Z"),
            ("1714978800", "2024-05-06T07:00:00Z"),
            ("1h30m", "2024-05-06T10:30:00Z"),
            ("24h", "2024-05-05T12:00:00Z"),
        ] {
            assert_eq!(moment(text, now), Some(expected.parse().unwrap()), "{text}");
        }
        assert_eq!(moment("yesterday", now), None);
    }
}

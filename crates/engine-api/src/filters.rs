// SPDX-License-Identifier: Apache-2.0
//! The `filters` parameter: JSON, `{"NAME": ["VALUE", …]}`, or as older clients write it, `{"NAME": {"VALUE": true}}`.

use std::collections::{BTreeMap, HashMap};

use engine::{ContainerFilters, EventFilter, NetworkFilters, PortFilter, PruneFilters, VolumeFilters};
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
        // Encoders of Go write null for what is empty.
        let parsed: Option<BTreeMap<String, Option<Values>>> = serde_json::from_str(text)
            .map_err(|error| ApiError::invalid("filters", format!("no JSON of names and values: {error}")))?;
        let listed = parsed.into_iter().flatten().map(|(name, values)| {
            let values = match values {
                None => Vec::new(),
                Some(Values::List(list)) => list,
                Some(Values::Set(set)) => {
                    set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
                }
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

    /// The filters of `container prune`.
    pub(crate) fn into_container_prune(mut self) -> Result<PruneFilters, ApiError> {
        let filters = PruneFilters {
            labels: self.take("label"),
            without_labels: self.take("label!"),
            until: self.take_moment("until")?,
        };
        self.finish()?;
        Ok(filters)
    }

    /// The filters of `volume ls`.
    pub(crate) fn into_volumes(mut self) -> Result<VolumeFilters, ApiError> {
        let filters = VolumeFilters {
            dangling: self.take_flag("dangling")?,
            drivers: self.take("driver"),
            labels: self.take("label"),
            names: self.take("name"),
            ..VolumeFilters::default()
        };
        self.finish()?;
        Ok(filters)
    }

    /// The filters of `volume prune`, and whether volumes with a name go as well.
    pub(crate) fn into_volume_prune(mut self) -> Result<(Option<bool>, VolumeFilters), ApiError> {
        let all = self.take_flag("all")?;
        let filters = VolumeFilters {
            labels: self.take("label"),
            without_labels: self.take("label!"),
            ..VolumeFilters::default()
        };
        self.finish()?;
        Ok((all, filters))
    }

    /// The filters of `events`.
    pub(crate) fn into_events(mut self) -> Result<EventFilter, ApiError> {
        // What Docker tells of and Corten does not, or not yet: nothing is heard of any of them.
        let others = ["config", "daemon", "node", "plugin", "secret", "service"];
        let filter = EventFilter {
            nothing: others.map(|name| !self.take(name).is_empty()).contains(&true),
            kinds: self.take("type"),
            actions: self.take("event"),
            containers: self.take("container"),
            images: self.take("image"),
            networks: self.take("network"),
            volumes: self.take("volume"),
            labels: self.take("label"),
            scopes: self.take("scope"),
        };
        self.finish()?;
        Ok(filter)
    }

    /// The filters of `ps`. `isolation` lets everything through, as with Docker: Windows alone has it.
    pub(crate) fn into_containers(mut self) -> Result<ContainerFilters, ApiError> {
        const STATUSES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
        let statuses = self.take("status");
        if let Some(unknown) = statuses.iter().find(|status| !STATUSES.contains(&status.as_str())) {
            let reason = format!("status={unknown}: a container is {}", STATUSES.join(", "));
            return Err(ApiError::invalid("filters", reason));
        }
        const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];
        let healths = self.take("health");
        if let Some(unknown) = healths.iter().find(|health| !HEALTHS.contains(&health.as_str())) {
            let reason = format!("health={unknown}: a container is {}", HEALTHS.join(", "));
            return Err(ApiError::invalid("filters", reason));
        }
        let exited = self.take("exited").into_iter().map(|code| {
            let problem = || ApiError::invalid("filters", format!("exited={code}: no exit code"));
            code.parse().map_err(|_| problem())
        });
        self.take("isolation");
        let filters = ContainerFilters {
            task: self.take_flag("is-task")?.unwrap_or(false),
            exited: exited.collect::<Result<_, _>>()?,
            statuses,
            healths,
            ids: self.take("id"),
            names: self.take("name"),
            labels: self.take("label"),
            ancestors: self.take("ancestor"),
            before: self.take_one("before"),
            since: self.take_one("since"),
            volumes: self.take("volume"),
            networks: self.take("network"),
            published: self.take_ports("publish")?,
            exposed: self.take_ports("expose")?,
        };
        self.finish()?;
        Ok(filters)
    }

    /// The filters of `network ls`.
    pub(crate) fn into_networks(mut self) -> Result<NetworkFilters, ApiError> {
        let user_defined = match self.take_one("type").as_deref() {
            None => None,
            Some("custom") => Some(true),
            Some("builtin") => Some(false),
            Some(other) => {
                return Err(ApiError::invalid("filters", format!("type={other}: neither custom nor builtin")));
            }
        };
        let filters = NetworkFilters {
            ids: self.take("id"),
            names: self.take("name"),
            drivers: self.take("driver"),
            scopes: self.take("scope"),
            user_defined,
            labels: self.take("label"),
            dangling: self.take_flag("dangling")?,
            ..NetworkFilters::default()
        };
        self.finish()?;
        Ok(filters)
    }

    /// The filters of `network prune`.
    pub(crate) fn into_network_prune(mut self) -> Result<NetworkFilters, ApiError> {
        let filters = NetworkFilters {
            labels: self.take("label"),
            without_labels: self.take("label!"),
            until: self.take_moment("until")?,
            ..NetworkFilters::default()
        };
        self.finish()?;
        Ok(filters)
    }

    /// The ports that `name` is set to: `80`, `80/udp`, `8000-8080/tcp`.
    fn take_ports(&mut self, name: &str) -> Result<Vec<PortFilter>, ApiError> {
        let parse = |text: &String| {
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            let is_known = ["tcp", "udp", "sctp"].contains(&protocol) && first <= last;
            is_known.then(|| PortFilter { first, last, protocol: protocol.to_owned() })
        };
        let problem = |text: &String| {
            ApiError::invalid("filters", format!("{name}={text}: no port, as in 80, 53/udp or 8000-8080/tcp"))
        };
        self.take(name).iter().map(|text| parse(text).ok_or_else(|| problem(text))).collect()
    }

    /// The filters of `plugin ls`, of which there is nothing to be filtered.
    pub(crate) fn into_plugins(mut self) -> Result<(), ApiError> {
        self.take("capability");
        self.take_flag("enabled")?;
        self.finish()
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

    fn of(text: &str) -> Result<Filters, ApiError> {
        Filters::of(&Parameters(vec![("filters".to_owned(), text.to_owned())]))
    }

    fn read(json: &str) -> Filters {
        of(json).unwrap()
    }

    fn filters(json: &str) -> Result<ImageFilters, ApiError> {
        read(json).into_list()
    }

    #[test]
    fn containers_have_filters_of_their_own() {
        let json = r#"{"status":["paused"],"exited":["3"],"publish":["80","8000-8010/udp"],"name":["web"]}"#;
        let filters = read(json).into_containers().unwrap();
        assert_eq!(
            (filters.statuses, filters.exited, filters.names),
            (vec!["paused".into()], vec![3], vec!["web".into()])
        );
        let udp = PortFilter { first: 8000, last: 8010, protocol: "udp".into() };
        assert_eq!(filters.published[1], udp);
        for bad in [
            r#"{"status":["asleep"]}"#,
            r#"{"exited":["x"]}"#,
            r#"{"publish":["80/icmp"]}"#,
            r#"{"expose":["9-8"]}"#,
            r#"{"health":["ill"]}"#,
            r#"{"colour":["red"]}"#,
        ] {
            assert!(read(bad).into_containers().is_err(), "{bad}");
        }
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
    fn what_is_no_map_of_lists_is_refused_and_null_is_empty() {
        for bad in [
            "x",
            "[]",
            "7",
            r#"{"type":"image"}"#,
            r#"{"type":[7]}"#,
            r#"{"type":{"image":1}}"#,
            r#"{"type":["image"]"#,
        ] {
            let error = of(bad).unwrap_err();
            assert!(error.to_string().starts_with("filters: "), "{bad}: {error}");
        }
        for empty in ["null", "{}", r#"{"type":null}"#] {
            assert_eq!(read(empty).into_events().unwrap(), EventFilter::default(), "{empty}");
        }
        assert!(of(r#"{"capability":["x"]}"#).unwrap().into_plugins().is_ok());
        assert!(of(r#"{"type":["x"]}"#).unwrap().into_plugins().is_err());
    }

    #[test]
    fn filters_of_events_are_dockers_and_others_are_refused() {
        let filters = |json: &str| read(json).into_events();
        let both = r#"{"type":["image"],"event":{"pull":true,"push":false}}"#;
        let filter = filters(both).unwrap();
        let wanted =
            EventFilter { kinds: vec!["image".into()], actions: vec!["pull".into()], ..EventFilter::default() };
        assert_eq!(filter, wanted);
        // Known, and never heard of.
        assert!(filters(r#"{"secret":["data"]}"#).unwrap().nothing);
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

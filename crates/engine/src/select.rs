// SPDX-License-Identifier: Apache-2.0
//! Which containers are listed: the filters of `ps`, by Docker's rules.

use std::sync::Arc;

use errors::{Classify as _, Kind};
use jiff::Timestamp;
use oci::Digest;

use crate::Engine;
use crate::container::{Record, Running};
use crate::error::EngineError;
use crate::health::HealthStatus;
use crate::mount::Mount;

/// What a container must be. The default: nothing in particular. Of several values of a filter one must fit; of labels all.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilters {
    /// A swarm's task, which none is: nothing is let through.
    pub task: bool,
    /// Parts of ids; `^` and `$` hold the beginning and the end.
    pub ids: Vec<String>,
    /// Parts of names; `^` and `$` hold the beginning and the end.
    pub names: Vec<String>,
    /// Labels it must have: `KEY` or `KEY=VALUE`.
    pub labels: Vec<String>,
    /// Exit codes it must have ended with.
    pub exited: Vec<i32>,
    /// Words of [`crate::State::status`].
    pub statuses: Vec<String>,
    /// Words of [`crate::HealthStatus`], or `none`.
    pub healths: Vec<String>,
    /// Images that it was made from, or from one above them.
    pub ancestors: Vec<String>,
    /// A container that must be younger.
    pub before: Option<String>,
    /// A container that must be older.
    pub since: Option<String>,
    /// What is mounted: a volume's name, a path of the host or in the container.
    pub volumes: Vec<String>,
    /// A network it is in, by name or by id.
    pub networks: Vec<String>,
    /// Ports of the container that are published.
    pub published: Vec<PortFilter>,
    /// Ports of the container that its image or its maker names, published or not.
    pub exposed: Vec<PortFilter>,
}

/// Ports, from the first to the last, of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFilter {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl PortFilter {
    fn has(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }
}

/// What has been looked up for the filters.
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    ancestors: Vec<(Digest, Vec<Digest>)>,
}

impl Engine {
    /// The records of running containers, or of all, that `filters` let through; the newest first. Who asks for a state
    /// means all containers.
    ///
    /// # Errors
    /// No such container in `before` or `since`; a pattern that is more than a part of a name.
    pub async fn select(self: &Arc<Self>, all: bool, filters: ContainerFilters) -> Result<Vec<Record>, EngineError> {
        let engine = Arc::clone(self);
        self.blocking("list containers", move || engine.select_blocking(all, &filters)).await
    }

    fn select_blocking(&self, all: bool, filters: &ContainerFilters) -> Result<Vec<Record>, EngineError> {
        filters.ids.iter().chain(&filters.names).try_for_each(|pattern| check_pattern(pattern))?;
        let created = |name: &Option<String>| -> Result<Option<Timestamp>, EngineError> {
            let Some(name) = name else { return Ok(None) };
            Ok(Some(self.container(name)?.with_record(|record| record.created)))
        };
        let mut ancestors = Vec::new();
        for name in &filters.ancestors {
            match self.images.resolve(name) {
                Ok(image) => ancestors.push((image.id, image.layers)),
                // An image that is not here is nobody's.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let bounds = Bounds { before: created(&filters.before)?, since: created(&filters.since)?, ancestors };
        let mut records = self.list(all || !filters.statuses.is_empty());
        records.retain(|record| filters.let_through(record, &bounds));
        Ok(records)
    }
}

impl ContainerFilters {
    fn let_through(&self, record: &Record, bounds: &Bounds) -> bool {
        let any = |wanted: &[String], fits: &dyn Fn(&str) -> bool| wanted.is_empty() || wanted.iter().any(|w| fits(w));
        !self.task
            && any(&self.ids, &|pattern| fits(pattern, record.id.as_str()))
            // Docker's names begin with a slash, and are known without it as well.
            && any(&self.names, &|pattern| fits(pattern, &record.name) || fits(pattern, &format!("/{}", record.name)))
            && self.labels.iter().all(|label| has_label(record, label))
            && (self.exited.is_empty() || record.state.exited().is_some_and(|exited| self.exited.contains(&exited.code)))
            && any(&self.statuses, &|status| record.state.status() == status)
            && any(&self.healths, &|health| record.health_status().map_or("none", HealthStatus::as_str) == health)
            && (self.ancestors.is_empty() || bounds.ancestors.iter().any(|image| descends(record, image)))
            && bounds.before.is_none_or(|limit| record.created < limit)
            && bounds.since.is_none_or(|limit| record.created > limit)
            && any(&self.volumes, &|place| record.mounts().iter().any(|mount| is_mounted(mount, place)))
            && (self.networks.is_empty() || is_in_one_of(record, &self.networks))
            && (self.published.is_empty() || self.published.iter().any(|filter| is_published(record, filter)))
            && (self.exposed.is_empty() || self.exposed.iter().any(|filter| is_exposed(record, filter)))
    }
}

/// Docker takes regular expressions. Of these a name's characters and the anchors are understood.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), EngineError> {
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').unwrap_or(inner);
    match inner.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c)) {
        true => Ok(()),
        false => Err(EngineError::invalid(
            "filters",
            format!(
                "{pattern:?} is no part of a name; beside its characters only ^ in front and $ at the end are understood"
            ),
        )),
    }
}

/// Whether `text` has the pattern in it.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (begins, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (ends, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    match (begins, ends) {
        (true, true) => text == pattern,
        (true, false) => text.starts_with(pattern),
        (false, true) => text.ends_with(pattern),
        (false, false) => text.contains(pattern),
    }
}

pub(crate) fn has_label(record: &Record, wanted: &str) -> bool {
    let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
    record.process.labels.get(key).is_some_and(|found| value.is_none_or(|value| found == value))
}

/// Whether a container's image is this one, or lies on its layers.
fn descends(record: &Record, (id, layers): &(Digest, Vec<Digest>)) -> bool {
    record.image_id == *id || (!layers.is_empty() && record.layers.starts_with(layers))
}

fn is_mounted(mount: &Mount, place: &str) -> bool {
    match mount {
        Mount::Bind { source, target, .. } => target == place || source.as_os_str() == place,
        Mount::Tmpfs { target, .. } => target == place,
        Mount::Image(image) => image.target == place,
        Mount::Volume(volume) => volume.name == place || volume.target == place || volume.source.as_os_str() == place,
    }
}

fn is_in_one_of(record: &Record, networks: &[String]) -> bool {
    let places = record.places();
    networks.iter().any(|wanted| places.iter().any(|place| place.name == wanted || place.network.as_str() == wanted))
}

fn is_published(record: &Record, filter: &PortFilter) -> bool {
    let mut ports = record.state.running().into_iter().flat_map(Running::ports);
    ports.any(|port| filter.has(port.container_port, &port.protocol.to_string()))
}

/// A port that shall be published is exposed by that.
fn is_exposed(record: &Record, filter: &PortFilter) -> bool {
    let named = record.process.exposed.iter().any(|exposed| {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        port.parse().is_ok_and(|port| filter.has(port, protocol))
    });
    named || record.spec.ports.iter().any(|port| filter.has(port.container_port, &port.protocol.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_part_unless_it_is_held() {
        for (pattern, text, expected) in [
            ("we", "web", true),
            ("^eb", "web", false),
            ("eb$", "web", true),
            ("^web$", "web", true),
            ("^web$", "web2", false),
            ("^/web$", "/web", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        for pattern in ["", "web.1", "^a-b_c$"] {
            check_pattern(pattern).unwrap();
        }
        for pattern in ["we*", "a|b", "[ab]", "a$b"] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn ports_have_a_range_and_a_protocol() {
        let filter = PortFilter { first: 80, last: 90, protocol: "tcp".into() };
        assert!(filter.has(80, "tcp") && filter.has(90, "tcp"));
        assert!(!filter.has(91, "tcp") && !filter.has(80, "udp"));
    }
}

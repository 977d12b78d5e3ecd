// SPDX-License-Identifier: Apache-2.0
//! Which events somebody wants to hear of, by Docker's rules.

use super::{Event, EventKind};

/// Which events are wanted: of each list that is not empty one entry must fit, of `labels` all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Kinds, as in `container`.
    pub kinds: Vec<String>,
    /// Actions. As soon as one is `exec_create`, `exec_start`, `health_status` or `check_status`, they are beginnings of actions.
    pub actions: Vec<String>,
    /// Ids and names of containers, or their beginnings. No other event is wanted then.
    pub containers: Vec<String>,
    /// Images, by name with or without tag, or by id: events of the image, and of containers made from it.
    pub images: Vec<String>,
    /// Networks, by name or by id: events of the network, those of places in it included.
    pub networks: Vec<String>,
    /// Names of volumes, or their beginnings. No other event is wanted then.
    pub volumes: Vec<String>,
    /// `NAME` or `NAME=VALUE`, of any attribute.
    pub labels: Vec<String>,
    /// Scopes. All that is told here is `local`.
    pub scopes: Vec<String>,
    /// Whether only events of things are wanted that are never told of: the daemon's own.
    pub nothing: bool,
}

impl EventFilter {
    pub(super) fn lets_through(&self, event: &Event) -> bool {
        !self.nothing
            && one_is(&self.kinds, event.kind.as_str())
            && self.fits_action(&event.action)
            && one_is(&self.scopes, "local")
            && self.fits_container(event)
            && self.fits_image(event)
            && self.fits_network(event)
            && self.fits_volume(event)
            && self.labels.iter().all(|label| has_label(event, label))
    }

    fn fits_action(&self, action: &str) -> bool {
        const OPEN: [&str; 4] = ["exec_create", "exec_start", "health_status", "check_status"];
        let is_open = |wanted: &String| OPEN.contains(&wanted.as_str());
        match self.actions.iter().any(is_open) {
            true => self.actions.iter().any(|wanted| action.starts_with(wanted.as_str())),
            false => one_is(&self.actions, action),
        }
    }

    fn fits_container(&self, event: &Event) -> bool {
        let name = attribute(event, "name");
        let fits = |wanted: &String| event.id.starts_with(wanted.as_str()) || name.starts_with(wanted.as_str());
        self.containers.is_empty() || event.kind == EventKind::Container && self.containers.iter().any(fits)
    }

    fn fits_volume(&self, event: &Event) -> bool {
        let fits = |wanted: &String| event.id.starts_with(wanted.as_str());
        self.volumes.is_empty() || event.kind == EventKind::Volume && self.volumes.iter().any(fits)
    }

    fn fits_image(&self, event: &Event) -> bool {
        let name = match event.kind {
            EventKind::Container => attribute(event, "image"),
            EventKind::Image => attribute(event, "name"),
            EventKind::Network | EventKind::Volume => return self.images.is_empty(),
        };
        [&event.id, name, without_tag(&event.id), without_tag(name)].iter().any(|image| one_is(&self.images, image))
    }

    fn fits_network(&self, event: &Event) -> bool {
        let name = attribute(event, "name");
        let fits = |wanted: &String| event.id.starts_with(wanted.as_str()) || name == wanted;
        self.networks.is_empty() || event.kind == EventKind::Network && self.networks.iter().any(fits)
    }
}

/// Whether `text` is one of those, or there are none.
fn one_is(list: &[String], text: &str) -> bool {
    list.is_empty() || list.iter().any(|wanted| wanted == text)
}

fn attribute<'e>(event: &'e Event, name: &str) -> &'e str {
    event.attributes.get(name).map_or("", String::as_str)
}

fn has_label(event: &Event, label: &str) -> bool {
    let (name, value) = label.split_once('=').map_or((label, None), |(name, value)| (name, Some(value)));
    event.attributes.get(name).is_some_and(|is| value.is_none_or(|value| is == value))
}

/// A name without its tag or digest.
fn without_tag(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        // What has a slash behind it is the port of a registry.
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

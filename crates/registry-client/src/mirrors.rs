// SPDX-License-Identifier: Apache-2.0
//! One image, several places: mirrors are tried in their order, and the image's own registry at the end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::ImageRef;

use crate::error::RegistryError;
use crate::routes::{Routes, RoutesError};
use crate::transport::Transport;

/// Docker's registry, as names have it.
const HUB: &str = "docker.io";
/// How long a mirror that nobody answers at is not asked again: an image has many blobs.
const REST: Duration = Duration::from_secs(60);

/// The mirrors that nobody answered at, and when.
#[derive(Default)]
pub(crate) struct Down(Mutex<HashMap<String, Instant>>);

impl Down {
    fn contains(&self, registry: &str) -> bool {
        let down = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        down.get(registry).is_some_and(|since| since.elapsed() < REST)
    }

    fn add(&self, registry: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(registry.to_owned(), Instant::now());
    }
}

/// By which names to ask for an image.
pub(crate) struct Places {
    /// First these, in this order.
    pub(crate) mirrors: Vec<ImageRef>,
    /// Then this.
    pub(crate) own: ImageRef,
}

impl Transport {
    /// Read anew each time: a small file, and a change of it counts at once.
    pub(crate) fn routes(&self) -> Result<Routes, RoutesError> {
        self.options.registries_conf.as_ref().map_or_else(|| Ok(Routes::default()), |path| Routes::read(path))
    }

    /// Where to ask for `image`.
    pub(crate) fn places(&self, image: &ImageRef) -> Result<Places, RegistryError> {
        let places = self.routes().and_then(|routes| routes.places(image));
        let mut mirrors = places.map_err(|source| RegistryError::Routes { image: image.to_string(), source })?;
        // There is always one: an image is somewhere.
        let own = mirrors.pop().unwrap_or_else(|| image.clone());
        if mirrors.is_empty() && own.registry() == HUB {
            let at = |mirror: &String| own.canonical().replacen(HUB, mirror, 1).parse::<ImageRef>().ok();
            mirrors = self.options.hub_mirrors.iter().filter_map(at).collect();
        }
        mirrors.retain(|mirror| !self.down.contains(mirror.registry()));
        Ok(Places { mirrors, own })
    }

    /// Notes that a mirror was of no use. The error that counts is the one of the image's own registry.
    pub(crate) fn pass_over(&self, mirror: &ImageRef, error: &RegistryError) {
        if matches!(error, RegistryError::Unreachable { .. } | RegistryError::Silent { .. }) {
            self.down.add(mirror.registry());
        }
        tracing::info!(mirror = mirror.to_string(), error = errors::chain(error), "a mirror was of no use");
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Volumes as Docker's clients read them.

use std::collections::HashMap;

use api_types::docker::{Volume as DockerVolume, VolumeScopeEnum, VolumeUsageData};
use engine::{VOLUME_DRIVER, Volume, VolumeUsage};

use super::from_image::bytes;

/// A volume, whose files the host has at `place`.
pub(crate) fn volume(volume: &Volume, place: String) -> DockerVolume {
    let map = |map: &std::collections::BTreeMap<String, String>| map.clone().into_iter().collect::<HashMap<_, _>>();
    DockerVolume {
        name: volume.name.clone(),
        driver: VOLUME_DRIVER.to_owned(),
        mountpoint: place,
        // Docker tells no fractions here.
        created_at: Some(volume.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        labels: map(&volume.labels),
        scope: Some(VolumeScopeEnum::LOCAL),
        options: map(&volume.options),
        ..DockerVolume::default()
    }
}

/// A volume, and what it takes.
pub(crate) fn usage(usage: &VolumeUsage) -> DockerVolume {
    let data = VolumeUsageData {
        size: usage.bytes.map_or(-1, bytes),
        ref_count: i64::try_from(usage.containers).unwrap_or(i64::MAX),
    };
    DockerVolume { usage_data: Some(data), ..volume(&usage.volume, usage.place.clone()) }
}

// SPDX-License-Identifier: Apache-2.0
//! What the store holds, as clients read it.

use api_types::docker::{
    BuildCacheDiskUsage, ContainerSummary, ContainerSummaryStateEnum, ContainersDiskUsage, ImageSummary,
    ImagesDiskUsage, SystemDataUsageResponse, Volume, VolumesDiskUsage,
};
use api_types::{
    CheckReport, DiskUsage, Lease, StoreProblem, StoreUsage, WasteFinding, WasteReport, WastedFile, WastefulLayer,
    human_duration, human_size,
};
use engine::Room;
use image::{Checked, Finding, ImageUsage, Reason, Resource, Waste};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::from_image::{bytes, summary};
use super::{from_record, from_volume};

/// What is on disk.
pub(crate) fn usage(usage: &engine::DiskUsage) -> DiskUsage {
    let of_image = |image: &ImageUsage| ImageSummary {
        size: bytes(image.total),
        shared_size: bytes(image.shared),
        containers: usage.containers.iter().filter(|(record, _)| record.image_id == image.image.id).count() as i64,
        ..summary(&image.image)
    };
    let mut images: Vec<ImageSummary> = usage.images.images.iter().map(of_image).collect();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let now = Timestamp::now();
    let containers = usage.containers.iter().map(|(record, size)| {
        let mut summary = from_record::summary(record, now);
        let image = usage.images.images.iter().find(|image| image.image.id == record.image_id);
        summary.size_rw = Some(bytes(*size));
        summary.size_root_fs = Some(bytes(image.map_or(0, |image| image.image.size).saturating_add(*size)));
        summary
    });
    let store = &usage.images;
    DiskUsage {
        layers_size: bytes(store.content + store.layers),
        images,
        containers: containers.collect(),
        volumes: Some(usage.volumes.iter().map(from_volume::usage).collect()),
        build_cache: Some(Vec::new()),
        by_kind: SystemDataUsageResponse::default(),
        store: Some(StoreUsage {
            blobs: store.blobs,
            content: bytes(store.content),
            layer_count: store.layer_count,
            layers: bytes(store.layers),
            unreferenced: bytes(store.unreferenced),
            reclaimable: bytes(store.reclaimable),
        }),
    }
}

/// The same in numbers, by kind, as it is asked for since API 1.52; with each thing if `verbose`.
///
/// # Errors
/// A thing that cannot be written as JSON.
pub(crate) fn by_kind(usage: &DiskUsage, verbose: bool) -> Result<SystemDataUsageResponse, serde_json::Error> {
    fn items<T: Serialize>(list: &[T], verbose: bool) -> Result<Option<Vec<Value>>, serde_json::Error> {
        verbose.then(|| list.iter().map(serde_json::to_value).collect()).transpose()
    }
    fn count(number: usize) -> Option<i64> {
        Some(i64::try_from(number).unwrap_or(i64::MAX))
    }
    let runs = |state: Option<ContainerSummaryStateEnum>| {
        use ContainerSummaryStateEnum as State;
        matches!(state, Some(State::RUNNING | State::PAUSED | State::RESTARTING))
    };
    let (active, idle): (Vec<_>, Vec<_>) = usage.containers.iter().partition(|container| runs(container.state));
    let bytes = |list: &[&ContainerSummary]| list.iter().filter_map(|one| one.size_rw).sum::<i64>();
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    // Of what options mount nothing is known: it counts as a volume that takes nothing.
    let size = |volume: &Volume| volume.usage_data.as_ref().map_or(0, |data| data.size.max(0));
    let used = |volume: &Volume| volume.usage_data.as_ref().is_some_and(|data| data.ref_count > 0);
    Ok(SystemDataUsageResponse {
        image_usage: Some(ImagesDiskUsage {
            active_count: count(usage.images.iter().filter(|image| image.containers > 0).count()),
            total_count: count(usage.images.len()),
            reclaimable: usage.store.as_ref().map(|store| store.reclaimable),
            total_size: Some(usage.layers_size),
            items: items(&usage.images, verbose)?,
        }),
        container_usage: Some(ContainersDiskUsage {
            active_count: count(active.len()),
            total_count: count(usage.containers.len()),
            reclaimable: Some(bytes(&idle)),
            total_size: Some(bytes(&active) + bytes(&idle)),
            items: items(&usage.containers, verbose)?,
        }),
        volume_usage: Some(VolumesDiskUsage {
            active_count: count(volumes.iter().filter(|volume| used(volume)).count()),
            total_count: count(volumes.len()),
            reclaimable: Some(volumes.iter().filter(|volume| !used(volume)).map(size).sum()),
            total_size: Some(volumes.iter().map(size).sum()),
            items: items(volumes, verbose)?,
        }),
        // There is no build cache.
        build_cache_usage: Some(BuildCacheDiskUsage {
            active_count: Some(0),
            total_count: Some(0),
            reclaimable: Some(0),
            total_size: Some(0),
            items: items::<Value>(&[], verbose)?,
        }),
    })
}

/// How the disk's room is looked after: names and values for `info`.
pub(crate) fn room(room: &Room) -> Vec<Vec<String>> {
    let rule = match room.marks {
        None => "off".to_owned(),
        Some(marks) => {
            format!("with less than {} free, until {} are", human_size(marks.low), human_size(marks.high))
        }
    };
    let last = room.last.map(|last| {
        let ago = Timestamp::now().as_second().saturating_sub(last.at.as_second());
        let ago = human_duration(u64::try_from(ago).unwrap_or(0));
        format!("{ago} ago: {} freed, {} images removed", human_size(last.freed), last.images)
    });
    let facts = [("Collection", rule), ("Last collection", last.unwrap_or_else(|| "never".to_owned()))];
    facts.map(|(name, value)| vec![name.to_owned(), value]).into()
}

/// A lease.
pub(crate) fn lease(lease: &image::Lease) -> Lease {
    let (mut images, mut content) = (Vec::new(), Vec::new());
    for resource in &lease.resources {
        match resource {
            Resource::Image(manifest) => images.push(manifest.to_string()),
            Resource::Content(digest) => content.push(digest.to_string()),
        }
    }
    Lease {
        id: lease.id.to_string(),
        created: lease.created.to_string(),
        expires: lease.expires.to_string(),
        labels: lease.labels.clone(),
        images,
        content,
    }
}

/// What a check has found.
pub(crate) fn checked(checked: Checked) -> CheckReport {
    let problem =
        |found: image::Problem| StoreProblem { subject: found.subject, problem: found.problem, remedy: found.remedy };
    CheckReport {
        blobs: checked.blobs,
        bytes: checked.bytes,
        images: checked.images,
        layers: checked.layers,
        problems: checked.problems.into_iter().map(problem).collect(),
    }
}

/// The waste in an image.
pub(crate) fn waste(waste: &Waste) -> WasteReport {
    let layers = waste.layers.iter().map(|layer| WastefulLayer {
        diff_id: layer.diff_id.to_string(),
        created_by: layer.created_by.clone(),
        size: layer.size,
        wasted: layer.wasted,
        findings: layer.findings.iter().map(|found| finding(waste, found)).collect(),
    });
    WasteReport { id: waste.id.to_string(), size: waste.size, wasted: waste.wasted, layers: layers.collect() }
}

fn finding(waste: &Waste, finding: &Finding) -> WasteFinding {
    let (kind, reason, remedy) = match &finding.reason {
        Reason::Hidden { by } => {
            let instruction = waste.layers.get(*by).map_or("", |layer| layer.created_by.as_str());
            let reason = format!("removed or replaced by layer {}: {instruction}", by + 1);
            ("hidden", reason, "remove or change the files in the instruction that makes them".to_owned())
        }
        Reason::Repeated => {
            let remedy = "link instead of copying; set owner and mode where the file is made (COPY --chown, --chmod)";
            ("repeated", "the same content is in the image already".to_owned(), remedy.to_owned())
        }
        Reason::Cache { what, remedy } => ("cache", (*what).to_owned(), (*remedy).to_owned()),
    };
    let examples = finding.examples.iter();
    WasteFinding {
        kind: kind.to_owned(),
        bytes: finding.bytes,
        files: finding.files,
        reason,
        remedy,
        examples: examples.map(|(path, bytes)| WastedFile { path: path.clone(), bytes: *bytes }).collect(),
    }
}

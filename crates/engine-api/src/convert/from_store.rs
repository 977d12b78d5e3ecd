// SPDX-License-Identifier: Apache-2.0
//! What the store holds, as clients read it.

use api_types::docker::ImageSummary;
use api_types::{
    CheckReport, DiskUsage, StoreProblem, StoreUsage, WasteFinding, WasteReport, WastedFile, WastefulLayer,
};
use image::{Checked, Finding, ImageUsage, Reason, Waste};
use jiff::Timestamp;

use super::from_image::{bytes, summary};
use super::from_record;

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
        summary.size_rw = Some(bytes(*size));
        summary
    });
    let store = &usage.images;
    DiskUsage {
        layers_size: bytes(store.content + store.layers),
        images,
        containers: containers.collect(),
        volumes: Some(Vec::new()),
        build_cache: Some(Vec::new()),
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

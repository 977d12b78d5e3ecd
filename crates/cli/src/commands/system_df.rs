// SPDX-License-Identifier: Apache-2.0
//! `corten system df`: what the daemon has on disk.

use api_types::DiskUsage;
use api_types::docker::{ContainerSummary, ContainerSummaryStateEnum, ImageSummary, Volume};
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::{human, listing};

const COLUMNS: &[(&str, &str)] = &[
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
];
const IMAGES: &[(&str, &str)] = &[
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
];
const CONTAINERS: &[(&str, &str)] = &[
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("SIZE", "Size"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
];
const VOLUMES: &[(&str, &str)] = &[("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")];
const STORE: &[(&str, &str)] = &[("STORED AS", "Type"), ("TOTAL", "TotalCount"), ("SIZE", "Size")];

/// Show what takes space on disk, in bytes that the disk really gave; what is shared counts once
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table, json, or a template like '{{.Type}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Each image, each container and each volume
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let usage = context.client.disk_usage().await?;
    if !args.verbose {
        printer::data(listing::render(&args.format, COLUMNS, &summary(&usage))?.as_bytes());
        return Ok(0);
    }
    let now = human::now();
    let images: Vec<Value> = usage.images.iter().map(|image| image_row(image, now)).collect();
    let containers: Vec<Value> = usage.containers.iter().map(|container| container_row(container, now)).collect();
    let volumes: Vec<Value> = usage.volumes.iter().flatten().map(volume_row).collect();
    if args.format != "table" {
        let all = json!({"Images": images, "Containers": containers, "Volumes": volumes, "Store": store(&usage)});
        printer::data(listing::render(&args.format, &[], &[all])?.as_bytes());
        return Ok(0);
    }
    for (title, columns, rows) in [
        ("Images space usage:", IMAGES, images),
        ("Containers space usage:", CONTAINERS, containers),
        ("Local Volumes space usage:", VOLUMES, volumes),
        ("Images by what they are made of:", STORE, store(&usage)),
    ] {
        printer::data(format!("{title}\n\n{}\n", listing::render("table", columns, &rows)?).as_bytes());
    }
    Ok(0)
}

/// Bytes, which are never negative where they are known.
fn size(bytes: i64) -> String {
    human::size(u64::try_from(bytes).unwrap_or(0))
}

/// What can go, with its part of the whole.
fn reclaimable(bytes: i64, of: i64) -> String {
    let percent = if of > 0 { bytes.saturating_mul(100) / of } else { 0 };
    format!("{} ({percent}%)", size(bytes))
}

fn summary(usage: &DiskUsage) -> Vec<Value> {
    let used = usage.images.iter().filter(|image| image.containers > 0);
    // Another daemon does not tell what can go; this is Docker's own estimate.
    let kept: i64 = used.clone().map(|image| image.size - image.shared_size.max(0)).sum();
    let images = usage.store.as_ref().map_or(usage.layers_size - kept, |store| store.reclaimable);
    let bytes = |container: &ContainerSummary| container.size_rw.unwrap_or(0);
    let runs = |container: &&ContainerSummary| container.state == Some(ContainerSummaryStateEnum::RUNNING);
    let all: i64 = usage.containers.iter().map(bytes).sum();
    let running: i64 = usage.containers.iter().filter(runs).map(bytes).sum();
    let row = |kind: &str, total: usize, active: usize, bytes: i64, free: i64| {
        json!({"Type": kind, "TotalCount": total.to_string(), "Active": active.to_string(), "Size": size(bytes),
            "Reclaimable": reclaimable(free, bytes)})
    };
    vec![
        row("Images", usage.images.len(), used.count(), usage.layers_size, images),
        row("Containers", usage.containers.len(), usage.containers.iter().filter(runs).count(), all, all - running),
        volumes(usage.volumes.as_deref().unwrap_or_default(), row),
    ]
}

/// Of what options mount nothing is known: it counts as a volume that takes nothing.
fn volumes(volumes: &[Volume], row: impl Fn(&str, usize, usize, i64, i64) -> Value) -> Value {
    let data = |volume: &Volume| volume.usage_data.as_ref().map_or((0, 0), |data| (data.size.max(0), data.ref_count));
    let used = volumes.iter().filter(|volume| data(volume).1 > 0);
    let bytes: i64 = volumes.iter().map(|volume| data(volume).0).sum();
    let kept: i64 = used.clone().map(|volume| data(volume).0).sum();
    row("Local Volumes", volumes.len(), used.count(), bytes, bytes - kept)
}

fn volume_row(volume: &Volume) -> Value {
    let data = volume.usage_data.as_ref();
    json!({
        "Name": volume.name,
        "Links": data.map_or(-1, |data| data.ref_count).to_string(),
        "Size": data.filter(|data| data.size >= 0).map_or_else(|| "N/A".to_owned(), |data| size(data.size)),
    })
}

fn image_row(image: &ImageSummary, now: i64) -> Value {
    let name = image.repo_tags.first().and_then(|name| name.rsplit_once(':')).unwrap_or(("<none>", "<none>"));
    json!({
        "Repository": name.0,
        "Tag": name.1,
        "ID": human::short_id(&image.id),
        "CreatedSince": if image.created > 0 { human::ago(image.created, now) } else { "N/A".to_owned() },
        "Size": size(image.size),
        "SharedSize": size(image.shared_size),
        "UniqueSize": size(image.size - image.shared_size.max(0)),
        "Containers": image.containers.to_string(),
    })
}

fn container_row(container: &ContainerSummary, now: i64) -> Value {
    let names = container.names.iter().flatten().map(|name| name.trim_start_matches('/'));
    json!({
        "ID": human::short_id(container.id.as_deref().unwrap_or_default()),
        "Image": container.image.as_deref().unwrap_or_default(),
        "Command": human::quoted(&human::ellipsis(container.command.as_deref().unwrap_or_default(), 20)),
        "Size": size(container.size_rw.unwrap_or(0)),
        "RunningFor": human::ago(container.created.unwrap_or(now), now),
        "Status": container.status.as_deref().unwrap_or_default(),
        "Names": names.collect::<Vec<_>>().join(","),
    })
}

fn store(usage: &DiskUsage) -> Vec<Value> {
    let Some(store) = &usage.store else { return Vec::new() };
    let row = |kind: &str, total: Option<usize>, bytes: i64| json!({"Type": kind, "TotalCount": total.map_or("-".to_owned(), |total| total.to_string()), "Size": size(bytes)});
    vec![
        row("Blobs", Some(store.blobs), store.content),
        row("Unpacked layers", Some(store.layer_count), store.layers),
        row("Of both, unreferenced", None, store.unreferenced),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_in_percent() {
        assert_eq!(reclaimable(250, 1000), "250B (25%)");
        assert_eq!(reclaimable(0, 0), "0B (0%)");
    }
}

// SPDX-License-Identifier: Apache-2.0
//! `corten images`: the images there are.

use std::collections::BTreeSet;

use api_types::docker::ImageSummary;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::{self, human, listing};
use crate::{flags, user_config};

const COLUMNS: &[(&str, &str)] =
    &[("REPOSITORY", "Repository"), ("TAG", "Tag"), ("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size")];
/// Where `--digests` puts its column.
const DIGEST: (usize, (&str, &str)) = (2, ("DIGEST", "Digest"));

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Intermediate images, too
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only some: dangling=true, label=KEY[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE, until=TIME
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = flags::filter)]
    filter: Vec<client::Filter>,
    /// How to print: table, json, or a template like '{{.Repository}}:{{.Tag}}' [default: imagesFormat of config.json,
    /// else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    #[arg(long, hide = true)]
    tree: bool,
    /// Only images of this name: NAME[:TAG], or a pattern
    repository: Option<String>,
}

pub(crate) async fn run(mut args: Args, context: &Context) -> Result<u8, Failure> {
    flags::refuse(&[(args.tree, "--tree", "an image here is for one platform: there is no tree of them")])?;
    args.filter.extend(args.repository.map(|pattern| ("reference".to_owned(), pattern)));
    let images = context.client.list_images(args.all, &args.filter).await?;
    if args.quiet {
        // An image with two names is one image.
        let mut seen = BTreeSet::new();
        let ids = images.iter().filter(|image| seen.insert(&image.id)).map(|image| id(image, args.no_trunc));
        ids.for_each(printer::line);
        return Ok(0);
    }
    let format = user_config::format(args.format, "imagesFormat")?;
    let now = human::now();
    let rows: Vec<Value> = images.iter().flat_map(|image| rows(image, args.no_trunc, now)).collect();
    let mut columns = COLUMNS.to_vec();
    if args.digests {
        columns.insert(DIGEST.0, DIGEST.1);
    }
    printer::data(listing::render(&format, &columns, &rows)?.as_bytes());
    Ok(0)
}

fn id(image: &ImageSummary, no_trunc: bool) -> &str {
    if no_trunc { &image.id } else { human::short_id(&image.id) }
}

/// A row for each name; one without a name where it has none.
fn rows(image: &ImageSummary, no_trunc: bool, now: i64) -> Vec<Value> {
    let digest = |repository: &str| {
        let named = image.repo_digests.iter().filter_map(|name| name.split_once('@'));
        named.filter(|(name, _)| *name == repository).map(|(_, digest)| digest).next()
    };
    let row = |repository: &str, tag: &str| {
        json!({
            "Containers": "N/A",
            "CreatedAt": human::moment(image.created),
            "CreatedSince": if image.created > 0 { human::ago(image.created, now) } else { "N/A".to_owned() },
            "Digest": digest(repository).unwrap_or("<none>"),
            "ID": id(image, no_trunc),
            "Repository": repository,
            // Not found out for a list, by Docker's neither.
            "SharedSize": "N/A",
            "Size": human::size(u64::try_from(image.size).unwrap_or(0)),
            "Tag": tag,
            "UniqueSize": "N/A",
            "VirtualSize": human::size(u64::try_from(image.size).unwrap_or(0)),
        })
    };
    let names: Vec<Value> = image
        .repo_tags
        .iter()
        .filter_map(|name| name.rsplit_once(':'))
        .map(|(repository, tag)| row(repository, tag))
        .collect();
    if names.is_empty() {
        let repository = image.repo_digests.first().and_then(|name| name.split_once('@')).map(|(name, _)| name);
        return vec![row(repository.unwrap_or("<none>"), "<none>")];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str]) -> ImageSummary {
        ImageSummary {
            id: "sha256:0123456789abcdef".into(),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            repo_digests: vec!["a@sha256:77".into()],
            created: 1000,
            size: 4_264,
            ..ImageSummary::default()
        }
    }

    #[test]
    fn every_name_has_its_row() {
        let rows = rows(&image(&["127.0.0.1:5000/a:1", "a:latest"]), false, 1300);
        assert_eq!((&rows[0]["Repository"], &rows[0]["Tag"]), (&json!("127.0.0.1:5000/a"), &json!("1")));
        assert_eq!((&rows[0]["Digest"], &rows[1]["Digest"]), (&json!("<none>"), &json!("sha256:77")));
        assert_eq!((&rows[1]["ID"], &rows[1]["Size"]), (&json!("0123456789ab"), &json!("4.26kB")));
    }

    #[test]
    fn an_image_without_a_tag_is_listed_by_its_repository() {
        let rows = rows(&image(&[]), true, 1300);
        assert_eq!((&rows[0]["Repository"], &rows[0]["Tag"]), (&json!("a"), &json!("<none>")));
        assert_eq!(rows[0]["ID"], "sha256:0123456789abcdef");
    }
}

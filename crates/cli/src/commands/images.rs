// SPDX-License-Identifier: Apache-2.0
//! `corten images`: the images there are.

use api_types::docker::ImageSummary;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::human;
use crate::printer::table::Table;
use crate::template::Template;

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Intermediate images, too
    #[arg(short, long)]
    all: bool,
    /// How to print: table, json, or a template like '{{.Repository}}:{{.Tag}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// Only images of this name: NAME[:TAG]
    repository: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let images = context.client.list_images(args.all).await?;
    let now = human::now();
    let mut rows: Vec<Row> = images.iter().flat_map(|image| rows(image, args.no_trunc, now)).collect();
    if let Some(wanted) = &args.repository {
        rows.retain(|row| row.is_called(wanted));
    }
    if args.quiet {
        // An image with two names is one image.
        rows.dedup_by(|a, b| a.id == b.id);
        rows.iter().for_each(|row| printer::line(&row.id));
        return Ok(0);
    }
    match args.format.as_str() {
        "table" => printer::data(table(rows).as_bytes()),
        "json" => rows.iter().for_each(|row| printer::line(&row.json().to_string())),
        template => {
            let template: Template = template.parse()?;
            for row in rows {
                printer::line(&template.render(&row.json())?);
            }
        }
    }
    Ok(0)
}

/// One name of an image as it is listed.
struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    created: String,
    size: String,
}

/// A row for each name; one without a name where it has none.
fn rows(image: &ImageSummary, no_trunc: bool, now: i64) -> Vec<Row> {
    let digest = image.repo_digests.first().and_then(|name| name.split_once('@')).map(|(_, digest)| digest);
    let row = |repository: &str, tag: &str| Row {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: digest.unwrap_or("<none>").to_owned(),
        id: if no_trunc { image.id.clone() } else { human::short_id(&image.id).to_owned() },
        created: if image.created > 0 { human::ago(image.created, now) } else { "N/A".to_owned() },
        size: human::size(u64::try_from(image.size).unwrap_or(0)),
    };
    let names: Vec<Row> = image
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

impl Row {
    fn is_called(&self, wanted: &str) -> bool {
        wanted == self.repository || wanted == format!("{}:{}", self.repository, self.tag)
    }

    fn json(&self) -> Value {
        json!({
            "CreatedSince": self.created,
            "Digest": self.digest,
            "ID": self.id,
            "Repository": self.repository,
            "Size": self.size,
            "Tag": self.tag,
        })
    }
}

fn table(rows: Vec<Row>) -> String {
    let mut table = Table::new(["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    for row in rows {
        table.row([row.repository, row.tag, row.id, row.created, row.size]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str]) -> ImageSummary {
        ImageSummary {
            id: "sha256:0123456789abcdef".into(),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            created: 1000,
            size: 4_264,
            ..ImageSummary::default()
        }
    }

    #[test]
    fn every_name_has_its_row() {
        let rows = rows(&image(&["127.0.0.1:5000/a:1", "a:latest"]), false, 1300);
        assert_eq!((rows[0].repository.as_str(), rows[0].tag.as_str()), ("127.0.0.1:5000/a", "1"));
        assert!(rows[1].is_called("a") && rows[1].is_called("a:latest") && !rows[1].is_called("b"));
        assert_eq!((rows[1].id.as_str(), rows[1].size.as_str()), ("0123456789ab", "4.26kB"));
    }

    #[test]
    fn an_image_without_a_name_is_listed_as_none() {
        let rows = rows(&image(&[]), true, 1300);
        assert_eq!((rows[0].repository.as_str(), rows[0].tag.as_str()), ("<none>", "<none>"));
        assert_eq!(rows[0].id, "sha256:0123456789abcdef");
    }
}

// SPDX-License-Identifier: Apache-2.0
//! `corten history`: how an image was made.

use api_types::docker::ImageHistoryResponseItem;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::failure::Failure;
use crate::platform;
use crate::printer::{self, human, listing};

/// As wide as the docker CLI shows an instruction and a comment.
const WIDEST: usize = 45;
const COLUMNS: &[(&str, &str)] = &[
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
];

/// Show how an image was made, the last step first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table, json, or a template like '{{.CreatedBy}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Sizes and times for people; =false for bytes and RFC 3339
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// Do not shorten ids and instructions
    #[arg(long)]
    no_trunc: bool,
    /// Only if the image is for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Print only ids
    #[arg(short, long)]
    quiet: bool,
    /// A name, a digest or an id
    image: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    platform::check(&context.client, &args.image, args.platform.as_deref()).await?;
    let steps = context.client.image_history(&args.image).await?;
    let now = human::now();
    let rows: Vec<Value> = steps.iter().map(|step| row(step, &args, now)).collect();
    let format = if args.quiet { "{{.ID}}" } else { &args.format };
    printer::data(listing::render(format, COLUMNS, &rows)?.as_bytes());
    Ok(0)
}

fn row(step: &ImageHistoryResponseItem, args: &Args, now: i64) -> Value {
    let cut = |text: &str| if args.no_trunc { text.to_owned() } else { human::ellipsis(text, WIDEST) };
    let at = Timestamp::from_second(step.created).map(|time| time.to_string()).unwrap_or_default();
    let since = if step.created == 0 { "N/A".to_owned() } else { human::ago(step.created, now) };
    json!({
        "ID": if args.no_trunc { &step.id } else { human::short_id(&step.id) },
        "CreatedAt": at,
        "CreatedSince": if args.human { since } else { at.clone() },
        // Tabs would break the columns.
        "CreatedBy": cut(&step.created_by.replace('\t', " ")),
        "Size": if args.human { human::size(u64::try_from(step.size).unwrap_or(0)) } else { step.size.to_string() },
        "Comment": cut(&step.comment),
    })
}

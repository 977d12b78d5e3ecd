// SPDX-License-Identifier: Apache-2.0
//! `corten system check`: whether the store is whole.

use api_types::CheckReport;
use errors::{Kind, Report};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::human;

/// Verify every blob, image and name of the store; fail if something is broken, and say what to do
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let report = context.client.check().await?;
    if args.format == "json" {
        printer::line(&serde_json::to_string(&report).unwrap_or_default());
    } else {
        print(&report);
    }
    if report.problems.is_empty() { Ok(0) } else { Err(Failure::told()) }
}

fn print(report: &CheckReport) {
    for found in &report.problems {
        let text = format!("{}: {}", found.subject, found.problem);
        printer::failure(&Report::new(Kind::Corrupt, text).with_hint(found.remedy.as_str()));
    }
    let broken = match report.problems.len() {
        0 => "nothing is broken".to_owned(),
        1 => "1 thing is broken".to_owned(),
        count => format!("{count} things are broken"),
    };
    let size = human::size(report.bytes);
    let (images, layers, blobs) = (report.images, report.layers, report.blobs);
    printer::line(&format!("checked {images} images, {layers} layers, {blobs} blobs ({size}): {broken}"));
}

// SPDX-License-Identifier: Apache-2.0
//! `corten image waste`: the bytes of an image that nobody can use, and who put them there.

use std::fmt::Write;

use api_types::{WasteReport, WastefulLayer};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::table::Table;
use crate::printer::{human, json};

/// An instruction is shown in so many characters.
const WIDEST: usize = 70;

/// Show what an image wastes: files hidden by later layers, stored twice, or left in caches
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// A name, a digest or an id
    image: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let report = context.client.image_waste(&args.image).await?;
    if args.format == "json" {
        printer::line(&json::indent(&serde_json::to_string(&report).unwrap_or_default()));
    } else {
        printer::data(text(&report).as_bytes());
    }
    Ok(0)
}

fn text(report: &WasteReport) -> String {
    let mut table = Table::new(["LAYER", "SIZE", "WASTED", "CREATED BY"]);
    for (place, layer) in report.layers.iter().enumerate() {
        let created_by = human::ellipsis(&layer.created_by.replace(['\t', '\n'], " "), WIDEST);
        table.row([(place + 1).to_string(), human::size(layer.size), human::size(layer.wasted), created_by]);
    }
    let mut text = table.render();
    for (place, layer) in report.layers.iter().enumerate() {
        findings(&mut text, place + 1, layer);
    }
    let percent = report.wasted.saturating_mul(100).checked_div(report.size).unwrap_or(0);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{} of {} ({percent}%) could go", human::size(report.wasted), human::size(report.size));
    text
}

fn findings(text: &mut String, place: usize, layer: &WastefulLayer) {
    for finding in &layer.findings {
        let (bytes, reason) =
            (human::size(finding.bytes), human::ellipsis(&finding.reason.replace(['\t', '\n'], " "), WIDEST));
        let files = if finding.files == 1 { "1 file".to_owned() } else { format!("{} files", finding.files) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\nLayer {place}: {bytes} in {files}, {}: {reason}", finding.kind);
        for file in &finding.examples {
            let _ = writeln!(text, "  {:>8}  /{}", human::size(file.bytes), file.path);
        }
        let _ = writeln!(text, "  {}", finding.remedy);
    }
}

#[cfg(test)]
mod tests {
    use api_types::{WasteFinding, WastedFile};

    use super::*;

    #[test]
    fn each_finding_names_its_files_and_what_to_do() {
        let finding = WasteFinding {
            kind: "cache".into(),
            bytes: 2000,
            files: 1,
            reason: "apt's cache".into(),
            remedy: "clean it".into(),
            examples: vec![WastedFile { path: "var/cache/apt/x".into(), bytes: 2000 }],
        };
        let layer = WastefulLayer {
            diff_id: String::new(),
            created_by: "RUN apt install x".into(),
            size: 4000,
            wasted: 2000,
            findings: vec![finding],
        };
        let report = WasteReport { id: String::new(), size: 4000, wasted: 2000, layers: vec![layer] };
        let text = text(&report);
        for part in
            ["1         4kB       2kB       RUN apt install x\n", "/var/cache/apt/x\n  clean it\n", "2kB of 4kB (50%)"]
        {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

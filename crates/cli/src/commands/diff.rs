// SPDX-License-Identifier: Apache-2.0
//! `corten diff`: which files a container has changed.

use api_types::docker::ChangeType;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// List the files that a container has added (A), changed (C) and deleted (D)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name or an id
    container: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let mut text = String::new();
    for change in context.client.changes(&args.container).await? {
        let letter = match change.kind {
            ChangeType::_0 => 'C',
            ChangeType::_1 => 'A',
            ChangeType::_2 => 'D',
        };
        // A newline or an escape sequence in a name must not look like output of ours.
        let path = change.path.chars().map(|c| if c.is_control() { '?' } else { c });
        text.extend([letter, ' '].into_iter().chain(path).chain(['\n']));
    }
    printer::data(text.as_bytes());
    Ok(0)
}

// SPDX-License-Identifier: Apache-2.0
//! `corten commit`: an image of what a container changed.

use client::CommitOptions;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// Make an image of what a container changed, and print its id
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who makes it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Apply a Dockerfile instruction to the image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What there is to say about it
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Let the container's processes stand still meanwhile
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// A name or an id
    container: String,
    /// The image's name: NAME[:TAG]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let options = CommitOptions {
        name: args.name,
        author: args.author,
        comment: args.message,
        changes: args.change,
        pause: args.pause,
    };
    printer::line(&context.client.commit(&args.container, &options).await?);
    Ok(0)
}

// SPDX-License-Identifier: Apache-2.0
//! `corten push`: give an image to its registry.

use clap::ValueEnum;
use errors::Kind;
use oci::ImageRef;

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer::progress::Progress;
use crate::{credentials, printer};

/// Upload an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// How the layers shall be compressed in the registry [default: as they are here]
    #[arg(long, value_name = "METHOD")]
    compression: Option<Compression>,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// The image: [HOST[:PORT]/]NAME[:TAG]
    image: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compression {
    /// For every client.
    Gzip,
    /// Smaller, and faster to unpack.
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let name = args.image.parse::<ImageRef>();
    let mut name = name.map_err(|error| Failure::new(Kind::InvalidArgument, error.to_string()))?;
    if args.all_tags && (name.tag().is_some() || name.digest().is_some()) {
        return Err(Failure::new(Kind::InvalidArgument, format!("{name} is one tag, and --all-tags means all"))
            .with_hint("leave out one of the two"));
    }
    if !args.all_tags {
        name = name.with_default_tag();
    }
    let auth = credentials::header(name.registry());
    let compression = args.compression.map(Compression::name);
    let mut progress = Progress::new(args.quiet);
    let show = |line| progress.show(&line);
    context.client.push(&name.canonical(), None, compression, auth.as_deref(), show).await?;
    printer::line(&name.to_string());
    Ok(0)
}

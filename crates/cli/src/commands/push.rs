// SPDX-License-Identifier: Apache-2.0
//! `corten push`: give an image to its registry.

use std::path::PathBuf;

use api_types::ProgressLine;
use clap::ValueEnum;
use errors::Kind;
use oci::{Digest, ImageRef, ReferenceError};
use serde_json::Value;

use crate::cli::Context;
use crate::failure::Failure;
use crate::flags::{NO_NOTARY, refuse};
use crate::printer::progress::Progress;
use crate::{credentials, platform, printer, signing};

/// Upload an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// How the layers shall be compressed in the registry [default: gzip, for those that are not compressed]
    #[arg(long, value_name = "METHOD")]
    compression: Option<Compression>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_content_trust: Option<bool>,
    /// The file with the password of the key to sign by
    #[arg(long, value_name = "FILE", requires = "sign_by")]
    password_file: Option<PathBuf>,
    /// Only if it is for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "all_tags")]
    platform: Option<String>,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Sign what was pushed by the private key in this file
    #[arg(long, value_name = "FILE")]
    sign_by: Option<PathBuf>,
    /// The image: [HOST[:PORT]/]NAME[:TAG]
    image: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Compression {
    /// For every client.
    Gzip,
    /// Smaller, and faster to unpack.
    Zstd,
    /// As they are here, byte for byte, which is the default for what came from a registry.
    Keep,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Keep => "keep",
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let has_notary = args.disable_content_trust == Some(false);
    refuse(&[(has_notary, "--disable-content-trust=false", NO_NOTARY)])?;
    platform::check(&context.client, &args.image, args.platform.as_deref()).await?;
    let name = args.image.parse::<ImageRef>();
    let mut name = name.map_err(|error| Failure::new(Kind::InvalidArgument, error.to_string()))?;
    match args.all_tags {
        true => no_tag(&name)?,
        false => name = name.with_default_tag(),
    }
    // A key that cannot be used must not be found out after the push.
    let key = args.sign_by.map(|file| signing::open(&file, args.password_file.as_deref())).transpose()?;
    let auth = credentials::header(name.registry());
    let compression = args.compression.map(Compression::name);
    let mut progress = Progress::new(args.quiet);
    let mut pushed = Vec::new();
    let show = |line: ProgressLine| {
        pushed.extend(line.aux.as_ref().and_then(pushed_tag));
        progress.show(&line);
    };
    context.client.push(&name.canonical(), None, compression, auth.as_deref(), show).await?;
    if let Some(key) = &key {
        for (tag, digest) in pushed {
            let name = format!("{}/{}:{tag}", name.registry(), name.repository()).parse();
            let name = name.map_err(|error: ReferenceError| Failure::new(Kind::Internal, error.to_string()))?;
            signing::sign(context, &name, Some(digest), key, auth.as_deref()).await?;
        }
    }
    printer::line(&name.to_string());
    Ok(0)
}

/// Refuses the name of one image where all of a repository are meant.
pub(super) fn no_tag(name: &ImageRef) -> Result<(), Failure> {
    if name.tag().is_none() && name.digest().is_none() {
        return Ok(());
    }
    let problem = format!("{name} is one tag, and --all-tags means all");
    Err(Failure::new(Kind::InvalidArgument, problem).with_hint("leave out one of the two"))
}

/// The tag and the digest that a line of progress tells of.
fn pushed_tag(aux: &Value) -> Option<(String, Digest)> {
    Some((aux["Tag"].as_str()?.to_owned(), aux["Digest"].as_str()?.parse().ok()?))
}

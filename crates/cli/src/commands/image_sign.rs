// SPDX-License-Identifier: Apache-2.0
//! `corten image sign`: put a signature beside an image in its registry.

use std::path::PathBuf;

use errors::Kind;
use oci::ImageRef;

use crate::cli::Context;
use crate::failure::Failure;
use crate::{credentials, printer, signing};

/// Sign what a registry has under a name, in cosign's format
///
/// The signature is put beside the image in the registry, and kept with the image here, if it is here. A password that
/// protects the key is that in the environment's COSIGN_PASSWORD, or is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file with the private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file with the key's password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The image: [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    image: String,
}

/// Prints the digest that was signed.
pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let name = args.image.parse::<ImageRef>();
    let name = name.map_err(|error| Failure::new(Kind::InvalidArgument, error.to_string()))?.with_default_tag();
    let key = signing::open(&args.key, args.password_file.as_deref())?;
    let auth = credentials::header(name.registry());
    let digest = signing::sign(context, &name, None, &key, auth.as_deref()).await?;
    printer::line(&digest.to_string());
    Ok(0)
}

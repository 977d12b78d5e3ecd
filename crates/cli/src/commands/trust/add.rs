// SPDX-License-Identifier: Apache-2.0
//! `corten trust add`: images under a prefix must be signed.

use std::path::PathBuf;

use trust::Prefix;

use crate::cli::Context;
use crate::failure::Failure;
use crate::signing;

/// Have images under a prefix signed: others are neither pulled nor run
///
/// Of several keys for one prefix any will do. Of several prefixes that cover an image the longest decides.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file with the public key
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The images: HOST[:PORT] or HOST[:PORT]/PATH
    prefix: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let prefix: Prefix = args.prefix.parse()?;
    // All are read before the first is added.
    let keys: Vec<_> = args.key.iter().map(|file| signing::public_key(file)).collect::<Result<_, _>>()?;
    for key in keys {
        context.client.add_trust_rule(&prefix.to_string(), &key.to_pem()).await?;
    }
    Ok(0)
}

// SPDX-License-Identifier: Apache-2.0
//! `corten image verify`: whether what a registry has under a name was signed.

use std::path::PathBuf;

use errors::Kind;
use oci::ImageRef;
use serde_json::{Value, json};
use trust::{PublicKey, verify};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::table::Table;
use crate::signing::Found;
use crate::{credentials, signing};

/// Say whether what a registry has under a name was signed, and as what
///
/// The registry is asked; what is here does not count. Exit code 1 when no signature will do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print: table or json
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// The file with the public key; of several any will do
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The image: [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    image: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let name = args.image.parse::<ImageRef>();
    let name = name.map_err(|error| Failure::new(Kind::InvalidArgument, error.to_string()))?.with_default_tag();
    let keys: Vec<_> = args.key.iter().map(|file| signing::public_key(file)).collect::<Result<_, _>>()?;
    let auth = credentials::header(name.registry());
    let found = signing::look_up(context, &name, auth.as_deref()).await?;
    let (good, faults) = judged(&found, &keys);
    if good.is_empty() {
        let why = match faults.is_empty() {
            true => "it has no signature".to_owned(),
            false => faults.join("; "),
        };
        return Err(Failure::new(Kind::PermissionDenied, format!("{name} ({}) is not verified: {why}", found.digest)));
    }
    if args.format == "json" {
        let rows: Vec<Value> = good
            .iter()
            .map(|(name, key)| json!({"Name": name.canonical(), "Key": key.fingerprint().to_string(), "Kind": key.kind()}))
            .collect();
        let report =
            json!({"Reference": found.name.canonical(), "Digest": found.digest.to_string(), "Signatures": rows});
        printer::line(&printer::json::indent(&report.to_string()));
        return Ok(0);
    }
    let mut table = Table::new(["DIGEST", "SIGNED AS", "BY KEY"]);
    for (name, key) in good {
        table.row([found.digest.to_string(), name.to_string(), key.fingerprint().to_string()]);
    }
    printer::data(table.render().as_bytes());
    Ok(0)
}

/// Whom each good signature is for and who made it, and what is wrong with the others.
fn judged<'a>(found: &Found, keys: &'a [PublicKey]) -> (Vec<(ImageRef, &'a PublicKey)>, Vec<String>) {
    let (mut good, mut faults) = (Vec::new(), Vec::new());
    for signature in &found.signatures {
        let by = keys.iter().map(|key| (key, verify(signature, std::slice::from_ref(key), &[found.digest])));
        // The fault that says most is that of the key that made it.
        let (key, claim) = match by.reduce(|best, next| if best.1 == Err(trust::Fault::Key) { next } else { best }) {
            Some(judged) => judged,
            None => continue,
        };
        match claim {
            Ok(claim) if same_repository(&claim.name, &found.name) => good.push((claim.name, key)),
            Ok(claim) => faults.push(trust::Fault::OtherName(Box::new(claim.name)).to_string()),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    (good, faults)
}

fn same_repository(a: &ImageRef, b: &ImageRef) -> bool {
    a.registry().eq_ignore_ascii_case(b.registry()) && a.repository() == b.repository()
}

// SPDX-License-Identifier: Apache-2.0
//! `corten import`: make an image of a root file system's archive.

use std::fs::File;
use std::io::Read;

use errors::{Kind, kind_of_io};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;

/// Create an image from a root file system's tar archive (plain, gzip or zstd), and print its id
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Apply a Dockerfile instruction to the image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, WORKDIR, …
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What there is to say about it
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What it is made for, as in linux/arm64; this host without it
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// The archive; - for stdin
    file: String,
    /// The image's name: NAME[:TAG]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let archive: Box<dyn Read + Send> = match args.file.as_str() {
        "-" => Box::new(std::io::stdin()),
        path if path.starts_with("http://") || path.starts_with("https://") => {
            return Err(Failure::new(Kind::Unsupported, format!("{path}: an archive is not fetched from a URL"))
                .with_hint("download it and pipe it in: corten import - NAME"));
        }
        path => Box::new(open(path)?),
    };
    let import =
        client::Import { name: args.name, changes: args.change, message: args.message, platform: args.platform };
    let mut id = None;
    context
        .client
        .import(archive, &import, |line| {
            // The last line is the image's id.
            if let Some(earlier) = std::mem::replace(&mut id, line.status) {
                printer::note(&earlier);
            }
        })
        .await?;
    if let Some(id) = id {
        printer::line(&id);
    }
    Ok(0)
}

fn open(path: &str) -> Result<File, Failure> {
    let failed = |error: &std::io::Error| Failure::new(kind_of_io(error), format!("cannot open {path}: {error}"));
    let file = File::open(path).map_err(|error| failed(&error))?;
    if file.metadata().map_err(|error| failed(&error))?.is_dir() {
        return Err(Failure::new(Kind::InvalidArgument, format!("{path} is a directory"))
            .with_hint(format!("pack it first: tar -C {path} -c . | corten import - NAME")));
    }
    Ok(file)
}

// SPDX-License-Identifier: Apache-2.0
//! `corten import`: make an image of a root file system's archive.

use std::fs::File;
use std::io::Read;

use api_types::ProgressLine;
use errors::{Kind, kind_of_io};

use crate::cli::Context;
use crate::failure::Failure;
use crate::printer;
use crate::printer::progress::Progress;

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
    /// The archive: a file, - for stdin, or an http:// or https:// address, which the daemon fetches
    file: String,
    /// The image's name: NAME[:TAG]
    name: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let import =
        client::Import { name: args.name, changes: args.change, message: args.message, platform: args.platform };
    let mut id = None;
    let mut shown = Progress::new(false);
    let progress = |mut line: ProgressLine| {
        if line.progress_detail.is_some() {
            line.id = Some(file_of(&args.file).to_owned());
            shown.show(&line);
        // The last line is the image's id.
        } else if let Some(earlier) = std::mem::replace(&mut id, line.status) {
            printer::note(&earlier);
        }
    };
    if is_url(&args.file) {
        context.client.import_from(&args.file, &import, progress).await?;
    } else {
        let archive: Box<dyn Read + Send> = match args.file.as_str() {
            "-" => Box::new(std::io::stdin()),
            path => Box::new(open(path)?),
        };
        context.client.import(archive, &import, progress).await?;
    }
    if let Some(id) = id {
        printer::line(&id);
    }
    Ok(0)
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// What a file is called at its address, for its progress.
fn file_of(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_by_its_file() {
        assert_eq!(file_of("https://a.example/b/root.tar.gz?token=x#y"), "root.tar.gz");
        assert_eq!(file_of("http://a.example/b/"), "b");
        assert!(is_url("http://x") && !is_url("./http") && !is_url("ftp://x"));
    }
}

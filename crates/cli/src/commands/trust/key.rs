// SPDX-License-Identifier: Apache-2.0
//! `corten trust key generate`: a pair of keys.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use errors::kind_of_io;
use trust::PrivateKey;

use crate::failure::Failure;
use crate::{printer, signing};

/// Make keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(Generate),
}

/// Make a pair of keys: PREFIX.key, which a password protects, and PREFIX.pub
///
/// The password is that in the environment's COSIGN_PASSWORD, or is asked for. cosign and skopeo read both files.
#[derive(Debug, clap::Args)]
struct Generate {
    /// How both files' names begin
    #[arg(short, long, value_name = "PREFIX", default_value = "corten")]
    output: PathBuf,
    /// The file with the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let Command::Generate(args) = args.command;
    let password = signing::new_password(args.password_file.as_deref())?;
    let pair = PrivateKey::generate(&password)?;
    let (private, public) = (with_ending(&args.output, ".key"), with_ending(&args.output, ".pub"));
    write_new(&private, &pair.private, 0o600)?;
    if let Err(failure) = write_new(&public, &pair.public, 0o644) {
        // One half is of no use to anybody; that it stays is the lesser of two errors.
        if fs::remove_file(&private).is_err() {
            printer::warning(&format!("{} stays", private.display()));
        }
        return Err(failure);
    }
    printer::line(&private.display().to_string());
    printer::line(&public.display().to_string());
    Ok(0)
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// A key that is there is never overwritten.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::new(kind_of_io(&error), format!("cannot write {}: {error}", path.display())))
}

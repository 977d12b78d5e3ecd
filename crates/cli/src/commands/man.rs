// SPDX-License-Identifier: Apache-2.0
//! `corten man`: the manual pages, one for each command, made of what `--help` says.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use errors::kind_of_io;

use crate::failure::Failure;
use crate::{printer, program};

/// Write the manual pages, one for each command
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to, as in /usr/local/share/man/man1
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

pub(crate) fn run(args: &Args, definition: Command) -> Result<u8, Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::new(kind_of_io(error), format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(&args.directory).map_err(|error| failed(&args.directory, &error))?;
    let mut pages = Vec::new();
    collect(definition, "", &mut pages);
    for (name, command) in &pages {
        let path = args.directory.join(format!("{name}.1"));
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut page).map_err(|error| failed(&path, &error))?;
        let page = program::spoken(&String::from_utf8_lossy(&page)).into_owned();
        fs::write(&path, page).map_err(|error| failed(&path, &error))?;
    }
    printer::note(&format!("{} pages are in {}", pages.len(), args.directory.display()));
    Ok(0)
}

/// A command and all below it, each with the name of its page.
fn collect(command: Command, above: &str, pages: &mut Vec<(String, Command)>) {
    let name = if above.is_empty() { command.get_name().to_owned() } else { format!("{above}-{}", command.get_name()) };
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub.clone(), &name, pages);
    }
    let command = command.name(name.clone()).bin_name(name.replace('-', " ")).disable_help_subcommand(true);
    pages.push((name, command));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_words() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args { directory: directory.path().join("man1") };
        run(&args, crate::cli::definition()).unwrap();
        let page = |name: &str| fs::read_to_string(args.directory.join(name)).unwrap();
        for name in ["corten.1", "corten-run.1", "corten-container-run.1", "corten-system-df.1", "corten-context-use.1"]
        {
            assert!(page(name).contains(".SH OPTIONS"), "{name}");
        }
        assert!(page("corten-run.1").contains("Examples") && page("corten-run.1").contains("memory"));
        assert!(!args.directory.join("corten-__complete.1").exists());
    }

    #[test]
    fn every_command_and_every_flag_says_what_it_is_for() {
        fn check(command: &Command) {
            assert!(command.is_hide_set() || command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&crate::cli::definition());
    }
}

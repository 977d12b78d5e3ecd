// SPDX-License-Identifier: Apache-2.0
//! `corten context rm`: forget contexts.

use client::Wish;
use errors::{Kind, Report};

use super::{in_use, store};
use crate::failure::Failure;
use crate::printer;

/// Forget one or more contexts, and their certificates
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The one in use, too; then the default one is in use
    #[arg(short, long)]
    force: bool,
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn run(args: &Args, wish: &Wish) -> Result<u8, Failure> {
    let mut failed = false;
    for name in &args.names {
        match remove(name, args.force, wish) {
            Ok(()) => printer::line(name),
            Err(failure) => {
                failed = true;
                failure.report.iter().for_each(printer::failure);
            }
        }
    }
    if failed { Err(Failure::told()) } else { Ok(0) }
}

fn remove(name: &str, force: bool, wish: &Wish) -> Result<(), Failure> {
    let store = store();
    if in_use(wish)? == name && !force {
        let report = Report::new(Kind::Conflict, format!("the context \"{name}\" is in use"))
            .with_hint("corten context use default, or rm -f");
        return Err(Failure { report: Some(report), code: 1 });
    }
    store.remove(name)?;
    if store.current()?.as_deref() == Some(name) {
        store.set_current(None)?;
    }
    Ok(())
}

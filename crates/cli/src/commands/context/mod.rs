// SPDX-License-Identifier: Apache-2.0
//! `corten context`: names for daemons. They are kept as docker keeps them, and each sees what the other makes.

mod create;
mod export;
mod import;
mod inspect;
mod ls;
mod rm;
mod show;
mod update;
mod use_context;

use clap::Subcommand;
use client::contexts::ContextStore;
use client::{Endpoint, TlsFiles, Wish};

use crate::environment;
use crate::failure::Failure;

/// Manage contexts: names for daemons here and elsewhere
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    Export(export::Args),
    Import(import::Args),
    Inspect(inspect::Args),
    #[command(name = "ls", visible_alias = "list")]
    List(ls::Args),
    #[command(name = "rm", visible_alias = "remove")]
    Remove(rm::Args),
    Show(show::Args),
    Update(update::Args),
    Use(use_context::Args),
}

pub(crate) fn run(args: Args, wish: &Wish) -> Result<u8, Failure> {
    match args.command {
        Command::Create(args) => create::run(args, wish),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Inspect(args) => inspect::run(args, wish),
        Command::List(args) => ls::run(&args, wish),
        Command::Remove(args) => rm::run(&args, wish),
        Command::Show(args) => show::run(&args, wish),
        Command::Update(args) => update::run(args, wish),
        Command::Use(args) => use_context::run(&args, wish),
    }
}

/// The contexts of this user.
fn store() -> ContextStore {
    ContextStore::of_user(environment::variable)
}

/// The context in use.
fn in_use(wish: &Wish) -> Result<String, Failure> {
    Ok(client::context_in_use(wish, environment::variable)?)
}

/// What the default context means: the address that the flags and the environment name, or this host's own daemon.
fn default_endpoint(wish: &Wish) -> Result<(String, TlsFiles), Failure> {
    let wish =
        Wish { context: wish.host.is_none().then(|| client::contexts::DEFAULT_CONTEXT.to_owned()), ..wish.clone() };
    let endpoint = Endpoint::resolve(&wish, environment::variable)?;
    Ok((endpoint.address.to_string(), endpoint.tls.unwrap_or_default()))
}

// SPDX-License-Identifier: Apache-2.0
//! `corten login`: prove who one is to a registry, and have it remembered.

use std::io::{self, BufRead, Read};

use api_types::docker::AuthConfig;
use errors::{Kind, kind_of_io};
use registry_client::{Credentials, Keeper, Secret};

use crate::cli::Context;
use crate::failure::Failure;
use crate::{credentials, printer, terminal};

/// The longest password, in bytes: some are tokens of a few kilobytes.
const LONGEST: u64 = 64 << 10;

/// Log in to a registry
///
/// The password is asked for, or read from stdin; it is given to the credential helper that ~/.docker/config.json names,
/// or else kept in a sealed file of Corten's own.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The password; others see it while the command runs, and the shell remembers it
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The registry: HOST[:PORT] [default: docker.io]
    server: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<u8, Failure> {
    let registry = credentials::registry(args.server.as_deref())?;
    if args.password_stdin && args.username.is_none() {
        return Err(Failure::new(Kind::InvalidArgument, "the password comes from stdin, so the user must be named")
            .with_hint("add --username NAME"));
    }
    let username = match args.username {
        Some(username) => username,
        None => ask_username()?,
    };
    let password = match args.password {
        Some(password) => {
            printer::warning("a password in the command line is seen by others; --password-stdin takes it from stdin");
            password
        }
        None if args.password_stdin => piped_password()?,
        None => ask_password()?,
    };
    if username.is_empty() || password.is_empty() {
        let what = if username.is_empty() { "user name" } else { "password" };
        return Err(Failure::new(Kind::InvalidArgument, format!("the {what} is empty")));
    }
    let tried = AuthConfig {
        username: Some(username.clone()),
        password: Some(password.clone()),
        serveraddress: Some(registry.clone()),
    };
    let answer = context.client.check_auth(&tried).await?;
    let (what, login) = match answer.identity_token.filter(|token| !token.is_empty()) {
        // What the registry gives to be kept in place of the password can be taken back there.
        Some(token) => ("A token of the registry's", Credentials { username, secret: Secret::Identity(token) }),
        None => ("The password", Credentials::password(username, password)),
    };
    match credentials::stores().store(&registry, &login)? {
        keeper @ Keeper::Helper(_) => printer::note(&format!("{what} is kept by {keeper}.")),
        keeper @ Keeper::Own(_) => printer::note(&format!(
            "{what} is in {keeper}, sealed with the key beside it: root, and whatever runs as you, can read both.\n\
             A credential helper (credsStore in ~/.docker/config.json) keeps it in a key ring instead."
        )),
    }
    printer::line("Login Succeeded");
    Ok(0)
}

fn no_terminal() -> Failure {
    Failure::new(Kind::InvalidArgument, "there is no terminal to ask at")
        .with_hint("give --username NAME --password-stdin, and the password on stdin")
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(kind_of_io(error), format!("cannot read from stdin: {error}"))
}

fn ask_username() -> Result<String, Failure> {
    if !terminal::is_interactive() {
        return Err(no_terminal());
    }
    printer::error_data(b"Username: ");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| unreadable(&error))?;
    Ok(line.trim().to_owned())
}

fn ask_password() -> Result<String, Failure> {
    if !terminal::is_interactive() {
        return Err(no_terminal());
    }
    let typed = terminal::hidden_line("Password: ");
    printer::note("");
    typed.map_err(|error| unreadable(&error))?.ok_or(Failure { report: None, code: 130 })
}

/// All of stdin, without the newline that `echo` and editors put at the end.
fn piped_password() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().take(LONGEST).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

// SPDX-License-Identifier: Apache-2.0
//! The flags that say who may do what with a registry.

use std::path::PathBuf;

use registry_server::{Access, Policy, Tokens, Users};

use crate::failure::Failure;

/// Passwords or tokens. Without either, everybody may do everything.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// A file of users as `htpasswd -B` writes it
    #[arg(long, value_name = "FILE", conflicts_with = "token_realm")]
    htpasswd: Option<PathBuf>,
    /// A JSON file of what users may do: {"USER or *": {"PATTERN": ["pull", "push", "delete"]}} [default: everything]
    #[arg(long, value_name = "FILE", requires = "htpasswd")]
    policy: Option<PathBuf>,
    /// Let everybody pull; only who pushes or deletes needs a password
    #[arg(long, requires = "htpasswd")]
    anonymous_pull: bool,
    /// The address of a token service, to which clients are sent
    #[arg(long, value_name = "URL", requires_all = ["token_service", "token_issuer", "token_key"])]
    token_realm: Option<String>,
    /// The name by which the token service knows this registry
    #[arg(long, value_name = "NAME", requires = "token_realm")]
    token_service: Option<String>,
    /// The name that the token service gives itself in its tokens
    #[arg(long, value_name = "NAME", requires = "token_realm")]
    token_issuer: Option<String>,
    /// The public key that tokens are checked with: RSA or P-256, in PEM
    #[arg(long, value_name = "FILE", requires = "token_realm")]
    token_key: Option<PathBuf>,
}

impl Args {
    /// What they say, with the files read.
    pub(super) fn read(&self) -> Result<Access, Failure> {
        if let Some(users) = &self.htpasswd {
            let users = Users::read(users)?;
            let policy = self.policy.as_deref().map(Policy::read).transpose()?;
            return Ok(Access::Passwords { users, policy, anonymous_pull: self.anonymous_pull });
        }
        match (&self.token_realm, &self.token_service, &self.token_issuer, &self.token_key) {
            (Some(realm), Some(service), Some(issuer), Some(key)) => {
                Ok(Access::Tokens(Tokens::new(realm, service, issuer, key)?))
            }
            _ => Ok(Access::Open),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn half_a_way_is_none() {
        for flags in [
            &["--policy", "p"][..],
            &["--anonymous-pull"],
            &["--token-realm", "r"],
            &["--token-key", "k"],
            &[
                "--htpasswd",
                "h",
                "--token-realm",
                "r",
                "--token-service",
                "s",
                "--token-issuer",
                "i",
                "--token-key",
                "k",
            ],
        ] {
            let line = std::iter::once("x").chain(flags.iter().copied());
            assert!(Line::try_parse_from(line).is_err(), "{flags:?}");
        }
        assert!(matches!(Line::parse_from(["x"]).args.read(), Ok(Access::Open)));
        assert!(Line::parse_from(["x", "--htpasswd", "/none"]).args.read().is_err());
    }
}

// SPDX-License-Identifier: Apache-2.0
//! Who asks, and what they may do. One of three ways for a whole registry: everybody may do everything; users with
//! passwords and a policy; tokens that a service of somebody else's gives out.

mod der;
mod htpasswd;
mod policy;
mod token;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use oci::RepositoryName;

pub use htpasswd::{HtpasswdError, Users};
pub use policy::{Policy, PolicyError};
pub use token::{TokenError, Tokens};

use token::Grant;

/// What somebody may do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// Read everything of it.
    Pull,
    /// Add blobs, manifests and tags.
    Push,
    /// Take them away.
    Delete,
}

/// How a registry tells who may do what.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Access {
    /// Everybody may do everything.
    #[default]
    Open,
    /// Users with passwords.
    Passwords {
        /// Who they are.
        users: Users,
        /// What they may do; without it, everything.
        policy: Option<Policy>,
        /// Whether those who do not say who they are may pull.
        anonymous_pull: bool,
    },
    /// Tokens.
    Tokens(Tokens),
}

/// Who asks, as far as it is proved.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    access: &'a Access,
    /// The user's name; of a token, its subject.
    pub(crate) name: Option<String>,
    grants: Vec<Grant>,
}

/// Somebody who did not prove who they are, or may not do this.
#[derive(Debug)]
pub(crate) enum Refused {
    /// They may try again, having answered the challenge.
    Unauthorized {
        /// The value of `WWW-Authenticate`.
        challenge: String,
    },
    /// They may not.
    Denied,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// To know whether one may come in at all.
    Entry,
    /// The list of repositories.
    Catalog,
    /// To do this with a repository.
    Repository(&'a RepositoryName, Action),
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Pull => "pull",
            Action::Push => "push",
            Action::Delete => "delete",
        }
    }
}

impl Access {
    /// Who sent these headers.
    ///
    /// # Errors
    /// A password or token that is wrong; the challenge is for `wanted`.
    pub(crate) async fn identify(&self, headers: &HeaderMap, wanted: Wanted<'_>) -> Result<Caller<'_>, Refused> {
        let mut caller = Caller { access: self, name: None, grants: Vec::new() };
        let Some(authorization) = headers.get(AUTHORIZATION) else { return Ok(caller) };
        match self {
            Access::Open => {}
            // Some clients say so that they have nothing to say.
            Access::Passwords { .. } if htpasswd::is_nobody(authorization) => {}
            Access::Passwords { users, .. } => match users.check(authorization).await {
                Some(name) => caller.name = Some(name),
                None => return Err(self.challenge(wanted, None)),
            },
            Access::Tokens(tokens) => match bearer(authorization).and_then(|token| tokens.check(token)) {
                Some(claims) => {
                    caller.name = Some(claims.subject);
                    caller.grants = claims.access;
                }
                None => return Err(self.challenge(wanted, Some("invalid_token"))),
            },
        }
        Ok(caller)
    }

    fn challenge(&self, wanted: Wanted<'_>, error: Option<&str>) -> Refused {
        let challenge = match self {
            Access::Tokens(tokens) => {
                let scope = match wanted {
                    Wanted::Entry => None,
                    Wanted::Catalog => Some("registry:catalog:*".to_owned()),
                    // Who may push will also look what is there already.
                    Wanted::Repository(name, Action::Push) => Some(format!("repository:{name}:pull,push")),
                    Wanted::Repository(name, action) => Some(format!("repository:{name}:{}", action.as_str())),
                };
                tokens.challenge(scope.as_deref(), error)
            }
            _ => "Basic realm=\"registry\", charset=\"UTF-8\"".to_owned(),
        };
        Refused::Unauthorized { challenge }
    }
}

impl Caller<'_> {
    /// Whether they may have what they want.
    pub(crate) fn check(&self, wanted: Wanted<'_>) -> Result<(), Refused> {
        let allowed = match (self.access, wanted) {
            (Access::Open, _) => true,
            // Clients ask here whether they should say who they are.
            (_, Wanted::Entry) => self.name.is_some(),
            // Everybody sees the repositories that they may pull.
            (Access::Passwords { anonymous_pull, .. }, Wanted::Catalog) => *anonymous_pull || self.name.is_some(),
            (Access::Tokens(_), Wanted::Catalog) => self.grants.iter().any(Grant::is_for_catalog),
            (_, Wanted::Repository(name, action)) => self.may(name, action),
        };
        match (allowed, self.access, &self.name) {
            (true, ..) => Ok(()),
            (false, Access::Tokens(_), Some(_)) => Err(self.access.challenge(wanted, Some("insufficient_scope"))),
            (false, _, None) => Err(self.access.challenge(wanted, None)),
            (false, ..) => Err(Refused::Denied),
        }
    }

    /// Whether they may do this with a repository.
    pub(crate) fn may(&self, name: &RepositoryName, action: Action) -> bool {
        match self.access {
            Access::Open => true,
            Access::Passwords { policy, anonymous_pull, .. } => {
                let anonymously = *anonymous_pull && action == Action::Pull;
                anonymously
                    || self.name.as_deref().is_some_and(|user| {
                        policy.as_ref().is_none_or(|policy| policy.allows(user, name.as_str(), action))
                    })
            }
            Access::Tokens(_) => self.grants.iter().any(|grant| grant.allows(name.as_str(), action.as_str())),
        }
    }

    /// Whether the list of repositories shows this one.
    pub(crate) fn sees(&self, name: &RepositoryName) -> bool {
        // A token for the catalogue is for all of it.
        matches!(self.access, Access::Tokens(_)) || self.may(name, Action::Pull)
    }
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
